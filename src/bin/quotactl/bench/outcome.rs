//! What an operation came to: done, denied in band, or failed. A denial is never counted as done.

use prost::Message as _;
use quotad::{
    api::proto::{
        charge_response, check_response, extend_response, reserve_response, session_response::Result as Answer,
    },
    client::{code_name, reason},
};
use tonic::{Code, Status};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With the id of what was reserved.
    Done(Option<String>),
    /// By the denial's code.
    Denied(i32),
    Failed(Fault),
}

/// An error of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// `UNAVAILABLE OVERLOADED`: what to count by.
    pub(super) kind: String,
    pub(super) message: String,
    /// Not the server's word: whether it did the operation isn't known.
    pub(super) lost: bool,
    /// The server knows no such reservation that could be settled.
    pub(super) closed: bool,
}

impl Fault {
    pub(super) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into(), lost: true, closed: false }
    }

    pub(super) fn of(status: &Status) -> Self {
        let (code, message) = (code_name(status.code()), status.message().to_owned());
        let closed = matches!(status.code(), Code::FailedPrecondition | Code::NotFound);
        match reason(status) {
            Some(reason) => Self { kind: format!("{code} {reason}"), message, lost: false, closed },
            None => Self { closed, ..Self::new(code, message) },
        }
    }
}

pub(super) fn judge(answer: Answer) -> Outcome {
    let nothing =
        || Outcome::Failed(Fault::new("answer without a decision", "the answer holds neither grant nor denial"));
    match answer {
        Answer::Reserve(answer) => match answer.decision {
            Some(reserve_response::Decision::Granted(grant)) => Outcome::Done(Some(grant.reservation_id)),
            Some(reserve_response::Decision::Denied(denial)) => Outcome::Denied(denial.code),
            None => nothing(),
        },
        Answer::Extend(answer) => match answer.decision {
            Some(extend_response::Decision::Granted(_)) => Outcome::Done(None),
            Some(extend_response::Decision::Denied(denial)) => Outcome::Denied(denial.code),
            None => nothing(),
        },
        Answer::Charge(answer) => match answer.decision {
            Some(charge_response::Decision::Charged(_)) => Outcome::Done(None),
            Some(charge_response::Decision::Denied(denial)) => Outcome::Denied(denial.code),
            None => nothing(),
        },
        Answer::Check(answer) => match answer.decision {
            Some(check_response::Decision::Granted(_)) => Outcome::Done(None),
            Some(check_response::Decision::Denied(denial)) => Outcome::Denied(denial.code),
            None => nothing(),
        },
        Answer::Commit(_) | Answer::Release(_) => Outcome::Done(None),
        Answer::Error(error) => {
            let (code, message, details) = (Code::from(error.code), error.message.clone(), error.encode_to_vec());
            Outcome::Failed(Fault::of(&Status::with_details(code, message, details.into())))
        }
        Answer::Revocation(_) => nothing(),
    }
}

#[cfg(test)]
mod tests {
    use quotad::api::proto::{ChargeResponse, Denial, DenialCode, Grant, ReserveResponse};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn a_denial_is_told_apart_from_what_was_done() {
        let denied = Denial { code: DenialCode::BudgetExceeded.into(), ..Denial::default() };
        let decision = Some(reserve_response::Decision::Denied(denied.clone()));
        let expected = Outcome::Denied(DenialCode::BudgetExceeded.into());
        assert_eq!(judge(Answer::Reserve(ReserveResponse { decision })), expected);
        let decision = Some(charge_response::Decision::Denied(denied));
        assert_eq!(judge(Answer::Charge(ChargeResponse { decision })), expected);
        let decision =
            Some(reserve_response::Decision::Granted(Grant { reservation_id: "r".into(), ..Grant::default() }));
        assert_eq!(judge(Answer::Reserve(ReserveResponse { decision })), Outcome::Done(Some("r".into())));
    }

    #[test]
    fn an_answer_that_decides_nothing_is_no_success() {
        assert!(matches!(judge(Answer::Reserve(ReserveResponse::default())), Outcome::Failed(_)));
    }

    #[test]
    fn errors_in_band_are_counted_as_those_of_a_call() {
        let details = ErrorDetails::with_error_info("OVERLOADED", "quotad", []);
        let status = Status::with_error_details(Code::Unavailable, "too much waits", details);
        let in_band = tonic_types::Status::decode(status.details()).unwrap();
        let expected = Fault { lost: false, ..Fault::new("UNAVAILABLE OVERLOADED", "too much waits") };
        assert_eq!(judge(Answer::Error(in_band)), Outcome::Failed(expected.clone()));
        assert_eq!(Fault::of(&status), expected);
        assert!(Fault::of(&Status::unavailable("connection refused")).lost);
    }
}
