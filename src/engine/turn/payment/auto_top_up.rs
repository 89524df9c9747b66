//! What automatic top-up is set to, and whose word it takes: a card is charged only for what its owner set.

use crate::{
    domain::{
        error::Invalid,
        event::Event,
        id::{MemberId, MethodId},
        money::Nanos,
        payment::{AutoTopUp, OrderSource, OrderTerms},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        turn::{Outcome, Turn},
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoTopUpChange {
    pub enabled: Option<bool>,
    pub threshold: Option<Nanos>,
    pub amount: Option<Nanos>,
    /// An inner `None` orders up to the threshold.
    pub target: Option<Option<Nanos>>,
    pub method: Option<Option<MethodId>>,
    pub monthly_cap: Option<Option<Nanos>>,
}

impl AutoTopUpChange {
    /// The settings that it comes to. Declines are forgotten.
    fn of(&self, before: Option<&AutoTopUp>) -> AutoTopUp {
        AutoTopUp {
            enabled: self.enabled.unwrap_or(before.is_some_and(|before| before.enabled)),
            threshold: self.threshold.or(before.map(|before| before.threshold)).unwrap_or_default(),
            amount: self.amount.or(before.map(|before| before.amount)).unwrap_or_default(),
            target: self.target.unwrap_or_else(|| before?.target),
            method: self.method.clone().unwrap_or_else(|| before?.method.clone()),
            monthly_cap: self.monthly_cap.unwrap_or_else(|| before?.monthly_cap),
            declines: 0,
            pause_until: None,
            disabled_reason: String::new(),
            update_time: Timestamp::EPOCH,
        }
    }
}

fn check(auto: &AutoTopUp, terms: &OrderTerms) -> Result<(), Invalid> {
    if auto.enabled && !auto.amount.is_positive() {
        return Err(Invalid::new("auto_top_up.amount_usd", "is 0; a top-up of nothing can't be enabled"));
    }
    if let Some(target) = auto.target.filter(|target| *target < auto.threshold) {
        let problem =
            format!("{target} is below the threshold {}, so that an order would never be enough", auto.threshold);
        return Err(Invalid::new("auto_top_up.target_usd", problem));
    }
    if let Some(cap) = auto.monthly_cap.filter(|cap| *cap < auto.amount) {
        let problem = format!("{cap} is below one top-up of {}, so that none could ever be ordered", auto.amount);
        return Err(Invalid::new("auto_top_up.monthly_cap_usd", problem));
    }
    if auto.enabled && auto.method.is_none() && terms.by_provider {
        let problem = "is missing; name a payment method of your own, which the payment provider charges";
        return Err(Invalid::new("auto_top_up.payment_method_id", problem));
    }
    Ok(())
}

impl Turn<'_> {
    /// Changes automatic top-up, and orders at once where the wallet is low already. Whoever pays forgets declines by that.
    ///
    /// # Errors
    /// [`Conflict`] when it makes no sense, the payment method isn't of `by`, more would be charged than the method's owner set, or
    /// nobody is to be charged by it any more.
    pub fn update_auto_top_up(
        &mut self,
        change: &AutoTopUpChange,
        by: Option<&MemberId>,
        terms: &OrderTerms,
    ) -> Outcome<()> {
        self.check_organization()?;
        let before = self.state.payments.auto.as_deref();
        let mut next = change.of(before);
        self.check_consent(change, &mut next, by)?;
        check(&next, terms)?;
        if next.enabled
            && let Err(why) = self.state.paid_by(next.method.as_ref(), OrderSource::Automatic)
        {
            let problem = format!("automatic top-up can't be switched on: {why}; choose another payment method");
            return Err(Conflict::Precondition(problem));
        }
        self.emit(Event::AutoTopUpSet(Box::new(AutoTopUp { update_time: self.now, ..next })));
        self.check_auto_top_up();
        Ok(())
    }

    /// A payment method is its owner's to name and to charge more by. Anybody else may charge less by it, which leaves its declines
    /// and the pause after them, or by none.
    fn check_consent(&self, change: &AutoTopUpChange, next: &mut AutoTopUp, by: Option<&MemberId>) -> Outcome<()> {
        let Some(method) = next.method.clone() else { return Ok(()) };
        let before = self.state.payments.auto.as_deref();
        let owner = |auto: &AutoTopUp| self.state.payments.owner_of(auto.method.as_ref()?);
        let known = before.filter(|before| before.method.as_ref() == Some(&method));
        let is_own = self.state.payments.owner_of(&method).is_some_and(|owner| by == Some(owner));
        let Some(known) = known.filter(|_| !is_own) else {
            let missing = || Conflict::NotFound { kind: "payment method", id: method.to_string() };
            let by = by.ok_or_else(missing)?;
            if known.is_none() {
                self.method_of(by, &method)?;
            }
            // The threshold and the amount in force may be somebody else's word.
            let is_theirs = before.is_some_and(|before| owner(before) != Some(by));
            let keeps_target = change.target.is_none() && before.is_some_and(|before| before.target.is_some());
            if is_theirs && (change.threshold.is_none() || change.amount.is_none() || keeps_target) {
                let problem = "changes who pays: name threshold_usd and amount_usd too, and target_usd where one is set, which \
                               were not set for this method";
                return Err(Invalid::new("update_mask", problem).into());
            }
            return Ok(());
        };
        if let Some(field) = next.enlarges(known) {
            let problem = format!(
                "automatic top-up charges a payment method of another member: only its owner may enlarge {field}; others may \
                 switch it off, lower it, or choose another payment method"
            );
            return Err(Conflict::NotYours(problem));
        }
        (next.declines, next.pause_until) = (known.declines, known.pause_until);
        next.disabled_reason.clone_from(&known.disabled_reason);
        Ok(())
    }
}
