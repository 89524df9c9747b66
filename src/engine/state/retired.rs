//! Counters of limits that their places don't have any more: one that comes back goes on counting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        event::LimitNo,
        id::{MemberId, TeamId},
        policy::Place,
    },
    engine::limit::LimitEntry,
};

/// Most of one place; the one that was removed first is dropped first.
pub const MAX_RETIRED: usize = 64;

/// They count what was admitted under them, and bind nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retired {
    entries: BTreeMap<LimitNo, Box<LimitEntry>>,
    /// In the order in which they were removed.
    of: BTreeMap<Place, Box<[LimitNo]>>,
}

impl Retired {
    /// Returns the numbers that a place had, the one removed first at the front.
    pub fn of(&self, place: &Place) -> &[LimitNo] {
        self.of.get(place).map_or(&[], |numbers| numbers)
    }

    pub fn find(&self, no: LimitNo) -> Option<&LimitEntry> {
        self.entries.get(&no).map(|entry| &**entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = (LimitNo, &LimitEntry)> {
        self.entries.iter().map(|(no, entry)| (*no, &**entry))
    }

    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Returns the memberships of a team, or of a member, that have any.
    pub fn memberships<'a>(
        &'a self,
        is_of: impl Fn(&TeamId, &MemberId) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Place> + 'a {
        let is_of = move |place: &&Place| matches!(place, Place::Membership(team, member) if is_of(team, member));
        self.of.keys().filter(is_of)
    }

    pub(super) fn find_mut(&mut self, no: LimitNo) -> Option<&mut LimitEntry> {
        self.entries.get_mut(&no).map(|entry| &mut **entry)
    }

    pub(super) fn take(&mut self, no: LimitNo) -> Option<Box<LimitEntry>> {
        self.entries.remove(&no)
    }

    /// Keeps those `numbers` of a place, `removed` just now among them, and drops its others.
    pub(super) fn keep(&mut self, place: &Place, numbers: &[LimitNo], removed: Vec<(LimitNo, Box<LimitEntry>)>) {
        for no in self.of.remove(place).unwrap_or_default() {
            if !numbers.contains(&no) {
                self.entries.remove(&no);
            }
        }
        self.entries.extend(removed.into_iter().filter(|(no, _)| numbers.contains(no)));
        if !numbers.is_empty() {
            self.of.insert(place.clone(), numbers.into());
        }
    }
}
