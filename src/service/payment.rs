//! Money in: orders, payment methods, automatic top-up, and corrections of the ledger.

use super::{
    Caller, Error, Repeatable, Service,
    allocation::{Found, page},
    secret,
    turn::Done,
};
use crate::{
    domain::{
        error::Invalid,
        event::EntryKind,
        fingerprint::Fingerprint,
        id::{MemberId, MethodId, OrderId, OrganizationId, RequestId},
        money::Nanos,
        payment::{AutoTopUp, Correction, OrderState, PaymentMethod, PaymentOutcome, TopUpOrder},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        turn::{Correctable, NewOrder},
    },
    store::{Entry, EntryDetail},
};

mod provider;

use provider::Confirmation;
pub(super) use provider::Placed;
pub use provider::{ManualProvider, PaymentProvider, WebhookProvider};

/// An order with the balance after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    pub order: TopUpOrder,
    pub balance: Nanos,
    pub replayed: bool,
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

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoTopUpChange {
    pub enabled: Option<bool>,
    pub threshold: Option<Nanos>,
    pub amount: Option<Nanos>,
    pub method: Option<Option<MethodId>>,
    pub monthly_cap: Option<Option<Nanos>>,
}

impl AutoTopUpChange {
    /// What it comes to. Declines are forgotten.
    fn of(self, before: Option<&AutoTopUp>) -> Result<AutoTopUp, Invalid> {
        let Self { enabled, threshold, amount, method, monthly_cap } = self;
        let auto = AutoTopUp {
            enabled: enabled.unwrap_or(before.is_some_and(|before| before.enabled)),
            threshold: threshold.or(before.map(|before| before.threshold)).unwrap_or_default(),
            amount: amount.or(before.map(|before| before.amount)).unwrap_or_default(),
            method: method.unwrap_or_else(|| before?.method.clone()),
            monthly_cap: monthly_cap.unwrap_or_else(|| before?.monthly_cap),
            declines: 0,
            pause_until: None,
            disabled_reason: String::new(),
            update_time: Timestamp::EPOCH,
        };
        if auto.enabled && !auto.amount.is_positive() {
            return Err(Invalid::new("auto_top_up.amount_usd", "is 0; a top-up of nothing can't be enabled"));
        }
        match auto.monthly_cap.filter(|cap| *cap < auto.amount) {
            None => Ok(auto),
            Some(cap) => {
                let problem =
                    format!("{cap} is below one top-up of {}, so that none could ever be ordered", auto.amount);
                Err(Invalid::new("auto_top_up.monthly_cap_usd", problem))
            }
        }
    }
}

impl Service {
    /// Orders a top-up; an operator's settles at once. Acknowledged when on disk; a repeat orders nothing.
    ///
    /// # Errors
    /// [`Error`] when there is no such organization or the request id was used for something else.
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
        let Done { answer, position } = self.turn(&cell, &caller.actor, |turn| {
            let (order, replayed) = turn.order_top_up(order, caller.member.as_ref())?;
            Ok::<_, Conflict>(Ordered { order, balance: turn.state.wallet.balance, replayed })
        });
        let answer = answer?;
        self.writer.wait_durable(position).await?;
        Ok(answer)
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such order.
    pub fn top_up_order(&self, organization: &OrganizationId, id: &OrderId) -> Result<TopUpOrder, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        let missing = || Error::NotFound { kind: "top-up order", id: id.to_string() };
        inner.state.payments.order(id).cloned().ok_or_else(missing)
    }

    /// The newest first. `from` counts from the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_top_up_orders(
        &self,
        organization: &OrganizationId,
        states: &[OrderState],
        from: u32,
        limit: usize,
    ) -> Result<Found<TopUpOrder>, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        let matches = |order: &&TopUpOrder| states.is_empty() || states.contains(&order.state);
        let mut found: Vec<_> =
            inner.state.payments.orders.live().map(|row| &row.entity).filter(matches).cloned().collect();
        found.reverse();
        Ok(page((0..).zip(found), from, limit))
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
        self.wait_for_room().await?;
        let Done { answer, position } =
            self.turn(&cell, &caller.actor, |turn| turn.decide_order(id, outcome, reference, reason));
        let answer = answer?;
        self.writer.wait_durable(position).await?;
        Ok(answer)
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
        let owner = member.clone();
        let id = self
            .create(
                caller,
                organization,
                repeatable,
                id,
                |made| MethodId::trusted(made),
                |turn, id| {
                    let (id, create_time) = (id.clone(), turn.now());
                    turn.create_payment_method(PaymentMethod { id, member, label, token, deleted: false, create_time })
                },
            )
            .await?;
        let missing = || Error::NotFound { kind: "payment method", id: id.to_string() };
        let own = self.list_payment_methods(organization, &owner)?;
        own.into_iter().find(|method| method.id == id).ok_or_else(missing)
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
        let inner = cell.lock();
        let methods = inner.state.payments.methods.live().map(|row| &row.entity);
        Ok(methods.filter(|method| method.member == *member).cloned().collect())
    }

    /// # Errors
    /// [`Error`] when it isn't the caller's, or automatic top-up pays by it.
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
    pub fn auto_top_up(&self, organization: &OrganizationId) -> Result<(Option<AutoTopUp>, Option<OrderId>), Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        let payments = &inner.state.payments;
        Ok((payments.auto.as_deref().cloned(), payments.pending_auto.clone()))
    }

    /// # Errors
    /// [`Error`] when what it comes to makes no sense, or the payment method isn't the caller's.
    pub async fn update_auto_top_up(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: AutoTopUpChange,
    ) -> Result<(), Error> {
        self.change(caller, organization, |turn| {
            let auto = change.of(turn.state.payments.auto.as_deref())?;
            turn.set_auto_top_up(auto, caller.member.as_ref())
        })
        .await
    }

    /// Books a correction of an entry. Answers it, and whether it had been booked before.
    ///
    /// # Errors
    /// [`Error`] when there is no such entry, or nothing that much is left of it.
    pub async fn correct_entry(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewCorrection,
    ) -> Result<(Correction, bool), Error> {
        let cell = self.organization_cell(organization)?;
        self.recall_entry(&cell, &new.request).await?;
        let position = cell.lock().position;
        self.wait_stored(position).await?;
        let NewCorrection { request, entry, kind, amount, reason } = new;
        let found = self.store.get_entry(organization, entry).await?;
        let missing = || Error::NotFound { kind: "ledger entry", id: entry.to_string() };
        let of = correctable(&found.ok_or_else(missing)?);
        let mut print = Fingerprint::new("correction");
        print.text(caller.actor.as_str()).number(entry).text(kind.name()).text(&amount.to_string()).text(&reason);
        let fingerprint = print.finish();
        self.change(caller, organization, |turn| turn.correct((&request, fingerprint), kind, amount, of, reason)).await
    }
}

fn correctable(entry: &Entry) -> Correctable {
    let (kind, wallet) = match &entry.detail {
        EntryDetail::Settled(settled) => (settled.kind, settled.wallet),
        EntryDetail::ToppedUp(top_up) => (EntryKind::TopUp, top_up.amount),
        EntryDetail::Corrected(correction) => (correction.kind, correction.amount),
    };
    Correctable { entry: entry.number(), kind, wallet }
}
