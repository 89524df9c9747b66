//! Corrections: entries that put others right, with all that those counted on.

use std::{collections::BTreeMap, sync::Arc};

use super::balance;
use crate::{
    domain::{
        allocation::Drawn,
        error::SumTooLarge,
        event::{EntryKind, Event, LimitNo, Settled},
        id::RequestId,
        money::Nanos,
        operation::MAX_AGE,
        payment::{CorrectedLimit, CorrectedUsage, Correction},
        policy::{Place, Unit},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        limit::Counter,
        reservation::{End, Reservation},
        state::{Taken, Whose},
        turn::{Outcome, Turn},
    },
};

/// An entry that was found in the books, as far as correcting it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correctable {
    pub entry: u64,
    pub kind: EntryKind,
    /// What it did to the balance.
    pub wallet: Nanos,
    /// All that its reservation or its Charge booked, itself included; empty where it books no usage.
    pub booked: Vec<Arc<Settled>>,
    /// A late Commit came that booked nothing.
    pub is_committed: bool,
}

/// A correction to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCorrection {
    pub request: RequestId,
    pub fingerprint: u64,
    pub kind: EntryKind,
    /// What it gives back; negative where it takes.
    pub amount: Nanos,
    pub reason: String,
    /// What counts on the operator's ceiling changes by the operator's word alone.
    pub by_operator: bool,
}

/// What entries of one model come to, and what their corrections gave back of it so far.
struct Group {
    cost: Nanos,
    credits: Nanos,
    charges: BTreeMap<(LimitNo, Timestamp), (Unit, Nanos)>,
    /// Of all corrections.
    corrected: Nanos,
    /// Of those that the operator's ceiling follows.
    of_ceiling: Nanos,
}

/// A part of a sum, before and after a correction.
#[derive(Clone, Copy)]
struct Step {
    before: Nanos,
    after: Nanos,
    of: Nanos,
}

impl Step {
    /// Returns what is given back of `whole`: in proportion, and over all steps no more nor less than it.
    fn share(self, whole: Nanos) -> Nanos {
        let part = |part: Nanos| {
            let of = i128::from(self.of.get());
            if of == 0 { 0 } else { i128::from(whole.get()) * i128::from(part.get()) / of }
        };
        Nanos::new(i64::try_from(part(self.after) - part(self.before)).unwrap_or(i64::MAX))
    }
}

impl Correctable {
    /// Returns whether it moved the balance, which is the operator's to correct.
    pub fn moved_balance(&self) -> bool {
        self.wallet != Nanos::ZERO || self.booked.iter().any(|settled| settled.wallet != Nanos::ZERO)
    }

    fn settled(&self) -> Option<&Arc<Settled>> {
        self.booked.iter().find(|settled| settled.entry == Some(self.entry))
    }
}

