//! Where organizations are found: by id, by key, by secret. One short lock an organization, none over all.
//!
//! A guard of these maps must never be held across an `.await` or another call on the same map; so everything answers clones.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use dashmap::{DashMap, mapref::entry::Entry};
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;

use super::state::OrganizationState;
use crate::domain::{
    id::{KeyId, OrganizationId, SecretHash},
    operation::Payer,
    time::Timestamp,
};

/// The maps of keys give room back once they use less than this part of it.
const SPARSE: usize = 8;

/// One organization behind its lock.
#[derive(Debug)]
pub struct Cell {
    pub id: OrganizationId,
    inner: Mutex<Inner>,
}

/// What the lock protects.
#[derive(Debug)]
pub struct Inner {
    pub state: OrganizationState,
    /// Journal position of the organization's last record.
    pub position: u64,
    /// When the expiry timer will look here, the earliest last: so that it isn't asked twice to look at the same time.
    pub timers: SmallVec<[Timestamp; 2]>,
    /// Sequence of the organization's last snapshot.
    pub saved: u64,
    /// Last sequence in the books: what came after must not be forgotten.
    pub stored: u64,
}

impl Inner {
    /// When the timer must be asked to look here, if it won't in time.
    pub fn timer_to_set(&mut self) -> Option<Timestamp> {
        let due = self.state.next_expiry()?;
        if self.timers.last().is_some_and(|earliest| *earliest <= due) {
            return None;
        }
        self.timers.push(due);
        Some(due)
    }

    /// The timer has looked here at `now`.
    pub fn timer_looked(&mut self, now: Timestamp) {
        while self.timers.last().is_some_and(|earliest| *earliest <= now) {
            self.timers.pop();
        }
    }
}

impl Cell {
    pub fn new(state: OrganizationState, position: u64) -> Self {
        let id = state.organization.id.clone();
        Self { id, inner: Mutex::new(Inner { state, position, timers: SmallVec::new(), saved: 0, stored: 0 }) }
    }

    /// Held for well under a microsecond on the hot path: decide and enqueue, never wait, log or encode.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

/// A key: its organization and its place there, which never changes.
#[derive(Debug, Clone)]
pub struct Route {
    pub cell: Arc<Cell>,
    pub key: u32,
}

#[derive(Debug, Default)]
pub struct Directory {
    organizations: DashMap<OrganizationId, Arc<Cell>, RandomState>,
    /// The same in the order of their ids, for lists.
    in_order: RwLock<BTreeMap<OrganizationId, Arc<Cell>>>,
    keys: DashMap<KeyId, Route, RandomState>,
    /// With the instant from which a secret isn't taken any more, after it was replaced.
    secrets: DashMap<SecretHash, (Route, Timestamp), RandomState>,
}

impl Directory {
    pub fn find(&self, id: &OrganizationId) -> Option<Arc<Cell>> {
        self.organizations.get(id).map(|cell| Arc::clone(&cell))
    }

    /// Adds an organization unless one with its id is there, which is answered instead.
    ///
    /// # Errors
    /// The one that is there.
    pub fn insert(&self, cell: Arc<Cell>) -> Result<(), Arc<Cell>> {
        match self.organizations.entry(cell.id.clone()) {
            Entry::Occupied(taken) => Err(Arc::clone(taken.get())),
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&cell));
                self.in_order.write().insert(cell.id.clone(), cell);
                Ok(())
            }
        }
    }

    /// At most so many organizations in the order of their ids, those after `after`, deleted ones included.
    pub fn after(&self, after: Option<&OrganizationId>, limit: usize) -> Vec<Arc<Cell>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let in_order = self.in_order.read();
        in_order
            .range::<OrganizationId, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, cell)| Arc::clone(cell))
            .collect()
    }

    pub fn route(&self, payer: &Payer, now: Timestamp) -> Option<Route> {
        match payer {
            Payer::Secret(hash) => self.secrets.get(hash).filter(|found| now < found.1).map(|found| found.0.clone()),
            Payer::Key(id) => self.keys.get(id).map(|route| route.clone()),
        }
    }

    /// Lets a key be found, by its id and by its secret.
    pub fn add_key(&self, id: KeyId, secret: SecretHash, route: Route) {
        self.secrets.insert(secret, (route.clone(), Timestamp::NEVER));
        self.keys.insert(id, route);
    }

    /// Lets a replaced secret be taken until then.
    pub fn retire_secret(&self, secret: SecretHash, route: Route, until: Timestamp, now: Timestamp) {
        if until > now {
            self.secrets.insert(secret, (route, until));
        } else {
            self.end_secret(&secret);
        }
    }

    /// Lets a key be found no more.
    pub fn forget_key(&self, id: &KeyId, secrets: impl IntoIterator<Item = SecretHash>) {
        self.keys.remove(id);
        for secret in secrets {
            self.secrets.remove(&secret);
        }
    }

    /// Gives back the room of keys that went, where little is left.
    pub fn shrink(&self) {
        if self.keys.len() < self.keys.capacity() / SPARSE {
            self.keys.shrink_to_fit();
            self.secrets.shrink_to_fit();
        }
    }

    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub fn knows_key(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    pub fn end_secret(&self, secret: &SecretHash) {
        self.secrets.remove(secret);
    }

    /// Every organization, deleted ones included, sorted by id.
    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.after(None, usize::MAX)
    }
}
