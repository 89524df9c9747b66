//! Refusals that the transport gives: to calls that it has no room for, and to requests that don't come whole.

use std::time::Duration;

use tonic::{Code, Status};

use super::status::{status, with_reason};
use crate::{domain::error::Exhausted, service::Error};

/// There is no room for it at the moment.
pub fn exhausted(bound: Exhausted) -> Status {
    status(Error::Exhausted(bound))
}

/// A request, or a message of a stream, didn't come whole in time.
pub fn incomplete(within: Duration) -> Status {
    let message = format!("the request didn't come whole within {} s of its beginning", within.as_secs());
    with_reason(Code::DeadlineExceeded, "REQUEST_INCOMPLETE", message)
}
