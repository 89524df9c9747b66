//! How snapshots hold reservations: whole, as they were before memory kept less of them. What memory doesn't keep of a settlement is
//! left empty there; nothing reads it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Changed, End, Reservation, Settlement};
use crate::{
    domain::{
        decision::RevocationCause,
        event::{Booked, EntryKind, Reserved, Settled},
        id::{KeyId, MemberId, Model, OrderId, TeamId},
        money::Nanos,
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
    Released { reason: SmolStr },
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
        let (usage, held, expire_time) = (reservation.usage(), reservation.held(), reservation.expire_time());
        let (progress, revoked) = (reservation.progress(), reservation.revoked().cloned().map(Box::new));
        let Reservation { no, admit_time, reserved, changed: _, end, sequence } = reservation;
        let end = end.map(KeptEnd::from);
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
        Self { no, admit_time, reserved, changed, end: end.map(End::from), sequence }
    }
}

impl From<End> for KeptEnd {
    fn from(end: End) -> Self {
        match end {
            End::Committed(settlement) => {
                let kind = if settlement.late { EntryKind::LateCommit } else { EntryKind::Commit };
                Self::Committed(whole(&settlement, kind))
            }
            End::Released { reason } => Self::Released { reason },
            End::Expired { charged } => Self::Expired { charged },
        }
    }
}

impl From<KeptEnd> for End {
    fn from(end: KeptEnd) -> Self {
        match end {
            KeptEnd::Committed(settled) => Self::Committed(Arc::new(Settlement::from(&*settled))),
            KeptEnd::Released { reason } => Self::Released { reason },
            KeptEnd::Expired { charged } => Self::Expired { charged },
        }
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
    let Settlement { fingerprint, total, overage, entry, balance, late: _ } = *settlement;
    Arc::new(Settled {
        entry,
        kind,
        reservation: None,
        request: None,
        fingerprint,
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
        overage,
        wallet: Nanos::ZERO,
        balance,
        touches: Arc::default(),
        labels: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{decision::DenialCode, money::Factor, policy::Scope};

    const ADMITTED: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn reservation() -> Reservation {
        let reserved = Reserved {
            request: None,
            fingerprint: 3,
            key: KeyId::trusted("k"),
            model: Model::trusted("m"),
            price: None,
            factor: Factor::ONE,
            usage: Usage { output_tokens: 9, requests: 1, ..Usage::default() },
            held: Amounts { tokens: 9, requests: 1, ..Amounts::ZERO },
            wallet: true,
            touches: Arc::default(),
            expire_time: ADMITTED,
            holder: None,
            labels: None,
        };
        Reservation::open(ReservationNo { epoch: 1, sequence: 5 }, ADMITTED, Arc::new(reserved), 5)
    }

    fn settled(kind: EntryKind) -> Arc<Settled> {
        let total = Amounts { usd: Nanos::new(7), tokens: 70, ..Amounts::ZERO };
        let overage = Amounts { tokens: 61, ..Amounts::ZERO };
        let settlement =
            Settlement { fingerprint: 4, total, overage, entry: Some(8), balance: Nanos::new(93), late: false };
        let whole = (*whole(&settlement, kind)).clone();
        Arc::new(Settled { key: KeyId::trusted("k"), model: Model::trusted("m"), ..whole })
    }

    fn read<T: for<'de> Deserialize<'de>>(value: &impl Serialize) -> T {
        postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
    }

    #[test]
    fn a_snapshot_holds_a_reservation_as_it_stands() {
        let mut changed = reservation();
        let cause =
            RevocationCause { code: DenialCode::BudgetExceeded, scope: Scope::Key, scope_id: "k".into(), limit: None };
        changed.revoke(&cause, ADMITTED);
        let ends = [
            None,
            Some(End::Committed(Arc::new(Settlement::from(&*settled(EntryKind::LateCommit))))),
            Some(End::Released { reason: "unused".into() }),
            Some(End::Expired { charged: Some(settled(EntryKind::Expiry)) }),
        ];
        for reservation in [reservation(), changed] {
            for end in ends.clone() {
                let before = Reservation { end, ..reservation.clone() };
                let after: Reservation = read(&before);
                assert_eq!(after, before);
                assert_eq!(after.changed.is_some(), before.changed.is_some(), "a box for what was changed only");
            }
        }
    }

    #[test]
    fn a_settlement_that_was_kept_whole_answers_its_repeats() {
        let kept = KeptEnd::Committed(settled(EntryKind::LateCommit));
        let End::Committed(settlement) = End::from(read::<KeptEnd>(&kept)) else { panic!("not committed") };
        let expected = Settlement::from(&*settled(EntryKind::LateCommit));
        assert_eq!((*settlement, settlement.charged(true).late), (expected, true));
        let Taken::Charge(charge) = read::<Taken>(&KeptTaken::Charge(settled(EntryKind::Charge))) else {
            panic!("no charge")
        };
        assert_eq!((charge.fingerprint, charge.charged(true).entry, charge.charged(true).late), (4, 8, false));
    }
}
