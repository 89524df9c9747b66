//! One connection: from its preface to its last call. It ends when its peer says nothing, asks nothing or takes nothing for too
//! long, and when the server stops and none of its calls is open.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use h2::{
    Ping, PingPong, Reason, RecvStream,
    server::{Builder, Connection, SendResponse},
};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep, timeout},
};
use tonic::body::Body;
use tower::Service;

use super::{
    Settings,
    account::{Account, OpenCall, Total, Window},
    answering::{Piece, answer, refuse},
    arriving::{Arriving, Terms},
    frames::Counted,
    gather::Gather,
};
use crate::api::{MAX_HEALTH_MESSAGE, Stop, is_health, refusal, streams_requests};

/// HTTP/2's own window of a connection: a stranger gets no larger one.
const FIRST_WINDOW: u32 = 65_535;
/// Overhead of small frames that may wait unread before h2 ends a connection: a window full of short requests fits.
const SMALL_FRAMES: usize = 1 << 20;
/// Bytes of an answer that h2 takes before it has sent them.
const SEND_BUFFER: usize = 64 << 10;
/// For a goodbye to reach the peer, and for what it sent before it heard.
const GOODBYE: Duration = Duration::from_millis(500);
const LOOK_FOR_CALLS: Duration = Duration::from_millis(20);

/// How long a peer may take for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) preface: Duration,
    pub(super) first_call: Duration,
    /// Without an open call.
    pub(super) idle: Duration,
    pub(super) body: Duration,
    /// A large answer of which nothing is taken.
    pub(super) stall: Duration,
    /// Without a byte before it is asked for one.
    pub(super) ping_after: Duration,
    pub(super) pong: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            preface: Duration::from_secs(10),
            first_call: Duration::from_secs(30),
            idle: Duration::from_mins(5),
            body: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            ping_after: Duration::from_secs(30),
            pong: Duration::from_secs(20),
        }
    }
}

/// What all connections of a server are served with.
#[derive(Clone)]
pub(super) struct Serving<S> {
    pub(super) service: S,
    pub(super) settings: Settings,
    pub(super) deadlines: Deadlines,
    pub(super) total: Arc<Total>,
    pub(super) stop: Stop,
}

/// Serves a connection to its end.
pub(super) async fn serve<C, S>(connection: C, serving: Serving<S>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let Serving { service, settings, deadlines, total, stop } = serving;
    let account = Account::open(&total);
    let connection = Gather::new(Counted::new(connection, Arc::clone(&account)), settings.gather);
    let handshake = timeout(deadlines.preface, builder(settings).handshake(connection));
    let mut stopped = pin!(stop.wait());
    let connection = tokio::select! {
        greeted = handshake => greeted,
        () = &mut stopped => return,
    };
    let Ok(Ok(mut connection)) = connection else { return };
    let mut pulse = Pulse::new(&deadlines, connection.ping_pong());
    let mut tick = pin!(sleep(pulse.period));
    let mut calls = Calls { connection, service, settings, deadlines, account, total, lease: None, is_settled: false };
    let account = Arc::clone(&calls.account);
    let is_stopping = {
        let mut all = pin!(calls.begin_all());
        loop {
            tokio::select! {
                // A peer that always has more to say must not keep these from being heard.
                biased;
                () = &mut stopped => break true,
                () = &mut tick => match pulse.beat(&account) {
                    Some(next) => tick.set(sleep(next)),
                    None => break false,
                },
                () = &mut all => return,
            }
        }
    };
    if is_stopping {
        return calls.finish(tick).await;
    }
    calls.connection.abrupt_shutdown(Reason::NO_ERROR);
    // Whoever doesn't take the goodbye needs none.
    let _ = timeout(GOODBYE, calls.begin_all()).await;
}

fn builder(settings: Settings) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_connection_window_size(FIRST_WINDOW)
        .initial_window_size(settings.stream_window)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(settings.max_header_list)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES);
    builder
}

/// A connection that was greeted, and its calls.
struct Calls<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    connection: Connection<Gather<Counted<C>>, Piece>,
    service: S,
    settings: Settings,
    deadlines: Deadlines,
    account: Arc<Account>,
    total: Arc<Total>,
    lease: Option<Window>,
    /// Whether its window will stay as it is.
    is_settled: bool,
}

