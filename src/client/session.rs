//! One `Session` stream with many operations under way, matched by correlation id.
//!
//! Saves what a call of its own costs: many operations share a frame. Never repeats an operation: what was under way when a
//! stream broke may have been carried out or not, and fails with a transient error; whoever asked knows how to ask again.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::Connection;
use crate::api::proto::{
    ChargeRequest, ChargeResponse, CheckRequest, CheckResponse, CommitRequest, CommitResponse, ExtendRequest,
    ExtendResponse, ReleaseRequest, ReleaseResponse, ReserveRequest, ReserveResponse, Revocation, SessionRequest,
    SessionResponse, session_request::Op, session_response::Result as Answer,
};

/// Revocations kept for whoever reads them.
const MAX_REVOCATIONS: usize = 4096;

/// Revocations of what was reserved over the session. They are worth acting on at once, but nothing depends on them: the next
/// Extend of a revoked reservation is denied. What is reserved under a `holder` can also be heard of by `WatchRevocations`; the
/// rest belongs to its stream, and isn't heard of any more once that broke.
pub type Revocations = mpsc::Receiver<Revocation>;

/// The source of the status that operations fail with when their stream breaks.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session's stream broke before the answer ({cause}); the operation may have been carried out")]
pub struct StreamBroken {
    cause: String,
}

/// Cheap to clone; clones share the stream.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    room: Semaphore,
    /// Half of the room, for what begins work: what settles would wait behind all of it otherwise. What its caller gave up
    /// isn't counted, though the server may be about to answer it.
    new_work: Semaphore,
    max_new_work: u32,
    max_under_way: u32,
    revocations: mpsc::Sender<Revocation>,
    /// An async lock: whoever finds the stream broken opens another while the others wait for it.
    stream: tokio::sync::Mutex<Option<Stream>>,
}

/// Ends, for the server, when the last sender is gone: so the task that reads has none.
#[derive(Debug)]
struct Stream {
    /// As many as may be under way: those that were given up meanwhile take room too, until the server has read them.
    requests: mpsc::Sender<SessionRequest>,
    under_way: Arc<Mutex<UnderWay>>,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct UnderWay {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Answer, Status>>, foldhash::fast::RandomState>,
    /// Nothing more will be answered.
    broken: bool,
}

impl Session {
    /// The server reads no further while so many wait for its disk.
    pub const MAX_UNDER_WAY: usize = 1024;

