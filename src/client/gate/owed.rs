//! What is still to be said to quotad about one request, and how to say it so that it counts once.

use std::{
    mem,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Gate, Line};
use crate::{
    api::proto::{
        ChargeRequest, CommitRequest, CommitResponse, Denial, Grant, PayerRequest, ReleaseRequest, ReservationRef,
        ReserveRequest, ReserveResponse, Usage, charge_response::Decision, reservation_ref::Reservation,
    },
    client::reason,
    domain::time::Timestamp,
};

/// One request's hold or usage.
pub(super) struct Owed {
    pub(super) request: ReserveRequest,
    /// `None` where no grant was heard of.
    reservation_id: Option<String>,
    /// A Reserve was sent that nothing was heard of.
    may_be_held: AtomicBool,
    entered: Timestamp,
    /// The server doesn't take `entered` for true.
    undated: AtomicBool,
    pub(super) end: End,
}

pub(super) enum End {
    /// The work was done. With the model that ran, if another than reserved.
    Commit {
        usage: Usage,
        model: String,
    },
    Release {
        reason: String,
    },
}

/// How a debt was taken.
pub(super) enum Closed {
    Charged(CommitResponse),
    Released,
    /// Only a Charge can be: an unknown key or a model without a price.
    Refused(Denial),
}

impl Owed {
    pub(super) fn new(request: ReserveRequest, entered: Timestamp, may_be_held: bool) -> Self {
        let end = End::Release { reason: String::from("not run") };
        let (may_be_held, undated) = (AtomicBool::new(may_be_held), AtomicBool::new(false));
        Self { request, reservation_id: None, may_be_held, entered, undated, end }
    }

    /// Whether anything must be said at all.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.end, End::Commit { .. }) || self.may_be_held.load(Relaxed)
    }

    pub(super) fn is_held(&self) -> bool {
        self.reservation_id.is_some()
    }

    pub(super) fn reservation(&self) -> ReservationRef {
        let named = match &self.reservation_id {
            Some(id) => Reservation::ReservationId(id.clone()),
            None => Reservation::PayerRequest(PayerRequest {
                payer: self.request.payer.clone(),
                request_id: self.request.request_id.clone(),
            }),
        };
        ReservationRef { reservation: Some(named) }
    }

    /// Says it once; may be repeated as a whole until it is answered.
    ///
    /// # Errors
    /// What the call that decides failed with.
    pub(super) async fn settle(&self, line: &Line) -> Result<Closed, Status> {
        match &self.end {
            End::Commit { usage, model } => self.commit_or_charge(line, usage, model).await,
            End::Release { reason } => {
                let release = ReleaseRequest { reservation: Some(self.reservation()), reason: reason.clone() };
                match line.release(release).await {
                    Err(status) if status.code() != Code::NotFound => Err(status),
                    // There is no hold: what was asked for.
                    _ => Ok(Closed::Released),
                }
            }
        }
    }

    /// Commits the hold if there is one, else charges, under the id of the Reserve. That this id is taken only once makes it
    /// safe: a Reserve that arrives after the Charge is refused, and a Charge after the Reserve too, which is then committed.
    async fn commit_or_charge(&self, line: &Line, usage: &Usage, model: &str) -> Result<Closed, Status> {
        let commit = || {
            let (reservation, usage) = (Some(self.reservation()), Some(usage.clone()));
            line.commit(CommitRequest { reservation, usage, model: model.to_owned(), include_limits: false })
        };
        // Asked first, because a hold that expired and was charged for is forgotten in memory, and so is its id.
        if self.may_be_held.load(Relaxed) {
            match commit().await {
                Err(status) if status.code() == Code::NotFound => {}
                answer => return answer.map(Closed::Charged),
            }
        }
        match self.charge(line, usage, model).await {
            Err(status) if reason(&status).as_deref() == Some("REQUEST_ID_REUSED") => {
                // What came in between is a Reserve that was long under way.
                self.may_be_held.store(true, Relaxed);
                commit().await.map(Closed::Charged)
            }
            answer => answer,
        }
    }

    async fn charge(&self, line: &Line, usage: &Usage, model: &str) -> Result<Closed, Status> {
        let charge = |occurred_at| ChargeRequest {
            payer: self.request.payer.clone(),
            request_id: self.request.request_id.clone(),
            model: if model.is_empty() { self.request.model.clone() } else { model.to_owned() },
            usage: Some(usage.clone()),
            already_used: true,
            occurred_at,
            labels: self.request.labels.clone(),
        };
        let dated = (!self.undated.load(Relaxed)).then(|| instant(self.entered));
        let answer = match line.charge(charge(dated)).await {
            // A clock that is ahead, or an outage of more than a day: better booked as of now than not at all. From then on
            // always so, because a repeat must be the same.
            Err(status) if is_about(&status, "occurred_at") => {
                self.undated.store(true, Relaxed);
                line.charge(charge(None)).await?
            }
            answer => answer?,
        };
        match answer.decision {
            Some(Decision::Charged(charged)) => Ok(Closed::Charged(charged)),
            Some(Decision::Denied(denial)) => Ok(Closed::Refused(denial)),
            None => Err(Status::internal("the answer to Charge holds no decision")),
        }
    }
}

fn is_about(status: &Status, field: &str) -> bool {
    let details = status.get_error_details();
    let mut violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations).iter();
    status.code() == Code::InvalidArgument && violations.any(|violation| violation.field == field)
}

fn instant(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.micros().rem_euclid(1_000_000) * 1000;
    prost_types::Timestamp { seconds: at.seconds(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// Whoever lets go of one without settling or forgiving it leaves it to the queue: so do cancelled futures.
pub(super) struct Debt {
    pub(super) gate: Gate,
    /// `None` once nothing is owed.
    owed: Option<Owed>,
}

impl Debt {
    pub(super) fn new(gate: Gate, owed: Owed) -> Self {
        Self { gate, owed: Some(owed) }
    }

    pub(super) fn owed(&self) -> Option<&Owed> {
        self.owed.as_ref()
    }

    /// One attempt. Until it is answered by quotad itself there may be a hold.
    pub(super) async fn reserve(&self) -> Result<ReserveResponse, Status> {
        let Some(owed) = &self.owed else { return Err(Status::internal("nothing to reserve")) };
        let lost_before = owed.may_be_held.swap(true, Relaxed);
        let answer = self.gate.shared.line.reserve(owed.request.clone()).await;
        let lost = answer.as_ref().is_err_and(|status| reason(status).is_none());
        owed.may_be_held.store(lost_before || lost, Relaxed);
        answer
    }

    pub(super) fn hold(&mut self, grant: &Grant) {
        if let Some(owed) = &mut self.owed {
            owed.reservation_id = Some(grant.reservation_id.clone());
            owed.may_be_held.store(true, Relaxed);
        }
    }

    pub(super) fn set_end(&mut self, end: End) {
        if let Some(owed) = &mut self.owed {
            owed.end = end;
        }
    }

    pub(super) fn forgive(&mut self) {
        self.owed = None;
    }

    /// Leaves it to the queue; false if that is full.
    pub(super) fn put_off(&mut self) -> bool {
        match mem::take(&mut self.owed) {
            Some(owed) if owed.is_due() => self.gate.shared.debts.add(owed),
            _ => true,
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.put_off();
    }
}
