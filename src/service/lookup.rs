//! Reservations and request ids that memory doesn't know: forgotten in a crash, or long over and in the books.

use std::sync::Arc;

use super::{Caller, Error, ReservationRef, Scope, Service, Subject, turn::Done};
use crate::{
    domain::{
        ended::EndedName,
        event::Settled,
        id::{
            AlertId, CreditRequestId, InvitationId, KeyId, MemberId, MethodId, OrderId, OrganizationId, RequestId,
            RuleId,
        },
        operation::Payer,
        reservation_id::{ReservationId, ReservationNo},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        directory::{Cell, Route},
        reservation::{End, Ended, Expired, Hold, Reservation, Settlement},
        state::Taken,
        turn::{Forgotten, Outcome, Turn, check_age},
    },
    store::{EndedKey, EntryDetail, RegisteredKey, ReservationKey, StoredEnd, StoredReservation},
};

/// Where a reservation is to be found.
struct Located {
    cell: Arc<Cell>,
    /// `None` where only the books may know the request id.
    no: Option<ReservationNo>,
    named: Named,
}

enum Named {
    Id(ReservationId),
    Request(KeyId, RequestId),
}

impl Named {
    /// An id from a time that was lost may have the number of another reservation.
    fn names(&self, reservation: &Reservation) -> bool {
        match self {
            Self::Id(id) => id.admit_time == reservation.admit_time() && id.key == *reservation.key(),
            Self::Request(..) => true,
        }
    }
}

/// What memory is given before it is asked again.
enum Missing {
    Forgotten(Forgotten),
    Closed(Reservation),
}

