//! Why an operation can't be carried out, where the answer isn't a denial.

use smol_str::SmolStr;

use crate::domain::{
    error::{Exhausted, Invalid, SumTooLarge},
    id::{MemberId, RequestId, RuleId},
    policy::Scope,
    time::Timestamp,
};

/// Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    SumTooLarge(#[from] SumTooLarge),
    #[error("request_id {0} was used before, for something else; use a new one for a new request")]
    RequestReused(RequestId),
    /// Memory doesn't know it; the books may.
    #[error("no such reservation; it may never have been granted, or belongs to somebody else")]
    ReservationUnknown,
    #[error("the reservation was settled before, with other content; a settlement can't be changed")]
    SettledOtherwise,
    #[error("the reservation was committed; it can't be released or extended any more")]
    ReservationCommitted,
    #[error("the reservation was released; it can't be committed or extended any more")]
    ReservationReleased,
    #[error(
        "the reservation expired and its hold was charged; commit what was really used, which books the difference"
    )]
    ReservationExpired,
    #[error("the reservation was admitted more than 24 hours ago; book what is left as a Charge")]
    ReservationTooOld,
    /// An entity with this id exists or existed.
    #[error("{kind} {id} exists already; choose another id")]
    Exists { kind: &'static str, id: String },
    #[error("{kind} {id} was deleted; its id stays in the ledger, choose another")]
    Deleted { kind: &'static str, id: String },
    #[error("no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    /// What [`Self::Deleted`] is to a new one, this is to a change of the old one.
    #[error("{kind} {id} was deleted")]
    Gone { kind: &'static str, id: String },
    #[error("{what} needs a team account; this one is personal: convert it first")]
    TeamAccountRequired { what: &'static str },
    #[error("rule {id} is in use by {keys} {}{}; bind them to another first", if *keys == 1 { "key" } else { "keys" }, if *is_default { " and is the organization's default" } else { "" })]
    RuleInUse { id: RuleId, keys: u32, is_default: bool },
    #[error("{0} is the last active owner; make another member an owner first")]
    LastOwner(MemberId),
    #[error("{email} is the address of member {member} already")]
    EmailTaken { email: String, member: MemberId },
    #[error("the organization has {max} {what}, as many as it may; remove some or ask the operator for more")]
    TooMany { what: &'static str, max: u32 },
    /// Time cures it, where removal cures [`Self::TooMany`].
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("the etag {given} is stale: it was changed meanwhile; read it again, its etag is {current} now")]
    StaleEtag { given: String, current: String },
    #[error("the organization is suspended by the operator; nothing is ordered until the operator lifts that")]
    Suspended,
    #[error(
        "{what} of this key was set by somebody else than its member; an owner or admin of the organization changes it"
    )]
    ManagersOnly { what: &'static str },
    /// It is somebody else's to decide.
    #[error("{0}")]
    NotYours(String),
    #[error(
        "entry {entry} can't be corrected before {until}: a late Commit of its reservation may still book the difference; commit it first"
    )]
    SettlementOpen { entry: u64, until: Timestamp },
    /// A limit counts something that it would forget.
    #[error(transparent)]
    WouldRestartSpending(#[from] WouldRestart),
    /// The entity can't be changed while something else is as it is.
    #[error("{0}")]
    Precondition(String),
}

/// A limit that would count from zero, and what it counts now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "limit {limit} of {} {scope_id} counts {spent} {unit} at present and would count from zero with another period, zone, week \
     start or unit; set restart_spending in the request if it may",
    scope.name()
)]
pub struct WouldRestart {
    pub scope: Scope,
    pub scope_id: SmolStr,
    pub limit: SmolStr,
    /// With what is held.
    pub spent: String,
    pub unit: &'static str,
}
