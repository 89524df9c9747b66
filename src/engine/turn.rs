//! One operation on one organization: decides, says what happened as records, and puts each into effect at once.
//!
//! Runs under the organization's lock and must never wait, log or do I/O.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    conflict::Conflict,
    decide::{Ask, OpenBounds, Plan, Refusal, decide},
    reservation::{End, Reservation},
    state::{Counted, OrganizationState, Taken},
};
use crate::domain::{
    decision::{Denial, DenialCode, Granted, ReservationState, Revocation},
    error::{Exhausted, Invalid},
    event::{Event, Labels, Record, Reserved, Stream},
    id::{Actor, RequestId},
    operation::{MAX_AGE, Reserve},
    policy::Scope,
    price::PriceBook,
    reservation_id::ReservationNo,
    time::{Span, Timestamp},
};

mod alert;
mod allocation;
mod charge;
mod control;
mod credit_request;
mod expire;
mod extend;
mod payment;
mod revoke;
mod settle;

pub use crate::domain::bounds::Bounds;
pub use allocation::AllocationChange;
pub use control::{KeyChange, MemberChange, MembershipChange, OrganizationChange, RuleChange, TeamChange};
pub use payment::{AutoTopUpChange, Correctable, NewCorrection, NewOrder, Orderer};
pub use settle::Forgotten;

/// What one turn needs to know of the world.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub now: Timestamp,
    /// Which start of the server this is.
    pub epoch: u32,
    pub actor: &'a Actor,
    pub prices: &'a PriceBook,
    pub bounds: Bounds,
}

pub struct Turn<'a> {
    pub state: &'a mut OrganizationState,
    context: Context<'a>,
    /// At least the stream's last: time never runs backwards in it.
    now: Timestamp,
    stream: Stream,
    records: Records,
    revocations: Vec<Revocation>,
}

/// Without position: that is the journal's.
pub type Records = SmallVec<[Record; 1]>;

/// What a turn leaves to do: records to journal, work to stop.
#[derive(Debug)]
pub struct Effects {
    pub records: Records,
    pub revocations: Vec<Revocation>,
}

/// An answer, or why there is none.
pub type Outcome<T> = Result<T, Conflict>;

/// A grant or charge, or a refusal: both are answers.
pub type Decision<T> = Result<T, Denial>;

impl<'a> Turn<'a> {
    pub fn new(state: &'a mut OrganizationState, context: Context<'a>) -> Self {
        let now = context.now.max(state.time);
        let stream = Stream::Organization(state.organization.id.clone());
        Self { state, context, now, stream, records: Records::new(), revocations: Vec::new() }
    }

