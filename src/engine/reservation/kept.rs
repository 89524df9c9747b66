//! How snapshots hold reservations: whole, as they were before memory kept less of them. What memory doesn't keep is left empty
//! there; nothing reads it.

use std::{num::NonZeroU64, sync::Arc};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Changed, End, Ended, Expired, Hold, Reservation, Settlement};
use crate::{
    domain::{
        allocation::Drawn,
        decision::RevocationCause,
        event::{Booked, EntryKind, Reserved, Settled},
        id::{KeyId, MemberId, Model, OrderId, TeamId},
        money::{Factor, Nanos},
        payment::Correction,
        reservation_id::ReservationNo,
        time::Timestamp,
        usage::{Amounts, Usage},
    },
    engine::state::Taken,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptReservation {
    no: ReservationNo,
    admit_time: Timestamp,
    reserved: Arc<Reserved>,
    usage: Usage,
    held: Amounts,
    expire_time: Timestamp,
    progress: Option<(Usage, Amounts)>,
    revoked: Option<Box<(RevocationCause, Timestamp)>>,
    end: Option<KeptEnd>,
    sequence: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum KeptEnd {
    Committed(Arc<Settled>),
    Released { reason: SmolStr, charged: Option<Arc<Settled>> },
    Expired { charged: Option<Arc<Settled>> },
}

/// As [`Taken`].
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) enum KeptTaken {
    Reservation(ReservationNo),
    Charge(Arc<Settled>),
    Order(OrderId),
    Correction(Box<Correction>),
    Created { fingerprint: u64, id: SmolStr },
}

impl From<Reservation> for KeptReservation {
    fn from(reservation: Reservation) -> Self {
        match reservation {
            Reservation::Hold(hold) => Self::from(*hold),
            Reservation::Ended(ended) => Self::from(Arc::unwrap_or_clone(ended)),
        }
    }
}

impl From<Hold> for KeptReservation {
    fn from(reservation: Hold) -> Self {
        let (usage, held, expire_time) = (reservation.usage(), reservation.held(), reservation.expire_time());
        let (progress, revoked) = (reservation.progress(), reservation.revoked().cloned().map(Box::new));
        let Hold { no, admit_time, reserved, changed: _, expired, sequence } = reservation;
        let end = expired.map(|Expired { charged }| KeptEnd::Expired { charged });
        Self { no, admit_time, reserved, usage, held, expire_time, progress, revoked, end, sequence }
    }
}

impl From<Ended> for KeptReservation {
    fn from(ended: Ended) -> Self {
        let Ended {
            no,
            admit_time,
            request,
            fingerprint,
            key,
            model,
            expire_time,
            output_tokens,
            held: granted,
            end,
            sequence,
        } = ended;
        let usage = Usage { output_tokens, ..Usage::default() };
        let (held, end) = match end {
            End::Committed(settlement) => {
                let kind = if settlement.late { EntryKind::LateCommit } else { EntryKind::Commit };
                (granted, KeptEnd::Committed(whole(&settlement, kind)))
            }
            End::Released { held, reason, charged } => {
                let charged = charged.map(|settlement| whole(&settlement, EntryKind::Release));
                (held, KeptEnd::Released { reason, charged })
            }
        };
        let reserved = Arc::new(Reserved {
            request,
            fingerprint,
            key,
            model,
            price: None,
            factor: Factor::ONE,
            usage,
            held: granted,
            wallet: false,
            drawn: Nanos::ZERO,
            touches: Arc::default(),
            narrowed: Box::default(),
            expire_time,
            holder: None,
            labels: None,
        });
        let (progress, revoked, end) = (None, None, Some(end));
        Self { no, admit_time, reserved, usage, held, expire_time, progress, revoked, end, sequence }
    }
}

impl From<KeptReservation> for Reservation {
    fn from(kept: KeptReservation) -> Self {
        let KeptReservation { no, admit_time, reserved, usage, held, expire_time, progress, revoked, end, sequence } =
            kept;
        let as_granted = usage == reserved.usage && held == reserved.held && expire_time == reserved.expire_time;
        let changed = if as_granted && progress.is_none() && revoked.is_none() {
            None
        } else {
            Some(Box::new(Changed { usage, held, expire_time, progress, revoked }))
        };
        let mut hold = Hold { no, admit_time, reserved, changed, expired: None, sequence };
        let end = match end {
            None => return Self::Hold(Box::new(hold)),
            Some(KeptEnd::Expired { charged }) => {
                hold.expired = Some(Expired { charged });
                return Self::Hold(Box::new(hold));
            }
            Some(KeptEnd::Committed(settled)) => End::Committed(Settlement::from(&*settled)),
            Some(KeptEnd::Released { reason, charged }) => {
                let settlement = charged.map(|settled| Box::new(Settlement::from(&*settled)));
                End::Released { held, reason, charged: settlement }
            }
        };
        Self::Ended(Arc::new(hold.ended(end, sequence)))
    }
}

impl From<Taken> for KeptTaken {
    fn from(taken: Taken) -> Self {
        match taken {
            Taken::Reservation(no) => Self::Reservation(no),
            Taken::Charge(settlement) => Self::Charge(whole(&settlement, EntryKind::Charge)),
            Taken::Order(order) => Self::Order(order),
            Taken::Correction(correction) => Self::Correction(correction),
            Taken::Created { fingerprint, id } => Self::Created { fingerprint, id },
        }
    }
}

impl From<KeptTaken> for Taken {
    fn from(taken: KeptTaken) -> Self {
        match taken {
            KeptTaken::Reservation(no) => Self::Reservation(no),
            KeptTaken::Charge(settled) => Self::Charge(Arc::new(Settlement::from(&*settled))),
            KeptTaken::Order(order) => Self::Order(order),
            KeptTaken::Correction(correction) => Self::Correction(correction),
            KeptTaken::Created { fingerprint, id } => Self::Created { fingerprint, id },
        }
    }
}

fn whole(settlement: &Settlement, kind: EntryKind) -> Arc<Settled> {
    let Settlement { fingerprint, total, overage: _, entry, balance, late: _ } = *settlement;
    Arc::new(Settled {
        entry: entry.map(NonZeroU64::get),
        kind,
        reservation: None,
        request: None,
        fingerprint,
        takes_back: false,
        occurred_at: Timestamp::EPOCH,
        key: KeyId::trusted(""),
        member: MemberId::trusted(""),
        team: TeamId::trusted(""),
        model: Model::trusted(""),
        reserved_model: None,
        price: None,
        usage: Usage::default(),
        total,
        booked: Booked::default(),
        overage: settlement.overage(),
        wallet: Nanos::ZERO,
        balance,
        drawn: Drawn::default(),
        touches: Arc::default(),
        labels: None,
        reason: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{decision::DenialCode, id::RequestId, policy::Scope};

    const ADMITTED: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn hold() -> Hold {
        let reserved = Reserved {
            request: Some(RequestId::trusted("r")),
            fingerprint: 3,
            key: KeyId::trusted("k"),
            model: Model::trusted("m"),
            price: None,
            factor: Factor::ONE,
            usage: Usage { output_tokens: 9, requests: 1, ..Usage::default() },
            held: Amounts { tokens: 9, requests: 1, ..Amounts::ZERO },
            wallet: true,
            drawn: Nanos::ZERO,
            touches: Arc::default(),
            narrowed: Box::default(),
            expire_time: ADMITTED,
            holder: None,
            labels: None,
        };
        Hold::open(ReservationNo { epoch: 1, sequence: 5 }, ADMITTED, Arc::new(reserved), 5)
    }

    fn settled(kind: EntryKind) -> Arc<Settled> {
        let total = Amounts { usd: Nanos::new(7), tokens: 70, ..Amounts::ZERO };
        let overage = Amounts { tokens: 61, ..Amounts::ZERO };
        let settlement = Settlement {
            fingerprint: 4,
            total,
            overage: Some(Box::new(overage)),
            entry: NonZeroU64::new(8),
            balance: Nanos::new(93),
            late: false,
        };
        let whole = (*whole(&settlement, kind)).clone();
        Arc::new(Settled { key: KeyId::trusted("k"), model: Model::trusted("m"), ..whole })
    }

    fn read<T: for<'de> Deserialize<'de>>(value: &impl Serialize) -> T {
        postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
    }

    #[test]
    fn a_snapshot_holds_a_reservation_as_it_stands() {
        let mut changed = hold();
        let cause =
            RevocationCause { code: DenialCode::BudgetExceeded, scope: Scope::Key, scope_id: "k".into(), limit: None };
        changed.revoke(&cause, ADMITTED);
        let ends = [
            End::Committed(Settlement::from(&*settled(EntryKind::LateCommit))),
            End::Released { held: Amounts { tokens: 4, ..Amounts::ZERO }, reason: "unused".into(), charged: None },
            End::Released {
                held: Amounts { tokens: 90, ..Amounts::ZERO },
                reason: "aborted".into(),
                charged: Some(Box::new(Settlement::from(&*settled(EntryKind::Release)))),
            },
        ];
        for hold in [hold(), changed] {
            for charged in [None, Some(settled(EntryKind::Expiry))] {
                for expired in [None, Some(Expired { charged })] {
                    let before = Reservation::Hold(Box::new(Hold { expired, ..hold.clone() }));
                    let after: Reservation = read(&before);
                    assert_eq!(after, before);
                    let Reservation::Hold(after) = after else { panic!("ended") };
                    assert_eq!(after.changed.is_some(), hold.changed.is_some(), "a box for what was changed only");
                }
            }
            for end in ends.clone() {
                let before = Reservation::Ended(Arc::new(hold.ended(end, 9)));
                assert_eq!(read::<Reservation>(&before), before);
            }
        }
    }

    /// As memory held it, and snapshots of then still do: with all that was granted and all that was settled.
    #[test]
    fn a_reservation_that_was_kept_whole_answers_as_if_it_had_ended_now() {
        let settled = settled(EntryKind::Commit);
        let mut kept = KeptReservation::from(hold());
        kept.end = Some(KeptEnd::Committed(Arc::clone(&settled)));
        let ended = hold().ended(End::Committed(Settlement::from(&*settled)), 5);
        assert_eq!(read::<Reservation>(&kept), Reservation::Ended(Arc::new(ended)));
    }

    #[test]
    fn a_settlement_that_was_kept_whole_answers_its_repeats() {
        let mut kept = KeptReservation::from(hold());
        kept.end = Some(KeptEnd::Committed(settled(EntryKind::LateCommit)));
        let Reservation::Ended(ended) = read(&kept) else { panic!("not ended") };
        let End::Committed(settlement) = &ended.end else { panic!("not committed") };
        let expected = Settlement::from(&*settled(EntryKind::LateCommit));
        assert_eq!((settlement, settlement.charged(true).late), (&expected, true));
        let Taken::Charge(charge) = read::<Taken>(&KeptTaken::Charge(settled(EntryKind::Charge))) else {
            panic!("no charge")
        };
        assert_eq!((charge.fingerprint, charge.charged(true).entry, charge.charged(true).late), (4, 8, false));
    }
}
