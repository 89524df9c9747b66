//! One stream of many operations. It is the answers' stream itself: the transport asks it for answers, and it reads requests
//! only as fast as answers are taken, so that neither queues nor a task of its own are needed.
//!
//! An operation that needn't wait is answered as it is read. Those that wait for the disk are set aside, and delay nobody.

use std::{
    collections::HashSet,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::task::coop;
use tonic::Status;

use super::{
    convert::limits::revocation_out,
    proto::{self, SessionRequest, SessionResponse, session_request::Op, session_response::Result as Answer},
    quota::Asker,
    status::{blame_caller, in_band, status, stopping},
    stop::Stop,
};
use crate::{
    domain::{error::Invalid, id::Holder},
    service::{Caller, Error, Service, Subscription, WatchedRevocation, secret},
};

/// Operations of one session that may wait for the disk; beyond, nothing more is read.
const MAX_IN_FLIGHT: usize = 1024;
/// Holders that one session may name.
const MAX_HOLDERS: usize = 1024;

pub(super) struct Session<R> {
    shared: Arc<Shared>,
    /// `None` when nothing more is read: what is in flight is still answered.
    requests: Option<R>,
    in_flight: FuturesUnordered<BoxFuture<'static, SessionResponse>>,
    revocations: Subscription,
    /// Named by the client, and listened for.
    holders: HashSet<Holder>,
    stop: Stop,
    stopped: BoxFuture<'static, ()>,
    /// Why it ends, where not because the client said all that it had to.
    end: Option<Status>,
}

struct Shared {
    service: Arc<Service>,
    caller: Caller,
    /// Holds what is reserved over this session in nobody's name.
    holder: Holder,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.service.metrics().open_sessions.add(-1);
    }
}

impl<R> Session<R>
where
    R: Stream<Item = Result<SessionRequest, Status>> + Unpin,
{
    /// # Errors
    /// [`Error::Internal`] when the system gives no randomness.
    pub(super) async fn new(service: Arc<Service>, caller: Caller, requests: R, stop: Stop) -> Result<Self, Error> {
        let holder = private_holder()?;
        service.metrics().open_sessions.add(1);
        let mut revocations = Subscription::new(Arc::clone(&service));
        revocations.add(&holder, false).await;
        Ok(Self {
            shared: Arc::new(Shared { service, caller, holder }),
            requests: Some(requests),
            in_flight: FuturesUnordered::new(),
            revocations,
            holders: HashSet::new(),
            stopped: stop.clone().wait().boxed(),
            stop,
            end: None,
        })
    }

    /// The next request, as long as there is room for it.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return Poll::Pending;
        }
        let Some(requests) = &mut self.requests else { return Poll::Ready(None) };
        if self.stop.is_set() {
            return self.close(Some(stopping()));
        }
        // A client that always has more to ask must not keep other sessions from running.
        let Poll::Ready(budget) = coop::poll_proceed(cx) else { return Poll::Pending };
        match requests.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(request))) => {
                budget.made_progress();
                Poll::Ready(Some(request))
            }
            Poll::Ready(Some(Err(broken))) => self.close(Some(blame_caller(broken))),
            Poll::Ready(None) => self.close(None),
            // Asked only for the wake-up: whether it is set was seen above, and is again.
            Poll::Pending => match self.stopped.as_mut().poll(cx) {
                Poll::Ready(()) => self.close(Some(stopping())),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn close(&mut self, end: Option<Status>) -> Poll<Option<SessionRequest>> {
        self.requests = None;
        self.end = end;
        Poll::Ready(None)
    }

    /// Answers at once where that can be, else puts the operation among those in flight.
    fn start(&mut self, request: SessionRequest, cx: &mut Context<'_>) -> Option<SessionResponse> {
        let SessionRequest { correlation_id, op } = request;
        let Some(op) = op else {
            let missing = Invalid::new("op", "is missing, or newer than this server; give one of the operations");
            return Some(response(correlation_id, Err(missing.into())));
        };
        if let Op::Reserve(reserve) = &op
            && let Err(invalid) = self.follow(&reserve.holder)
        {
            return Some(response(correlation_id, Err(invalid.into())));
        }
        let shared = Arc::clone(&self.shared);
        let mut operation = async move { response(correlation_id, shared.answer(op).await) }.boxed();
        match operation.as_mut().poll(cx) {
            Poll::Ready(response) => Some(response),
            Poll::Pending => {
                self.in_flight.push(operation);
                None
            }
        }
    }

    /// Listens for a holder before anything is reserved in its name, so that no revocation is missed.
    fn follow(&mut self, holder: &str) -> Result<(), Invalid> {
        if holder.is_empty() || self.holders.contains(holder) {
            return Ok(());
        }
        let holder = Holder::parse("holder", holder)?;
        if self.holders.len() == MAX_HOLDERS {
            let problem = format!("a session can name at most {MAX_HOLDERS} holders; open another session");
            return Err(Invalid::new("holder", problem));
        }
        // Only catching up would wait.
        let added = self.revocations.add(&holder, false).now_or_never();
        debug_assert!(added.is_some(), "listening waits for nothing");
        self.holders.insert(holder);
        Ok(())
    }
}

