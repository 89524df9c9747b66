//! Reservations and request ids that memory doesn't know: forgotten in a crash, or long over and in the books.

use std::sync::Arc;

use super::{Caller, Error, ReservationRef, Service, turn::Done};
use crate::{
    domain::{
        event::Settled,
        id::{KeyId, RequestId},
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
    store::{EntryDetail, ReservationKey, StoredEnd, StoredReservation},
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
        let located = self.locate(caller, reservation)?;
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
    fn locate(&self, caller: &Caller, reservation: &ReservationRef) -> Result<Located, Error> {
        match reservation {
            ReservationRef::Id(text) => {
                let id = ReservationId::decode(text, &self.seal).ok_or(Conflict::ReservationUnknown)?;
                let cell = self.directory.find(&id.organization).filter(|cell| caller.reaches(&cell.id));
                let cell = cell.ok_or(Conflict::ReservationUnknown)?;
                Ok(Located { cell, no: Some(id.no), named: Named::Id(id) })
            }
            ReservationRef::Request(payer, request) => {
                let Route { cell, key } = self.route(caller, payer).ok_or(Conflict::ReservationUnknown)?;
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

    /// Lets memory know a Charge under this id, if one was ever made: their ids are unique for ever.
    pub(super) async fn recall_entry(&self, cell: &Arc<Cell>, request: &RequestId) -> Result<(), Error> {
        let position = {
            let inner = cell.lock();
            if !inner.state.has_forgotten || inner.state.taken(request).is_some() {
                return Ok(());
            }
            inner.position
        };
        self.wait_stored(position).await?;
        if let Some(entry) = self.store.find_entry(&cell.id, request).await? {
            // Orders and corrections are never forgotten.
            if let EntryDetail::Settled(settled) = entry.detail {
                let mut inner = cell.lock();
                inner.state.recall_request(
                    request,
                    Taken::Charge(Arc::new(Settlement::from(&*settled))),
                    self.clock.now(),
                );
            }
        }
        Ok(())
    }
}

/// A reservation as memory would know it; `None` for one that is open, which memory never forgets.
fn ended(stored: StoredReservation) -> Option<Reservation> {
    let StoredReservation { no, admit_time, end } = stored;
    match end {
        StoredEnd::Open => None,
        StoredEnd::Released { reserved, reason } => {
            let end = End::Released { held: reserved.held, reason: reason.into() };
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