impl Turn<'_> {
    /// Returns whether nothing was booked besides since the entry was read.
    pub fn is_whole(&self, of: &Correctable) -> bool {
        let Some(no) = of.settled().and_then(|settled| settled.reservation) else { return true };
        let Some(Reservation::Ended(ended)) = self.state.reservation(no) else { return true };
        let End::Committed(settlement) = &ended.end else { return true };
        let entry = settlement.charged(false).entry;
        entry == 0 || of.booked.iter().any(|settled| settled.entry == Some(entry))
    }

    /// Puts another entry right. Never gives back more than it charged, nor takes more than it credited, over all corrections.
    ///
    /// # Errors
    /// [`Conflict`] when the request id was used for something else, the amount is beyond what the entry's reservation booked, or a
    /// late Commit of it may still come.
    pub fn correct(&mut self, new: NewCorrection, of: &Correctable) -> Outcome<(Correction, bool)> {
        self.check_organization()?;
        match self.state.taken(&new.request) {
            None => {}
            Some(Taken::Correction(before)) if before.fingerprint == new.fingerprint => {
                return Ok(((**before).clone(), true));
            }
            Some(_) => return Err(Conflict::RequestReused(new.request.clone())),
        }
        self.expire_due(None);
        if matches!(of.kind, EntryKind::Refund | EntryKind::Adjustment | EntryKind::Reversal) {
            let problem = format!("entry {} is a correction itself; correct the entry that it refers to", of.entry);
            return Err(Conflict::Precondition(problem));
        }
        let (usage, of_ceiling) = match of.settled() {
            None => {
                self.check_money(new.amount, of)?;
                (None, Nanos::ZERO)
            }
            Some(settled) => {
                self.check_settled(settled, of)?;
                let (usage, of_ceiling) = self.correct_usage(&new, settled, of)?;
                (Some(Box::new(usage)), of_ceiling)
            }
        };
        let wallet = if usage.is_none() || of.moved_balance() { new.amount } else { Nanos::ZERO };
        let NewCorrection { request, fingerprint, kind, amount, reason, by_operator: _ } = new;
        let correction = Correction {
            entry: self.state.entry + 1,
            kind,
            request,
            fingerprint,
            amount,
            of_ceiling,
            wallet,
            balance: Nanos::checked_sum(balance, [self.state.wallet.balance, wallet])?,
            corrects: of.entry,
            reason,
            usage,
        };
        self.book_correction(correction.clone());
        self.check_low_balance();
        self.check_auto_top_up();
        Ok((correction, false))
    }

    pub(super) fn book_correction(&mut self, correction: Correction) {
        let before = self.state.wallet.balance;
        let limits = correction.usage.iter().flat_map(|usage| usage.limits.iter());
        let raised: Vec<_> = limits.filter(|limit| limit.amount.is_positive()).map(|limit| limit.limit).collect();
        let drawing = correction.usage.as_deref().filter(|usage| usage.drawn.spent.is_positive());
        let pool = drawing.and_then(|usage| {
            let whose = Whose { key: &usage.key, team: &usage.team, member: &usage.member };
            self.state.allocations.team(self.state.places_of(whose)?.team).pool
        });
        self.emit(Event::Corrected(Box::new(correction)));
        if before.is_positive() && !self.state.wallet.balance.is_positive() {
            self.revoke_newly_bound(self.state.wallet_binds(), false);
        }
        // What was given back is taken again.
        self.revoke_above_caps(&raised);
        self.revoke_above_caps(pool.as_slice());
        self.tell_above(&raised);
    }

    /// Of money that came in, what is left lies between what it was and nothing.
    fn check_money(&self, amount: Nanos, of: &Correctable) -> Outcome<()> {
        let corrected = self.state.payments.corrected(of.entry).all;
        let left = corrected + of.wallet + amount;
        let (low, high) = (of.wallet.min(Nanos::ZERO), of.wallet.max(Nanos::ZERO));
        if (low..=high).contains(&left) {
            return Ok(());
        }
        let problem = format!(
            "{amount} USD is more than is left of entry {}, which changed the balance by {} USD and was corrected by {corrected}",
            of.entry, of.wallet
        );
        Err(Conflict::Precondition(problem))
    }

    /// # Errors
    /// [`Conflict::SettlementOpen`] while a late Commit may still book something.
    fn check_settled(&self, settled: &Settled, of: &Correctable) -> Outcome<()> {
        let Some(no) = settled.reservation else { return Ok(()) };
        let until = settled.occurred_at + MAX_AGE;
        let only_expired = of.booked.iter().all(|settled| settled.is_expiry()) && !of.is_committed;
        let is_open = match self.state.reservation(no) {
            Some(Reservation::Hold(_)) => true,
            Some(Reservation::Ended(_)) => false,
            None => only_expired,
        };
        if is_open && self.now <= until { Err(Conflict::SettlementOpen { entry: of.entry, until }) } else { Ok(()) }
    }

    fn group(&self, settled: &Settled, of: &Correctable) -> Group {
        let (cost, credits) = (Nanos::ZERO, Nanos::ZERO);
        let (corrected, of_ceiling) = (Nanos::ZERO, Nanos::ZERO);
        let mut group = Group { cost, credits, charges: BTreeMap::new(), corrected, of_ceiling };
        for same in of.booked.iter().filter(|same| same.model == settled.model) {
            group.cost += same.booked.cost;
            group.credits += same.booked.credits;
            for (limit, unit, window, amount) in same.charges() {
                group.charges.entry((limit, window)).or_insert((unit, Nanos::ZERO)).1 += amount;
            }
            let corrected = self.state.payments.corrected(same.entry.unwrap_or(0));
            group.corrected += corrected.all;
            group.of_ceiling += corrected.of_ceiling;
        }
        group
    }

    /// Returns what a correction changes beside the balance, and what of it the operator's ceiling follows.
    fn correct_usage(
        &self,
        new: &NewCorrection,
        settled: &Settled,
        of: &Correctable,
    ) -> Outcome<(CorrectedUsage, Nanos)> {
        let group = self.group(settled, of);
        let after = group.corrected + new.amount;
        if !(Nanos::ZERO..=group.cost.max(Nanos::ZERO)).contains(&after) {
            let problem = format!(
                "{} USD is more than is left of entry {}: what it belongs to booked {} USD in all, of which {} were given back",
                new.amount, of.entry, group.cost, group.corrected
            );
            return Err(Conflict::Precondition(problem));
        }
        let step = Step { before: group.corrected, after, of: group.cost };
        let by_operator = if new.by_operator { new.amount } else { Nanos::ZERO };
        let ceiling_after = (group.of_ceiling + by_operator).min(after).at_least_zero();
        let of_ceiling = Step { before: group.of_ceiling, after: ceiling_after, of: group.cost };
        let limits = self.corrected_limits(&group, step, of_ceiling)?;
        let credits = -step.share(group.credits);
        let whose = Whose { key: &settled.key, team: &settled.team, member: &settled.member };
        let drawn = match self.state.places_of(whose) {
            Some(places) => self.state.redrawn_by(places.membership, &settled.touches, credits, Nanos::ZERO),
            None => Drawn::default(),
        };
        let usage = CorrectedUsage {
            occurred_at: settled.occurred_at,
            key: settled.key.clone(),
            member: settled.member.clone(),
            team: settled.team.clone(),
            model: settled.model.clone(),
            labels: settled.labels.clone(),
            cost: -new.amount,
            credits,
            limits: limits.into(),
            drawn,
        };
        Ok((usage, ceiling_after - group.of_ceiling))
    }

    /// # Errors
    /// [`SumTooLarge`] when a limit can't count what is taken again.
    fn corrected_limits(
        &self,
        group: &Group,
        step: Step,
        of_ceiling: Step,
    ) -> Result<Vec<CorrectedLimit>, SumTooLarge> {
        let mut limits = Vec::with_capacity(group.charges.len());
        for ((limit, window), (unit, charged)) in &group.charges {
            let Some(entry) = self.state.counter(*limit) else { continue };
            let Counter::Budget(windows) = &entry.counter else { continue };
            let Some(counted) = windows.find(*window) else { continue };
            let step = if *entry.place == Place::Ceiling { of_ceiling } else { step };
            let amount = -step.share(*charged);
            if amount == Nanos::ZERO {
                continue;
            }
            Nanos::checked_sum(|| entry.too_large().what, [counted.spent, counted.held, amount])?;
            limits.push(CorrectedLimit { limit: *limit, unit: *unit, window: *window, amount });
        }
        Ok(limits)
    }
}
