//! Money in: orders, payment methods, automatic top-up, and corrections of the ledger.

use std::collections::BTreeSet;

use super::{
    Caller, Error, Repeatable, Service,
    listing::{Found, Order, Page, all, keyed, page_of, place_from},
    secret,
};
use crate::{
    domain::{
        ended::EndedName,
        event::EntryKind,
        fingerprint::Fingerprint,
        id::{MemberId, MethodId, OrderId, OrganizationId, RequestId},
        money::Nanos,
        payment::{AutoTopUp, Correction, OrderState, PaymentMethod, PaymentOutcome, TopUpOrder},
    },
    engine::{
        conflict::Conflict,
        state::{OrganizationState, Payments},
        table::{Ordered as _, Row},
        turn::{self, AutoTopUpChange, Correctable, NewOrder, Orderer, Turn},
    },
    store::{EntryDetail, ReservationKey, StoredEnd},
    telemetry::Overload,
};

mod provider;

use provider::Confirmation;
pub(super) use provider::Placed;
pub use provider::{ManualProvider, PaymentProvider, WebhookProvider};

/// How often an entry is read anew that is settled further meanwhile.
const READS: usize = 5;

/// An order with the balance after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    pub order: TopUpOrder,
    pub balance: Nanos,
    pub replayed: bool,
}

/// Automatic top-up as it is set, and the order that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoTopUpView {
    pub auto: Option<AutoTopUp>,
    pub pending: Option<OrderId>,
    /// True where the wallet is enforced. Without it nothing is ordered.
    pub wallet_enforced: bool,
}

/// What is to be paid in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopUp {
    pub request: RequestId,
    pub amount: Nanos,
    pub reason: String,
    pub method: Option<MethodId>,
}

/// What puts an entry right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCorrection {
    pub request: RequestId,
    pub entry: u64,
    pub kind: EntryKind,
    pub amount: Nanos,
    pub reason: String,
}

