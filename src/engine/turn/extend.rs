//! Extend: keeps a hold alive, takes note of progress, holds more if it fits.

use super::{Decision, Outcome, Turn, ended_otherwise};
use crate::{
    domain::{
        decision::{Denial, DenialCode, Granted, RevocationCause, Violated, Violation},
        error::{Invalid, SumTooLarge},
        event::{Event, Extended, Reserved},
        money::Nanos,
        operation::{Extend, MAX_TTL},
        policy::{Scope, Unit},
        reservation_id::ReservationNo,
        usage::{Amounts, Usage},
    },
    engine::{
        decide::{until_extended, wallet_admits, wallet_violation},
        limit::{amount_in, scope_of},
        reservation::{Hold, Reservation},
        state::CappingPool,
    },
};

impl Turn<'_> {
    /// Renews a hold. A denial means that the work must stop; it changes nothing.
    ///
    /// # Errors
    /// [`Conflict`](super::Conflict) when the reservation is unknown, too old or settled, or when progress or estimate shrink.
    pub fn extend(&mut self, no: ReservationNo, extend: &Extend) -> Outcome<Decision<Granted>> {
        let hold = match self.find(no)? {
            Reservation::Hold(hold) if hold.is_open() => Hold::clone(hold),
            Reservation::Hold(hold) => return Ok(Err(expired(hold))),
            Reservation::Ended(ended) => return Err(ended_otherwise(&ended.end)),
        };
        let reserved = &hold.reserved;
        if let Some((cause, _)) = hold.revoked() {
            return Ok(Err(self.stopped(reserved, cause)));
        }
        check_growth(&hold, extend)?;
        let (held_before, usage_before) = (hold.held(), hold.usage());
        let progress = match &extend.usage_so_far {
            None => None,
            Some(so_far) => Some(self.priced(&hold, so_far)?),
        };
        let mut usage = match &extend.estimate {
            None => usage_before,
            Some(estimate) => self.priced(&hold, estimate)?.0,
        };
        let mut target = held_before;
        if let Some((so_far, amounts)) = progress {
            usage = usage.at_least(&so_far);
            target = target.max(amounts);
        }
        // All of what is held for, so that charging the hold books neither more nor less than it.
        if usage != usage_before {
            target = target.max(self.priced(&hold, &usage)?.1);
        }
        let violations = self.failing_extension(reserved, target.minus(held_before));
        if !violations.is_empty() {
            let mut denial = Denial::of(violations);
            denial.retry = until_extended(self.state, reserved, target.minus(held_before), self.now)
                // Who waits until the hold has expired has waited in vain.
                .filter(|retry| self.now + retry.after < hold.expire_time());
            return Ok(Err(denial));
        }
        self.check_uncapped(reserved, target.minus(held_before))?;
        let expire_time = (self.now + extend.ttl).min(hold.admit_time + MAX_TTL);
        let more = target.minus(held_before).credits;
        let drawn = self.state.redrawn(&reserved.key, &reserved.touches, Nanos::ZERO, more).held;
        let extended = Extended { reservation: no, expire_time, usage, held: target, drawn, progress };
        self.emit(Event::Extended(Box::new(extended)));
        let mut answer = self.find(no)?.granted(false);
        (answer.expire_time, answer.held, answer.output_tokens) = (expire_time, target, usage.output_tokens);
        Ok(Ok(answer))
    }

    /// Reads what is used of a hold, and says what it comes to.
    fn priced(&self, hold: &Hold, usage: &Usage) -> Outcome<(Usage, Amounts)> {
        let (usage, _, cost) = self.settling_cost(hold, None, usage)?;
        Ok((usage, Amounts::new(&usage, cost, hold.reserved.factor)))
    }

    /// Says what made the work stop: the cause's message, under the code that only Extend answers.
    fn stopped(&self, reserved: &Reserved, cause: &RevocationCause) -> Denial {
        let organization = self.state.organization.id.as_str();
        let pool = self.state.pool_of(&reserved.key).map(|no| (no, self.state.allocations.cycle.start));
        let met = reserved.touches.iter().map(|touch| (touch.limit, touch.window)).chain(pool);
        let mut met = met.filter_map(|(no, window)| Some((self.state.limit(no)?, window)));
        let limit = met.find_map(|(entry, window)| {
            let is_cause = Some(entry.limit.id()) == cause.limit.as_ref()
                && scope_of(&entry.place, organization) == (cause.scope, cause.scope_id.clone());
            is_cause.then(|| entry.state(&entry.standing_in(window, self.now), organization, true))
        });
        let at = match limit {
            Some(state) => Violated::Limit { state, asked: 0 },
            None => Violated::State(cause.scope, cause.scope_id.clone()),
        };
        let violations = vec![Violation { code: cause.code, at }];
        Denial { code: DenialCode::Revoked, message: cause.code.message().to_owned(), retry: None, violations }
    }

    /// Refuses what the limits without a cap can't count.
    fn check_uncapped(&self, reserved: &Reserved, more: Amounts) -> Result<(), SumTooLarge> {
        for touch in reserved.touches.iter().filter(|touch| touch.unit != Unit::InFlight) {
            let asked = amount_in(touch.unit, more);
            let uncapped = self.state.limit(touch.limit).filter(|entry| asked > 0 && entry.limit.max().is_none());
            if let Some(entry) =
                uncapped.filter(|entry| !entry.admits(&entry.standing_in(touch.window, self.now), asked))
            {
                return Err(entry.too_large());
            }
        }
        Ok(())
    }

    /// The team's pool, if more is asked of it than it has.
    fn pool_failing(&self, reserved: &Reserved, more: Amounts) -> Option<Violation> {
        let CappingPool { entry, is_over, .. } = self.state.pool_over_reserved(reserved)?;
        let drawn = self.state.redrawn(&reserved.key, &reserved.touches, Nanos::ZERO, more.credits).held;
        let asked = if is_over { more.credits } else { drawn };
        let standing = entry.standing(self.now);
        let fits = !is_over && entry.admits(&standing, asked.get());
        if !asked.is_positive() || fits {
            return None;
        }
        Some(entry.violation(&standing, asked.get(), self.now, self.state.organization.id.as_str()))
    }

    /// What `more` doesn't fit on, in the windows that the reservation was admitted in.
    fn failing_extension(&self, reserved: &Reserved, more: Amounts) -> Vec<Violation> {
        let organization = self.state.organization.id.as_str();
        let mut violations = Vec::new();
        for touch in reserved.touches.iter().filter(|touch| touch.unit != Unit::InFlight) {
            let Some(entry) = self.state.limit(touch.limit).filter(|_| self.state.binds(touch.unit)) else { continue };
            let asked = amount_in(touch.unit, more);
            let standing = entry.standing_in(touch.window, self.now);
            if asked > 0 && entry.limit.max().is_some() && !entry.admits(&standing, asked) {
                violations.push(entry.violation(&standing, asked, self.now, organization));
            }
        }
        violations.extend(self.pool_failing(reserved, more));
        violations.sort_by_key(|violation| violation.code);
        if reserved.wallet && more.usd.is_positive() && !wallet_admits(self.state, more.usd) {
            violations.push(wallet_violation(self.state, more.usd));
        }
        violations
    }
}

/// Neither what was used nor what is held for shrinks, so that a repeated Extend changes nothing.
fn check_growth(hold: &Hold, extend: &Extend) -> Result<(), Invalid> {
    let shrinks =
        |field: &str, what: &str| Err(Invalid::new(field, format!("is less than {what} before; it can only grow")));
    if let (Some(so_far), Some((before, _))) = (&extend.usage_so_far, hold.progress())
        && !so_far.covers(&before)
    {
        return shrinks("usage_so_far", "was reported");
    }
    // Progress may have gone beyond the estimate that came with it; the same two again are a repeat.
    let covered = |estimate: &Usage| extend.usage_so_far.map_or(*estimate, |so_far| estimate.at_least(&so_far));
    // Beside progress that counts its cache beside the input, the estimate alone may be what is repeated.
    let grows = |estimate: &Usage| covered(estimate).covers(&hold.usage()) || estimate.covers(&hold.usage());
    match &extend.estimate {
        Some(estimate) if !grows(estimate) => shrinks("estimate", "was held"),
        _ => Ok(()),
    }
}

fn expired(hold: &Hold) -> Denial {
    Denial::state(DenialCode::ReservationExpired, Scope::Key, hold.reserved.key.as_str())
}