    /// Over this connection, opened with the first operation. At most `max_under_way` operations, and no more than
    /// [`Self::MAX_UNDER_WAY`], are under way at a time, at most half of them (one of one) new work; those beyond wait for room.
    pub fn new(connection: Connection, max_under_way: usize) -> (Self, Revocations) {
        let (revocations, receiver) = mpsc::channel(MAX_REVOCATIONS);
        let max_under_way = u32::try_from(max_under_way.clamp(1, Self::MAX_UNDER_WAY)).unwrap_or(1);
        let room = Semaphore::new(max_under_way as usize);
        let max_new_work = (max_under_way / 2).max(1);
        let new_work = Semaphore::new(max_new_work as usize);
        let stream = tokio::sync::Mutex::default();
        let shared = Shared { connection, room, new_work, max_new_work, max_under_way, revocations, stream };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    /// Lets what is under way be answered, refuses what comes after, and waits until the server has ended the stream.
    pub async fn close(&self) {
        let Shared { room, new_work, .. } = &*self.shared;
        // In the order in which operations take them: what waits for either was asked before.
        let all =
            (new_work.acquire_many(self.shared.max_new_work).await, room.acquire_many(self.shared.max_under_way).await);
        new_work.close();
        room.close();
        drop(all);
        let stream = self.shared.stream.lock().await.take();
        if let Some(Stream { requests, reading, .. }) = stream {
            drop(requests);
            // It can only have ended or been cancelled with the runtime.
            let _ = reading.await;
        }
    }

    async fn ask(&self, op: Op) -> Result<Answer, Status> {
        let closed = |_| Status::failed_precondition("the session was closed; open another");
        let _share = if op.begins_work() { Some(self.shared.new_work.acquire().await.map_err(closed)?) } else { None };
        let _room = self.shared.room.acquire().await.map_err(closed)?;
        let (asked, answer) = self.send(op).await?;
        let answer = answer.await.unwrap_or_else(|_| Err(broken("its reader was stopped")));
        drop(asked);
        answer
    }

    /// Over the stream there is, or over a new one.
    async fn send(&self, op: Op) -> Result<(Asked, oneshot::Receiver<Result<Answer, Status>>), Status> {
        let mut stream = self.shared.stream.lock().await;
        let (answered, answer) = oneshot::channel();
        let open = match &*stream {
            Some(open) if !open.under_way.lock().broken => open,
            _ => stream.insert(self.open().await?),
        };
        let Some(id) = open.under_way.lock().register(answered) else { return Err(broken("it ended")) };
        let asked = Asked { id, under_way: Arc::clone(&open.under_way) };
        let request = SessionRequest { correlation_id: id, op: Some(op) };
        open.requests.send(request).await.map_err(|_| broken("it ended"))?;
        Ok((asked, answer))
    }

    async fn open(&self) -> Result<Stream, Status> {
        let (requests, sent) = mpsc::channel(self.shared.max_under_way as usize);
        let answers = self.shared.connection.quota().session(ReceiverStream::new(sent)).await?.into_inner();
        let under_way = Arc::default();
        let reading = tokio::spawn(read(answers, Arc::clone(&under_way), self.shared.revocations.clone()));
        Ok(Stream { requests, under_way, reading })
    }
}

macro_rules! operations {
    ($($method:ident: $op:ident($request:ty) -> $response:ty;)*) => {
        impl Session {$(
            /// # Errors
            /// What the unary call would have failed with; [`StreamBroken`] as the source of an `UNAVAILABLE` where the
            /// answer was lost.
            pub async fn $method(&self, request: $request) -> Result<$response, Status> {
                match self.ask(Op::$op(request)).await? {
                    Answer::$op(response) => Ok(response),
                    other => Err(Status::internal(format!("the answer to another operation: {other:?}"))),
                }
            }
        )*}
    };
}

operations! {
    reserve: Reserve(ReserveRequest) -> ReserveResponse;
    commit: Commit(CommitRequest) -> CommitResponse;
    release: Release(ReleaseRequest) -> ReleaseResponse;
    extend: Extend(ExtendRequest) -> ExtendResponse;
    charge: Charge(ChargeRequest) -> ChargeResponse;
    check: Check(CheckRequest) -> CheckResponse;
}

impl UnderWay {
    /// `None` once nothing more will be answered.
    fn register(&mut self, answered: oneshot::Sender<Result<Answer, Status>>) -> Option<u64> {
        if self.broken {
            return None;
        }
        // 0 is a revocation's.
        self.last_id += 1;
        self.waiting.insert(self.last_id, answered);
        Some(self.last_id)
    }
}

/// Takes an operation that nobody waits for any more off the list.
struct Asked {
    id: u64,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.under_way.lock().waiting.remove(&self.id);
    }
}

/// Hands out answers until there are no more, then fails what still waits.
async fn read(
    mut answers: Streaming<SessionResponse>,
    under_way: Arc<Mutex<UnderWay>>,
    revocations: mpsc::Sender<Revocation>,
) {
    let status = loop {
        match answers.message().await {
            Ok(Some(SessionResponse { correlation_id, result: Some(answer) })) => match answer {
                Answer::Revocation(revocation) => {
                    if revocations.try_send(revocation).is_err() && !revocations.is_closed() {
                        tracing::warn!("a revocation was dropped, because {MAX_REVOCATIONS} were not read");
                    }
                }
                Answer::Error(error) => answer_to(&under_way, correlation_id, Err(in_words(&error))),
                answer => answer_to(&under_way, correlation_id, Ok(answer)),
            },
            Ok(Some(SessionResponse { result: None, .. })) => break broken("it holds an answer without a result"),
            Ok(None) => break broken("the server ended it"),
            Err(status) => break broken(status.message()),
        }
    };
    let waiting = {
        let mut under_way = under_way.lock();
        under_way.broken = true;
        std::mem::take(&mut under_way.waiting)
    };
    for (_, answered) in waiting {
        let _ = answered.send(Err(status.clone()));
    }
}

fn answer_to(under_way: &Mutex<UnderWay>, id: u64, answer: Result<Answer, Status>) {
    // Nobody waits where the caller gave up.
    if let Some(answered) = under_way.lock().waiting.remove(&id) {
        let _ = answered.send(answer);
    }
}

fn broken(cause: &str) -> Status {
    let error = StreamBroken { cause: cause.to_owned() };
    let mut status = Status::unavailable(error.to_string());
    status.set_source(Arc::new(error));
    status
}

/// The status that the unary call would have had, details included.
fn in_words(error: &tonic_types::Status) -> Status {
    let details = prost::Message::encode_to_vec(error);
    Status::with_details(Code::from_i32(error.code), error.message.clone(), details.into())
}
