//! Requests as short as tests want them, and answers taken apart.

use quotad::api::proto::{
    self, Budget, ChargeRequest, CheckRequest, CommitRequest, Denial, DenialCode, ExtendRequest, Grant, LimitState,
    Payer, Period, PeriodKind, Policy, Quota, ReleaseRequest, ReservationRef, ReserveRequest, Unit, Usage,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A model at 1 USD per million input tokens and 10 USD per million output tokens: 0.000001 and 0.00001 a token.
pub(crate) const MODEL: &str = "m";

pub(crate) fn key(id: &str) -> Option<Payer> {
    Some(Payer { payer: Some(proto::payer::Payer::KeyId(id.to_owned())) })
}

pub(crate) fn secret(api_key: &str) -> Option<Payer> {
    Some(Payer { payer: Some(proto::payer::Payer::ApiKey(api_key.to_owned())) })
}

/// One request that costs what the caller says.
pub(crate) fn usd(cost: &str) -> Usage {
    Usage { cost_usd: cost.to_owned(), ..Usage::default() }
}

/// One request, priced by the book.
pub(crate) fn tokens(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

pub(crate) fn reserve(key_id: &str, request_id: &str, usage: Usage) -> ReserveRequest {
    ReserveRequest {
        payer: key(key_id),
        request_id: request_id.to_owned(),
        model: MODEL.to_owned(),
        usage: Some(usage),
        ..ReserveRequest::default()
    }
}

pub(crate) fn charge(key_id: &str, request_id: &str, usage: Usage) -> ChargeRequest {
    ChargeRequest {
        payer: key(key_id),
        request_id: request_id.to_owned(),
        model: MODEL.to_owned(),
        usage: Some(usage),
        ..ChargeRequest::default()
    }
}

pub(crate) fn check(key_id: &str, usage: Usage) -> CheckRequest {
    CheckRequest { payer: key(key_id), model: MODEL.to_owned(), usage: Some(usage), ..CheckRequest::default() }
}

pub(crate) fn by_id(reservation_id: &str) -> Option<ReservationRef> {
    let named = proto::reservation_ref::Reservation::ReservationId(reservation_id.to_owned());
    Some(ReservationRef { reservation: Some(named) })
}

pub(crate) fn by_request(payer: Option<Payer>, request_id: &str) -> Option<ReservationRef> {
    let named = proto::PayerRequest { payer, request_id: request_id.to_owned() };
    Some(ReservationRef { reservation: Some(proto::reservation_ref::Reservation::PayerRequest(named)) })
}

pub(crate) fn commit(reservation_id: &str, usage: Usage) -> CommitRequest {
    CommitRequest { reservation: by_id(reservation_id), usage: Some(usage), ..CommitRequest::default() }
}

pub(crate) fn release(reservation_id: &str) -> ReleaseRequest {
    ReleaseRequest { reservation: by_id(reservation_id), reason: String::new() }
}

pub(crate) fn extend(reservation_id: &str) -> ExtendRequest {
    ExtendRequest { reservation: by_id(reservation_id), ..ExtendRequest::default() }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub(crate) fn period(kind: PeriodKind) -> Option<Period> {
    Some(Period { kind: kind.into(), ..Period::default() })
}

/// In USD, for ever.
pub(crate) fn budget(id: &str, max: &str) -> Budget {
    Budget {
        id: id.to_owned(),
        unit: Unit::Usd.into(),
        max: max.to_owned(),
        period: period(PeriodKind::OneTime),
        ..Budget::default()
    }
}

pub(crate) fn quota(id: &str, unit: Unit, max: u64) -> Quota {
    Quota { id: id.to_owned(), unit: unit.into(), max, ..Quota::default() }
}

pub(crate) fn policy(budgets: Vec<Budget>, quotas: Vec<Quota>) -> Option<Policy> {
    Some(Policy { budgets, quotas })
}

pub(crate) fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

pub(crate) type Decision = Result<Grant, Denial>;

pub(crate) fn reserved(response: proto::ReserveResponse) -> Decision {
    use proto::reserve_response::Decision;
    match response.decision.expect("a decision") {
        Decision::Granted(grant) => Ok(grant),
        Decision::Denied(denial) => Err(denial),
    }
}

pub(crate) fn extended(response: proto::ExtendResponse) -> Decision {
    use proto::extend_response::Decision;
    match response.decision.expect("a decision") {
        Decision::Granted(grant) => Ok(grant),
        Decision::Denied(denial) => Err(denial),
    }
}

pub(crate) fn checked(response: proto::CheckResponse) -> (Decision, Vec<LimitState>) {
    use proto::check_response::Decision;
    let decision = match response.decision.expect("a decision") {
        Decision::Granted(grant) => Ok(grant),
        Decision::Denied(denial) => Err(denial),
    };
    (decision, response.limits)
}

pub(crate) fn charged(response: proto::ChargeResponse) -> Result<proto::CommitResponse, Denial> {
    use proto::charge_response::Decision;
    match response.decision.expect("a decision") {
        Decision::Charged(charged) => Ok(charged),
        Decision::Denied(denial) => Err(denial),
    }
}

/// The codes of all that fails, the denial's own first.
pub(crate) fn codes(denial: &Denial) -> (DenialCode, Vec<DenialCode>) {
    (denial.code(), denial.violations.iter().map(proto::Violation::code).collect())
}

/// A failed call: its code and the reason that its details give.
pub(crate) type Failure = (Code, String);

pub(crate) fn failure(status: &Status) -> Failure {
    let details = status.get_error_details();
    let info = details.error_info();
    assert!(info.is_none_or(|info| info.domain == "quotad"), "{status:?}");
    (status.code(), info.map(|info| info.reason.clone()).unwrap_or_default())
}

pub(crate) fn failed(code: Code, reason: &str) -> Failure {
    (code, reason.to_owned())
}

/// The field that a failed call complains of, as both of its details name it.
pub(crate) fn wrong_field(status: &Status) -> String {
    // Absurd usage has a reason of its own.
    let is_wrong = |reason| failure(status) == failed(Code::InvalidArgument, reason);
    assert!(is_wrong("INVALID_ARGUMENT") || is_wrong("USAGE_ABSURD"), "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("BadRequest").field_violations;
    let [violation] = violations.as_slice() else { panic!("{violations:?}") };
    assert!(!violation.description.is_empty());
    assert_eq!(details.error_info().unwrap().metadata["field"], violation.field);
    violation.field.clone()
}
