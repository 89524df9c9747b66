//! How credits stand: what follows from allocations and their counters.

use super::{Allocations, OrganizationState, TeamAllocation};
use crate::{
    domain::{allocation::Allocation, event::LimitNo, money::Nanos, period::Window},
    engine::limit::Counter,
};

/// A team's credits in the running cycle. `None` where it has no allocation, and so no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeamCredits {
    pub allocated: TeamAllocation,
    /// Of the pool, and by members beyond their own.
    pub shared_used: Nanos,
    /// Monthly + extra − distributed − used of the pool.
    pub available: Option<Nanos>,
}

/// The organization's credits in the running cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountCredits {
    pub cycle: Window,
    pub credits_per_cycle: Option<Nanos>,
    pub used: Nanos,
    /// Given out to teams, and to members of teams that have nothing themselves.
    pub given: Nanos,
    /// Used by teams that have nothing themselves: of their pools, and by members beyond their own.
    pub uncapped: Nanos,
    /// Not given out: per cycle − given − uncapped.
    pub available: Option<Nanos>,
    /// Not used.
    pub balance: Option<Nanos>,
}

/// What is asked about: an organization with its allocations, or with others as they might be.
#[derive(Debug, Clone, Copy)]
pub struct Credits<'a> {
    pub state: &'a OrganizationState,
    pub allocations: &'a Allocations,
}

impl Credits<'_> {
    fn counted(&self, no: Option<LimitNo>) -> (Nanos, Nanos) {
        let start = self.allocations.cycle.start;
        match no.and_then(|no| self.state.limit(no)).map(|entry| &entry.counter) {
            Some(Counter::Budget(windows)) => {
                let counted = windows.at(start);
                (counted.spent, counted.held)
            }
            _ => (Nanos::ZERO, Nanos::ZERO),
        }
    }

    pub fn team(&self, team: u32) -> TeamCredits {
        let allocated = self.allocations.team(team);
        let spent = self.counted(allocated.pool).0;
        let available = allocated.shared().map(|shared| shared - spent);
        let shared_used = spent + allocated.carried;
        TeamCredits { allocated, shared_used, available }
    }

    /// What a team takes of the organization's credits with this allocation. Where it has nothing itself that is what its members
    /// have and what it used besides: that can't be given out again, whoever has less now or is gone.
    pub fn taken(&self, team: &TeamAllocation, allocation: Allocation) -> Nanos {
        let used = || team.distributed + team.carried + self.counted(team.pool).0;
        allocation.total().unwrap_or_else(used)
    }

    pub fn account(&self) -> AccountCredits {
        let (mut given, mut uncapped) = (Nanos::ZERO, Nanos::ZERO);
        for (place, _) in self.state.teams.all() {
            let allocated = self.allocations.team(place);
            let own = allocated.allocation.total().unwrap_or(allocated.distributed);
            given += own;
            uncapped += self.taken(&allocated, allocated.allocation) - own;
        }
        let used = self.counted(self.allocations.total_counter()).0;
        let credits_per_cycle = self.allocations.settings.credits_per_cycle;
        AccountCredits {
            cycle: self.allocations.cycle,
            credits_per_cycle,
            used,
            given,
            uncapped,
            available: credits_per_cycle.map(|total| total - given - uncapped),
            balance: credits_per_cycle.map(|total| total - used),
        }
    }
}

impl OrganizationState {
    pub fn credits(&self) -> Credits<'_> {
        Credits { state: self, allocations: &self.allocations }
    }

    /// What a membership used of its own allocation in the running cycle.
    pub fn own_used(&self, membership: u32) -> Nanos {
        self.credits().counted(self.allocations.member(membership).own).0
    }

    /// What a team can still give out now: what its pool holds for running work isn't free.
    pub fn free_in_team(&self, team: u32) -> Option<Nanos> {
        let allocated = self.allocations.team(team);
        let (spent, held) = self.credits().counted(allocated.pool);
        allocated.shared().map(|shared| shared - spent - held)
    }

    /// The allocations, or as they would be if this cycle began.
    pub fn allocations_in(&self, cycle: Option<Window>) -> Allocations {
        let mut allocations = self.allocations.clone();
        if let Some(cycle) = cycle {
            allocations.begin(cycle, |membership| self.team_of(membership));
        }
        allocations
    }

    /// The counters of all allocations.
    pub fn allocation_counters(&self) -> Vec<LimitNo> {
        self.allocations.caps().filter(|(_, cap)| cap.is_some()).map(|(no, _)| no).collect()
    }
}
