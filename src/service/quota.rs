//! The data plane: decide under the organization's lock, enqueue, answer; wait for the disk where the answer is a promise.

use smol_str::SmolStr;

use super::{Caller, Error, Service, turn::Done};
use crate::{
    domain::{
        decision::{Charged, Denial, DenialCode, Granted, LimitState, Released, ReservationState},
        id::{Holder, Model, RequestId},
        operation::{Charge, Commit, Extend, Payer, Reserve},
        policy::Scope,
        reservation_id::{ReservationId, ReservationNo},
        usage::Usage,
    },
    engine::{
        conflict::Conflict,
        decide::{Ask, Plan},
        directory::{Cell, Route},
        state::OrganizationState,
        turn::{Decision, Outcome, Turn},
    },
};

/// How a caller names an earlier reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationRef {
    Id(String),
    Request(Payer, RequestId),
}

/// A grant under the id that it goes by outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Empty for a Check, which holds nothing.
    pub reservation_id: String,
    pub granted: Granted,
}

/// An answer with the state of every limit of the path, where that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    pub answer: T,
    pub limits: Vec<LimitState>,
}

/// What a Check asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub model: Model,
    pub usage: Usage,
    pub min_output_tokens: Option<u64>,
}

/// On the data plane an unknown payer is told apart from a broken server, never from a foreign one.
fn key_unknown() -> Denial {
    Denial::state(DenialCode::KeyUnknown, Scope::Key, "")
}

impl Service {
    /// The key that pays, as far as the caller's token reaches: one beyond is as unknown as one that isn't there.
    pub(super) fn route(&self, caller: &Caller, payer: &Payer) -> Option<Route> {
        self.directory.route(payer, self.clock.now()).filter(|route| caller.reaches(&route.cell.id))
    }

    /// Holds an estimate. Answers from memory: the hold reaches the disk within milliseconds, and only a replay has to wait for
    /// that. A reservation that names no holder is held by the `session` that it came over.
    ///
    /// # Errors
    /// [`Error`] when the request id is reused or the journal can't take more.
    pub fn reserve(
        &self,
        caller: &Caller,
        payer: &Payer,
        mut request: Reserve,
        session: Option<&Holder>,
        include_limits: bool,
    ) -> Result<Done<Reply<Decision<Grant>>>, Error> {
        self.check_room_for_more()?;
        let Some(Route { cell, key }) = self.route(caller, payer) else {
            return Ok(Done::at_once(Reply { answer: Err(self.denied(key_unknown())), limits: Vec::new() }));
        };
        let fingerprint = request.fingerprint(key);
        request.holder = request.holder.or_else(|| session.cloned());
        let done = self.turn(&cell, &caller.actor, |turn| {
            let answer = turn.reserve(key, &request, fingerprint)?;
            Ok::<_, Conflict>((answer, limits_if(include_limits, turn, key, &request.model)))
        });
        let Done { answer: (answer, limits), position } = done.transposed()?;
        let is_replay = matches!(&answer, Ok(granted) if granted.replayed);
        let answer = match answer {
            Ok(granted) => Ok(self.grant(&cell, granted)),
            Err(denial) => Err(self.denied(denial)),
        };
        Ok(Done { answer: Reply { answer, limits }, position: if is_replay { position } else { 0 } })
    }

    fn grant(&self, cell: &Cell, granted: Granted) -> Grant {
        if granted.replayed {
            self.metrics.replayed.increment();
        }
        let id = ReservationId {
            organization: cell.id.clone(),
            key: granted.key.clone(),
            model: granted.model.clone(),
            admit_time: granted.admit_time,
            no: granted.reservation,
        };
        Grant { reservation_id: id.encode(&self.seal), granted }
    }

    fn denied(&self, denial: Denial) -> Denial {
        self.metrics.denied(denial.code).increment();
        denial
    }

    /// The answer that Reserve would give, and every limit of the path.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the usage is absurd.
    pub fn check(&self, caller: &Caller, payer: &Payer, question: &Question) -> Result<Reply<Decision<Grant>>, Error> {
        let Some(Route { cell, key }) = self.route(caller, payer) else {
            return Ok(Reply { answer: Err(key_unknown()), limits: Vec::new() });
        };
        let Question { model, usage, min_output_tokens } = question;
        let ask = Ask { key, model, usage, min_output_tokens: *min_output_tokens };
        let Done { answer, .. } = self.turn(&cell, &caller.actor, |turn| {
            let answer = turn.check(&ask)?.map(|plan| would_grant(turn, &ask, &plan));
            Ok::<_, Conflict>((answer, turn.state.path_states(key, model, turn.now())))
        });
        let (answer, limits) = answer?;
        let answer = answer.map(|granted| Grant { reservation_id: String::new(), granted });
        Ok(Reply { answer, limits })
    }

