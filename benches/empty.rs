//! An empty handler of the same messages: what gRPC alone costs on a machine. It answers everything at once, alike, and holds nothing.
//!
//! What quotad is measured against in `benches/side_by_side.sh`: the transport, the allocator and the answers' sizes are
//! those of quotad, and nothing stands behind them. `cargo run --release --example empty -- 127.0.0.1:0`
//!
//! `benches/transport.py` gives it other settings of the transport, to see what they do.

use std::{error::Error, net::SocketAddr, pin::Pin};

use clap::Parser;
use futures::{Stream, StreamExt as _};
use mimalloc::MiMalloc;
use quotad::{
    api::{
        Stop,
        proto::{
            Amounts, ChargeRequest, ChargeResponse, CheckRequest, CheckResponse, CommitRequest, CommitResponse,
            ExtendRequest, ExtendResponse, Grant, ReleaseRequest, ReleaseResponse, ReservationState, ReserveRequest,
            ReserveResponse, SessionRequest, SessionResponse, WatchRevocationsRequest, WatchRevocationsResponse,
            charge_response, check_response, extend_response,
            quota_service_server::{QuotaService, QuotaServiceServer},
            reserve_response,
            session_request::Op,
            session_response::Result as Answer,
        },
    },
    server::transport,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, service::Routes};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// As long as those of quotad for short names.
const RESERVATION_ID: &str = "AQZvcmctMDEIb3JnLTAxLTEFYmVuY2gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

struct Empty;

fn amounts() -> Amounts {
    Amounts { usd: "0.00045".to_owned(), credits: "0.00045".to_owned(), tokens: 1200, requests: 1 }
}

fn grant() -> Grant {
    Grant {
        reservation_id: RESERVATION_ID.to_owned(),
        expire_time: Some(prost_types::Timestamp { seconds: 1_772_452_800, nanos: 500_000_000 }),
        output_tokens: 300,
        held: Some(amounts()),
        state: ReservationState::Open.into(),
        ..Grant::default()
    }
}

fn charged() -> CommitResponse {
    let overage = Some(Amounts { usd: "0".to_owned(), credits: "0".to_owned(), ..Amounts::default() });
    let balance_usd = "999999.99955".to_owned();
    CommitResponse { charged: Some(amounts()), overage, entry: 1, balance_usd, ..CommitResponse::default() }
}

fn reserved() -> ReserveResponse {
    ReserveResponse { decision: Some(reserve_response::Decision::Granted(grant())) }
}

fn released() -> ReleaseResponse {
    let (charged, balance_usd) = (Some(Amounts::default()), "999999.99955".to_owned());
    ReleaseResponse { released: Some(amounts()), charged, balance_usd, ..ReleaseResponse::default() }
}

fn extended() -> ExtendResponse {
    ExtendResponse { decision: Some(extend_response::Decision::Granted(grant())) }
}

fn charge() -> ChargeResponse {
    ChargeResponse { decision: Some(charge_response::Decision::Charged(charged())) }
}

fn checked() -> CheckResponse {
    CheckResponse { decision: Some(check_response::Decision::Granted(grant())), limits: Vec::new() }
}

fn answer(SessionRequest { correlation_id, op }: SessionRequest) -> SessionResponse {
    let result = op.map(|op| match op {
        Op::Reserve(_) => Answer::Reserve(reserved()),
        Op::Commit(_) => Answer::Commit(charged()),
        Op::Release(_) => Answer::Release(released()),
        Op::Extend(_) => Answer::Extend(extended()),
        Op::Charge(_) => Answer::Charge(charge()),
        Op::Check(_) => Answer::Check(checked()),
    });
    SessionResponse { correlation_id, result }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl QuotaService for Empty {
    async fn reserve(&self, _: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        Ok(Response::new(reserved()))
    }

    async fn commit(&self, _: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        Ok(Response::new(charged()))
    }

    async fn release(&self, _: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        Ok(Response::new(released()))
    }

    async fn extend(&self, _: Request<ExtendRequest>) -> Result<Response<ExtendResponse>, Status> {
        Ok(Response::new(extended()))
    }

    async fn charge(&self, _: Request<ChargeRequest>) -> Result<Response<ChargeResponse>, Status> {
        Ok(Response::new(charge()))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(checked()))
    }

    type SessionStream = Answers<SessionResponse>;

    async fn session(
        &self,
        requests: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(Box::pin(requests.into_inner().map(|request| request.map(answer)))))
    }

    type WatchRevocationsStream = Answers<WatchRevocationsResponse>;

    async fn watch_revocations(
        &self,
        _: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Ok(Response::new(Box::pin(futures::stream::pending())))
    }
}

/// Where to listen, and what to change of quotad's settings.
#[derive(Debug, Parser)]
struct Options {
    #[arg(default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long, value_name = "BYTES")]
    connection_window: Option<u32>,
    #[arg(long, value_name = "BYTES")]
    stream_window: Option<u32>,
    #[arg(long, value_name = "COUNT")]
    max_streams: Option<u32>,
    #[arg(long)]
    delay: bool,
    /// Sends each answer by itself
    #[arg(long)]
    no_gather: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { listen, connection_window, stream_window, max_streams, delay, no_gather } = Options::parse();
    let chosen = transport::Settings::default();
    let settings = transport::Settings {
        connection_window: connection_window.unwrap_or(chosen.connection_window),
        stream_window: stream_window.unwrap_or(chosen.stream_window),
        max_streams: max_streams.unwrap_or(chosen.max_streams),
        delay,
        gather: !no_gather,
        ..chosen
    };
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let routes = Routes::new(QuotaServiceServer::new(Empty)).prepare();
    let (_stopper, stop) = Stop::new();
    transport::serve(listener, routes, settings, stop).await;
    Ok(())
}
