//! What a failed call answers: a status with `google.rpc.ErrorInfo`, and `BadRequest` where a field is wrong.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    domain::error::{Exhausted, Invalid, SumTooLarge},
    service::{Conflict, Error, WouldRestart},
};

#[cfg(test)]
mod tests;

const DOMAIN: &str = "quotad";

pub(super) fn status(error: Error) -> Status {
    let message = error.to_string();
    match error {
        Error::Invalid(invalid) => invalid_argument(invalid),
        Error::Conflict(conflict) => of_conflict(conflict),
        Error::TokenMissing => with_reason(Code::Unauthenticated, "TOKEN_MISSING", message),
        Error::TokenUnknown => with_reason(Code::Unauthenticated, "TOKEN_UNKNOWN", message),
        Error::PermissionDenied(_) => with_reason(Code::PermissionDenied, "PERMISSION_DENIED", message),
        Error::NotFound { kind, id } => of_entity(Code::NotFound, "NOT_FOUND", message, kind, id),
        Error::Gone { kind, id } => gone(message, kind, id),
        Error::Exists { kind, id } => of_entity(Code::AlreadyExists, "ALREADY_EXISTS", message, kind, id),
        Error::Exhausted(exhausted) => rate_limited(exhausted),
        Error::JournalFailed => with_reason(Code::Unavailable, "JOURNAL_FAILED", message),
        Error::JournalFull => with_reason(Code::Unavailable, "JOURNAL_FULL", message),
        Error::Overloaded(overload) => {
            detailed(Code::Unavailable, "OVERLOADED", message, [("cause", overload.name().to_owned())])
        }
        Error::DiskUnavailable(_) => with_reason(Code::Unavailable, "DISK_UNAVAILABLE", message),
        Error::StoreUnavailable(_) => with_reason(Code::Unavailable, "STORE_UNAVAILABLE", message),
        Error::Internal(what) => {
            tracing::error!(%what, "a call failed for a reason of the server's own");
            let message = "the server failed to answer; its log says why";
            with_reason(Code::Internal, "INTERNAL", message)
        }
    }
}

