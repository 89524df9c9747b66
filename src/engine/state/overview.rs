//! How credits stand: what follows from allocations and their counters.

use super::{Allocations, OrganizationState, TeamAllocation};
use crate::{
    domain::{event::LimitNo, money::Nanos, period::Window},
    engine::windows::Counted,
};

/// A team's credits in the running cycle. `None` where it has no monthly allocation, and so no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeamCredits {
    pub allocated: TeamAllocation,
    /// Used by members, those that left too, beyond what they have of their own.
    pub shared_used: Nanos,
    /// The same, of what is held for running work.
    pub shared_held: Nanos,
    /// Monthly + extra − distributed − used of the pool.
    pub available: Option<Nanos>,
}

impl TeamCredits {
    /// Returns what the members of the team have or used, whichever is more, of each.
    pub fn committed(&self) -> Nanos {
        self.allocated.distributed + self.shared_used
    }

    /// Returns what a team takes of the organization's credits that has `given` and has `committed` so much: that can't be given
    /// out again, whoever has less now or is gone.
    pub fn taken(given: Nanos, committed: Nanos) -> Nanos {
        given.max(committed)
    }

    /// Returns what can still be given out now: what the pool holds for running work isn't free.
    pub fn free(&self) -> Option<Nanos> {
        self.available.map(|available| available - self.shared_held)
    }
}

/// The organization's credits in the running cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountCredits {
    pub cycle: Window,
    pub credits_per_cycle: Option<Nanos>,
    pub used: Nanos,
    /// Given out to teams, and to members beyond what their teams have.
    pub given: Nanos,
    /// Used beyond what was given out.
    pub beyond: Nanos,
    /// Not given out: per cycle − given − beyond.
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
    fn counted(&self, no: Option<LimitNo>) -> Counted {
        self.state.counted_in(no, self.allocations.cycle)
    }

    pub fn team(&self, team: u32) -> TeamCredits {
        let allocated = self.allocations.team(team);
        let Counted { spent, held } = self.counted(allocated.pool);
        let available = allocated.shared().map(|shared| shared - spent);
        TeamCredits { allocated, shared_used: spent, shared_held: held, available }
    }

    pub fn account(&self) -> AccountCredits {
        let (mut given, mut beyond) = (Nanos::ZERO, Nanos::ZERO);
        for (place, _) in self.state.teams.all() {
            let team = self.team(place);
            let TeamAllocation { allocation, distributed, .. } = team.allocated;
            let own = allocation.given().max(distributed);
            given += own;
            beyond += TeamCredits::taken(own, team.committed()) - own;
        }
        let used = self.counted(self.allocations.total_counter()).spent;
        let credits_per_cycle = self.allocations.settings.credits_per_cycle;
        AccountCredits {
            cycle: self.allocations.cycle,
            credits_per_cycle,
            used,
            given,
            beyond,
            available: credits_per_cycle.map(|total| total - given - beyond),
            balance: credits_per_cycle.map(|total| total - used),
        }
    }
}

impl OrganizationState {
    pub fn credits(&self) -> Credits<'_> {
        Credits { state: self, allocations: &self.allocations }
    }

    /// The allocations, or as they would be if this cycle began.
    pub fn allocations_in(&self, cycle: Option<Window>) -> Allocations {
        let mut allocations = self.allocations.clone();
        if let Some(cycle) = cycle {
            allocations.begin(cycle);
        }
        allocations
    }
}