impl Service {
    /// Orders a top-up; an operator's settles at once. Acknowledged when on disk; a repeat orders nothing.
    ///
    /// # Errors
    /// [`Error`] when there is no such organization, the request id was used for something else, or it is more than a member may
    /// order.
    pub async fn top_up(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewTopUp,
    ) -> Result<Ordered, Error> {
        let cell = self.organization_cell(organization)?;
        self.wait_for_room().await?;
        self.recall_entry(&cell, &new.request).await?;
        let NewTopUp { request, amount, reason, method } = new;
        let mut print = Fingerprint::new("top_up");
        // The same words of somebody else are no repeat.
        print.text(caller.actor.as_str()).number(amount.get().unsigned_abs()).text(&reason);
        print.text(method.as_ref().map_or("", MethodId::as_str));
        let order = NewOrder { request, fingerprint: print.finish(), amount, reason, method };
        let done = self.turn_of(&cell, caller, |turn| {
            let by = caller.member.as_ref().map(|member| Orderer { member, terms: &self.tuning.orders });
            let (order, replayed) = turn.order_top_up(order, by)?;
            Ok(Ordered { order, balance: turn.state.wallet.balance, replayed })
        })?;
        self.acknowledge(done).await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such order.
    pub fn top_up_order(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &OrderId,
    ) -> Result<TopUpOrder, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        let missing = || Error::NotFound { kind: "top-up order", id: id.to_string() };
        let payments = &inner.state.payments;
        payments.order(id).map(|order| seen_by(caller, payments, order)).ok_or_else(missing)
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_top_up_orders(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        states: &BTreeSet<OrderState>,
        at: Page,
    ) -> Result<Found<TopUpOrder>, Error> {
        let cell = self.organization_cell(organization)?;
        let pick = |state: &OrganizationState, _, row: &Row<TopUpOrder>| {
            let wanted = states.is_empty() || states.contains(&row.entity.state);
            wanted.then(|| seen_by(caller, &state.payments, &row.entity))
        };
        Ok(page_of(&cell, (at, Order::NewestFirst), |state| &state.payments.orders, pick, |_| 1))
    }

    /// What became of a payment; also of an organization that was deleted meanwhile: money that came or went is booked.
    ///
    /// # Errors
    /// [`Error`] when there is no such order, or it can't be told so any more.
    pub async fn decide_top_up_order(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &OrderId,
        outcome: PaymentOutcome,
        (reference, reason): (String, String),
    ) -> Result<TopUpOrder, Error> {
        let missing = || Error::NotFound { kind: "organization", id: organization.to_string() };
        let cell = self.directory.find(organization).ok_or_else(missing)?;
        self.recall_ended(organization, EndedName::Order(id.clone())).await?;
        self.wait_for_room().await?;
        let done = self.turn_of(&cell, caller, |turn| Ok(turn.decide_order(id, outcome, reference, &reason)?))?;
        self.acknowledge(done).await
    }

    /// What the provider says, signed.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] when the signature isn't the provider's, [`Error::NotFound`] beyond the scopes of the
    /// caller's token, else as [`Self::decide_top_up_order`].
    pub async fn confirm_payment(
        &self,
        caller: &Caller,
        payload: &[u8],
        (id, timestamp, signature): (&str, &str, &str),
    ) -> Result<(OrganizationId, TopUpOrder), Error> {
        let now = self.clock.now();
        let Confirmation { organization, order, outcome, reference, reason } =
            self.payments.read(payload, (id, timestamp, signature), now)?;
        if !caller.reaches(&organization) {
            return Err(Error::NotFound { kind: "organization", id: organization.to_string() });
        }
        let provider = Caller::system();
        let order = self.decide_top_up_order(&provider, &organization, &order, outcome, (reference, reason)).await?;
        Ok((organization, order))
    }

    /// # Errors
    /// [`Error::PermissionDenied`] for whoever is no member.
    pub async fn create_payment_method(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        (id, label, token): (Option<MethodId>, String, String),
        repeatable: Repeatable<'_>,
    ) -> Result<PaymentMethod, Error> {
        let member = Self::whose(caller, None)?;
        let id = match id {
            Some(id) => id,
            None => MethodId::trusted(secret::new_id("method")?),
        };
        let make = |turn: &mut Turn<'_>, id: &MethodId| {
            let (id, create_time) = (id.clone(), turn.now());
            turn.create_payment_method(PaymentMethod { id, member, label, token, deleted: false, create_time })
        };
        let show = |state: &OrganizationState, id: &MethodId, _| {
            let missing = || Conflict::NotFound { kind: "payment method", id: id.to_string() };
            state.payments.methods.find_live(id).map(|row| row.entity.clone()).ok_or_else(missing)
        };
        let parse = |made: &str| MethodId::trusted(made);
        self.create(caller, organization, repeatable, (id, parse), make, show).await
    }

