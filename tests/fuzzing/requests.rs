//! Any bytes as the message of any method, through the whole of the API, against a service with organizations in it: every call
//! is answered, and never as a defect of the server's.
//!
//! The input is calls: a byte for the method, two for the length of the message, the message.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use quotad::{
    api::{Auth, Stop, proto, routes},
    clock::SystemClock,
    domain::payment::OrderTerms,
    domain::{
        access::Scopes,
        id::{SecretHash, TokenId},
        lease::JournalId,
        time::{Span, Timestamp},
    },
    engine::turn::Bounds,
    journal::writer::{Collecting, Writer},
    notify::{Reach, Webhooks},
    service::{self, CallBounds, ManualProvider, Parts, Service, Tuning},
    telemetry::Metrics,
};
use tokio::time::timeout;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, Service as _};

use crate::{
    books::Books,
    chance::Chance,
    disk::Disk,
    place,
    time::{Machine, Time},
    trouble::Trouble,
};

const OPERATOR: &str = "operator";
const START: Timestamp = Timestamp::from_seconds(1_700_000_000);
/// Calls of one input.
const MAX_CALLS: usize = 8;

/// A data directory with everything set up, and what the data plane is called with.
struct Prepared {
    disk: Arc<Disk>,
    token: String,
    webhooks: Webhooks,
}

/// Every method, as it stands in a request's path, sorted.
pub(crate) fn methods() -> &'static [String] {
    static METHODS: OnceLock<Vec<String>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).expect("the descriptors can be read");
        let mut methods = Vec::new();
        for service in files.file.iter().flat_map(|file| &file.service) {
            let name = |method: &str| format!("/quotad.v1.{}/{method}", service.name());
            methods.extend(service.method.iter().map(|method| name(method.name())));
        }
        methods.sort();
        methods
    })
}

/// An input of one call.
pub(crate) fn input(method: &str, message: &[u8]) -> Vec<u8> {
    let at = methods().iter().position(|path| path.ends_with(method)).expect("there is such a method");
    let length = u16::try_from(message.len()).expect("it is short");
    [&[u8::try_from(at).expect("there are few")][..], &length.to_le_bytes(), message].concat()
}

pub(crate) fn check(bytes: &[u8]) {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| on_a_runtime(prepare()));
    on_a_runtime(async {
        let service = start(&prepared.disk.copy(), &prepared.webhooks).await;
        let mut rest = bytes;
        for _ in 0..MAX_CALLS {
            let [method, low, high, after @ ..] = rest else { return };
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
            let (message, next) = after.split_at(length);
            rest = next;
            let path = &methods()[usize::from(*method) % methods().len()];
            let token = if path.contains("QuotaService") { &prepared.token } else { OPERATOR };
            call(&service, path, token, message).await;
        }
    });
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be made").block_on(work)
}

async fn prepare() -> Prepared {
    let trouble = Trouble::new(Chance::new(0));
    let disk = Disk::new(JournalId::new([1; 16]), &trouble);
    let webhooks = Webhooks::new(Duration::from_secs(1), Reach::anywhere(), None).expect("webhooks can be posted");
    let service = start(&disk, &webhooks).await;
    let caller = service.authorize(Some(OPERATOR), "/quotad.v1.WalletService/TopUp").expect("the operator may");
    place::set_up(&service, &caller, &Chance::new(0)).await;
    let id = Some(TokenId::trusted("gateway"));
    let made = service.create_service_token(&caller, id, String::from("gateway"), Scopes::default(), None).await;
    Prepared { disk, token: made.expect("a token can be made").secret, webhooks }
}

async fn start(disk: &Arc<Disk>, webhooks: &Webhooks) -> Arc<Service> {
    let (trouble, time) = (Trouble::new(Chance::new(0)), Time::new(START));
    time.begin();
    let metrics = Arc::new(Metrics::default());
    let recovered = service::recover(&**disk, &**disk, 0).await.expect("it recovers");
    let collecting = Collecting { window: Duration::ZERO, capacity: 10_000 };
    let writer = Writer::start(disk.clone(), recovered.position, collecting, Arc::clone(&metrics));
    let parts = Parts {
        journal: disk.clone(),
        snapshots: disk.clone(),
        store: Books::new(&time, &trouble),
        writer,
        lease: None,
        holder: String::from("this server"),
        clock: Arc::new(SystemClock::with_readings(Machine(time), recovered.time)),
        metrics,
        operator: SecretHash::of(OPERATOR),
        mailer: None,
        webhooks: webhooks.clone(),
        payments: Box::new(ManualProvider),
        tuning: Tuning {
            remember: Span::seconds(600),
            remember_at_most: 1000,
            snapshot_every: Duration::from_hours(1),
            journal_max: u64::MAX,
            longest_lag: u64::MAX,
            remember_ended: Span::seconds(30 * 86_400),
            bounds: Bounds::default(),
            calls: CallBounds::default(),
            orders: OrderTerms::default(),
            watching: quotad::domain::bounds::WatchBounds::default(),
        },
    };
    recovered.start(parts, 0).await.expect("it starts")
}

async fn call(service: &Arc<Service>, path: &str, token: &str, message: &[u8]) {
    let (_stopper, stop) = Stop::new();
    let routes = routes(service, 1 << 20, stop).expect("the API can be described");
    let mut api = Auth::new(Arc::clone(service), Duration::from_mins(1)).layer(routes);
    let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
    let framed = [&[0][..], &length, message].concat();
    let request = http::Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(bytes::Bytes::from(framed))))
        .expect("it is a request");
    // The books aren't written here: what waits for them, and what streams, ends by itself only in time.
    let answered = timeout(Duration::from_mins(1), async {
        let response = api.call(request).await.expect("the API answers");
        let failed = Status::from_header_map(response.headers());
        let trailers = response.into_body().collect().await.ok().and_then(|body| body.trailers().cloned());
        failed.or_else(|| Status::from_header_map(&trailers?))
    });
    if let Ok(Some(status)) = answered.await {
        let defect = [Code::Internal, Code::Unknown, Code::DataLoss, Code::Unimplemented].contains(&status.code());
        assert!(!defect, "{path} answers {status}");
    }
}
