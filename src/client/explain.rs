//! gRPC errors in words: the message, the fields that are wrong, the reason to search the manual by.

use std::fmt::Write as _;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::innermost;
use crate::api::proto::Denial;

/// The whole error, one line for each thing that is wrong:
///
/// ```text
/// INVALID_ARGUMENT: the request can't be accepted
///   policy.budgets[0].max: "-1" is negative; amounts start at 0
///   reason: INVALID_FIELD
/// ```
pub fn explain(status: &Status) -> String {
    let mut text = format!("{}: {}", code_name(status.code()), status.message());
    let details = status.get_error_details();
    for violation in details.bad_request().map_or(&[][..], |bad| &bad.field_violations) {
        let line = format!("{}: {}", violation.field, violation.description);
        // A single violation is often the message itself.
        if !status.message().contains(&line) {
            let _ = write!(text, "\n  {line}");
        }
    }
    if let Some(info) = details.error_info() {
        let _ = write!(text, "\n  reason: {}", info.reason);
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        for (name, value) in metadata {
            let _ = write!(text, "\n  {name}: {value}");
        }
    }
    // The server's own errors have no source; one made on this side has its cause there.
    if let Some(source) = std::error::Error::source(status) {
        let _ = write!(text, "\n  cause: {}", innermost(source));
    }
    text
}

/// The `UPPER_SNAKE` reason of the error's `google.rpc.ErrorInfo`, if it has one.
pub fn reason(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}

/// Returns when to ask again for what was refused, as part of a sentence: `granted in 4s if nothing else happens, sooner if holds
/// end before`.
pub fn when_to_retry(denial: &Denial) -> String {
    let Some(wait) = &denial.retry_after else { return String::from("waiting doesn't help") };
    let fraction = format!("{:09}", wait.nanos.unsigned_abs());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let wait = format!("{}{dot}{fraction}s", wait.seconds);
    match (denial.may_be_sooner, denial.at_least) {
        (false, false) => format!("granted in {wait} if nothing else happens"),
        (true, false) => format!("granted in {wait} if nothing else happens, sooner if holds end before"),
        (false, true) => format!("refused for {wait} at least"),
        (true, true) => format!("ask again in {wait}; nobody knows when holds end"),
    }
}

/// True where the same call may succeed later: the server was out of reach or too busy. Repeat only what is idempotent.
pub fn is_transient(status: &Status) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable};
    // Cancelled is what tonic's servers answer when their own timeout is over.
    matches!(status.code(), Unavailable | ResourceExhausted | Aborted | DeadlineExceeded | Cancelled)
        || std::error::Error::source(status).is_some()
}

/// The code as the gRPC documents write it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn status() -> Status {
        let mut details = ErrorDetails::with_bad_request_violation("policy.budgets[0].max", "\"-1\" is negative");
        details.set_error_info("INVALID_FIELD", "quotad", [("organization".to_owned(), "acme".to_owned())]);
        Status::with_error_details(Code::InvalidArgument, "the request can't be accepted", details)
    }

    #[test]
    fn an_error_shows_its_message_fields_and_reason() {
        assert_eq!(
            explain(&status()),
            "INVALID_ARGUMENT: the request can't be accepted\n  policy.budgets[0].max: \"-1\" is negative\n  \
             reason: INVALID_FIELD\n  organization: acme"
        );
        assert_eq!(reason(&status()).as_deref(), Some("INVALID_FIELD"));
    }

    #[test]
    fn a_field_that_the_message_already_names_is_not_repeated() {
        let details = ErrorDetails::with_bad_request_violation("name", "is too long");
        let status = Status::with_error_details(Code::InvalidArgument, "name: is too long", details);
        assert_eq!(explain(&status), "INVALID_ARGUMENT: name: is too long");
    }

    #[test]
    fn an_error_without_details_is_its_message() {
        assert_eq!(explain(&Status::not_found("no such team")), "NOT_FOUND: no such team");
        assert_eq!(reason(&Status::not_found("no such team")), None);
    }

    #[test]
    fn a_refusal_says_when_to_ask_again_and_how_sure_that_is() {
        let denial = |nanos: i64, may_be_sooner, at_least| Denial {
            retry_after: Some(prost_types::Duration {
                seconds: nanos / 1_000_000_000,
                nanos: i32::try_from(nanos % 1_000_000_000).unwrap(),
            }),
            may_be_sooner,
            at_least,
            ..Denial::default()
        };
        assert_eq!(when_to_retry(&Denial::default()), "waiting doesn't help");
        assert_eq!(when_to_retry(&denial(90_000_000_000, false, false)), "granted in 90s if nothing else happens");
        let sooner = "granted in 3.25s if nothing else happens, sooner if holds end before";
        assert_eq!(when_to_retry(&denial(3_250_000_000, true, false)), sooner);
        assert_eq!(when_to_retry(&denial(1_000_000_000, false, true)), "refused for 1s at least");
        assert_eq!(when_to_retry(&denial(100_000_000, true, true)), "ask again in 0.1s; nobody knows when holds end");
    }

    #[test]
    fn only_errors_that_may_pass_are_transient() {
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        for passing in [&broken, &Status::unavailable("draining"), &Status::cancelled("timeout expired")] {
            assert!(is_transient(passing));
        }
        assert!(explain(&broken).contains("connection reset"));
        for lasting in [Status::invalid_argument("x"), Status::internal("x"), Status::permission_denied("x")] {
            assert!(!is_transient(&lasting));
        }
    }
}
