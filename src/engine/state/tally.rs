//! Counts of something by member, for tables that take long to go through.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::domain::id::MemberId;

/// Members that have none take no room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally(HashMap<MemberId, u32, RandomState>);

impl Tally {
    pub fn of(&self, member: &MemberId) -> u32 {
        self.0.get(member).copied().unwrap_or_default()
    }

    /// Follows something of the member's from whether it counted to whether it does.
    pub(super) fn follow(&mut self, member: &MemberId, did: bool, does: bool) {
        match (did, does) {
            (false, true) => *self.0.entry(member.clone()).or_default() += 1,
            (true, false) => {
                let left = self.of(member).saturating_sub(1);
                if left == 0 {
                    self.0.remove(member);
                } else {
                    self.0.insert(member.clone(), left);
                }
            }
            (true, true) | (false, false) => {}
        }
    }
}
