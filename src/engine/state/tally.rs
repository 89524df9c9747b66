//! Counts of something by member, for tables that take long to go through.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::domain::{
    allocation::{CreditRequest, CreditRequestState},
    id::{MemberId, TeamId},
};

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

/// Counts the requests for credits in each state, those that left memory too: totals of lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestCounts {
    all: StateCounts,
    of_teams: BTreeMap<TeamId, StateCounts>,
    of_members: BTreeMap<(MemberId, TeamId), StateCounts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct StateCounts(BTreeMap<CreditRequestState, u32>);

impl StateCounts {
    fn follow(&mut self, before: Option<CreditRequestState>, after: CreditRequestState) {
        if let Some(count) = before.and_then(|before| self.0.get_mut(&before)) {
            *count = count.saturating_sub(1);
        }
        *self.0.entry(after).or_default() += 1;
    }

    /// In some states; none of them means all.
    fn of(&self, states: &BTreeSet<CreditRequestState>) -> u32 {
        let wanted = |state: &CreditRequestState| states.is_empty() || states.contains(state);
        self.0.iter().filter(|(state, _)| wanted(state)).map(|(_, count)| count).sum()
    }
}

impl RequestCounts {
    /// Follows a request from the state that it was in, if it is known, to the one that it is in.
    pub(super) fn follow(&mut self, before: Option<CreditRequestState>, request: &CreditRequest) {
        let CreditRequest { member, team, state, .. } = request;
        self.all.follow(before, *state);
        self.of_teams.entry(team.clone()).or_default().follow(before, *state);
        self.of_members.entry((member.clone(), team.clone())).or_default().follow(before, *state);
    }

    /// Returns the number in some states, or all; of a member, of a team, of both or of everybody.
    pub fn count(
        &self,
        states: &BTreeSet<CreditRequestState>,
        member: Option<&MemberId>,
        team: Option<&TeamId>,
    ) -> u32 {
        let of = |counts: Option<&StateCounts>| counts.map_or(0, |counts| counts.of(states));
        match (member, team) {
            (None, None) => self.all.of(states),
            (None, Some(team)) => of(self.of_teams.get(team)),
            (Some(member), Some(team)) => of(self.of_members.get(&(member.clone(), team.clone()))),
            (Some(member), None) => {
                let teams = self.of_members.range((member.clone(), TeamId::trusted(""))..);
                teams.take_while(|((of, _), _)| of == member).map(|(_, counts)| counts.of(states)).sum()
            }
        }
    }
}
