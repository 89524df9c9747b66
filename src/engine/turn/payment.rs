//! Money in: orders to top up, their outcome, automatic top-up, and corrections of the ledger.

use smol_str::format_smolstr;

use super::{Outcome, Turn, control::live};
use crate::{
    domain::{
        alert::AlertKind,
        error::{Invalid, SumTooLarge},
        event::{EntryKind, Event, TopUp},
        id::{Actor, MemberId, MethodId, OrderId, RequestId},
        money::Nanos,
        payment::{AutoTopUp, Correction, OrderSource, OrderState, OrderTerms, PaymentOutcome, TopUpOrder},
        period::{Period, Window, Zone},
        time::{Span, Timestamp},
    },
    engine::{conflict::Conflict, state::Taken, turn::alert::Notice},
};

mod auto_top_up;
mod correction;
mod method;

pub use auto_top_up::AutoTopUpChange;
pub use correction::{Correctable, NewCorrection};

/// How long automatic top-up waits after a soft decline.
const DECLINE_PAUSE: Span = Span::seconds(3600);
/// For how long a provider may fail to answer before people hear of it.
const UNANSWERED: Span = Span::HOUR;
/// Why the ledger takes money back where the provider's words aren't for everybody.
const REVERSED: &str = "reversed by the payment provider";
/// Soft declines in a row that switch automatic top-up off.
const MAX_DECLINES: u8 = 2;

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub request: RequestId,
    pub fingerprint: u64,
    pub amount: Nanos,
    pub reason: String,
    pub method: Option<MethodId>,
}

/// A member that orders, and the terms on which members do.
#[derive(Debug, Clone, Copy)]
pub struct Orderer<'a> {
    pub member: &'a MemberId,
    pub terms: &'a OrderTerms,
}

fn balance() -> String {
    String::from("the balance")
}

