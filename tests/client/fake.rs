//! A server that does as it is told: answers from memory or passes on to a real one, or refuses, hangs, loses answers, breaks.

use std::{collections::VecDeque, future::pending, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use parking_lot::Mutex;
use quotad::{
    api::proto::{
        self, Grant, ReservationState, SessionRequest, SessionResponse,
        quota_service_server::{QuotaService, QuotaServiceServer},
        session_request::Op,
        session_response::Result as Answer,
    },
    client::{Connection, Gate},
};
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::{
    StreamExt as _,
    wrappers::{ReceiverStream, UnboundedReceiverStream},
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What becomes of one call.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Pass,
    /// Not carried out, and the server says so.
    Refuse(Status),
    /// Carried out, but the connection breaks before the answer.
    Lose,
    /// Never reaches the server, as far as the caller can tell.
    Break,
    Hang,
    /// A Reserve under way for long: it arrives with [`Deed::Overtaken`].
    Delay,
    /// What was delayed arrives first.
    Overtaken,
    /// A session ends without a word to what is under way.
    Cut,
}

#[derive(Default)]
pub(crate) struct Fake {
    behind: Option<Connection>,
    deeds: Mutex<VecDeque<Deed>>,
    /// What becomes of every call for which nothing else is planned.
    otherwise: Mutex<Option<Deed>>,
    calls: Mutex<Vec<Op>>,
    peers: Mutex<Vec<Option<SocketAddr>>>,
    delayed: Mutex<Option<proto::ReserveRequest>>,
}

/// As a quotad that is too busy says it.
pub(crate) fn overloaded() -> Deed {
    let details = ErrorDetails::with_error_info("OVERLOADED", "quotad", []);
    Deed::Refuse(Status::with_error_details(Code::Unavailable, "too much waits", details))
}

fn broken() -> Status {
    Status::unavailable("connection reset")
}

impl Fake {
    pub(crate) fn new(deeds: impl IntoIterator<Item = Deed>) -> Arc<Self> {
        Arc::new(Self { deeds: Mutex::new(deeds.into_iter().collect()), ..Self::default() })
    }

    pub(crate) fn before(connection: &Connection, deeds: impl IntoIterator<Item = Deed>) -> Arc<Self> {
        let deeds = Mutex::new(deeds.into_iter().collect());
        Arc::new(Self { behind: Some(connection.clone()), deeds, ..Self::default() })
    }

    /// From now on, once all that is planned has happened.
    pub(crate) fn otherwise(&self, deed: Deed) {
        *self.otherwise.lock() = Some(deed);
    }

    /// All calls so far, in order, those that failed too.
    pub(crate) fn calls(&self) -> Vec<Op> {
        self.calls.lock().clone()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        let name = |op: &Op| match op {
            Op::Reserve(_) => "reserve",
            Op::Commit(_) => "commit",
            Op::Release(_) => "release",
            Op::Extend(_) => "extend",
            Op::Charge(_) => "charge",
            Op::Check(_) => "check",
        };
        self.calls.lock().iter().map(name).collect()
    }

    pub(crate) fn peers(&self) -> Vec<Option<SocketAddr>> {
        self.peers.lock().clone()
    }

    pub(crate) fn service(self: &Arc<Self>) -> QuotaServiceServer<Serving> {
        QuotaServiceServer::new(Serving(Arc::clone(self)))
    }

    /// A connection in memory, so that a paused clock only moves when nobody has anything to do.
    pub(crate) fn connect(self: &Arc<Self>) -> Connection {
        let (accept, accepted) = mpsc::unbounded_channel::<Result<DuplexStream, std::io::Error>>();
        let server = Server::builder().add_service(self.service());
        tokio::spawn(server.serve_with_incoming(UnboundedReceiverStream::new(accepted)));
        let connector = tower::service_fn(move |_: http::Uri| {
            let (client, server) = tokio::io::duplex(1 << 16);
            let sent = accept.send(Ok(server)).map_err(std::io::Error::other);
            async move { sent.map(|()| hyper_util::rt::TokioIo::new(client)) }
        });
        let channel = Endpoint::from_static("http://memory").connect_with_connector_lazy(connector);
        Connection::over(channel, "token").unwrap()
    }

    async fn carry_out(&self, op: Op) -> Result<Answer, Status> {
        let Some(behind) = &self.behind else { return Ok(canned(&op)) };
        let mut quota = behind.quota();
        Ok(match op {
            Op::Reserve(request) => Answer::Reserve(quota.reserve(request).await?.into_inner()),
            Op::Commit(request) => Answer::Commit(quota.commit(request).await?.into_inner()),
            Op::Release(request) => Answer::Release(quota.release(request).await?.into_inner()),
            Op::Extend(request) => Answer::Extend(quota.extend(request).await?.into_inner()),
            Op::Charge(request) => Answer::Charge(quota.charge(request).await?.into_inner()),
            Op::Check(request) => Answer::Check(quota.check(request).await?.into_inner()),
        })
    }

    /// `None` where the stream that it came over is to end.
    async fn answer(&self, op: Op) -> Option<Result<Answer, Status>> {
        self.calls.lock().push(op.clone());
        let planned = self.deeds.lock().pop_front().or_else(|| self.otherwise.lock().clone());
        Some(match planned.unwrap_or(Deed::Pass) {
            Deed::Pass => self.carry_out(op).await,
            Deed::Refuse(status) => Err(status),
            Deed::Lose => self.carry_out(op).await.and(Err(broken())),
            Deed::Break => Err(broken()),
            Deed::Hang => pending().await,
            Deed::Delay => {
                let Op::Reserve(request) = op else { panic!("only a Reserve is delayed") };
                *self.delayed.lock() = Some(request);
                Err(broken())
            }
            Deed::Overtaken => {
                let delayed = self.delayed.lock().take().expect("something that was delayed");
                self.carry_out(Op::Reserve(delayed)).await.unwrap();
                self.carry_out(op).await
            }
            Deed::Cut => return None,
        })
    }
}

/// Grants everything.
fn canned(op: &Op) -> Answer {
    match op {
        Op::Reserve(proto::ReserveRequest { request_id, .. }) => {
            let reservation_id = format!("of {request_id}");
            let granted = Grant { reservation_id, state: ReservationState::Open.into(), ..Grant::default() };
            let decision = Some(proto::reserve_response::Decision::Granted(granted));
            Answer::Reserve(proto::ReserveResponse { decision })
        }
        Op::Commit(_) => Answer::Commit(proto::CommitResponse::default()),
        Op::Release(_) => Answer::Release(proto::ReleaseResponse::default()),
        Op::Extend(_) => {
            let decision = Some(proto::extend_response::Decision::Granted(Grant::default()));
            Answer::Extend(proto::ExtendResponse { decision })
        }
        Op::Charge(_) => {
            let decision = Some(proto::charge_response::Decision::Charged(proto::CommitResponse::default()));
            Answer::Charge(proto::ChargeResponse { decision })
        }
        Op::Check(_) => Answer::Check(proto::CheckResponse::default()),
    }
}

pub(crate) struct Serving(Arc<Fake>);

macro_rules! unary {
    ($($method:ident: $op:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl QuotaService for Serving {
            $(async fn $method(
                &self,
                request: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                self.0.peers.lock().push(request.remote_addr());
                let answer = self.0.answer(Op::$op(request.into_inner())).await;
                match answer.unwrap_or_else(|| Err(broken()))? {
                    Answer::$op(response) => Ok(Response::new(response)),
                    other => panic!("{other:?}"),
                }
            })*

            type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;
            type WatchRevocationsStream = ReceiverStream<Result<proto::WatchRevocationsResponse, Status>>;

            async fn session(
                &self,
                request: Request<Streaming<SessionRequest>>,
            ) -> Result<Response<Self::SessionStream>, Status> {
                Ok(Response::new(Box::pin(converse(Arc::clone(&self.0), request.into_inner()))))
            }

            async fn watch_revocations(
                &self,
                _: Request<proto::WatchRevocationsRequest>,
            ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
                Err(Status::unimplemented("nobody watches"))
            }
        }
    };
}

unary! {
    reserve: Reserve(ReserveRequest) -> ReserveResponse;
    commit: Commit(CommitRequest) -> CommitResponse;
    release: Release(ReleaseRequest) -> ReleaseResponse;
    extend: Extend(ExtendRequest) -> ExtendResponse;
    charge: Charge(ChargeRequest) -> ChargeResponse;
    check: Check(CheckRequest) -> CheckResponse;
}

/// Each operation in a task of its own; the first that is cut ends all.
fn converse(
    fake: Arc<Fake>,
    mut requests: Streaming<SessionRequest>,
) -> impl Stream<Item = Result<SessionResponse, Status>> {
    let (answers, answered) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(SessionRequest { correlation_id, op })) = requests.next().await {
            let (fake, answers) = (Arc::clone(&fake), answers.clone());
            tokio::spawn(async move {
                let answer = fake.answer(op.unwrap()).await.map(|answer| SessionResponse {
                    correlation_id,
                    result: Some(answer.unwrap_or_else(|status| Answer::Error(in_band(&status)))),
                });
                let _ = answers.send(answer);
            });
        }
    });
    UnboundedReceiverStream::new(answered).map_while(|answer| answer.map(Ok))
}

fn in_band(status: &Status) -> tonic_types::Status {
    let decoded: tonic_types::Status = prost::Message::decode(status.details()).unwrap();
    tonic_types::Status { code: status.code().into(), message: status.message().to_owned(), ..decoded }
}

/// Until nobody has anything to do: a paused clock moves only then.
pub(crate) async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Fails where what is owed is never paid.
pub(crate) async fn drained(gate: &Gate) {
    tokio::time::timeout(Duration::from_mins(1), gate.drain()).await.expect("nothing owed any more");
}
