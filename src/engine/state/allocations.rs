//! Credits handed out per cycle, and what was used of them. The counters that refuse are limits as any other; here stands what
//! their caps follow from.

use std::{collections::HashMap, ops::RangeInclusive};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

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
    members: HashMap<u32, MemberAllocation, RandomState>,
    /// Credits used in this cycle, by place of the membership.
    used: Vec<Nanos>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TeamAllocation {
    pub allocation: Allocation,
    /// What its members have of their own.
    pub distributed: Nanos,
    /// What its members used beyond their own when that was lowered: the pool bears it.
    pub carried: Nanos,
    /// Up to how much credit requests are approved by themselves in a cycle, and how much was in this one.
    pub reserve: Nanos,
    pub approved: Nanos,
    /// Counts what its members without an allocation of their own use.
    pub pool: Option<LimitNo>,
    /// Who is in it.
    pub members: u32,
    /// Credits that all of its members used in this cycle, those that left too.
    pub used: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberAllocation {
    pub allocation: Allocation,
    /// What it used beyond its own when that was lowered: its team's pool bears it.
    pub carried: Nanos,
    pub own: Option<LimitNo>,
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
            used: Vec::new(),
        }
    }
}

impl TeamAllocation {
    /// The cap of the pool.
    pub fn shared(&self) -> Option<Nanos> {
        self.allocation.total().map(|total| total - self.distributed - self.carried)
    }
}

impl Allocations {
    pub fn team(&self, place: u32) -> TeamAllocation {
        self.teams.get(place as usize).copied().unwrap_or_default()
    }

    pub fn member(&self, membership: u32) -> MemberAllocation {
        self.members.get(&membership).copied().unwrap_or_default()
    }

    /// Credits that a membership used in this cycle, of whatever.
    pub fn used(&self, membership: u32) -> Nanos {
        self.used.get(membership as usize).copied().unwrap_or_default()
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

    pub(super) fn member_mut(&mut self, membership: u32) -> &mut MemberAllocation {
        self.members.entry(membership).or_default()
    }

    pub(super) fn use_credits(&mut self, team: u32, membership: u32, credits: Nanos) {
        self.team_mut(team).used += credits;
        let at = membership as usize;
        if self.used.len() <= at {
            self.used.resize(at + 1, Nanos::ZERO);
        }
        self.used[at] += credits;
    }

    /// Nothing used, no extra credits, nothing approved by itself. Whom a member's extra credits were given out of is told by
    /// `team_of`.
    pub(super) fn begin(&mut self, cycle: Window, team_of: impl Fn(u32) -> Option<u32>) {
        self.cycle = cycle;
        self.used.clear();
        for team in &mut self.teams {
            team.allocation.extra = None;
            team.approved = Nanos::ZERO;
            team.used = Nanos::ZERO;
            team.distributed = Nanos::ZERO;
            team.carried = Nanos::ZERO;
        }
        for (membership, member) in &mut self.members {
            member.allocation.extra = None;
            member.carried = Nanos::ZERO;
            let team = team_of(*membership).and_then(|team| self.teams.get_mut(team as usize));
            if let Some(team) = team {
                team.distributed += member.allocation.given();
            }
        }
    }

    /// Of each team: what is distributed in it and carried by its pool, first by the sum over its members, then as it stands.
    pub(super) fn sums(
        &self,
        team_of: impl Fn(u32) -> Option<u32>,
    ) -> impl Iterator<Item = (u32, (Nanos, Nanos), (Nanos, Nanos))> {
        let mut sums = vec![(Nanos::ZERO, Nanos::ZERO); self.teams.len()];
        for (membership, member) in &self.members {
            if let Some(sum) = team_of(*membership).and_then(|team| sums.get_mut(team as usize)) {
                sum.0 += member.allocation.given();
                sum.1 += member.carried;
            }
        }
        let stand = self.teams.iter().map(|team| (team.distributed, team.carried));
        (0..).zip(sums).zip(stand).map(|((team, sums), stands)| (team, sums, stands))
    }

    /// Every counter with the cap that it has now.
    pub(super) fn caps(&self) -> impl Iterator<Item = (LimitNo, Option<Nanos>)> + '_ {
        let total = self.total.map(|no| (no, self.settings.credits_per_cycle));
        let pools = self.teams.iter().filter_map(|team| Some((team.pool?, team.shared())));
        let own = self.members.values().filter_map(|member| Some((member.own?, member.allocation.total())));
        total.into_iter().chain(pools).chain(own)
    }

    /// Returns within which bounds the caps of a membership's credits lie in the next cycle, its own or its pool's and the
    /// organization's; `None` where there is none. The pool's is exact where no member has extra credits: how many of those come
    /// back only the next cycle adds up.
    pub fn next_caps(&self, team: u32, membership: u32) -> [Option<RangeInclusive<Nanos>>; 2] {
        let exactly = |cap: Nanos| cap..=cap;
        let team = self.team(team);
        let pool = team.allocation.monthly.map(|monthly| monthly - team.distributed - team.carried..=monthly);
        let own = self.member(membership).allocation.monthly.map(exactly);
        [own.or(pool), self.settings.credits_per_cycle.map(exactly)]
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
