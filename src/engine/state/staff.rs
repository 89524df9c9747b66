//! The members who look after an organization, found without going through all of them.

use serde::{Deserialize, Serialize};

use crate::domain::{access::Role, entity::Member};

/// Places of active members, which ascend: they are few, or change seldom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Staff {
    /// Number of owners, with an e-mail address or without.
    owners: u32,
    /// Owners with an e-mail address.
    owners_to_tell: Vec<u32>,
    /// Owners, admins and finance admins with an e-mail address.
    minders: Vec<u32>,
}

/// Duties that a member counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Duties {
    is_owner: bool,
    is_owner_to_tell: bool,
    is_minder: bool,
}

impl Duties {
    pub(super) fn of(member: &Member) -> Self {
        let is_active = !member.deleted && !member.disabled;
        let is_owner = is_active && member.role == Role::Owner;
        let minds = is_active && matches!(member.role, Role::Owner | Role::Admin | Role::FinanceAdmin);
        let has_address = !member.email.is_empty();
        Self { is_owner, is_owner_to_tell: is_owner && has_address, is_minder: minds && has_address }
    }
}

impl Staff {
    /// Follows a member from what it counted as to what it counts as.
    pub(super) fn follow(&mut self, place: u32, was: Duties, is: Duties) {
        self.owners = self.owners + u32::from(is.is_owner) - u32::from(was.is_owner);
        put(&mut self.owners_to_tell, place, is.is_owner_to_tell);
        put(&mut self.minders, place, is.is_minder);
    }

    pub fn owner_count(&self) -> u32 {
        self.owners
    }

    pub fn owners_to_tell(&self) -> &[u32] {
        &self.owners_to_tell
    }

    pub fn minders(&self) -> &[u32] {
        &self.minders
    }
}

fn put(places: &mut Vec<u32>, place: u32, is_in: bool) {
    match (places.binary_search(&place), is_in) {
        (Err(at), true) => places.insert(at, place),
        (Ok(at), false) => {
            places.remove(at);
        }
        (Ok(_), true) | (Err(_), false) => {}
    }
}
