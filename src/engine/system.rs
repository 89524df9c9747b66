//! What belongs to no organization: the price book, tokens, the key directory and the seal of reservation ids.

use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::state::Inconsistent;
use crate::domain::{
    event::{Event, Record, Stream},
    id::{Actor, KeyId, OrganizationId, SecretHash},
    price::PriceBook,
    reservation_id::SealKey,
    time::Timestamp,
};

mod tokens;

pub use tokens::Tokens;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemState {
    pub sequence: u64,
    pub time: Timestamp,
    /// Which start of the server wrote last.
    pub epoch: u32,
    pub seal: Option<SealKey>,
    /// Shared with decisions that are under way.
    pub prices: Arc<PriceBook>,
    pub tokens: Tokens,
    /// Millions: dense, where a hash table of them would be half empty.
    pub keys: IndexMap<KeyId, Registration, RandomState>,
    /// Number of keys that were forgotten: the books may have to be asked for an unknown key.
    pub forgotten_keys: u64,
}

/// The registered keys give room back once they use less than this part of it.
const SPARSE: usize = 8;

/// Which organization a key belongs to. It stays while a deleted key is remembered, and in the books: ids are unique for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub organization: OrganizationId,
    /// A deleted key's too: its secret is known to be spent.
    pub hash: SecretHash,
    /// The secret before it, and until when it is taken too.
    pub previous: Option<Box<(SecretHash, Timestamp)>>,
}

impl SystemState {
    /// # Errors
    /// [`Inconsistent`] when the record doesn't continue the state.
    pub fn apply(&mut self, record: &Record) -> Result<(), Inconsistent> {
        if record.sequence != self.sequence + 1 {
            return Err(Inconsistent {
                organization: String::from("_system"),
                sequence: record.sequence,
                problem: format!("event {} was expected", self.sequence + 1),
            });
        }
        self.sequence = record.sequence;
        self.time = self.time.max(record.time);
        self.epoch = record.epoch;
        match &record.event {
            Event::Initialized { seal } => self.seal = Some(*seal),
            Event::PriceSet(entry) => Arc::make_mut(&mut self.prices).set((**entry).clone()),
            Event::PriceDeleted(model) => Arc::make_mut(&mut self.prices).remove(model),
            Event::TokenSet(token) => self.tokens.insert((**token).clone()),
            Event::TokenDeleted(id) => self.tokens.remove(id),
            Event::GrantRemoved { left, .. } if left.is_for_anything() => self.tokens.insert((**left).clone()),
            Event::GrantRemoved { left, .. } => self.tokens.remove(&left.id),
            Event::KeyRegistered { key, organization, hash, previous } => {
                let registration =
                    Registration { organization: organization.clone(), hash: *hash, previous: previous.clone() };
                self.keys.insert(key.clone(), registration);
            }
            // A start is told by the epoch alone; the others are no events of this stream.
            _ => {}
        }
        Ok(())
    }

    /// Gives up a key that its organization has forgotten. No part of the history: the books are asked then.
    pub fn forget_key(&mut self, id: &KeyId) -> Option<Registration> {
        // Also where an older start has forgotten the registration: its organization knew the key until now.
        self.forgotten_keys += 1;
        let registration = self.keys.swap_remove(id)?;
        if self.keys.len() < self.keys.capacity() / SPARSE {
            self.keys.shrink_to(self.keys.len() * 2);
        }
        Some(registration)
    }

    /// Puts an event into effect and answers its record, without position.
    pub fn emit(&mut self, event: Event, epoch: u32, now: Timestamp, actor: &Actor) -> Record {
        let record = Record {
            position: 0,
            stream: Stream::System,
            sequence: self.sequence + 1,
            epoch,
            time: now.max(self.time),
            actor: actor.clone(),
            event,
        };
        let applied = self.apply(&record);
        debug_assert_eq!(applied, Ok(()), "an own record always continues the state");
        record
    }
}