fn of_conflict(conflict: Conflict) -> Status {
    let message = conflict.to_string();
    match conflict {
        Conflict::Invalid(invalid) => invalid_argument(invalid),
        Conflict::SumTooLarge(SumTooLarge { what }) => {
            detailed(Code::OutOfRange, "SUM_TOO_LARGE", message, [("what", what)])
        }
        Conflict::RequestReused(id) => {
            let metadata = [("request_id", id.to_string())];
            detailed(Code::AlreadyExists, "REQUEST_ID_REUSED", message, metadata)
        }
        Conflict::SettledOtherwise => with_reason(Code::AlreadyExists, "SETTLED_OTHERWISE", message),
        Conflict::Exists { kind, id } => of_entity(Code::AlreadyExists, "ALREADY_EXISTS", message, kind, id),
        Conflict::Deleted { kind, id } => of_entity(Code::AlreadyExists, "ID_DELETED", message, kind, id),
        Conflict::ReservationUnknown => with_reason(Code::NotFound, "RESERVATION_NOT_FOUND", message),
        Conflict::NotFound { kind, id } => of_entity(Code::NotFound, "NOT_FOUND", message, kind, id),
        Conflict::Gone { kind, id } => gone(message, kind, id),
        Conflict::ReservationCommitted => with_reason(Code::FailedPrecondition, "RESERVATION_COMMITTED", message),
        Conflict::ReservationReleased => with_reason(Code::FailedPrecondition, "RESERVATION_RELEASED", message),
        Conflict::ReservationExpired => with_reason(Code::FailedPrecondition, "RESERVATION_EXPIRED", message),
        Conflict::ReservationTooOld => with_reason(Code::FailedPrecondition, "RESERVATION_TOO_OLD", message),
        Conflict::TeamAccountRequired { .. } => with_reason(Code::FailedPrecondition, "TEAM_ACCOUNT_REQUIRED", message),
        Conflict::RuleInUse { id, keys, .. } => {
            let metadata = [("rule_id", id.to_string()), ("keys", keys.to_string())];
            detailed(Code::FailedPrecondition, "RULE_IN_USE", message, metadata)
        }
        Conflict::LastOwner(id) => of_entity(Code::FailedPrecondition, "LAST_OWNER", message, "member", id.to_string()),
        Conflict::EmailTaken { member, .. } => {
            of_entity(Code::AlreadyExists, "EMAIL_TAKEN", message, "member", member.to_string())
        }
        Conflict::TooMany { what, max } => detailed(
            Code::FailedPrecondition,
            "TOO_MANY",
            message,
            [("what", what.to_owned()), ("max", max.to_string())],
        ),
        Conflict::Exhausted(exhausted) => rate_limited(exhausted),
        Conflict::StaleEtag { .. } => with_reason(Code::Aborted, "ETAG_STALE", message),
        Conflict::Suspended => with_reason(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED", message),
        Conflict::NotYours(_) | Conflict::ManagersOnly { .. } => {
            with_reason(Code::PermissionDenied, "PERMISSION_DENIED", message)
        }
        Conflict::WouldRestartSpending(WouldRestart { scope, scope_id, limit, spent, unit }) => detailed(
            Code::FailedPrecondition,
            "WOULD_RESTART_SPENDING",
            message,
            [
                ("scope", scope.name().to_owned()),
                ("scope_id", scope_id.into()),
                ("limit_id", limit.into()),
                ("spent", spent),
                ("unit", unit.to_owned()),
            ],
        ),
        Conflict::SettlementOpen { entry, .. } => {
            detailed(Code::FailedPrecondition, "SETTLEMENT_OPEN", message, [("entry", entry.to_string())])
        }
        Conflict::Precondition(_) => with_reason(Code::FailedPrecondition, "FAILED_PRECONDITION", message),
    }
}

/// The server is stopping and lets nothing new in.
pub(super) fn stopping() -> Status {
    let message = "the server is stopping; connect again, a reservation outlives its connection";
    with_reason(Code::Unavailable, "STOPPING", message)
}

/// Ends the stream of a watcher that reads too slowly.
pub(super) fn lagged() -> Status {
    let message = "too many revocations were left unread; watch again, which first sends what is revoked already";
    with_reason(Code::Aborted, "REVOCATIONS_UNREAD", message)
}

/// What tonic calls internal when a request can't be decoded is the caller's mistake.
pub(super) fn blame_caller(status: Status) -> Status {
    const UNDECODABLE: &str = "failed to decode Protobuf message";
    match status.message().strip_prefix(UNDECODABLE) {
        Some(why) if status.code() == Code::Internal => {
            let problem = format!("isn't the message of this method{why}");
            invalid_argument(Invalid::new("request", problem))
        }
        _ => status,
    }
}

fn invalid_argument(Invalid { field, problem, is_absurd }: Invalid) -> Status {
    let message = format!("{field}: {problem}");
    let mut details = ErrorDetails::with_bad_request_violation(field.as_str(), problem);
    let reason = if is_absurd { "USAGE_ABSURD" } else { "INVALID_ARGUMENT" };
    details.set_error_info(reason, DOMAIN, HashMap::from([(String::from("field"), field)]));
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn rate_limited(exhausted: Exhausted) -> Status {
    let Exhausted { what, max, retry_after } = exhausted;
    let wait = Duration::from_micros(retry_after.as_micros().try_into().unwrap_or(0));
    let metadata = HashMap::from([(String::from("what"), what.to_owned()), (String::from("max"), max.to_string())]);
    let mut details = ErrorDetails::with_error_info("RATE_LIMITED", DOMAIN, metadata);
    details.set_retry_info(Some(wait));
    Status::with_error_details(Code::ResourceExhausted, exhausted.to_string(), details)
}

/// Not found, for programs; people hear that it was there.
fn gone(message: String, kind: &str, id: String) -> Status {
    let metadata = [("kind", kind.to_owned()), ("id", id), ("deleted", String::from("true"))];
    detailed(Code::NotFound, "NOT_FOUND", message, metadata)
}

fn of_entity(code: Code, reason: &str, message: String, kind: &str, id: String) -> Status {
    detailed(code, reason, message, [("kind", kind.to_owned()), ("id", id)])
}

pub(super) fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    detailed(code, reason, message, [])
}

fn detailed<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// The same status as a message, for answers in band.
pub(super) fn in_band(status: &Status) -> tonic_types::Status {
    use prost::Message as _;
    match tonic_types::Status::decode(status.details()) {
        Ok(decoded) if decoded.code != 0 => decoded,
        _ => tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Vec::new(),
        },
    }
}
