//! What can go wrong in a command, and the way out of it.

use std::path::{Path, PathBuf};

use quotad::client::{ConnectError, explain};
use tonic::{Code, Status};

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

fn status_hint(status: &Status) -> &'static str {
    match status.code() {
        Code::Unauthenticated => {
            "\n  the token isn't this server's; the operator's is in DATA_DIR/operator.token (--token-file)"
        }
        Code::PermissionDenied => {
            "\n  `quotactl whoami` tells whose token this is; another is given by --token-file, the operator's is in \
             DATA_DIR/operator.token"
        }
        _ => "",
    }
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
}
