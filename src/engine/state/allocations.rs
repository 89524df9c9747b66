//! Credits handed out per cycle, and what was used of them. The counters that refuse are limits as any other; here stands what
//! their caps follow from.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::TeamCredits;
use crate::domain::{
    allocation::{Allocation, AllocationSettings},
    event::LimitNo,
    id::LimitId,
    money::Nanos,
    period::{Period, Window},
    policy::{Budget, BudgetUnit, Limit, Models},
    time::Timestamp,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocations {
    pub settings: AllocationSettings,
    pub cycle: Window,
    /// Counts what the whole organization uses.
    pub(super) total: Option<LimitNo>,
    /// By place of the team.
    teams: Vec<TeamAllocation>,
    /// By place of the membership, of those that ever had one of their own.
    members: HashMap<u32, Allocation, RandomState>,
    /// Count all that a membership uses, whatever that is drawn on; by its place.
    counters: Vec<Option<LimitNo>>,
    /// Credits used in this cycle, by place of the member; none beyond the end.
    used: Vec<Nanos>,
    /// Sums of all teams, so that nobody adds them up.
    sums: AccountSums,
}

/// Credits that an account's teams have and used, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccountSums {
    /// Given out to teams, and to members beyond what their teams have.
    pub given: Nanos,
    /// Used beyond what was given out.
    pub beyond: Nanos,
    /// Credits that would be given out in a cycle that began now.
    pub given_anew: Nanos,
}

impl AccountSums {
    /// Returns the part of one team in them, whose pool has `spent` in this cycle.
    pub fn of(team: &TeamAllocation, spent: Nanos) -> Self {
        let given = team.allocation.given().max(team.distributed);
        let beyond = TeamCredits::taken(given, team.distributed + spent) - given;
        let anew = team.anew();
        Self { given, beyond, given_anew: anew.allocation.given().max(anew.distributed) }
    }

    /// Follows a team from what it added to what it adds.
    pub(super) fn follow(&mut self, before: Self, after: Self) {
        self.given += after.given - before.given;
        self.beyond += after.beyond - before.beyond;
        self.given_anew += after.given_anew - before.given_anew;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TeamAllocation {
    pub allocation: Allocation,
    /// What its members have of their own.
    pub distributed: Nanos,
    /// The part of it that comes back in the next cycle.
    pub lasting: Nanos,
    /// Up to how much credit requests are approved by themselves in a cycle, and how much was in this one.
    pub reserve: Nanos,
    pub approved: Nanos,
    /// Counts what its members use beyond what they have of their own, in this cycle only.
    pub pool: Option<LimitNo>,
    /// Who is in it.
    pub members: u32,
    /// Credits that all of its members used in this cycle, those that left too.
    pub used: Nanos,
}

impl Default for Allocations {
    fn default() -> Self {
        Self {
            settings: AllocationSettings::default(),
            // Over before anything begins: the first turn starts the first cycle.
            cycle: Window { start: Timestamp::EPOCH, end: Timestamp::EPOCH },
            total: None,
            teams: Vec::new(),
            members: HashMap::default(),
            counters: Vec::new(),
            used: Vec::new(),
            sums: AccountSums::default(),
        }
    }
}

impl TeamAllocation {
    /// The cap of the pool.
    pub fn shared(&self) -> Option<Nanos> {
        self.allocation.cap().map(|cap| cap - self.distributed)
    }

    /// Returns it as a cycle begins: nothing used, no extra credits, nothing approved by itself.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            allocation: Allocation { extra: None, ..self.allocation },
            distributed: self.lasting,
            approved: Nanos::ZERO,
            used: Nanos::ZERO,
            ..*self
        }
    }
}

impl Allocations {
    pub fn team(&self, place: u32) -> TeamAllocation {
        self.teams.get(place as usize).copied().unwrap_or_default()
    }

    pub fn member(&self, membership: u32) -> Allocation {
        self.members.get(&membership).copied().unwrap_or_default()
    }