    pub fn finish(self) -> Effects {
        Effects { records: self.records, revocations: self.revocations }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns true for actors that aren't bound by frequencies and by counts of a member.
    fn is_exempt(&self) -> bool {
        *self.context.actor == Actor::OPERATOR || *self.context.actor == Actor::SYSTEM
    }

    fn bounds(&self) -> Bounds {
        match &self.state.organization.bounds {
            None => self.context.bounds,
            Some(own) => own.over(&self.context.bounds),
        }
    }

    /// Returns those of the bounds that every Reserve needs.
    fn open_bounds(&self) -> OpenBounds {
        let (server, own) = (&self.context.bounds, self.state.organization.bounds.as_deref());
        OpenBounds {
            key: own.and_then(|own| own.open_per_key).unwrap_or(server.open_per_key),
            organization: own.and_then(|own| own.open).unwrap_or(server.open),
        }
    }

    /// # Errors
    /// [`Conflict::Exhausted`] when it happened so often of late that it can't `more` times again.
    fn check_frequency(&self, counted: &Counted, what: &'static str, more: u32, max: u32) -> Outcome<()> {
        if self.is_exempt() {
            return Ok(());
        }
        match self.state.frequencies.wait(counted, more, max, self.now) {
            None => Ok(()),
            Some(retry_after) => Err(Exhausted { what, max: u64::from(max), retry_after }.into()),
        }
    }

    /// # Errors
    /// [`Invalid`] when they are larger than the books keep.
    fn check_labels(&self, labels: &Labels) -> Result<(), Invalid> {
        let Some(labels) = labels else { return Ok(()) };
        let (bytes, max) =
            (labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>(), self.bounds().label_bytes);
        if u32::try_from(bytes).is_ok_and(|bytes| bytes <= max) {
            return Ok(());
        }
        Err(Invalid::new("labels", format!("take {bytes} bytes, keys and values together; at most {max} are kept")))
    }

    fn emit(&mut self, event: Event) {
        let record = Record {
            position: 0,
            stream: self.stream.clone(),
            sequence: self.state.sequence + 1,
            epoch: self.context.epoch,
            time: self.now,
            actor: self.context.actor.clone(),
            event,
        };
        let applied = self.state.apply(&record);
        debug_assert_eq!(applied, Ok(()), "a turn's own record always continues the state");
        self.records.push(record);
    }

    /// Holds an estimate on every limit of the key's path, or says why not.
    ///
    /// # Errors
    /// [`Conflict`] when the request id was used for something else or the usage is absurd.
    pub fn reserve(&mut self, key: u32, request: &Reserve, fingerprint: u64) -> Outcome<Decision<Granted>> {
        self.expire_due(None);
        if let Some(replay) = self.replayed_reserve(&request.request, fingerprint)? {
            return Ok(Ok(replay));
        }
        self.check_labels(&request.labels)?;
        self.open_counters(key);
        let ask =
            Ask { key, model: &request.model, usage: &request.usage, min_output_tokens: request.min_output_tokens };
        match self.decide(&ask, self.open_bounds())? {
            Ok(plan) => Ok(self.grant(key, request, fingerprint, &plan)),
            Err(denial) => Ok(Err(self.refuse(denial))),
        }
    }

    fn decide(&self, ask: &Ask<'_>, open: OpenBounds) -> Outcome<Decision<Plan>> {
        let output = ask.usage.output_tokens;
        if ask.min_output_tokens.is_some_and(|least| least > output) {
            let problem = format!("is more than the estimate's {output} output tokens");
            return Err(Invalid::new("min_output_tokens", problem).into());
        }
        match decide(self.state, ask, open, self.context.prices, self.now) {
            Ok(plan) => Ok(Ok(plan)),
            Err(Refusal::Denied(denial)) => Ok(Err(*denial)),
            Err(Refusal::Invalid(invalid)) => Err(invalid.into()),
            Err(Refusal::TooLarge(too_large)) => Err(too_large.into()),
        }
    }

    /// An empty wallet charges nothing any more: once automatic top-up may order again, a refusal is all that tells it so.
    fn refuse(&mut self, denial: Denial) -> Denial {
        self.check_auto_top_up();
        denial
    }

    fn grant(&mut self, key: u32, request: &Reserve, fingerprint: u64, plan: &Plan) -> Decision<Granted> {
        let unknown = || Denial::state(DenialCode::KeyUnknown, Scope::Key, "");
        let key = self.state.keys.row(key).ok_or_else(unknown)?.entity.key.id.clone();
        let expire_time = self.now + request.ttl;
        self.emit(Event::Reserved(Arc::new(Reserved {
            request: Some(request.request.clone()),
            fingerprint,
            key: key.clone(),
            model: request.model.clone(),
            price: plan.price,
            factor: plan.factor,
            usage: plan.usage,
            held: plan.held,
            wallet: plan.wallet,
            drawn: plan.drawn,
            touches: Arc::from(plan.touches.as_slice()),
            narrowed: Box::from(plan.narrowed.as_slice()),
            expire_time,
            holder: request.holder.clone(),
            labels: request.labels.clone(),
        })));
        let sequence = self.state.sequence;
        self.check_auto_top_up();
        Ok(Granted {
            reservation: ReservationNo { epoch: self.context.epoch, sequence },
            key,
            model: request.model.clone(),
            admit_time: self.now,
            expire_time,
            output_tokens: plan.usage.output_tokens,
            held: plan.held,
            replayed: false,
            state: ReservationState::Open,
            warnings: self.state.limit_states(plan.soft.iter().copied(), None, self.now).collect(),
        })
    }

    fn replayed_reserve(&self, request: &RequestId, fingerprint: u64) -> Outcome<Option<Granted>> {
        let Some(taken) = self.state.taken(request) else { return Ok(None) };
        let Taken::Reservation(no) = taken else { return Err(Conflict::RequestReused(request.clone())) };
        let Some(reservation) = self.state.reservation(*no) else { return Ok(None) };
        if reservation.fingerprint() != fingerprint {
            return Err(Conflict::RequestReused(request.clone()));
        }
        Ok(Some(reservation.granted(true)))
    }

    /// The answer that [`Self::reserve`] would give, holding nothing.
    ///
    /// # Errors
    /// [`Conflict::Invalid`] when the usage or the minimal output is absurd.
    pub fn check(&mut self, ask: &Ask<'_>) -> Outcome<Decision<Plan>> {
        self.expire_due(None);
        self.open_counters(ask.key);
        self.decide(ask, self.open_bounds())
    }

    /// The reservation that an operation is about, expired first if it is due.
    fn find(&mut self, no: ReservationNo) -> Outcome<&Reservation> {
        self.expire_due(Some(no));
        let now = self.now;
        let reservation = self.state.reservation(no).ok_or(Conflict::ReservationUnknown)?;
        check_age(reservation.admit_time(), now)?;
        Ok(reservation)
    }
}

/// # Errors
/// [`Conflict::ReservationTooOld`] beyond the age at which reservations can be settled.
pub fn check_age(admitted: Timestamp, now: Timestamp) -> Outcome<()> {
    let age: Span = now - admitted;
    if age > MAX_AGE { Err(Conflict::ReservationTooOld) } else { Ok(()) }
}

/// How a reservation ended, as an error for those who would end it otherwise.
fn ended_otherwise(end: &End) -> Conflict {
    match end {
        End::Committed(_) => Conflict::ReservationCommitted,
        End::Released { .. } => Conflict::ReservationReleased,
    }
}
