//! What can go wrong in a command, and the way out of it.

use std::path::{Path, PathBuf};

use quotad::client::{ConnectError, code_name, explain};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::format::span;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "no token is known\n  give --token-file DATA_DIR/operator.token (quotad wrote it at its first start), --token, or \
         QUOTAD_TOKEN"
    )]
    NoToken,
    #[error("{0}{hint}", hint = connect_hint(.0))]
    Connect(#[from] ConnectError),
    #[error("{text}{hint}", text = explain(.0), hint = status_hint(.0))]
    Refused(Box<Status>),
    #[error("{what} {path:?}: {problem}")]
    File { what: &'static str, path: PathBuf, problem: String },
    /// The server's answer lacks what the API promises.
    #[error("the server's answer has no {0}; are quotactl and quotad of the same version?")]
    Incomplete(&'static str),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub(crate) fn file(what: &'static str, path: &Path, problem: impl Into<String>) -> Self {
        Self::File { what, path: path.to_owned(), problem: problem.into() }
    }

    /// For programs, by the names of the API's errors; what this side refuses has the code `CLIENT`.
    pub(crate) fn json(&self) -> Value {
        let reason = match self {
            Self::Refused(status) => return json!({ "error": refused(status) }),
            Self::NoToken => "NO_TOKEN",
            Self::Connect(ConnectError::Unreachable { .. }) => "UNREACHABLE",
            Self::Connect(_) => "WRONG_SETTINGS",
            Self::File { .. } => "FILE",
            Self::Incomplete(_) => "INCOMPLETE_ANSWER",
            Self::Other(_) => "REFUSED",
        };
        json!({ "error": { "code": "CLIENT", "reason": reason, "message": self.to_string() } })
    }

    pub(crate) fn other(problem: impl Into<String>) -> Self {
        Self::Other(problem.into())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn connect_hint(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Unreachable { .. } => {
            "\n  is the server running (`quotad serve`)? Another address is given by --endpoint or QUOTAD_ENDPOINT"
        }
        ConnectError::Endpoint { .. } | ConnectError::Token => "",
    }
}

fn status_hint(status: &Status) -> String {
    match (status.code(), retry_delay(status)) {
        (_, Some(wait)) => format!("\n  try again in {wait}"),
        (Code::FailedPrecondition, _) if is_restart(status) => "\n  say --restart-spending if so".to_owned(),
        (Code::Unauthenticated, _) => {
            "\n  the token isn't this server's; the operator's is in DATA_DIR/operator.token (--token-file)".to_owned()
        }
        (Code::PermissionDenied, _) => {
            "\n  `quotactl whoami` tells whose token this is; another is given by --token-file, the operator's is in \
             DATA_DIR/operator.token"
                .to_owned()
        }
        (Code::Cancelled | Code::DeadlineExceeded, _) => {
            "\n  it took longer than --timeout lets it; whether it was done, asking again shows".to_owned()
        }
        _ => String::new(),
    }
}

/// Returns true where the server says that something would count from zero, and nobody said so.
pub(crate) fn is_restart(status: &Status) -> bool {
    status.get_error_details().error_info().is_some_and(|info| info.reason == "WOULD_RESTART_SPENDING")
}

/// When the server would take it, such as `1.5s`.
fn retry_delay(status: &Status) -> Option<String> {
    let delay = status.get_error_details().retry_info()?.retry_delay?;
    Some(span(&prost_types::Duration::try_from(delay).ok()?))
}

fn refused(status: &Status) -> Value {
    let details = status.get_error_details();
    let fields = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    let fields = fields.iter().map(|of| json!({ "field": of.field, "description": of.description }));
    let (info, hint) = (details.error_info(), status_hint(status));
    json!({
        "code": code_name(status.code()),
        "reason": info.map(|info| &info.reason),
        "message": status.message(),
        "fields": fields.collect::<Vec<_>>(),
        "metadata": info.map(|info| &info.metadata),
        "retry_delay": retry_delay(status),
        "hint": Some(hint.trim_start()).filter(|hint| !hint.is_empty()),
    })
}

/// A message field that the API always sets.
pub(crate) fn required<T>(field: Option<T>, name: &'static str) -> Result<T, Failure> {
    field.ok_or(Failure::Incomplete(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let unreachable = ConnectError::Unreachable { endpoint: "http://h:1".into(), cause: "refused".into() };
        let text = Failure::from(unreachable).to_string();
        assert!(text.contains("http://h:1") && text.contains("--endpoint") && text.contains("quotad serve"), "{text}");
        let text = Failure::from(Status::unauthenticated("unknown token")).to_string();
        assert!(text.starts_with("UNAUTHENTICATED: unknown token\n") && text.contains("--token-file"), "{text}");
        assert_eq!(Failure::from(Status::not_found("no such key")).to_string(), "NOT_FOUND: no such key");
    }

    #[test]
    fn programs_get_code_reason_fields_and_delay() {
        use std::{collections::HashMap, time::Duration};

        use tonic_types::ErrorDetails;

        let mut details = ErrorDetails::with_bad_request_violation("team.id", "is wrong");
        details.set_error_info("RATE_LIMITED", "quotad", HashMap::from([("what".to_owned(), "mails".to_owned())]));
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "too many", details);
        let failure = Failure::from(status);
        let error = &failure.json()["error"];
        assert_eq!((&error["code"], &error["reason"]), (&"RESOURCE_EXHAUSTED".into(), &"RATE_LIMITED".into()));
        assert_eq!((&error["fields"][0]["field"], &error["metadata"]["what"]), (&"team.id".into(), &"mails".into()));
        assert_eq!((&error["retry_delay"], &error["hint"]), (&"1.5s".into(), &"try again in 1.5s".into()));
        assert!(failure.to_string().ends_with("try again in 1.5s"), "{failure}");
        assert_eq!(Failure::NoToken.json()["error"]["reason"], "NO_TOKEN");
    }
}
