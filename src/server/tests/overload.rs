//! Calls whose turn comes late. Here as hyper does it: a clone for each request as it is read, called when its turn has come.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::FutureExt as _;
use http::{Request, Response};
use tokio::time::{advance, pause, resume};
use tower::{Layer as _, Service as _};

use super::*;
use crate::telemetry::Overload;

/// Answers 200 to whoever gets there.
#[derive(Clone)]
struct Reached;

impl tower::Service<Request<()>> for Reached {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// What a call is told whose turn comes `wait` after it was read.
async fn told(running: &Running, token: &str, method: &str, wait: Duration) -> Option<(Code, String)> {
    let service = Auth::new(Arc::clone(&running.service), Connections::default().max_call_wait).layer(Reached);
    // The connection may be older than its calls.
    advance(Duration::from_secs(1)).await;
    let call = Request::post(format!("/quotad.v1.QuotaService/{method}"));
    let call = call.header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let mut read = service.clone();
    advance(wait).await;
    let answer = read.call(call);
    let response = answer.now_or_never().unwrap().unwrap();
    Status::from_header_map(response.headers()).map(|status| reason(&status))
}

#[tokio::test]
async fn new_work_whose_turn_comes_too_late_is_unavailable_and_what_runs_is_settled() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    pause();
    let (soon, late) = (Duration::from_millis(90), Duration::from_millis(110));
    for method in ["Reserve", "Commit", "Release", "Extend", "Charge", "Check"] {
        assert_eq!(told(&running, &token, method, soon).await, None, "{method}");
    }
    for method in ["Commit", "Release", "Extend", "Charge"] {
        assert_eq!(told(&running, &token, method, late).await, None, "{method}");
    }
    for method in ["Reserve", "Check"] {
        let overloaded = Some((Code::Unavailable, String::from("OVERLOADED")));
        assert_eq!(told(&running, &token, method, late).await, overloaded, "{method}");
    }
    assert_eq!(running.service.metrics().put_off(Overload::Turn).get(), 2);
}

#[tokio::test]
async fn a_call_over_a_connection_older_than_any_wait_is_answered() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let mut quota = connect(&running, &token).await.quota();
    for no in 0..3 {
        granted(quota.reserve(reserve(&format!("r{no}"), "0.1")).await.unwrap().into_inner());
        pause();
        advance(Duration::from_secs(1)).await;
        resume();
    }
    assert_eq!(running.service.metrics().put_off(Overload::Turn).get(), 0);
}