impl Turn<'_> {
    /// Whom an order or correction under this request id came from before.
    fn ordered_before(&self, new: &NewOrder) -> Outcome<Option<TopUpOrder>> {
        match self.state.taken(&new.request) {
            None => Ok(None),
            Some(Taken::Order(id)) => {
                let order = self.state.payments.order(id).filter(|order| order.fingerprint == new.fingerprint);
                order.cloned().map(Some).ok_or_else(|| Conflict::RequestReused(new.request.clone()))
            }
            Some(_) => Err(Conflict::RequestReused(new.request.clone())),
        }
    }

    /// Orders a top-up and, where the operator does, settles it. Answers the order and whether it was made before.
    ///
    /// # Errors
    /// [`Conflict`] when the request id was used for something else, the payment method isn't the member's or is missing, the
    /// amount is beyond what a member may order, the member has too many orders pending, or its organization is suspended.
    pub fn order_top_up(&mut self, new: NewOrder, by: Option<Orderer<'_>>) -> Outcome<(TopUpOrder, bool)> {
        self.check_organization()?;
        self.expire_due(None);
        if let Some(before) = self.ordered_before(&new)? {
            return Ok((before, true));
        }
        match (by, &new.method) {
            (Some(by), _) => {
                self.check_not_suspended()?;
                self.check_order(&new, by)?;
            }
            (None, Some(method)) => {
                live(&self.state.payments.methods, method, method.as_str())?;
            }
            (None, None) => {}
        }
        // The operator's is settled at once: what is ordered besides may never be paid.
        Nanos::checked_sum(balance, [self.state.wallet.balance, new.amount])?;
        let source = if by.is_some() { OrderSource::Member } else { OrderSource::Operator };
        let order = self.open_order(new, source, self.context.actor.clone());
        if source == OrderSource::Operator {
            self.settle_order(&order.id, String::new())?;
        }
        let order = self.state.payments.order(&order.id).cloned().unwrap_or(order);
        Ok((order, false))
    }

    fn check_order(&self, new: &NewOrder, Orderer { member, terms }: Orderer<'_>) -> Outcome<()> {
        if new.amount > terms.amount {
            let problem =
                format!("{} is more than the {} USD that a member may order at once", new.amount, terms.amount);
            return Err(Invalid::new("amount_usd", problem).into());
        }
        match &new.method {
            Some(method) => {
                self.method_of(member, method)?;
            }
            None if terms.by_provider => {
                let problem = "is missing; name a payment method of your own, which the payment provider charges";
                return Err(Invalid::new("payment_method_id", problem).into());
            }
            None => {}
        }
        self.check_balance_with(new.amount)?;
        let pending = u32::try_from(self.state.payments.pending_of(member)).unwrap_or(u32::MAX);
        Self::check_count("pending top-up orders of the member", pending, terms.pending)
    }

    /// Refuses to order money that the balance couldn't take, together with what is ordered already.
    fn check_balance_with(&self, amount: Nanos) -> Result<Nanos, SumTooLarge> {
        let ordered = self.state.payments.pending().map(|order| order.amount).sum();
        Nanos::checked_sum(balance, [self.state.wallet.balance, ordered, amount])
    }

    fn open_order(&mut self, new: NewOrder, source: OrderSource, actor: Actor) -> TopUpOrder {
        let NewOrder { request, fingerprint, amount, reason, method } = new;
        let order = TopUpOrder {
            id: OrderId::trusted(format_smolstr!("order-{}", self.state.sequence + 1)),
            request,
            fingerprint,
            amount,
            source,
            method,
            actor,
            reason,
            state: OrderState::Pending,
            reference: String::new(),
            failure: String::new(),
            placed: false,
            entry: None,
            create_time: self.now,
            update_time: self.now,
        };
        self.emit(Event::OrderSet(Box::new(order.clone())));
        order
    }

    fn order(&self, id: &OrderId) -> Outcome<TopUpOrder> {
        live(&self.state.payments.orders, id, id.as_str()).cloned()
    }

    /// The provider took the order: it isn't sent again. Changes nothing once it is decided.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such order.
    pub fn note_placed(&mut self, id: &OrderId) -> Outcome<()> {
        let order = self.order(id)?;
        if order.state == OrderState::Pending && !order.placed {
            self.emit(Event::OrderSet(Box::new(TopUpOrder { placed: true, update_time: self.now, ..order })));
        }
        Ok(())
    }

    /// The provider doesn't say whether it took the order, which stays pending: told of when it has lasted, and then daily.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such order.
    pub fn note_unanswered(&mut self, id: &OrderId) -> Outcome<()> {
        let order = self.order(id)?;
        if order.state != OrderState::Pending || order.placed || self.now - order.create_time < UNANSWERED {
            return Ok(());
        }
        self.notice(Notice {
            kind: AlertKind::TopUpFailed,
            cause: Some((format_smolstr!("order-unanswered:{id}"), self.now + Span::DAY)),
            subject: String::from("The payment provider doesn't take a top-up"),
            facts: vec![
                ("order", id.to_string()),
                ("amount", format!("{} USD", order.amount.shown())),
                ("problem", String::from("the payment provider doesn't answer; the operator's log says how")),
                (
                    "state",
                    String::from("pending, and sent again until the provider answers or the operator decides it"),
                ),
            ],
            recipients: Vec::new(),
        });
        Ok(())
    }

    /// What the provider says of an order. The same again changes nothing: money is credited once, and taken back once.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such order, or it is settled and now said to have failed.
    pub fn decide_order(
        &mut self,
        id: &OrderId,
        outcome: PaymentOutcome,
        reference: String,
        failure: &str,
    ) -> Outcome<TopUpOrder> {
        self.expire_due(None);
        let order = self.order(id)?;
        match (outcome, order.state) {
            (PaymentOutcome::Settled, OrderState::Pending | OrderState::Failed) => self.settle_order(id, reference)?,
            (PaymentOutcome::SoftDeclined | PaymentOutcome::HardDeclined, OrderState::Pending) => {
                self.fail_order(order, outcome, reference, failure);
            }
            (PaymentOutcome::Reversed, OrderState::Settled) => self.reverse_order(order, failure)?,
            (PaymentOutcome::Settled, OrderState::Settled | OrderState::Reversed)
            | (PaymentOutcome::SoftDeclined | PaymentOutcome::HardDeclined, OrderState::Failed)
            | (PaymentOutcome::Reversed, OrderState::Reversed) => {}
            (_, state) => {
                let problem = format!("order {id} is {} and can't be told so any more", state.name());
                return Err(Conflict::Precondition(problem));
            }
        }
        self.order(id)
    }

    fn settle_order(&mut self, id: &OrderId, reference: String) -> Outcome<()> {
        let order = self.order(id)?;
        let after = Nanos::checked_sum(balance, [self.state.wallet.balance, order.amount])?;
        let entry = self.state.entry + 1;
        let member = order.actor.as_str().strip_prefix("member:").map(MemberId::trusted);
        self.emit(Event::ToppedUp(Box::new(TopUp {
            entry,
            request: order.request.clone(),
            fingerprint: order.fingerprint,
            amount: order.amount,
            balance: after,
            reason: order.reason.clone(),
            order: id.clone(),
            member,
        })));
        let is_automatic = order.source == OrderSource::Automatic;
        let (state, entry, update_time) = (OrderState::Settled, Some(entry), self.now);
        self.emit(Event::OrderSet(Box::new(TopUpOrder { state, reference, entry, update_time, ..order })));
        if is_automatic && let Some(auto) = self.state.payments.auto.as_deref().filter(|auto| auto.declines > 0) {
            let auto = AutoTopUp { declines: 0, pause_until: None, ..auto.clone() };
            self.emit(Event::AutoTopUpSet(Box::new(auto)));
        }
        self.check_low_balance();
        self.check_auto_top_up();
        Ok(())
    }

    fn fail_order(&mut self, order: TopUpOrder, outcome: PaymentOutcome, reference: String, failure: &str) {
        let (id, amount, is_automatic) = (order.id.clone(), order.amount, order.source == OrderSource::Automatic);
        let (state, update_time) = (OrderState::Failed, self.now);
        let failed = TopUpOrder { state, reference, failure: failure.to_owned(), update_time, ..order };
        let problem = failed.told_failure().to_owned();
        self.emit(Event::OrderSet(Box::new(failed)));
        let disabled = is_automatic && self.pause_auto_top_up(outcome, failure);
        let mut facts =
            vec![("order", id.to_string()), ("amount", format!("{} USD", amount.shown())), ("problem", problem)];
        let (kind, subject) = if disabled {
            facts.push((
                "automatic top-up",
                String::from("switched off; switch it on again once the payment method works"),
            ));
            (AlertKind::AutoTopUpDisabled, "Automatic top-up failed and was switched off")
        } else {
            (AlertKind::TopUpFailed, "A top-up failed")
        };
        let (subject, recipients) = (subject.to_owned(), Vec::new());
        self.notice(Notice { kind, cause: None, subject, facts, recipients });
    }

    /// Backs off after the first soft decline; the second, or a hard one, switches it off. Answers whether it did.
    fn pause_auto_top_up(&mut self, outcome: PaymentOutcome, failure: &str) -> bool {
        let Some(auto) = self.state.payments.auto.as_deref().cloned() else { return false };
        let declines = auto.declines.saturating_add(1);
        let off = outcome == PaymentOutcome::HardDeclined || declines >= MAX_DECLINES;
        let next = AutoTopUp {
            enabled: auto.enabled && !off,
            declines,
            pause_until: Some(self.now + DECLINE_PAUSE),
            disabled_reason: if off { failure.to_owned() } else { String::new() },
            update_time: self.now,
            ..auto
        };
        self.emit(Event::AutoTopUpSet(Box::new(next)));
        off
    }

    fn reverse_order(&mut self, order: TopUpOrder, reason: &str) -> Outcome<()> {
        let Some(corrects) = order.entry else { return Ok(()) };
        let (state, failure, update_time) = (OrderState::Reversed, reason.to_owned(), self.now);
        let reversed = TopUpOrder { state, failure, update_time, ..order };
        // Everybody reads the ledger, but only who pays and the operator hear the provider's words.
        let reason = if reversed.told_failure() == reason && !reason.is_empty() { reason } else { REVERSED };
        // What adjustments took of it before can't be taken again.
        let left = reversed.amount + self.state.payments.corrected(corrects).all;
        if left.is_positive() {
            self.book_correction(Correction {
                entry: self.state.entry + 1,
                kind: EntryKind::Reversal,
                request: RequestId::trusted(format_smolstr!("\u{1}reversal-{}", reversed.id)),
                fingerprint: reversed.fingerprint,
                amount: -left,
                of_ceiling: Nanos::ZERO,
                wallet: -left,
                balance: Nanos::checked_sum(balance, [self.state.wallet.balance, -left])?,
                corrects,
                reason: reason.to_owned(),
                usage: None,
            });
        }
        self.emit(Event::OrderSet(Box::new(reversed)));
        self.check_low_balance();
        Ok(())
    }

    /// Orders what is missing where balance − held fell below the threshold: once for a shortfall, and what is still missing then a
    /// day later.
    pub(super) fn check_auto_top_up(&mut self) {
        let payments = &self.state.payments;
        let Some(auto) = payments.auto.as_deref().filter(|auto| auto.enabled && payments.pending_auto.is_none()) else {
            return;
        };
        // Work that ends after its organization is still charged, but nobody is to pay for more of it.
        if self.state.organization.is_inactive() {
            return;
        }
        let free = self.state.wallet.balance - self.state.wallet.held;
        let paused = auto.pause_until.is_some_and(|until| self.now < until);
        if free >= auto.threshold || paused || !self.state.wallet_binds() {
            return;
        }
        let next = payments.answered.map(|answered| answered + Span::DAY).filter(|next| self.now < *next);
        let auto = auto.clone();
        if let Some(next) = next {
            self.tell_still_short(&auto, free, next);
            return;
        }
        if self.stop_unpayable_auto_top_up() {
            return;
        }
        let month = Period::Monthly { zone: Zone::UTC }.window_at(self.now);
        let amount = auto.size_of_order(self.state.wallet.balance, self.state.payments.ordered.since(month.start));
        if amount < auto.amount {
            self.tell_cap_reached(&auto, month);
            return;
        }
        let request = RequestId::trusted(format_smolstr!("\u{1}auto-{}", self.state.sequence + 1));
        let reason = format!("automatic: below {} USD", auto.threshold.shown());
        let new = NewOrder { request, fingerprint: 0, amount, reason, method: auto.method };
        self.open_order(new, OrderSource::Automatic, Actor::SYSTEM);
    }

    /// An order was paid and wasn't enough: told once.
    fn tell_still_short(&mut self, auto: &AutoTopUp, free: Nanos, next: Timestamp) {
        let cause = format_smolstr!("auto-top-up-short:{}", next.micros());
        if self.state.alerts.was_told(&cause, self.now) {
            return;
        }
        self.notice(Notice {
            kind: AlertKind::TopUpFailed,
            cause: Some((cause, next)),
            subject: String::from("Automatic top-up was not enough"),
            facts: vec![
                ("missing", format!("{} USD", (auto.threshold - free).shown())),
                ("balance", format!("{} USD", self.state.wallet.balance.shown())),
                ("held", format!("{} USD", self.state.wallet.held.shown())),
                ("threshold", format!("{} USD", auto.threshold.shown())),
                ("ordered again", next.to_string()),
            ],
            recipients: Vec::new(),
        });
    }

    fn tell_cap_reached(&mut self, auto: &AutoTopUp, month: Window) {
        let cap = auto.monthly_cap.unwrap_or_default();
        self.notice(Notice {
            kind: AlertKind::TopUpFailed,
            cause: Some((format_smolstr!("auto-top-up-cap:{}", month.start.micros()), month.end)),
            subject: String::from("Automatic top-up has reached its monthly cap"),
            facts: vec![
                ("cap", format!("{} USD a month", cap.shown())),
                ("balance", format!("{} USD", self.state.wallet.balance.shown())),
                ("resumes", month.end.to_string()),
            ],
            recipients: Vec::new(),
        });
    }
}
