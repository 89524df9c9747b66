//! Charge: usage that is booked at once, under request ids that are unique for ever.

use std::sync::Arc;

use super::{Decision, Outcome, Turn, settle::Bill};
use crate::{
    domain::{
        decision::{Charged, Denial, DenialCode, Violated, Violation},
        error::Invalid,
        event::{Booked, EntryKind},
        money::Nanos,
        operation::{Charge, MAX_AGE},
        policy::Scope,
        usage::Amounts,
    },
    engine::{
        conflict::Conflict,
        decide::{Ask, Narrowed, OpenBounds, Plan, cost_of, touches_at},
        state::Taken,
    },
};

impl Turn<'_> {
    /// Books known usage: decided like a reservation, or with `already_used` whatever the limits say.
    ///
    /// # Errors
    /// [`Conflict`] when the request id was used for something else or the cost is absurd.
    pub fn charge(&mut self, key: u32, charge: &Charge) -> Outcome<Decision<Charged>> {
        self.expire_due(None);
        let Some(row) = self.state.keys.row(key) else {
            return Ok(Err(Denial::state(DenialCode::KeyUnknown, Scope::Key, "")));
        };
        let fingerprint = charge.fingerprint(&row.entity.key.id);
        match self.state.taken(&charge.request) {
            Some(Taken::Charge(settled)) if settled.fingerprint == fingerprint => {
                return Ok(Ok(settled.charged(true)));
            }
            Some(_) => return Err(Conflict::RequestReused(charge.request.clone())),
            None => {}
        }
        self.check_labels(&charge.labels)?;
        self.open_counters(key);
        let plan = match self.plan_charge(key, charge)? {
            Ok(plan) => plan,
            Err(denial) => return Ok(Err(self.refuse(denial))),
        };
        let key = match self.state.keys.row(key) {
            Some(row) => row.entity.key.id.clone(),
            None => return Ok(Err(Denial::state(DenialCode::KeyUnknown, Scope::Key, ""))),
        };
        let bill = Bill {
            kind: EntryKind::Charge,
            reservation: None,
            request: Some(charge.request.clone()),
            fingerprint,
            occurred_at: charge.occurred_at.unwrap_or(self.now),
            key,
            model: charge.model.clone(),
            reserved_model: None,
            price: plan.price,
            usage: plan.usage,
            total: plan.held,
            before: Booked::default(),
            takes_back: false,
            own: Amounts::ZERO,
            wallet: plan.wallet,
            held_on: Arc::default(),
            touches: Arc::from(plan.touches.as_slice()),
            labels: charge.labels.clone(),
            reason: None,
        };
        let overage = self.overage(&bill, None)?;
        Ok(Ok(self.book(bill, overage)))
    }

    fn check_occurred_at(&self, charge: &Charge) -> Result<(), Invalid> {
        let Some(at) = charge.occurred_at else { return Ok(()) };
        if !charge.already_used {
            return Err(Invalid::new("occurred_at", "is set without already_used, which it belongs to"));
        }
        if at > self.now {
            return Err(Invalid::new("occurred_at", "lies in the future"));
        }
        if self.now - at > MAX_AGE {
            return Err(Invalid::new("occurred_at", "lies more than 24 hours back"));
        }
        Ok(())
    }

    fn plan_charge(&self, key: u32, charge: &Charge) -> Outcome<Decision<Plan>> {
        self.check_occurred_at(charge)?;
        if !charge.already_used {
            let ask = Ask { key, model: &charge.model, usage: &charge.usage, min_output_tokens: None };
            // Settled at once, it is never open.
            return self.decide(&ask, OpenBounds::NONE);
        }
        let price = self.context.prices.price(&charge.model);
        let usage = charge.usage.read(false, price.as_ref());
        let price = price.filter(|_| usage.cost.is_none());
        let factor = self.state.organization.credit_factor;
        let Some(cost) = cost_of(&usage, price.as_ref(), factor)? else {
            let at = Violated::State(Scope::Key, self.key_id(key));
            let violation = Violation { code: DenialCode::ModelUnpriced, at };
            return Ok(Err(Denial::of(vec![violation])));
        };
        Ok(Ok(Plan {
            usage,
            held: Amounts::new(&usage, cost, factor),
            price,
            factor,
            wallet: self.state.wallet_binds(),
            // Booked at once, it holds nothing.
            drawn: Nanos::ZERO,
            touches: touches_at(self.state, key, &charge.model, charge.occurred_at.unwrap_or(self.now)),
            narrowed: Narrowed::new(),
            soft: smallvec::SmallVec::new(),
        }))
    }

    fn key_id(&self, key: u32) -> smol_str::SmolStr {
        self.state.keys.row(key).map_or_else(Default::default, |row| row.entity.key.id.as_str().into())
    }
}
