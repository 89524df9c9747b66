//! How long a call may wait for its turn. A server that is asked for more than it can do answers what has waited too long at once,
//! as unavailable, and spends its time on what can still be of use.
//!
//! Only new work is put off: a Commit, a Release or an Extend is of work that is done or running, and waits as long as it takes.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use pin_project_lite::pin_project;

use super::status::status;
use crate::{
    clock::Stopwatch,
    service::{Caller, Error},
    telemetry::Metrics,
};

/// From when a call was read to when its turn came. Less than what callers give a decision (the client's gate: 250 ms), so that they
/// learn of it before they give up.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Since when a call waits that may be put off.
pub(super) struct Waiting {
    since: Stopwatch,
    metrics: Arc<Metrics>,
}

impl Waiting {
    /// `None` for a call that must not be put off.
    pub(super) fn of(caller: &Caller, metrics: &Arc<Metrics>) -> Option<Self> {
        caller.asks_for_new_work().then(|| Self { since: Stopwatch::start(), metrics: Arc::clone(metrics) })
    }
}

pin_project! {
    /// A call whose turn has come at its first poll.
    pub struct Patient<F> {
        waiting: Option<Waiting>,
        #[pin]
        call: F,
    }
}

impl<F> Patient<F> {
    pub(super) fn new(waiting: Option<Waiting>, call: F) -> Self {
        Self { waiting, call }
    }
}

impl<F, Out, E> Future for Patient<F>
where
    F: Future<Output = Result<Response<Out>, E>>,
    Out: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(Waiting { since, metrics }) = this.waiting.take()
            && since.elapsed() > LONGEST_WAIT
        {
            metrics.overloaded.increment();
            return Poll::Ready(Ok(status(Error::Overloaded).into_http()));
        }
        this.call.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt as _;
    use tokio::time::advance;
    use tonic::{Code, Status};
    use tonic_types::StatusExt as _;

    use super::*;

    type Answer = Result<Response<()>, Infallible>;

    /// Polled for the first time after `wait`; what it answers, and whether the call itself was asked.
    async fn answered(waiting: Option<Waiting>, wait: Duration) -> (Option<Status>, bool) {
        let mut asked = false;
        let call = async {
            asked = true;
            Answer::Ok(Response::new(()))
        };
        let patient = Patient::new(waiting, call);
        advance(wait).await;
        let Ok(response) = patient.now_or_never().unwrap();
        (Status::from_header_map(response.headers()), asked)
    }

    fn waiting(metrics: &Arc<Metrics>) -> Option<Waiting> {
        Some(Waiting { since: Stopwatch::start(), metrics: Arc::clone(metrics) })
    }

    #[tokio::test(start_paused = true)]
    async fn new_work_that_waited_too_long_is_answered_as_unavailable_and_nothing_is_done() {
        let metrics = Arc::default();
        let (status, asked) = answered(waiting(&metrics), LONGEST_WAIT + Duration::from_millis(1)).await;
        let status = status.unwrap();
        assert_eq!(status.code(), Code::Unavailable, "never a denial");
        assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
        assert!(!asked);
        assert_eq!(metrics.overloaded.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_whose_turn_comes_in_time_is_done_and_so_is_what_has_to_wait() {
        let metrics = Arc::default();
        let (status, asked) = answered(waiting(&metrics), LONGEST_WAIT).await;
        assert!(asked && status.is_none());
        let (status, asked) = answered(None, LONGEST_WAIT * 100).await;
        assert!(asked && status.is_none());
        assert_eq!(metrics.overloaded.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn once_its_turn_came_a_call_is_given_all_the_time_that_it_takes() {
        let metrics = Arc::default();
        let call = async {
            tokio::time::sleep(LONGEST_WAIT * 100).await;
            Answer::Ok(Response::new(()))
        };
        let Ok(response) = Patient::new(waiting(&metrics), call).await;
        assert!(Status::from_header_map(response.headers()).is_none());
    }
}
