//! A hold, from its grant until memory forgets how it ended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::domain::{
    decision::{ReservationState, Revocation, RevocationCause},
    event::{Reserved, Settled},
    reservation_id::ReservationNo,
    time::Timestamp,
    usage::{Amounts, Usage},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub no: ReservationNo,
    pub admit_time: Timestamp,
    /// As granted; what Extend renews stands below.
    pub reserved: Arc<Reserved>,
    /// What is held for.
    pub usage: Usage,
    pub held: Amounts,
    pub expire_time: Timestamp,
    /// What was used so far, and what it comes to.
    pub progress: Option<(Usage, Amounts)>,
    pub revoked: Option<Box<(RevocationCause, Timestamp)>>,
    pub end: Option<End>,
    /// Of the last event about it.
    pub sequence: u64,
}

/// How a reservation ended. An expired one may still be committed, late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Committed(Arc<Settled>),
    Released { reason: SmolStr },
    Expired { charged: Option<Arc<Settled>> },
}

impl Reservation {
    pub fn open(no: ReservationNo, admit_time: Timestamp, reserved: Arc<Reserved>, sequence: u64) -> Self {
        let Reserved { usage, held, expire_time, .. } = *reserved;
        Self { no, admit_time, reserved, usage, held, expire_time, progress: None, revoked: None, end: None, sequence }
    }

    pub fn state(&self) -> ReservationState {
        match &self.end {
            None if self.revoked.is_some() => ReservationState::Revoked,
            None => ReservationState::Open,
            Some(End::Committed(_)) => ReservationState::Committed,
            Some(End::Released { .. }) => ReservationState::Released,
            Some(End::Expired { .. }) => ReservationState::Expired,
        }
    }

    /// The order to stop it, if there is one.
    pub fn revocation(&self) -> Option<Revocation> {
        let (cause, time) = self.revoked.as_deref()?;
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
