//! One stream of many operations. It is the answers' stream itself: the transport asks it for answers, and it reads requests
//! only as fast as answers are taken, so that it needs no task of its own and what waits in it is bounded.
//!
//! An operation that needn't wait is answered as it is read. Those that wait for the disk queue up in the order in which they
//! reach it: one look at how far it has got answers all of a batch. The few that wait for anything else delay nobody.

use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    future::{self, BoxFuture},
    stream::FuturesUnordered,
};
use tokio::task::coop;
use tonic::Status;

use super::{
    convert::limits::revocation_out,
    patience::LONGEST_WAIT,
    proto::{self, SessionRequest, SessionResponse, session_request::Op, session_response::Result as Answer},
    quota::Asker,
    status::{blame_caller, in_band, lagged, status, stopping},
    stop::Stop,
};
use crate::{
    domain::{access::Verb, error::Invalid, id::Holder},
    service::{Caller, Done, Error, Lagged, Service, Subscription, TokenLife, WatchedRevocation, secret},
    telemetry::Overload,
};

/// Operations of one session that may wait; beyond, nothing more is read.
const MAX_IN_FLIGHT: usize = 1024;
/// Refusals of one session that may wait: what is settled doesn't wait behind them.
const MAX_HELD_BACK: usize = 1024;
/// Answers between two looks for revocations, where there is always something to answer.
const LOOK_FOR_REVOCATIONS: u32 = 16;
/// Holders that one session may name.
const MAX_HOLDERS: usize = 1024;

pub(super) struct Session<R> {
    shared: Arc<Shared>,
    /// `None` when nothing more is read: what is in flight is still answered.
    requests: Option<R>,
    /// What waits for something else than the disk.
    in_flight: FuturesUnordered<Operation>,
    /// Refusals, until their callers may ask again.
    held_back: FuturesUnordered<BoxFuture<'static, u64>>,
    /// Answers with the journal position that must be on disk before, never decreasing.
    due: VecDeque<(u64, SessionResponse)>,
    /// Until a position is on disk: that of the first of them, while it waits.
    flush: Option<(u64, BoxFuture<'static, Result<(), Error>>)>,
    revocations: Subscription,
    /// Named by the client, and listened for.
    holders: HashSet<Holder>,
    /// Answers that were asked for.
    polls: u32,
    stop: Stop,
    token: TokenLife,
    /// Waits until the server stops or the token is over.
    ended: BoxFuture<'static, ()>,
    /// Why it ends, where not because the client said all that it had to.
    end: Option<Status>,
}

type Operation = BoxFuture<'static, (u64, Result<Done<Answer>, Error>)>;

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
    /// [`Error::Internal`] when the system gives no randomness, [`Error::TokenUnknown`] when the token is over already.
    pub(super) async fn new(service: Arc<Service>, caller: Caller, requests: R, stop: Stop) -> Result<Self, Error> {
        let holder = private_holder()?;
        let token = service.token_life(&caller)?;
        service.metrics().open_sessions.add(1);
        let mut revocations = Subscription::new(Arc::clone(&service), &caller);
        revocations.add(&holder, false).await;
        Ok(Self {
            shared: Arc::new(Shared { service, caller, holder }),
            requests: Some(requests),
            in_flight: FuturesUnordered::new(),
            held_back: FuturesUnordered::new(),
            due: VecDeque::new(),
            flush: None,
            revocations,
            holders: HashSet::new(),
            polls: 0,
            ended: future::select(stop.clone().wait().boxed(), token.wait().boxed()).map(drop).boxed(),
            stop,
            token,
            end: None,
        })
    }

