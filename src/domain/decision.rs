//! What callers are told: grants, denials and the state of limits.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{
    id::{Holder, KeyId, LimitId, Model, RequestId},
    period::Period,
    policy::{Scope, Unit},
    reservation_id::ReservationNo,
    time::{Span, Timestamp},
    usage::Amounts,
};

/// Why a request can't run, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DenialCode {
    KeyUnknown,
    KeyDisabled,
    KeyExpired,
    MemberInactive,
    TeamInactive,
    OrganizationInactive,
    ModelNotAllowed,
    ModelUnpriced,
    OutsideTimeWindow,
    ConcurrencyExceeded,
    RateLimitExceeded,
    BudgetExceeded,
    WalletInsufficient,
    /// Extend only.
    Revoked,
    /// Extend only.
    ReservationExpired,
}

impl DenialCode {
    /// The status that a gateway should answer its own client with.
    pub fn http_status(self) -> u16 {
        match self {
            Self::KeyUnknown | Self::KeyDisabled | Self::KeyExpired => 401,
            Self::WalletInsufficient => 402,
            Self::MemberInactive
            | Self::TeamInactive
            | Self::OrganizationInactive
            | Self::ModelNotAllowed
            | Self::OutsideTimeWindow => 403,
            Self::ModelUnpriced => 400,
            Self::ConcurrencyExceeded
            | Self::RateLimitExceeded
            | Self::BudgetExceeded
            | Self::Revoked
            | Self::ReservationExpired => 429,
        }
    }

    /// The message that a gateway should pass on.
    pub fn message(self) -> &'static str {
        match self {
            Self::KeyUnknown | Self::KeyDisabled | Self::KeyExpired => "Invalid API key",
            Self::MemberInactive | Self::TeamInactive | Self::OrganizationInactive | Self::ModelNotAllowed => {
                "Not allowed"
            }
            Self::ModelUnpriced => "Unknown model",
            Self::OutsideTimeWindow => "Outside the allowed hours",
            Self::ConcurrencyExceeded | Self::RateLimitExceeded => "Rate limit exceeded",
            Self::BudgetExceeded => "Budget exceeded",
            Self::WalletInsufficient => "Insufficient balance",
            Self::Revoked => "Stopped: the request was revoked",
            Self::ReservationExpired => "Stopped: the reservation has expired",
        }
    }
}

/// A limit as it stands. Amounts are in the unit's own smallest step: nano-units, requests or tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    pub scope: Scope,
    pub scope_id: SmolStr,
    pub limit: Option<LimitId>,
    pub unit: Unit,
    pub period: Option<Period>,
    pub max: Option<i64>,
    pub soft: Option<i64>,
    pub spent: i64,
    pub held: i64,
    pub reset_time: Option<Timestamp>,
    /// False where credits aren't tracked.
    pub binding: bool,
}

impl LimitState {
    pub fn remaining(&self) -> Option<i64> {
        self.max.map(|max| max.saturating_sub(self.spent).saturating_sub(self.held))
    }
}

/// One check or limit that a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub code: DenialCode,
    pub at: Violated,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violated {
    /// A state, such as a disabled key: where it stands.
    State(Scope, SmolStr),
    /// A limit, and what the request needs of it.
    Limit { state: LimitState, asked: i64 },
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub code: DenialCode,
    pub message: String,
    /// `None` when waiting doesn't help.
    pub retry: Option<Retry>,
    pub violations: Vec<Violation>,
}

/// Says when to ask again for what was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The wait after which it is granted if nothing else happens.
    pub after: Span,
    /// Holds are in the way, which usually end before they run out.
    pub may_be_sooner: bool,
    /// It may still be refused then: nobody knows when it fits, or finding out would take too long.
    pub at_least: bool,
}

impl Denial {
    /// A refusal for the violations, which come in the order of the checks; without a wait.
    pub fn of(violations: Vec<Violation>) -> Self {
        let code = violations.first().map_or(DenialCode::KeyUnknown, |first| first.code);
        Self { code, message: code.message().to_owned(), retry: None, violations }
    }

    pub fn state(code: DenialCode, scope: Scope, id: impl Into<SmolStr>) -> Self {
        Self::of(vec![Violation { code, at: Violated::State(scope, id.into()) }])
    }

    pub fn retry_after(&self) -> Option<Span> {
        self.retry.map(|retry| retry.after)
    }
}

/// What ended a reservation, or hasn't yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReservationState {
    Open,
    Revoked,
    Committed,
    Released,
    Expired,
}

/// A granted hold, as the engine answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub reservation: ReservationNo,
    pub key: KeyId,
    pub model: Model,
    pub admit_time: Timestamp,
    pub expire_time: Timestamp,
    pub output_tokens: u64,
    pub held: Amounts,
    pub replayed: bool,
    pub state: ReservationState,
    pub warnings: Vec<LimitState>,
}

/// Settled usage, as the engine answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    pub charged: Amounts,
    pub overage: Amounts,
    pub late: bool,
    pub replayed: bool,
    /// 0 where a late commit changed nothing.
    pub entry: u64,
    pub balance: super::money::Nanos,
}

/// A hold that was given back, as the engine answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// What was held and isn't charged.
    pub released: Amounts,
    /// What had been reported as used; zero where nothing was.
    pub charged: Amounts,
    /// 0 where nothing was charged.
    pub entry: u64,
    pub balance: super::money::Nanos,
    pub replayed: bool,
}

/// What made running work stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationCause {
    pub code: DenialCode,
    pub scope: Scope,
    pub scope_id: SmolStr,
    pub limit: Option<LimitId>,
}

/// The order to stop a running request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub reservation: ReservationNo,
    /// `None` where a crash forgot it.
    pub request: Option<RequestId>,
    pub key: KeyId,
    pub model: Model,
    pub admit_time: Timestamp,
    pub holder: Option<Holder>,
    pub cause: RevocationCause,
    pub time: Timestamp,
}
