//! A hold, from its grant until memory forgets how it ended.
//!
//! There are millions of them, so each takes little: what most holds never have stands in a box of its own, and of a settlement
//! only what answers its repeats is kept.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::domain::{
    decision::{Charged, ReservationState, Revocation, RevocationCause},
    event::{EntryKind, Extended, Reserved, Settled},
    money::Nanos,
    reservation_id::ReservationNo,
    time::Timestamp,
    usage::{Amounts, Usage},
};

mod kept;

pub(super) use kept::KeptTaken;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "kept::KeptReservation", into = "kept::KeptReservation")]
pub struct Reservation {
    pub no: ReservationNo,
    pub admit_time: Timestamp,
    /// As granted; what Extend renewed is asked for by the methods.
    pub reserved: Arc<Reserved>,
    changed: Option<Box<Changed>>,
    pub end: Option<End>,
    /// Of the last event about it.
    pub sequence: u64,
}

/// What is another than it was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changed {
    usage: Usage,
    held: Amounts,
    expire_time: Timestamp,
    progress: Option<(Usage, Amounts)>,
    revoked: Option<Box<(RevocationCause, Timestamp)>>,
}

/// How a reservation ended. An expired one may still be committed, late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Committed(Arc<Settlement>),
    Released { reason: SmolStr },
    Expired { charged: Option<Arc<Settled>> },
}

/// What is remembered of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Of the content that was settled with.
    pub fingerprint: u64,
    total: Amounts,
    overage: Amounts,
    entry: Option<u64>,
    balance: Nanos,
    late: bool,
}

impl From<&Settled> for Settlement {
    fn from(settled: &Settled) -> Self {
        let Settled { fingerprint, total, overage, entry, balance, kind, .. } = *settled;
        Self { fingerprint, total, overage, entry, balance, late: kind == EntryKind::LateCommit }
    }
}

impl Settlement {
    pub fn charged(&self, replayed: bool) -> Charged {
        let Self { fingerprint: _, total, overage, entry, balance, late } = *self;
        Charged { charged: total, overage, late, replayed, entry: entry.unwrap_or(0), balance }
    }
}

/// By what it is, however it is kept.
impl PartialEq for Reservation {
    fn eq(&self, other: &Self) -> bool {
        let whole =
            |it: &Self| (it.no, it.admit_time, it.usage(), it.held(), it.expire_time(), it.progress(), it.sequence);
        whole(self) == whole(other)
            && self.reserved == other.reserved
            && self.revoked() == other.revoked()
            && self.end == other.end
    }
}

impl Eq for Reservation {}

impl Reservation {
    pub fn open(no: ReservationNo, admit_time: Timestamp, reserved: Arc<Reserved>, sequence: u64) -> Self {
        Self { no, admit_time, reserved, changed: None, end: None, sequence }
    }

    /// What is held for.
    pub fn usage(&self) -> Usage {
        self.changed.as_ref().map_or(self.reserved.usage, |changed| changed.usage)
    }

    pub fn held(&self) -> Amounts {
        self.changed.as_ref().map_or(self.reserved.held, |changed| changed.held)
    }

    pub fn expire_time(&self) -> Timestamp {
        self.changed.as_ref().map_or(self.reserved.expire_time, |changed| changed.expire_time)
    }

    /// What was used so far, and what it comes to.
    pub fn progress(&self) -> Option<(Usage, Amounts)> {
        self.changed.as_ref()?.progress
    }

    /// Why it is to be stopped, and since when.
    pub fn revoked(&self) -> Option<&(RevocationCause, Timestamp)> {
        self.changed.as_ref()?.revoked.as_deref()
    }

    pub(super) fn extend(&mut self, extended: &Extended) {
        let Extended { reservation: _, expire_time, usage, held, progress } = *extended;
        let changed = self.changed();
        (changed.expire_time, changed.usage, changed.held) = (expire_time, usage, held);
        changed.progress = progress.or(changed.progress);
    }

    pub(super) fn revoke(&mut self, cause: &RevocationCause, time: Timestamp) {
        self.changed().revoked = Some(Box::new((cause.clone(), time)));
    }

    fn changed(&mut self) -> &mut Changed {
        let Reserved { usage, held, expire_time, .. } = *self.reserved;
        let granted = || Box::new(Changed { usage, held, expire_time, progress: None, revoked: None });
        self.changed.get_or_insert_with(granted)
    }

    pub fn state(&self) -> ReservationState {
        match &self.end {
            None if self.revoked().is_some() => ReservationState::Revoked,
            None => ReservationState::Open,
            Some(End::Committed(_)) => ReservationState::Committed,
            Some(End::Released { .. }) => ReservationState::Released,
            Some(End::Expired { .. }) => ReservationState::Expired,
        }
    }

    /// The order to stop it, if there is one.
    pub fn revocation(&self) -> Option<Revocation> {
        let (cause, time) = self.revoked()?;
        Some(Revocation {
            reservation: self.no,
            request: self.reserved.request.clone(),
            key: self.reserved.key.clone(),
            model: self.reserved.model.clone(),
            admit_time: self.admit_time,
            holder: self.reserved.holder.clone(),
            cause: cause.clone(),
            time: *time,
        })
    }
}
