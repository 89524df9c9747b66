use super::*;
use crate::{
    domain::{id::RequestId, time::Span},
    telemetry::Overload,
};

const EXHAUSTED: Exhausted = Exhausted { what: "mails in an hour", max: 20, retry_after: Span::micros(1_500_000) };

fn every_error() -> Vec<(Error, Code, &'static str)> {
    let id = || String::from("x");
    let conflict = Error::Conflict;
    vec![
        (Error::Invalid(Invalid::new("a.b", "is wrong")), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (conflict(Conflict::Invalid(Invalid::new("a", "is wrong"))), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (conflict(Conflict::RequestReused(RequestId::trusted("r"))), Code::AlreadyExists, "REQUEST_ID_REUSED"),
        (conflict(Conflict::SettledOtherwise), Code::AlreadyExists, "SETTLED_OTHERWISE"),
        (conflict(Conflict::Exists { kind: "team", id: id() }), Code::AlreadyExists, "ALREADY_EXISTS"),
        (conflict(Conflict::Deleted { kind: "team", id: id() }), Code::AlreadyExists, "ID_DELETED"),
        (conflict(Conflict::ReservationUnknown), Code::NotFound, "RESERVATION_NOT_FOUND"),
        (conflict(Conflict::NotFound { kind: "team", id: id() }), Code::NotFound, "NOT_FOUND"),
        (conflict(Conflict::ReservationCommitted), Code::FailedPrecondition, "RESERVATION_COMMITTED"),
        (conflict(Conflict::ReservationReleased), Code::FailedPrecondition, "RESERVATION_RELEASED"),
        (conflict(Conflict::ReservationExpired), Code::FailedPrecondition, "RESERVATION_EXPIRED"),
        (conflict(Conflict::ReservationTooOld), Code::FailedPrecondition, "RESERVATION_TOO_OLD"),
        (conflict(Conflict::Precondition(id())), Code::FailedPrecondition, "FAILED_PRECONDITION"),
        (conflict(Conflict::TeamAccountRequired { what: "x" }), Code::FailedPrecondition, "TEAM_ACCOUNT_REQUIRED"),
        (conflict(Conflict::TooMany { what: "keys", max: 1 }), Code::FailedPrecondition, "TOO_MANY"),
        (conflict(Conflict::StaleEtag { given: id(), current: id() }), Code::Aborted, "ETAG_STALE"),
        (Error::TokenMissing, Code::Unauthenticated, "TOKEN_MISSING"),
        (Error::TokenUnknown, Code::Unauthenticated, "TOKEN_UNKNOWN"),
        (Error::PermissionDenied(id()), Code::PermissionDenied, "PERMISSION_DENIED"),
        (Error::NotFound { kind: "team", id: id() }, Code::NotFound, "NOT_FOUND"),
        (Error::Gone { kind: "team", id: id() }, Code::NotFound, "NOT_FOUND"),
        (conflict(Conflict::Gone { kind: "team", id: id() }), Code::NotFound, "NOT_FOUND"),
        (Error::Exists { kind: "team", id: id() }, Code::AlreadyExists, "ALREADY_EXISTS"),
        (Error::Exhausted(EXHAUSTED), Code::ResourceExhausted, "RATE_LIMITED"),
        (conflict(Conflict::Exhausted(EXHAUSTED)), Code::ResourceExhausted, "RATE_LIMITED"),
        (Error::JournalFailed, Code::Unavailable, "JOURNAL_FAILED"),
        (Error::JournalFull, Code::Unavailable, "JOURNAL_FULL"),
        (Error::Overloaded(Overload::Turn), Code::Unavailable, "OVERLOADED"),
        (Error::DiskUnavailable(id()), Code::Unavailable, "DISK_UNAVAILABLE"),
        (Error::StoreUnavailable(id()), Code::Unavailable, "STORE_UNAVAILABLE"),
        (Error::Internal(id()), Code::Internal, "INTERNAL"),
    ]
}

#[test]
fn every_error_says_its_reason_to_programs() {
    for (error, code, reason) in every_error() {
        let status = status(error);
        assert_eq!(status.code(), code, "{reason}");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("quotad", reason));
        assert!(!status.message().is_empty(), "{reason}");
    }
}

#[test]
fn an_overload_tells_what_cannot_keep_up() {
    let told = Overload::ALL.map(|overload| {
        let status = status(Error::Overloaded(overload));
        let cause = status.get_error_details().error_info().unwrap().metadata["cause"].clone();
        (status.code(), cause, status.message().to_owned())
    });
    assert_eq!(
        told.clone().map(|(code, cause, _)| (code, cause)),
        ["turn", "journal", "books"].map(|cause| (Code::Unavailable, cause.to_owned()))
    );
    let messages: std::collections::BTreeSet<_> = told.into_iter().map(|(_, _, message)| message).collect();
    assert_eq!(messages.len(), Overload::ALL.len(), "{messages:?}");
}

#[test]
fn a_wrong_field_is_named() {
    let status = status(Error::Invalid(Invalid::new("usage.cost_usd", "is negative")));
    let details = status.get_error_details();
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert_eq!((violation.field.as_str(), violation.description.as_str()), ("usage.cost_usd", "is negative"));
    assert_eq!(status.message(), "usage.cost_usd: is negative");
}

#[test]
fn what_time_cures_says_how_long_to_wait() {
    let details = status(Error::Exhausted(EXHAUSTED)).get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((metadata["what"].as_str(), metadata["max"].as_str()), ("mails in an hour", "20"));
}

#[test]
fn what_broke_inside_stays_inside() {
    let status = status(Error::Internal(String::from("page 17 of the journal")));
    assert!(!status.message().contains("journal"));
    assert!(status.get_error_details().error_info().unwrap().metadata.is_empty());
}

#[test]
fn an_error_in_band_is_what_the_call_would_have_failed_with() {
    for (error, code, reason) in every_error() {
        let status = status(error);
        let message = in_band(&status);
        assert_eq!((message.code, message.message.as_str()), (i32::from(code), status.message()));
        assert!(!message.details.is_empty(), "{reason}");
    }
    let bare = in_band(&Status::cancelled("gone"));
    assert_eq!((bare.code, bare.message.as_str()), (i32::from(Code::Cancelled), "gone"));
}
