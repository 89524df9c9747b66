//! Traces and metrics reach a collector: what a server counted last is sent when it stops.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use quotad::{clock::SystemClock, config::Settings, domain::time::Timestamp, telemetry::Telemetry};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService},
    transport::Server,
};
use tonic_prost::ProstCodec;

/// The paths of the calls that came.
type Calls = Arc<Mutex<BTreeSet<String>>>;

#[derive(Clone)]
struct TraceService(Calls);

#[derive(Clone)]
struct MetricsService(Calls);

impl NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl NamedService for MetricsService {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Notes the call and answers with a message of defaults.
fn answer(calls: &Calls, request: http::Request<Body>) -> Answer {
    calls.lock().insert(request.uri().path().to_owned());
    Box::pin(async {
        let nothing = tower::service_fn(async |_: Request<()>| Ok::<_, Status>(Response::new(())));
        Ok(Grpc::new(ProstCodec::<(), ()>::default()).unary(nothing, request).await)
    })
}

macro_rules! collector {
    ($service:ty) => {
        impl tower::Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Answer;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Answer {
                answer(&self.0, request)
            }
        }
    };
}
collector!(TraceService);
collector!(MetricsService);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_traces_and_metrics_are_sent_when_telemetry_is_dropped() {
    let calls = Calls::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let services =
        Server::builder().add_service(TraceService(calls.clone())).add_service(MetricsService(calls.clone()));
    let collector = tokio::spawn(services.serve_with_incoming(TcpListenerStream::new(listener)));

    let settings = Settings { otlp_endpoint: Some(endpoint.into()), ..Settings::default() };
    let telemetry = Telemetry::start(&settings).unwrap();
    telemetry.observe_clock(&Arc::new(SystemClock::start(Timestamp::EPOCH)));
    telemetry.metrics.granted.increment();
    tracing::info_span!(target: "quotad::test", "reserve").in_scope(|| {});
    assert!(Telemetry::start(&Settings::default()).is_err(), "a process logs in one way only");
    tokio::task::spawn_blocking(|| drop(telemetry)).await.unwrap();

    let expected = [format!("/{}/Export", MetricsService::NAME), format!("/{}/Export", TraceService::NAME)];
    assert_eq!(*calls.lock(), BTreeSet::from(expected));
    collector.abort();
}
