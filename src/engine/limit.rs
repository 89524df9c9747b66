//! One limit of one place: what is set, and what counts against it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{rate::Rate, windows::Windows};
use crate::domain::{
    decision::{DenialCode, LimitState, Violated, Violation},
    error::SumTooLarge,
    event::Touch,
    money::Nanos,
    period::{Period, Window},
    policy::{AllocationPlace, Limit, Place, Scope, Unit},
    time::Timestamp,
    usage::Amounts,
};

/// Most that a limit counts, in whatever unit: spent and held together.
const MAX_SUM: i64 = Nanos::MAX_SUM.get();

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEntry {
    /// Shared by the limits of the place.
    pub place: Arc<Place>,
    /// Shared by those that are set alike, as far as they were set or read together.
    pub limit: Arc<Limit>,
    pub counter: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counter {
    Budget(Windows),
    Rate(Rate),
    /// Open reservations.
    InFlight(i64),
}

/// What stands against a limit in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub spent: i64,
    pub held: i64,
    /// Start of the window; now for quotas.
    pub window: Timestamp,
    pub reset: Option<Timestamp>,
}

/// What `amounts` are in `unit`; a reservation takes one slot.
pub fn amount_in(unit: Unit, amounts: Amounts) -> i64 {
    match unit {
        Unit::Usd => amounts.usd.get(),
        Unit::Credits => amounts.credits.get(),
        Unit::RequestsPerMinute => amounts.requests,
        Unit::TokensPerMinute => amounts.tokens,
        Unit::InFlight => 1,
    }
}

/// The scope of a place and the id that callers see.
pub fn scope_of(place: &Place, organization: &str) -> (Scope, SmolStr) {
    match place {
        Place::Key(key) => (Scope::Key, key.as_str().into()),
        Place::Membership(team, member) => (Scope::Membership, smol_str::format_smolstr!("{team}/{member}")),
        Place::Member(member) => (Scope::Member, member.as_str().into()),
        Place::Team(team) => (Scope::Team, team.as_str().into()),
        Place::Organization => (Scope::Organization, organization.into()),
        Place::Ceiling => (Scope::Ceiling, organization.into()),
        Place::Rule(rule, _) => (Scope::Rule, rule.as_str().into()),
        Place::Allocation(AllocationPlace::Organization) => (Scope::Allocation, organization.into()),
        Place::Allocation(AllocationPlace::Pool(team)) => (Scope::Allocation, team.as_str().into()),
        Place::Allocation(AllocationPlace::Member(team, member)) => {
            (Scope::Allocation, smol_str::format_smolstr!("{team}/{member}"))
        }
    }
}

/// What a limit of this unit answers when it refuses.
pub fn denial_code(unit: Unit) -> DenialCode {
    match unit {
        Unit::Usd | Unit::Credits => DenialCode::BudgetExceeded,
        Unit::RequestsPerMinute | Unit::TokensPerMinute => DenialCode::RateLimitExceeded,
        Unit::InFlight => DenialCode::ConcurrencyExceeded,
    }
}

impl LimitEntry {
    pub fn new(place: Arc<Place>, limit: Arc<Limit>) -> Self {
        let counter = match limit.unit() {
            Unit::Usd | Unit::Credits => Counter::Budget(Windows::default()),
            Unit::RequestsPerMinute | Unit::TokensPerMinute => Counter::Rate(Rate::default()),
            Unit::InFlight => Counter::InFlight(0),
        };
        Self { place, limit, counter }
    }

    /// Returns whether it counts the part of a team's pool, not all of what its members use.
    pub fn is_pool(&self) -> bool {
        matches!(&*self.place, Place::Allocation(AllocationPlace::Pool(_)))
    }

    pub fn standing(&self, now: Timestamp) -> Standing {
        match &self.counter {
            Counter::Budget(windows) => {
                let Window { start, end } = windows.current(&self.limit.period().unwrap_or(Period::OneTime), now);
                let counted = windows.at(start);
                let reset = Some(end).filter(|end| !end.is_never());
                Standing { spent: counted.spent.get(), held: counted.held.get(), window: start, reset }
            }
            Counter::Rate(rate) => Standing { spent: rate.count(now), held: 0, window: now, reset: None },
            Counter::InFlight(open) => Standing { spent: 0, held: *open, window: now, reset: None },
        }
    }

