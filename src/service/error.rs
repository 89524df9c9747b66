//! Why a call can't be answered.

use crate::{
    domain::error::{Exhausted, Invalid},
    engine::conflict::Conflict,
    journal::{JournalError, writer::JournalFailed},
    store::StoreError,
    telemetry::Overload,
};

/// Nothing was changed, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("no bearer token; send `authorization: Bearer TOKEN`")]
    TokenMissing,
    #[error("the bearer token is unknown or has expired")]
    TokenUnknown,
    #[error("{0}")]
    PermissionDenied(String),
    #[error("no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    #[error("{kind} {id} was deleted")]
    Gone { kind: &'static str, id: String },
    #[error("{kind} {id} exists already; choose another id")]
    Exists { kind: &'static str, id: String },
    /// The change may have been made; the same request tells, once the disk takes writes again.
    #[error("the journal can't be written at present; try again")]
    JournalFailed,
    #[error("the local disk can't be read or written at present: {0}; try again")]
    DiskUnavailable(String),
    #[error(
        "the journal has reached its size limit, because the books can't be written: only what is held already can be settled; \
         try again when they follow"
    )]
    JournalFull,
    #[error("{0}")]
    Exhausted(#[from] Exhausted),
    #[error("{}; try again", what_lags(*.0))]
    Overloaded(Overload),
    #[error("the books can't be asked at present: {0}; try again")]
    StoreUnavailable(String),
    #[error("{0}")]
    Internal(String),
}

fn what_lags(overload: Overload) -> &'static str {
    match overload {
        Overload::Turn => "more is asked than this server can do at present",
        Overload::Journal => "more is asked than the journal's disk can take at present",
        Overload::Books => "the books can't follow what is asked; what is new may begin as they do",
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) | StoreError::Unfit(why) => Self::StoreUnavailable(why),
            StoreError::Damaged(what) => Self::Internal(what),
            fenced @ StoreError::Fenced { .. } => Self::Internal(fenced.to_string()),
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io(why) => Self::DiskUnavailable(why),
            damaged @ JournalError::Damaged(_) => Self::Internal(damaged.to_string()),
        }
    }
}

impl From<JournalFailed> for Error {
    fn from(_: JournalFailed) -> Self {
        Self::JournalFailed
    }
}
