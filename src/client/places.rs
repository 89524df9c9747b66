//! Who goes first on a connection: what settles goes before what begins.
//!
//! HTTP/2 bounds the calls that a connection has open, and those beyond wait in the order in which they came. Asked for more than
//! the server does, a Commit would wait there behind thousands of Reserves, and its money stay held meanwhile. So new work has a
//! share of the places only, and waits for it apart; not for long, because whoever asked is about to give up.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Error},
};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{BoxError, Service, ServiceExt as _};

use crate::api::proto::begins_work;

/// Half of the calls that a server takes on a connection. Each Reserve is followed by a Commit or a Release: these need as many.
const NEW_WORK: usize = 256;
/// As long as the server lets a call wait for its turn. Both together are less than what an attempt is given
/// ([`WAITED_FOR`](super::Retry::WAITED_FOR)), and what was never sent needn't be given back.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// For new work on one connection. Clones share them.
#[derive(Debug, Clone)]
pub struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(NEW_WORK)))
    }
}

impl Places {
    /// Waits for a place if `path`, `/package.Service/Method`, begins work; it is free again when the answer to this is dropped.
    pub async fn take(&self, path: &str) -> Option<SemaphorePermit<'_>> {
        if !begins_work(path) {
            return None;
        }
        // It is never closed.
        self.0.acquire().await.ok()
    }
}

/// A channel whose new work waits for a place before it is sent, or fails as `OVERLOADED`.
#[derive(Debug, Clone)]
pub struct SettlesFirst {
    channel: Channel,
    places: Places,
}

impl SettlesFirst {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, places: Places::default() }
    }
}

impl Service<Request<Body>> for SettlesFirst {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    /// Always: the channel is asked when a place is free, or new work that waits for one would fill the channel's buffer.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { mut channel, places } = self.clone();
        Box::pin(async move {
            let _place = timeout(LONGEST_WAIT, places.take(request.uri().path())).await.map_err(|_| none_free())?;
            let answer: Result<_, Error> = async { channel.ready().await?.call(request).await }.await;
            Ok(answer?)
        })
    }
}

/// As the server says it, so that it is tried again and nothing is taken for held.
fn none_free() -> Status {
    let details = ErrorDetails::with_error_info("OVERLOADED", "quotad", [("cause".into(), "connection".into())]);
    let message = format!(
        "{NEW_WORK} Reserves and Checks are under way on this connection, and this one had no place among them within \
         {LONGEST_WAIT:?}; try again"
    );
    Status::with_error_details(Code::Unavailable, message, details)
}