    /// A member's own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_payment_methods(
        &self,
        organization: &OrganizationId,
        member: &MemberId,
    ) -> Result<Vec<PaymentMethod>, Error> {
        let cell = self.organization_cell(organization)?;
        let pick = |_: &OrganizationState, _: u64, row: &Row<PaymentMethod>| {
            let method = &row.entity;
            (!method.deleted && method.member == *member).then(|| method.clone())
        };
        Ok(all(&cell, usize::MAX, |state, from| keyed(state.payments.methods.oldest_first(place_from(from))), pick))
    }

    /// # Errors
    /// [`Error`] when it isn't the caller's.
    pub async fn delete_payment_method(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &MethodId,
    ) -> Result<(), Error> {
        let member = Self::whose(caller, None)?;
        self.change(caller, organization, |turn| turn.delete_payment_method(&member, id)).await
    }

    /// As it is set, and the order that is under way.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn auto_top_up(&self, caller: &Caller, organization: &OrganizationId) -> Result<AutoTopUpView, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(auto_seen_by(caller, &inner.state))
    }

    /// # Errors
    /// [`Error`] when what it comes to makes no sense, or the payment method isn't the caller's and would be charged more.
    pub async fn update_auto_top_up(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: AutoTopUpChange,
    ) -> Result<AutoTopUpView, Error> {
        self.change(caller, organization, |turn| {
            turn.update_auto_top_up(&change, caller.member.as_ref(), &self.tuning.orders)?;
            Ok(auto_seen_by(caller, turn.state))
        })
        .await
    }

    /// Books a correction of an entry. Answers it, and whether it had been booked before.
    ///
    /// # Errors
    /// [`Error`] when there is no such entry, it changed the balance and the caller isn't the operator, nothing that much is left of
    /// it, or a late Commit may still change what it comes to.
    pub async fn correct_entry(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewCorrection,
    ) -> Result<(Correction, bool), Error> {
        let cell = self.organization_cell(organization)?;
        self.recall_entry(&cell, &new.request).await?;
        let NewCorrection { request, entry, kind, amount, reason } = new;
        let mut print = Fingerprint::new("correction");
        print.text(caller.actor.as_str()).number(entry).text(kind.name()).text(&amount.to_string()).text(&reason);
        let (fingerprint, by_operator) = (print.finish(), caller.is_operator());
        let new = turn::NewCorrection { request, fingerprint, kind, amount, reason, by_operator };
        for _ in 0..READS {
            let position = cell.lock().position;
            self.wait_stored(position).await?;
            let of = self.correctable(organization, entry).await?;
            // Else whoever spends the money could give it back to itself.
            if of.moved_balance() && !by_operator {
                let why = format!("entry {entry} changed the balance; only the operator corrects it");
                return Err(Error::PermissionDenied(why));
            }
            let new = new.clone();
            let correct = |turn: &mut Turn<'_>| {
                if turn.is_whole(&of) { turn.correct(new, &of).map(Some) } else { Ok(None) }
            };
            if let Some(done) = self.change(caller, organization, correct).await? {
                return Ok(done);
            }
        }
        Err(Error::Overloaded(Overload::Turn))
    }

    async fn correctable(&self, organization: &OrganizationId, entry: u64) -> Result<Correctable, Error> {
        let missing = || Error::NotFound { kind: "ledger entry", id: entry.to_string() };
        let found = self.store.get_entry(organization, entry).await?.ok_or_else(missing)?;
        let mut of =
            Correctable { entry, kind: EntryKind::TopUp, wallet: Nanos::ZERO, booked: Vec::new(), is_committed: false };
        let settled = match found.detail {
            EntryDetail::Settled(settled) => settled,
            EntryDetail::ToppedUp(top_up) => return Ok(Correctable { wallet: top_up.amount, ..of }),
            EntryDetail::Corrected(correction) => return Ok(Correctable { kind: correction.kind, ..of }),
        };
        (of.kind, of.wallet) = (settled.kind, settled.wallet);
        // A Charge, and a Release that charged what was reported, book one entry.
        let no = settled.reservation.filter(|_| settled.kind != EntryKind::Release);
        let Some(no) = no else { return Ok(Correctable { booked: vec![settled], ..of }) };
        of.booked = self.store.settlements(organization, no).await?;
        if of.booked.iter().all(|settled| settled.is_expiry()) {
            let held = self.store.find_reservation(organization, ReservationKey::No(no)).await?;
            of.is_committed = held.is_some_and(|held| matches!(held.end, StoredEnd::Committed(_)));
        }
        Ok(of)
    }
}

/// An order as the caller may see it: why it failed is for who pays, and for the operator.
fn seen_by(caller: &Caller, payments: &Payments, order: &TopUpOrder) -> TopUpOrder {
    let mut seen = order.clone();
    let pays = caller.member.as_ref().is_some_and(|member| payments.is_paid_by(order, member));
    if !caller.is_operator() && !pays {
        order.told_failure().clone_into(&mut seen.failure);
    }
    seen
}

fn auto_seen_by(caller: &Caller, state: &OrganizationState) -> AutoTopUpView {
    let payments = &state.payments;
    let seen = payments.auto.as_deref().map(|auto| {
        let owner = auto.method.as_ref().and_then(|method| payments.owner_of(method));
        let pays = caller.member.as_ref().is_some_and(|member| owner == Some(member));
        let mut seen = auto.clone();
        if !caller.is_operator() && !pays {
            auto.told_reason().clone_into(&mut seen.disabled_reason);
        }
        seen
    });
    AutoTopUpView { auto: seen, pending: payments.pending_auto.clone(), wallet_enforced: state.wallet_binds() }
}
