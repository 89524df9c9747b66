//! A hold, from its grant until memory forgets how it ended.
//!
//! There are millions of them, so each takes little: what most holds never have stands in a box of its own, and of what was
//! committed or released only what answers repeats is kept.

use std::{num::NonZeroU64, sync::Arc};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::domain::{
    decision::{Charged, Granted, ReservationState, Revocation, RevocationCause},
    entity::ExpiryPolicy,
    event::{EntryKind, Extended, Reserved, Settled},
    id::{KeyId, Model, RequestId},
    money::Nanos,
    reservation_id::ReservationNo,
    time::Timestamp,
    usage::{Amounts, Usage},
};

mod kept;

pub(super) use kept::KeptTaken;

/// What is known under a reservation's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "kept::KeptReservation", into = "kept::KeptReservation")]
pub enum Reservation {
    Hold(Box<Hold>),
    /// Shared with the copies that snapshots are made of: it never changes any more.
    Ended(Arc<Ended>),
}

/// A reservation that can still be settled: open, or expired and to be committed late.
#[derive(Debug, Clone)]
pub struct Hold {
    pub no: ReservationNo,
    pub admit_time: Timestamp,
    /// As granted; what Extend renewed is asked for by the methods.
    pub reserved: Arc<Reserved>,
    changed: Option<Box<Changed>>,
    pub expired: Option<Expired>,
    /// Of the last event about it.
    pub sequence: u64,
}

/// That a hold expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    pub charged: Option<Arc<Settled>>,
}

/// A reservation that was committed or released: what answers repeats of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub no: ReservationNo,
    pub admit_time: Timestamp,
    pub request: Option<RequestId>,
    /// Of what was asked to be reserved.
    pub fingerprint: u64,
    pub key: KeyId,
    pub model: Model,
    /// As granted.
    pub expire_time: Timestamp,
    pub output_tokens: u64,
    pub held: Amounts,
    pub end: End,
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

/// Of each, as many are remembered as end in ten minutes.
const _: () = assert!(size_of::<Ended>() + 2 * size_of::<usize>() <= 256, "what is remembered of an end has grown");

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Committed(Settlement),
    /// Of what was held at last, and what of it had been used.
    Released {
        held: Amounts,
        reason: SmolStr,
        charged: Option<Box<Settlement>>,
    },
}

/// What is remembered of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Of the content that was settled with.
    pub fingerprint: u64,
    total: Amounts,
    /// Rarely any.
    overage: Option<Box<Amounts>>,
    entry: Option<NonZeroU64>,
    balance: Nanos,
    late: bool,
}

impl From<&Settled> for Settlement {
    fn from(settled: &Settled) -> Self {
        let Settled { fingerprint, total, overage, entry, balance, kind, .. } = *settled;
        let entry = entry.and_then(NonZeroU64::new);
        let overage = (overage != Amounts::ZERO).then(|| Box::new(overage));
        Self { fingerprint, total, overage, entry, balance, late: kind == EntryKind::LateCommit }
    }
}

impl Settlement {
    pub fn charged(&self, replayed: bool) -> Charged {
        let Self { fingerprint: _, total, overage: _, entry, balance, late } = *self;
        let entry = entry.map_or(0, NonZeroU64::get);
        Charged { charged: total, overage: self.overage(), late, replayed, entry, balance }
    }

    fn overage(&self) -> Amounts {
        self.overage.as_deref().copied().unwrap_or(Amounts::ZERO)
    }
}

impl Reservation {
    pub fn no(&self) -> ReservationNo {
        match self {
            Self::Hold(hold) => hold.no,
            Self::Ended(ended) => ended.no,
        }
    }