impl<C, S> Calls<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Drives the connection to its end, and begins the calls that come.
    async fn begin_all(&mut self) {
        while let Some(Ok((request, reply))) = poll_fn(|cx| self.poll_accept(cx)).await {
            self.begin(request, reply);
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, h2::Error>>> {
        if !self.is_settled && self.account.known.load(Relaxed) {
            self.widen();
        }
        self.connection.poll_accept(cx)
    }

    /// Lets a peer that was let in send more before it is read, if there is room for that.
    fn widen(&mut self) {
        let bytes = self.settings.connection_window.max(FIRST_WINDOW);
        self.lease = self.total.window(bytes);
        if self.lease.is_some() {
            self.connection.set_target_window_size(bytes);
        }
        self.is_settled = true;
    }

    fn begin(&mut self, request: Request<RecvStream>, reply: SendResponse<Piece>) {
        let path = request.uri().path();
        let is_health = is_health(path);
        let call = match OpenCall::begin(&self.account, is_health) {
            Ok(call) => call,
            Err(full) => return refuse(reply, refusal::exhausted(full)),
        };
        let terms = Terms {
            max_message: if is_health { MAX_HEALTH_MESSAGE } else { self.settings.max_message },
            is_unary: !streams_requests(path),
            within: self.deadlines.body,
        };
        let request = request.map(|stream| Body::new(Arriving::new(stream, &self.account, terms)));
        // Cloned here, where it was read: the clone knows since when it waits for its turn.
        tokio::spawn(answer(self.service.clone(), request, reply, call, self.deadlines.stall));
    }

    /// Takes no more calls, and ends as soon as none is open.
    async fn finish(&mut self, mut tick: Pin<&mut Sleep>) {
        self.connection.graceful_shutdown();
        tick.set(sleep(GOODBYE));
        let account = Arc::clone(&self.account);
        let mut all = pin!(self.begin_all());
        loop {
            tokio::select! {
                biased;
                () = &mut tick => {
                    if account.open_calls() == 0 {
                        return;
                    }
                    tick.set(sleep(LOOK_FOR_CALLS));
                }
                () = &mut all => return,
            }
        }
    }
}

type Accepted = (Request<RecvStream>, SendResponse<Piece>);

/// Finds out from time to time whether a connection is of use.
struct Pulse {
    deadlines: Deadlines,
    pings: Option<PingPong>,
    /// Until the next beat.
    period: Duration,
    /// Asked for a byte at the last beat.
    pinged: bool,
    /// Took nothing since the last beat.
    stuck: bool,
    /// Calls at the last beat.
    begun: usize,
    idle: Duration,
}

impl Pulse {
    fn new(deadlines: &Deadlines, pings: Option<PingPong>) -> Self {
        let period = deadlines.ping_after.min(deadlines.first_call).min(deadlines.idle);
        Self { deadlines: *deadlines, pings, period, pinged: false, stuck: false, begun: 0, idle: Duration::ZERO }
    }

    /// When to look again; `None` when the connection should end.
    fn beat(&mut self, account: &Account) -> Option<Duration> {
        let has_read = account.has_read.swap(false, Relaxed);
        let has_written = account.has_written.swap(false, Relaxed);
        let was_stuck = std::mem::replace(&mut self.stuck, account.is_full.load(Relaxed) && !has_written);
        let begun = account.begun.load(Relaxed);
        let is_idle = account.is_idle() && begun == self.begun;
        self.idle = if is_idle { self.idle + self.period } else { Duration::ZERO };
        self.begun = begun;
        let longest = if begun == 0 { self.deadlines.first_call } else { self.deadlines.idle };
        if self.idle >= longest || (self.stuck && was_stuck) || (self.pinged && !has_read) {
            return None;
        }
        self.pinged = !has_read;
        if self.pinged {
            self.ping();
        }
        let wait = if self.pinged { self.deadlines.pong } else { self.deadlines.ping_after };
        self.period = wait.min(longest.saturating_sub(self.idle)).max(Duration::from_millis(1));
        Some(self.period)
    }

    fn ping(&mut self) {
        let Some(pings) = &mut self.pings else { return };
        // The answer to the last one, which makes room for this one.
        let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
        // Fails where the last one is still to be answered.
        let _ = pings.send_ping(Ping::opaque());
    }
}