    /// Settles a reservation. To be told once it is on disk ([`Service::acknowledge`]).
    ///
    /// # Errors
    /// [`Error`] when the reservation is unknown, too old or ended otherwise.
    pub async fn commit(
        &self,
        caller: &Caller,
        reservation: &ReservationRef,
        commit: &Commit,
        include_limits: bool,
    ) -> Result<Done<Reply<Charged>>, Error> {
        let fingerprint = commit.fingerprint();
        let done = self
            .settle(caller, reservation, |turn, no| {
                let charged = turn.commit(no, commit, fingerprint)?;
                let limits = match turn.state.reservation(no) {
                    Some(reservation) if include_limits => {
                        let key = turn.state.keys.place(reservation.key()).unwrap_or(u32::MAX);
                        let model = commit.model.as_ref().unwrap_or(reservation.model());
                        turn.state.path_states(key, model, turn.now())
                    }
                    _ => Vec::new(),
                };
                Ok((charged, limits))
            })
            .await?;
        Ok(done.map(|(answer, limits)| Reply { answer, limits }))
    }

    /// Gives a hold back, but for what was reported as used. To be told once it is on disk.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn release(
        &self,
        caller: &Caller,
        reservation: &ReservationRef,
        reason: &str,
    ) -> Result<Done<Released>, Error> {
        let reason = SmolStr::new(reason);
        self.settle(caller, reservation, |turn, no| turn.release(no, &reason)).await
    }

    /// Renews a hold. To be told once it is on disk, if it reports usage.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn extend(
        &self,
        caller: &Caller,
        reservation: &ReservationRef,
        extend: &Extend,
    ) -> Result<Done<Decision<Grant>>, Error> {
        self.check_room()?;
        let (cell, done) = self.turn_on(reservation, caller, |turn, no| turn.extend(no, extend)).await?;
        let Done { answer, position } = done.transposed()?;
        let answer = match answer {
            Ok(granted) => Ok(self.grant(&cell, granted)),
            Err(denial) => Err(self.denied(denial)),
        };
        Ok(Done { answer, position: if extend.usage_so_far.is_some() { position } else { 0 } })
    }

    /// Books known usage at once. To be told once it is on disk.
    ///
    /// # Errors
    /// [`Error`] when the request id is reused.
    pub async fn charge(
        &self,
        caller: &Caller,
        payer: &Payer,
        charge: &Charge,
    ) -> Result<Done<Decision<Charged>>, Error> {
        loop {
            let route = match self.route_or_recall(caller, payer).await {
                // A key that only the books know is deleted: it pays for nothing new.
                Err(Error::StoreUnavailable(_)) if !charge.already_used => None,
                route => route?,
            };
            let Some(Route { cell, key }) = route else {
                return Ok(Done::at_once(Err(self.denied(key_unknown()))));
            };
            if !charge.already_used {
                self.check_may_begin()?;
            }
            self.wait_for_room().await?;
            self.recall_entry(&cell, &charge.request).await?;
            let done = self.turn(&cell, &caller.actor, |turn| {
                // One that left memory meanwhile is found the next time.
                turn.state.keys.row(key).is_some().then(|| turn.charge(key, charge))
            });
            if let Done { answer: Some(answer), position } = done {
                let done = Done { answer, position }.transposed()?;
                return Ok(done.map(|answer| answer.map_err(|denial| self.denied(denial))));
            }
        }
    }

    /// One settlement: to be told once it is on disk, its replays no sooner.
    async fn settle<T>(
        &self,
        caller: &Caller,
        reservation: &ReservationRef,
        operation: impl FnMut(&mut Turn<'_>, ReservationNo) -> Outcome<T>,
    ) -> Result<Done<T>, Error> {
        self.wait_for_room().await?;
        let (_, done) = self.turn_on(reservation, caller, operation).await?;
        Ok(done.transposed()?)
    }
}

fn key_id(state: &OrganizationState, key: u32) -> crate::domain::id::KeyId {
    state.keys.row(key).map_or_else(|| crate::domain::id::KeyId::trusted(""), |row| row.entity.key.id.clone())
}

fn limits_if(wanted: bool, turn: &Turn<'_>, key: u32, model: &Model) -> Vec<LimitState> {
    if wanted { turn.state.path_states(key, model, turn.now()) } else { Vec::new() }
}

/// What Reserve would answer for a plan.
fn would_grant(turn: &Turn<'_>, ask: &Ask<'_>, plan: &Plan) -> Granted {
    Granted {
        reservation: ReservationNo { epoch: 0, sequence: 0 },
        key: key_id(turn.state, ask.key),
        model: ask.model.clone(),
        admit_time: turn.now(),
        expire_time: turn.now(),
        output_tokens: plan.usage.output_tokens,
        held: plan.held,
        replayed: false,
        state: ReservationState::Open,
        warnings: turn.state.limit_states(plan.soft.iter().copied(), None, turn.now()).collect(),
    }
}
