//! Who goes first on a connection: what settles goes before what begins.
//!
//! HTTP/2 bounds the calls that a connection has open, and those beyond wait in the order in which they came. Asked for more than
//! the server does, a Commit would wait there behind thousands of Reserves, and its money stay held meanwhile. So new work has a
//! share of the places only, and waits for it apart.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{
    body::Body,
    transport::{Channel, Error},
};
use tower::{Service, ServiceExt as _};

use crate::api::proto::begins_work;

/// Half of what a server takes on a connection. Each Reserve is followed by a Commit or a Release, so these need as many.
const NEW_WORK: usize = 256;

/// Of one connection. Clones share its places.
#[derive(Debug, Clone)]
pub struct Lane {
    new_work: Arc<Semaphore>,
}

impl Default for Lane {
    fn default() -> Self {
        Self { new_work: Arc::new(Semaphore::new(NEW_WORK)) }
    }
}

impl Lane {
    /// Waits for a place if `path`, `/package.Service/Method`, begins work; it is free again when the answer is dropped.
    pub async fn enter(&self, path: &str) -> Option<OwnedSemaphorePermit> {
        if !begins_work(path) {
            return None;
        }
        // It is never closed.
        Arc::clone(&self.new_work).acquire_owned().await.ok()
    }
}

/// A channel whose new work waits for a place before it is sent.
#[derive(Debug, Clone)]
pub struct Lanes {
    channel: Channel,
    lane: Lane,
}

impl Lanes {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, lane: Lane::default() }
    }
}

impl Service<Request<Body>> for Lanes {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    /// Always: whoever waited for a place with one in the channel's buffer would keep settlements out of that.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { mut channel, lane } = self.clone();
        Box::pin(async move {
            let _place = lane.enter(request.uri().path()).await;
            channel.ready().await?.call(request).await
        })
    }
}