    /// What stands in the window of an earlier touch.
    pub fn standing_in(&self, window: Timestamp, now: Timestamp) -> Standing {
        match &self.counter {
            Counter::Budget(windows) => {
                let counted = windows.at(window);
                let period = self.limit.period().unwrap_or(Period::OneTime);
                let reset = Some(period.window_at(window).end).filter(|end| !end.is_never());
                Standing { spent: counted.spent.get(), held: counted.held.get(), window, reset }
            }
            Counter::Rate(_) | Counter::InFlight(_) => self.standing(now),
        }
    }

    /// `spent + held + need ≤ max` and `spent < max`: what is used up exactly admits not even what uses nothing, and 0 admits
    /// nothing. Without a cap, all that can be counted.
    pub fn admits(&self, standing: &Standing, need: i64) -> bool {
        let sum = standing.spent.saturating_add(standing.held).saturating_add(need);
        match self.limit.max() {
            Some(max) => sum <= max && standing.spent < max,
            None => sum <= MAX_SUM,
        }
    }

    /// How much more fits; `None` without a hard cap.
    pub fn room(&self, standing: &Standing) -> Option<i64> {
        self.limit.max().map(|max| max.saturating_sub(standing.spent).saturating_sub(standing.held))
    }

    pub fn state(&self, standing: &Standing, organization: &str, binding: bool) -> LimitState {
        let (scope, scope_id) = scope_of(&self.place, organization);
        LimitState {
            scope,
            scope_id,
            limit: Some(self.limit.id().clone()),
            unit: self.limit.unit(),
            period: self.limit.period(),
            max: self.limit.max(),
            soft: self.limit.soft(),
            spent: standing.spent,
            held: standing.held,
            reset_time: standing.reset,
            binding,
        }
    }

    pub fn violation(&self, standing: &Standing, asked: i64, now: Timestamp, organization: &str) -> Violation {
        let mut state = self.state(standing, organization, true);
        if let (Counter::Rate(rate), Some(max)) = (&self.counter, self.limit.max()) {
            // When enough has slid out.
            state.reset_time = rate.first_fit(now, asked, max, std::iter::empty());
        }
        Violation { code: denial_code(self.limit.unit()), at: Violated::Limit { state, asked } }
    }

    /// Puts changes of what is spent and held into effect; `slots` is how many reservations opened. For rates spent and held
    /// are one count.
    pub fn add(&mut self, touch: &Touch, spent: Amounts, held: Amounts, slots: i64, now: Timestamp) {
        let (spent, held) = (amount_in(touch.unit, spent), amount_in(touch.unit, held));
        match &mut self.counter {
            Counter::Budget(windows) => windows.add(touch.window, Nanos::new(spent), Nanos::new(held), now),
            Counter::Rate(rate) => rate.add(touch.window, spent.saturating_add(held), now),
            Counter::InFlight(open) => *open += slots,
        }
    }

    /// Returns true where less can still count for an earlier touch: from a rate, nothing is given back that has slid out.
    pub fn gives_back(&self, touch: &Touch, now: Timestamp) -> bool {
        match &self.counter {
            Counter::Budget(_) | Counter::InFlight(_) => true,
            Counter::Rate(_) => !Rate::has_left(touch.window, now),
        }
    }

    /// By how much the limit would stand above its cap after [`Self::add`]; at least 0.
    ///
    /// # Errors
    /// [`SumTooLarge`] when it would count more than can be counted.
    pub fn excess_after(
        &self,
        touch: &Touch,
        spent: Amounts,
        held: Amounts,
        now: Timestamp,
    ) -> Result<i64, SumTooLarge> {
        let delta = amount_in(touch.unit, spent).saturating_add(amount_in(touch.unit, held));
        let after = match &self.counter {
            Counter::Budget(windows) => {
                let counted = windows.at(touch.window);
                counted.spent.get().saturating_add(counted.held.get()).saturating_add(delta)
            }
            Counter::Rate(rate) => rate.count_after(touch.window, delta, now),
            Counter::InFlight(_) => return Ok(0),
        };
        if after > MAX_SUM && delta > 0 {
            return Err(self.too_large());
        }
        Ok(self.limit.max().map_or(0, |max| after.saturating_sub(max).max(0)))
    }

    /// What is said where a limit can't count any more.
    #[cold]
    pub fn too_large(&self) -> SumTooLarge {
        SumTooLarge { what: format!("what counts on limit {}", self.limit.id()) }
    }
}