    pub fn admit_time(&self) -> Timestamp {
        match self {
            Self::Hold(hold) => hold.admit_time,
            Self::Ended(ended) => ended.admit_time,
        }
    }

    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Hold(hold) => hold.reserved.request.as_ref(),
            Self::Ended(ended) => ended.request.as_ref(),
        }
    }

    /// Of what was asked to be reserved.
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Hold(hold) => hold.reserved.fingerprint,
            Self::Ended(ended) => ended.fingerprint,
        }
    }

    pub fn key(&self) -> &KeyId {
        match self {
            Self::Hold(hold) => &hold.reserved.key,
            Self::Ended(ended) => &ended.key,
        }
    }

    pub fn model(&self) -> &Model {
        match self {
            Self::Hold(hold) => &hold.reserved.model,
            Self::Ended(ended) => &ended.model,
        }
    }

    /// Of the last event about it.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Hold(hold) => hold.sequence,
            Self::Ended(ended) => ended.sequence,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Self::Hold(hold) if hold.is_open())
    }

    /// What its grant said.
    pub fn granted(&self, replayed: bool) -> Granted {
        let (expire_time, output_tokens, held) = match self {
            Self::Hold(hold) => {
                let Reserved { expire_time, usage, held, .. } = *hold.reserved;
                (expire_time, usage.output_tokens, held)
            }
            Self::Ended(ended) => (ended.expire_time, ended.output_tokens, ended.held),
        };
        Granted {
            reservation: self.no(),
            key: self.key().clone(),
            model: self.model().clone(),
            admit_time: self.admit_time(),
            expire_time,
            output_tokens,
            held,
            replayed,
            state: self.state(),
            warnings: Vec::new(),
        }
    }

    fn state(&self) -> ReservationState {
        match self {
            Self::Hold(hold) if hold.expired.is_some() => ReservationState::Expired,
            Self::Hold(hold) if hold.revoked().is_some() => ReservationState::Revoked,
            Self::Hold(_) => ReservationState::Open,
            Self::Ended(ended) => match ended.end {
                End::Committed(_) => ReservationState::Committed,
                End::Released { .. } => ReservationState::Released,
            },
        }
    }
}

/// By what it is, however it is kept.
impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        let whole =
            |it: &Self| (it.no, it.admit_time, it.usage(), it.held(), it.expire_time(), it.progress(), it.sequence);
        whole(self) == whole(other)
            && self.reserved == other.reserved
            && self.revoked() == other.revoked()
            && self.expired == other.expired
    }
}

impl Eq for Hold {}

impl Hold {
    pub fn open(no: ReservationNo, admit_time: Timestamp, reserved: Arc<Reserved>, sequence: u64) -> Self {
        Self { no, admit_time, reserved, changed: None, expired: None, sequence }
    }

    pub fn is_open(&self) -> bool {
        self.expired.is_none()
    }

    /// What is remembered once it has ended.
    pub fn ended(&self, end: End, sequence: u64) -> Ended {
        let Reserved { request, fingerprint, key, model, usage, held, expire_time, .. } = &*self.reserved;
        Ended {
            no: self.no,
            admit_time: self.admit_time,
            request: request.clone(),
            fingerprint: *fingerprint,
            key: key.clone(),
            model: model.clone(),
            expire_time: *expire_time,
            output_tokens: usage.output_tokens,
            held: *held,
            end,
            sequence,
        }
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

    /// Returns true where its usage was once read as one whose cache comes beside the input: then it stays so.
    pub fn cache_is_outside(&self) -> bool {
        let progress = self.changed.as_ref().and_then(|changed| changed.progress);
        self.usage().cache_is_outside() || progress.is_some_and(|(so_far, _)| so_far.cache_is_outside())
    }

    /// What was used so far, and what it comes to.
    pub fn progress(&self) -> Option<(Usage, Amounts)> {
        self.changed.as_ref()?.progress
    }

    /// Returns what it pays when it runs out: the progress it reported, or all that it held.
    pub fn owed_at_expiry(&self, policy: ExpiryPolicy) -> Option<(Usage, Amounts)> {
        match policy {
            ExpiryPolicy::Release => self.progress(),
            // The hold covers every progress reported: an Extend raises it where it doesn't.
            ExpiryPolicy::ChargeHeld if self.held() == Amounts::ZERO => self.progress(),
            ExpiryPolicy::ChargeHeld => Some((self.usage(), self.held())),
        }
    }

    /// Why it is to be stopped, and since when.
    pub fn revoked(&self) -> Option<&(RevocationCause, Timestamp)> {
        self.changed.as_ref()?.revoked.as_deref()
    }

    pub(super) fn extend(&mut self, extended: &Extended) {
        let Extended { reservation: _, expire_time, usage, held, drawn: _, progress } = *extended;
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