impl<R> Stream for Session<R>
where
    R: Stream<Item = Result<SessionRequest, Status>> + Unpin,
{
    type Item = Result<SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = self.get_mut();
        loop {
            if let Poll::Ready(Some(response)) = session.in_flight.poll_next_unpin(cx) {
                return Poll::Ready(Some(Ok(response)));
            }
            if let Poll::Ready(Some(watched)) = pin!(session.revocations.next()).poll(cx) {
                return Poll::Ready(Some(Ok(revocation(&watched))));
            }
            match session.poll_request(cx) {
                Poll::Ready(Some(request)) => {
                    if let Some(response) = session.start(request, cx) {
                        return Poll::Ready(Some(Ok(response)));
                    }
                }
                Poll::Ready(None) if session.in_flight.is_empty() => return Poll::Ready(session.end.take().map(Err)),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Shared {
    async fn answer(&self, op: Op) -> Result<Answer, Error> {
        let Self { service, caller, holder } = self;
        let asker = Asker { service, caller, session: Some(holder) };
        Ok(match op {
            Op::Reserve(request) => Answer::Reserve(asker.reserve(request).await?),
            Op::Commit(request) => Answer::Commit(asker.commit(request).await?),
            Op::Release(request) => Answer::Release(asker.release(request).await?),
            Op::Extend(request) => Answer::Extend(asker.extend(request).await?),
            Op::Charge(request) => Answer::Charge(asker.charge(request).await?),
            Op::Check(request) => Answer::Check(asker.check(request)?),
        })
    }
}

fn response(correlation_id: u64, answer: Result<Answer, Error>) -> SessionResponse {
    let result = answer.unwrap_or_else(|error| Answer::Error(in_band(&status(error))));
    SessionResponse { correlation_id, result: Some(result) }
}

fn revocation(watched: &WatchedRevocation) -> SessionResponse {
    let revocation: proto::Revocation = revocation_out(watched);
    SessionResponse { correlation_id: 0, result: Some(Answer::Revocation(revocation)) }
}

/// A name that no client can give: theirs hold no control characters. Unique over restarts, because reservations outlive
/// sessions. Short enough to be kept inline.
fn private_holder() -> Result<Holder, Error> {
    let secret = secret::new_secret("s")?;
    let unique = secret.get(..22).unwrap_or(&secret);
    Ok(Holder::trusted(format!("\u{1}{unique}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_can_name_the_holder_of_a_session() {
        let (one, other) = (private_holder().unwrap(), private_holder().unwrap());
        assert_ne!(one, other);
        assert!(Holder::parse("holder", one.as_str()).is_err());
    }
}
