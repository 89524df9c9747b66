//! What administrators change: entities, their policies, rules. Here is what all kinds share.

use smol_str::SmolStr;

use super::{Outcome, Turn};
use crate::{
    domain::{event::Event, id::RequestId},
    engine::{
        conflict::Conflict,
        state::Taken,
        table::{Entity, Find},
    },
};

mod invitation;
mod key;
mod member;
mod organization;
mod policy;
mod rule;
mod team;

pub use key::KeyChange;
pub use member::{MemberChange, MembershipChange};
pub use organization::OrganizationChange;
pub use rule::RuleChange;
pub use team::TeamChange;

/// The entity, if it is there and not deleted.
pub(super) fn live<'a, E: Entity + 'a>(table: &'a impl Find<E>, id: &E::Id, name: &str) -> Outcome<&'a E> {
    match table.find(id) {
        Some(row) if row.entity.is_deleted() => Err(Conflict::Gone { kind: E::KIND, id: name.to_owned() }),
        Some(row) => Ok(&row.entity),
        None => Err(Conflict::NotFound { kind: E::KIND, id: name.to_owned() }),
    }
}

/// Refuses an id that is or was in use.
pub(super) fn free<E: Entity>(table: &impl Find<E>, id: &E::Id, name: &str) -> Outcome<()> {
    match table.find(id) {
        None => Ok(()),
        Some(row) if row.entity.is_deleted() => Err(Conflict::Deleted { kind: E::KIND, id: name.to_owned() }),
        Some(_) => Err(Conflict::Exists { kind: E::KIND, id: name.to_owned() }),
    }
}

impl Turn<'_> {
    /// What a creation under this request id made before; then nothing is to be created.
    ///
    /// # Errors
    /// [`Conflict::RequestReused`] when the id was used for something else.
    pub fn created_before(&self, request: Option<&RequestId>, fingerprint: u64) -> Outcome<Option<SmolStr>> {
        let Some(request) = request else { return Ok(None) };
        match self.state.taken(request) {
            None => Ok(None),
            Some(Taken::Created { fingerprint: before, id }) if *before == fingerprint => Ok(Some(id.clone())),
            Some(_) => Err(Conflict::RequestReused(request.clone())),
        }
    }

    /// Remembers what a creation under this request id made.
    pub fn take_request(&mut self, request: Option<&RequestId>, fingerprint: u64, id: &str) {
        if let Some(request) = request {
            self.emit(Event::RequestTaken { request: request.clone(), fingerprint, created: id.into() });
        }
    }

    /// Ends memberships, by their places, with their keys.
    fn end_below(&mut self, memberships: Vec<u32>) {
        for place in &memberships {
            let keys: Vec<_> = self.state.keys.of_membership(*place).map(|(_, row)| row.entity.key.clone()).collect();
            for key in keys {
                self.end_key(key);
            }
        }
        for place in memberships {
            if let Some(membership) = self.state.memberships.row(place).map(|row| row.entity.clone()) {
                self.end_membership(membership);
            }
        }
    }

    /// # Errors
    /// [`Conflict::TooMany`] when there may be no more.
    pub(super) fn check_count(what: &'static str, count: u32, max: u32) -> Outcome<()> {
        if count < max { Ok(()) } else { Err(Conflict::TooMany { what, max }) }
    }
}