    /// The next request, as long as there is room for it.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        if self.in_flight.len() + self.due.len() >= MAX_IN_FLIGHT {
            return Poll::Pending;
        }
        if self.requests.is_some()
            && let Some(why) = self.why_ended()
        {
            return self.close(Some(why));
        }
        let Some(requests) = &mut self.requests else { return Poll::Ready(None) };
        // A client that always has more to ask must not keep other sessions from running.
        let Poll::Ready(budget) = coop::poll_proceed(cx) else { return Poll::Pending };
        match requests.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(request))) => {
                budget.made_progress();
                Poll::Ready(Some(request))
            }
            Poll::Ready(Some(Err(broken))) => self.close(Some(blame_caller(broken))),
            Poll::Ready(None) => self.close(None),
            // Asked only for the wake-up: whether it has ended was seen above, and is again.
            Poll::Pending => match self.ended.as_mut().poll(cx) {
                Poll::Ready(()) => self.close(Some(self.why_ended().unwrap_or_else(stopping))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// `None` as long as it goes on.
    fn why_ended(&self) -> Option<Status> {
        if self.stop.is_set() { Some(stopping()) } else { self.token.is_over().then(|| status(Error::TokenUnknown)) }
    }

    fn close(&mut self, end: Option<Status>) -> Poll<Option<SessionRequest>> {
        self.requests = None;
        self.end = end;
        Poll::Ready(None)
    }

    /// Answers at once where that can be, else sees to it that it is answered later.
    fn start(&mut self, request: SessionRequest, cx: &mut Context<'_>) -> Option<SessionResponse> {
        let SessionRequest { correlation_id, op } = request;
        if let Err(beyond) = op.as_ref().map_or(Ok(()), |op| self.shared.caller.check_verb(verb_of(op))) {
            return self.give(correlation_id, Err(beyond));
        }
        let later = match op {
            None => {
                let missing = Invalid::new("op", "is missing, or newer than this server; give one of the operations");
                return self.give(correlation_id, Err(missing.into()));
            }
            Some(Op::Reserve(request)) => {
                let followed = self.follow(&request.holder).map_err(Error::from);
                let answer = followed.and_then(|()| Ok(self.shared.asker().reserve(request)?.map(Answer::Reserve)));
                return self.answer(correlation_id, answer);
            }
            Some(Op::Check(request)) => {
                let answer = self.shared.asker().check(request).map(|done| done.map(Answer::Check));
                return self.give(correlation_id, answer);
            }
            Some(Op::Commit(request)) => Later::Commit(request),
            Some(Op::Release(request)) => Later::Release(request),
            Some(Op::Extend(request)) => Later::Extend(request),
            Some(Op::Charge(request)) => Later::Charge(request),
        };
        let shared = Arc::clone(&self.shared);
        let mut operation = async move { (correlation_id, later.answer(shared.asker()).await) }.boxed();
        match operation.as_mut().poll(cx) {
            Poll::Ready((_, answer)) => self.answer(correlation_id, answer),
            Poll::Pending => {
                self.in_flight.push(operation);
                None
            }
        }
    }

    /// Gives an answer, but holds back who would only ask again at once. What is refused stays refused: decided later, it could
    /// come behind what was asked after it.
    fn answer(&mut self, correlation_id: u64, answer: Result<Done<Answer>, Error>) -> Option<SessionResponse> {
        if !matches!(answer, Err(Error::Overloaded(Overload::Books))) || self.held_back.len() == MAX_HELD_BACK {
            return self.give(correlation_id, answer);
        }
        let shared = Arc::clone(&self.shared);
        let held_back = async move {
            shared.service.wait_to_begin(LONGEST_WAIT).await;
            correlation_id
        };
        self.held_back.push(held_back.boxed());
        None
    }

    /// Gives an answer that may be given, or puts it behind those that wait for the disk.
    fn give(&mut self, correlation_id: u64, answer: Result<Done<Answer>, Error>) -> Option<SessionResponse> {
        let Done { answer, position } = match answer {
            Ok(done) => done,
            Err(error) => return Some(response(correlation_id, Err(error))),
        };
        let response = response(correlation_id, Ok(answer));
        if position <= self.shared.service.durable_position() {
            return Some(response);
        }
        // A replay may rest on an older position than what came before it, and comes with that.
        let position = self.due.back().map_or(position, |(last, _)| position.max(*last));
        self.due.push_back((position, response));
        None
    }

    /// The next answer that waited for the disk. Registers the wake-up for the next batch where there is none.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<SessionResponse> {
        loop {
            let Some(position) = self.due.front().map(|(position, _)| *position) else { return Poll::Pending };
            let service = &self.shared.service;
            if position <= service.durable_position()
                && let Some((_, answered)) = self.due.pop_front()
            {
                return Poll::Ready(answered);
            }
            // One that was begun for what was answered long ago tells nothing of this.
            self.flush.take_if(|(awaited, _)| *awaited != position);
            let (_, flush) = self.flush.get_or_insert_with(|| (position, service.durable(position).boxed()));
            let Poll::Ready(flushed) = flush.as_mut().poll(cx) else { return Poll::Pending };
            self.flush = None;
            let Err(error) = flushed else { continue };
            if let Some((_, answered)) = self.due.pop_front() {
                return Poll::Ready(response(answered.correlation_id, Err(error)));
            }
        }
    }

    fn poll_revocations(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<SessionResponse, Status>>> {
        if self.token.is_over() {
            return Poll::Pending;
        }
        let Poll::Ready(next) = pin!(self.revocations.next()).poll(cx) else { return Poll::Pending };
        Poll::Ready(next.map(|watched| match watched {
            Ok(watched) => Ok(revocation(&watched)),
            Err(Lagged) => Err(lagged()),
        }))
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
        session.polls = session.polls.wrapping_add(1);
        // Else a client that always has more to ask would never hear of them.
        if session.polls.is_multiple_of(LOOK_FOR_REVOCATIONS)
            && let Poll::Ready(Some(revocation)) = session.poll_revocations(cx)
        {
            return Poll::Ready(Some(revocation));
        }
        loop {
            if let Poll::Ready(response) = session.poll_due(cx) {
                return Poll::Ready(Some(Ok(response)));
            }
            // Asked only where there are any, because asking costs as much as deciding.
            if !session.in_flight.is_empty()
                && let Poll::Ready(Some((correlation_id, answer))) = session.in_flight.poll_next_unpin(cx)
            {
                match session.give(correlation_id, answer) {
                    Some(response) => return Poll::Ready(Some(Ok(response))),
                    None => continue,
                }
            }
            if !session.held_back.is_empty()
                && let Poll::Ready(Some(correlation_id)) = session.held_back.poll_next_unpin(cx)
            {
                return Poll::Ready(Some(Ok(response(correlation_id, Err(Error::Overloaded(Overload::Books))))));
            }
            match session.poll_request(cx) {
                Poll::Ready(Some(request)) => {
                    if let Some(response) = session.start(request, cx) {
                        return Poll::Ready(Some(Ok(response)));
                    }
                }
                idle => {
                    if let Poll::Ready(Some(revocation)) = session.poll_revocations(cx) {
                        return Poll::Ready(Some(revocation));
                    }
                    let nothing_left =
                        session.in_flight.is_empty() && session.held_back.is_empty() && session.due.is_empty();
                    return match idle {
                        Poll::Ready(_) if nothing_left => Poll::Ready(session.end.take().map(Err)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl Shared {
    fn asker(&self) -> Asker<'_> {
        Asker { service: &self.service, caller: &self.caller, session: Some(&self.holder) }
    }
}

/// What may have to wait: for room in the journal's queue, or for the books.
enum Later {
    Commit(proto::CommitRequest),
    Release(proto::ReleaseRequest),
    Extend(proto::ExtendRequest),
    Charge(proto::ChargeRequest),
}

impl Later {
    async fn answer(self, asker: Asker<'_>) -> Result<Done<Answer>, Error> {
        Ok(match self {
            Self::Commit(request) => asker.commit(request).await?.map(Answer::Commit),
            Self::Release(request) => asker.release(request).await?.map(Answer::Release),
            Self::Extend(request) => asker.extend(request).await?.map(Answer::Extend),
            Self::Charge(request) => asker.charge(request).await?.map(Answer::Charge),
        })
    }
}

/// The operation, as the scopes of a token name it.
fn verb_of(op: &Op) -> Verb {
    match op {
        Op::Reserve(_) => Verb::Reserve,
        Op::Commit(_) => Verb::Commit,
        Op::Release(_) => Verb::Release,
        Op::Extend(_) => Verb::Extend,
        Op::Charge(_) => Verb::Charge,
        Op::Check(_) => Verb::Check,
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