    /// Returns the counter of a membership, once anything may have counted in it.
    pub fn counter(&self, membership: u32) -> Option<LimitNo> {
        self.counters.get(membership as usize).copied().flatten()
    }

    /// Returns the credits that a member used in this cycle, in all of its teams.
    pub fn used_by(&self, member: u32) -> Nanos {
        self.used.get(member as usize).copied().unwrap_or_default()
    }

    pub(super) fn use_credits(&mut self, team: u32, member: u32, credits: Nanos) {
        self.team_mut(team).used += credits;
        let at = member as usize;
        if self.used.len() <= at {
            self.used.resize(at + 1, Nanos::ZERO);
        }
        self.used[at] += credits;
    }

    pub fn total_counter(&self) -> Option<LimitNo> {
        self.total
    }

    pub(in crate::engine) fn team_mut(&mut self, place: u32) -> &mut TeamAllocation {
        let at = place as usize;
        if self.teams.len() <= at {
            // There are very many organizations of one team.
            self.teams.reserve_exact(at + 1 - self.teams.len() + self.teams.len() / 4);
            self.teams.resize_with(at + 1, TeamAllocation::default);
        }
        &mut self.teams[at]
    }

    /// Returns what the membership had before.
    pub(super) fn set_member(&mut self, membership: u32, allocation: Allocation) -> Allocation {
        self.members.insert(membership, allocation).unwrap_or_default()
    }

    pub(super) fn set_counter(&mut self, membership: u32, counter: LimitNo) {
        let at = membership as usize;
        if self.counters.len() <= at {
            self.counters.reserve_exact(at + 1 - self.counters.len() + self.counters.len() / 4);
            self.counters.resize(at + 1, None);
        }
        self.counters[at] = Some(counter);
    }

    /// Nothing used, no extra credits, nothing approved by itself.
    pub(super) fn begin(&mut self, cycle: Window) {
        self.cycle = cycle;
        self.used.clear();
        for team in &mut self.teams {
            *team = team.anew();
        }
        for allocation in self.members.values_mut() {
            allocation.extra = None;
        }
        let AccountSums { given_anew, .. } = self.sums;
        self.sums = AccountSums { given: given_anew, beyond: Nanos::ZERO, given_anew };
    }

    pub fn sums(&self) -> AccountSums {
        self.sums
    }

    pub(super) fn follow_team(&mut self, before: AccountSums, after: AccountSums) {
        self.sums.follow(before, after);
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = LimitNo> + '_ {
        self.teams.iter().filter_map(|team| team.pool)
    }

    /// Every counter with the cap that it has now; without those of memberships that never had anything of their own.
    pub(super) fn caps(&self) -> impl Iterator<Item = (LimitNo, Option<Nanos>)> + '_ {
        let total = self.total.map(|no| (no, self.settings.credits_per_cycle));
        let pools = self.teams.iter().filter_map(|team| Some((team.pool?, team.shared())));
        let own = self.members.iter().filter_map(|(at, allocation)| Some((self.counter(*at)?, allocation.cap())));
        total.into_iter().chain(pools).chain(own)
    }

    /// Returns the caps of a membership's credits in the next cycle: its own or its pool's, and the organization's.
    pub fn next_caps(&self, team: u32, membership: u32) -> [Option<Nanos>; 2] {
        let team = self.team(team);
        let pool = team.allocation.monthly.map(|monthly| monthly - team.lasting);
        [self.member(membership).monthly.or(pool), self.settings.credits_per_cycle]
    }

    /// As a limit, in this cycle.
    pub fn limit(&self, max: Option<Nanos>) -> Limit {
        Limit::Budget(Budget {
            id: LimitId::trusted("allocation"),
            unit: BudgetUnit::Credits,
            max,
            soft: None,
            period: Period::Cycle(self.cycle),
            models: Models::default(),
            alerts: None,
        })
    }
}
