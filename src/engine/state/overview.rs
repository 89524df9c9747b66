//! How credits stand: what follows from allocations and their counters.

use super::{AccountSums, OrganizationState, TeamAllocation};
use crate::{
    domain::{allocation::AllocationSettings, event::LimitNo, money::Nanos, period::Window},
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

/// What is asked about: an organization's credits as they stand, or as they would.
#[derive(Debug, Clone, Copy)]
pub struct Credits<'a> {
    pub state: &'a OrganizationState,
    /// The cycle that is thought to have begun now; `None` for the one that runs.
    anew: Option<Window>,
    /// Credits of the account in a cycle.
    total: Option<Nanos>,
}

impl<'a> Credits<'a> {
    /// Returns the credits as they would stand with other settings, in a cycle that began now or the running one.
    #[must_use]
    pub fn with(self, settings: AllocationSettings, anew: Option<Window>) -> Credits<'a> {
        Credits { anew, total: settings.credits_per_cycle, ..self }
    }

    fn counted(&self, no: Option<LimitNo>) -> Counted {
        if self.anew.is_some() { Counted::default() } else { self.state.counted_in(no, self.state.allocations.cycle) }
    }

    pub fn team(&self, team: u32) -> TeamCredits {
        let stands = self.state.allocations.team(team);
        let allocated = if self.anew.is_some() { stands.anew() } else { stands };
        let Counted { spent, held } = self.counted(allocated.pool);
        let available = allocated.shared().map(|shared| shared - spent);
        TeamCredits { allocated, shared_used: spent, shared_held: held, available }
    }

    pub fn account(&self) -> AccountCredits {
        let allocations = &self.state.allocations;
        let AccountSums { given, beyond, given_anew } = allocations.sums();
        let (given, beyond) = if self.anew.is_some() { (given_anew, Nanos::ZERO) } else { (given, beyond) };
        let used = self.counted(allocations.total_counter()).spent;
        let credits_per_cycle = self.total;
        AccountCredits {
            cycle: self.anew.unwrap_or(allocations.cycle),
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
        Credits { state: self, anew: None, total: self.allocations.settings.credits_per_cycle }
    }
}