impl Service {
    /// One operation on a reservation, wherever it is known.
    pub(super) async fn turn_on<T>(
        &self,
        reservation: &ReservationRef,
        caller: &Caller,
        mut operation: impl FnMut(&mut Turn<'_>, ReservationNo) -> Outcome<T>,
    ) -> Result<(Arc<Cell>, Done<Outcome<T>>), Error> {
        let located = self.locate(caller, reservation).await?;
        let cell = &located.cell;
        if let Some(no) = located.no {
            let done = self.turn(cell, &caller.actor, |turn| match turn.state.reservation(no) {
                Some(other) if !located.named.names(other) => Err(Conflict::ReservationUnknown),
                _ => operation(turn, no),
            });
            if !matches!(done.answer, Err(Conflict::ReservationUnknown)) {
                return Ok((located.cell, done));
            }
        }
        // In a place of its own: rare, and much larger than the rest.
        let missing = Box::pin(self.find_missing(&located)).await?;
        let done = self.turn(cell, &caller.actor, |turn| match &missing {
            Missing::Closed(reservation) => {
                turn.state.recall(reservation.clone(), turn.now());
                operation(turn, reservation.no())
            }
            Missing::Forgotten(forgotten) => {
                if turn.state.reservation(forgotten.no).is_none() {
                    turn.restore(forgotten)?;
                }
                operation(turn, forgotten.no)
            }
        });
        Ok((located.cell, done))
    }

    /// What lies beyond the scopes of the caller's token is unknown to it.
    async fn locate(&self, caller: &Caller, reservation: &ReservationRef) -> Result<Located, Error> {
        match reservation {
            ReservationRef::Id(text) => {
                let id = ReservationId::decode(text, &self.seal).ok_or(Conflict::ReservationUnknown)?;
                let cell = self.directory.find(&id.organization).filter(|cell| caller.reaches(&cell.id));
                let cell = cell.ok_or(Conflict::ReservationUnknown)?;
                Ok(Located { cell, no: Some(id.no), named: Named::Id(id) })
            }
            ReservationRef::Request(payer, request) => {
                let route = self.route_or_recall(caller, payer).await?;
                let Route { cell, key } = route.ok_or(Conflict::ReservationUnknown)?;
                let inner = cell.lock();
                let row = inner.state.keys.row(key).ok_or(Conflict::ReservationUnknown)?;
                let key = row.entity.key.id.clone();
                let no = match inner.state.taken(request) {
                    Some(Taken::Reservation(no)) => Some(*no),
                    Some(_) => return Err(Conflict::ReservationUnknown.into()),
                    None => None,
                };
                let mine = |no| inner.state.reservation(no).is_some_and(|found| *found.key() == key);
                if no.is_some_and(|no| !mine(no)) {
                    return Err(Conflict::ReservationUnknown.into());
                }
                drop(inner);
                Ok(Located { cell, no, named: Named::Request(key, request.clone()) })
            }
        }
    }

    /// Returns the key that pays, also where only the books know it still: what was used is booked whatever became of its key.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] when they must be asked and can't be.
    pub(super) async fn route_or_recall(&self, caller: &Caller, payer: &Payer) -> Result<Option<Route>, Error> {
        match self.route(caller, payer) {
            Some(route) => Ok(Some(route)),
            // In a place of its own, as above.
            None => Box::pin(self.recall_route(caller, payer)).await,
        }
    }

    async fn recall_route(&self, caller: &Caller, payer: &Payer) -> Result<Option<Route>, Error> {
        // One that memory knows is somebody else's.
        let is_foreign = self.directory.route(payer, self.clock.now()).is_some();
        if is_foreign || self.system.lock().forgotten_keys == 0 {
            return Ok(None);
        }
        let by = match payer {
            Payer::Secret(hash) => RegisteredKey::Secret(hash),
            Payer::Key(id) => RegisteredKey::Id(id),
        };
        let Some((organization, id)) = self.store.find_key(by).await? else { return Ok(None) };
        // Of a key that memory has it knows the secrets better.
        if self.system.lock().keys.contains_key(&id) {
            return Ok(None);
        }
        let cell = self.directory.find(&organization).filter(|cell| caller.reaches(&cell.id));
        let Some(cell) = cell else { return Ok(None) };
        self.recall_ended(&organization, EndedName::Key(id.clone())).await?;
        let key = cell.lock().state.keys.place(&id);
        Ok(key.map(|key| Route { cell, key }))
    }

    /// Lets the next turn know whether a key of this id was ever there, in any organization. Answers how many keys had been forgotten
    /// by then.
    ///
    /// # Errors
    /// [`Error::Exists`] when it was, in another organization.
    pub(super) async fn recall_key_id(&self, organization: &OrganizationId, id: &KeyId) -> Result<u64, Error> {
        let (forgotten, is_known) = {
            let system = self.system.lock();
            (system.forgotten_keys, system.keys.contains_key(id))
        };
        if forgotten == 0 || is_known {
            return Ok(forgotten);
        }
        match self.store.find_key(RegisteredKey::Id(id)).await? {
            Some((owner, _)) if owner == *organization => {
                self.recall_ended(organization, EndedName::Key(id.clone())).await?;
            }
            Some(_) => return Err(Error::Exists { kind: "key", id: id.to_string() }),
            None => {}
        }
        Ok(forgotten)
    }

    async fn find_missing(&self, located: &Located) -> Result<Missing, Error> {
        let (position, forgotten) = {
            let inner = located.cell.lock();
            (inner.position, located.no.is_some_and(|no| inner.state.was_forgotten(no, self.epoch)))
        };
        let by = match &located.named {
            Named::Id(id) => {
                check_age(id.admit_time, self.clock.now())?;
                if forgotten {
                    let ReservationId { key, model, admit_time, no, .. } = id.clone();
                    return Ok(Missing::Forgotten(Forgotten { no, key, model, admit_time }));
                }
                ReservationKey::No(id.no)
            }
            Named::Request(key, request) => ReservationKey::Request(key, request),
        };
        self.wait_stored(position).await?;
        let stored = self.store.find_reservation(&located.cell.id, by).await?;
        let reservation = stored.and_then(ended).filter(|found| located.named.names(found));
        let reservation = reservation.ok_or(Conflict::ReservationUnknown)?;
        Ok(Missing::Closed(reservation))
    }

    /// Lets memory know a Charge or an order under this id, if one was ever made: their ids are unique for ever.
    pub(super) async fn recall_entry(&self, cell: &Arc<Cell>, request: &RequestId) -> Result<(), Error> {
        let (position, may_have_ordered) = {
            let inner = cell.lock();
            let may_have_ordered = inner.state.may_have_ordered(request);
            if !may_have_ordered && (!inner.state.has_forgotten || inner.state.taken(request).is_some()) {
                return Ok(());
            }
            (inner.position, may_have_ordered)
        };
        self.wait_stored(position).await?;
        if may_have_ordered && let Some(order) = self.store.find_ended(&cell.id, EndedKey::Request(request)).await? {
            cell.lock().state.recall_ended(order, self.clock.now());
            return Ok(());
        }
        // Corrections are never forgotten.
        if let Some(entry) = self.store.find_entry(&cell.id, request).await?
            && let EntryDetail::Settled(settled) = entry.detail
        {
            let charge = Taken::Charge(Arc::new(Settlement::from(&*settled)));
            cell.lock().state.recall_request(request, charge, self.clock.now());
        }
        Ok(())
    }

    /// Lets memory know, for a while, what of the control plane is over and only the books know still.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] when they must be asked and can't be.
    pub async fn recall_ended(&self, organization: &OrganizationId, name: EndedName) -> Result<(), Error> {
        let Some(cell) = self.directory.find(organization) else { return Ok(()) };
        let position = {
            let inner = cell.lock();
            if !inner.state.may_have_ended(&name) {
                return Ok(());
            }
            inner.position
        };
        self.wait_stored(position).await?;
        if let Some(ended) = self.store.find_ended(organization, EndedKey::Name(&name)).await? {
            cell.lock().state.recall_ended(ended, self.clock.now());
        }
        Ok(())
    }

    /// The same of what a message is about, before it is judged whose that is.
    ///
    /// # Errors
    /// As [`Self::recall_ended`].
    pub async fn recall_subject(&self, caller: &Caller, scope: &Scope<'_>) -> Result<(), Error> {
        let Some(organization) = scope.organization else { return Ok(()) };
        let name = match scope.subject {
            Subject::CreditRequest(id) => EndedName::CreditRequest(CreditRequestId::trusted(id)),
            Subject::Alert(id) => EndedName::Alert(AlertId::trusted(id)),
            Subject::Order(id) => EndedName::Order(OrderId::trusted(id)),
            Subject::Invitation(id) => EndedName::Invitation(InvitationId::trusted(id)),
            Subject::PaymentMethod(id) => EndedName::PaymentMethod(MethodId::trusted(id)),
            Subject::Key(id) => EndedName::Key(KeyId::trusted(id)),
            Subject::Rule(id) => EndedName::Rule(RuleId::trusted(id)),
            Subject::Any | Subject::Member(_) => return Ok(()),
        };
        // One that is minted or unset, and what is no id.
        if name.id().is_empty() || name.id().contains(char::is_control) {
            return Ok(());
        }
        let belongs =
            |(_, grants): (_, &[(OrganizationId, MemberId)])| grants.iter().any(|(of, _)| of.as_str() == organization);
        if !caller.is_operator() && !caller.access().is_some_and(belongs) {
            return Ok(());
        }
        self.recall_ended(&OrganizationId::trusted(organization), name).await
    }
}

/// A reservation as memory would know it; `None` for one that is open, which memory never forgets.
fn ended(stored: StoredReservation) -> Option<Reservation> {
    let StoredReservation { no, admit_time, end } = stored;
    match end {
        StoredEnd::Open => None,
        StoredEnd::Released { reserved, reason, charged } => {
            let charged = charged.map(|settled| Box::new(Settlement::from(&*settled)));
            let end = End::Released { held: reserved.held, reason: reason.into(), charged };
            let ended = Hold::open(no, admit_time, reserved, 0).ended(end, 0);
            Some(Reservation::Ended(Arc::new(ended)))
        }
        StoredEnd::Expired { reserved, charged } => {
            let mut hold = Hold::open(no, admit_time, reserved, 0);
            hold.expired = Some(Expired { charged });
            Some(Reservation::Hold(Box::new(hold)))
        }
        StoredEnd::Committed(settled) => Some(Reservation::Ended(Arc::new(ended_by(no, admit_time, &settled)))),
    }
}

/// What can be said of a reservation by the settlement that closed it; enough to answer for it.
fn ended_by(no: ReservationNo, admit_time: Timestamp, settled: &Settled) -> Ended {
    Ended {
        no,
        admit_time,
        request: settled.request.clone(),
        fingerprint: 0,
        key: settled.key.clone(),
        model: settled.reserved_model.as_ref().unwrap_or(&settled.model).clone(),
        expire_time: admit_time,
        output_tokens: settled.usage.output_tokens,
        held: settled.total,
        end: End::Committed(Settlement::from(settled)),
        sequence: 0,
    }
}
