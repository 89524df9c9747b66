//! Calls whose turn comes late, through the adapter that hyper calls a service by.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::FutureExt as _;
use http::{Request, Response};
use hyper_util::service::TowerToHyperService;
use tokio::time::{advance, pause};
use tower::Layer as _;

use super::*;

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
    let service = TowerToHyperService::new(Auth::new(Arc::clone(&running.service)).layer(Reached));
    // The connection may be older than its calls.
    advance(Duration::from_secs(1)).await;
    let call =
        Request::post(format!("/quotad.v1.QuotaService/{method}")).header("authorization", format!("Bearer {token}"));
    let answer = hyper::service::Service::call(&service, call.body(()).unwrap());
    advance(wait).await;
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
    assert_eq!(running.service.metrics().overloaded.get(), 2);
}
