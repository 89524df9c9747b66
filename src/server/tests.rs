use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst};

use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use self::staged::StagedJournal;
use super::*;
use crate::{
    api::proto::{self, session_request::Op, session_response::Result as Answer},
    client::Connection,
    clock::ManualClock,
    config::Connections,
    domain::{
        access::Scopes,
        entity::{ExpiryPolicy, WalletMode},
        id::{DEFAULT_TEAM, KeyId, LimitId, MemberId, OrganizationId, TeamId},
        money::{Factor, Nanos},
        period::Period,
        policy::{Budget, BudgetUnit, Limit, Models, Policy},
        time::Span,
    },
    service::{Caller, NewKey, NewMember, NewOrganization, Repeatable},
};

mod accepting;
mod backing_up;
mod interleaved;
mod mirroring;
mod numbers;
mod overload;
mod session;
mod staged;
mod together;
mod verifying;
mod wall_clock;

const NOON: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// A server with one key, `k1`, that may spend 10 USD.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn settings(&self) -> Settings {
        let listen = "127.0.0.1:0".parse().unwrap();
        let data_dir = self.0.path().join("data");
        // However slow the machine is, nothing is refused for it.
        let connections = Connections { max_call_wait: Duration::from_mins(1), ..Connections::default() };
        Settings { listen, data_dir, connections, ..Settings::default() }
    }

    async fn start(&self) -> Running {
        serve(&self.settings(), Arc::default(), stopped_clock).await.unwrap()
    }

    /// On a journal that fails once it is told to.
    async fn start_on_failing_journal(&self) -> (Running, Arc<StagedJournal>) {
        let settings = self.settings();
        let data = DataDir::prepare(&settings.data_dir).unwrap();
        let backends = backends::open(data.path(), &settings).await.unwrap();
        let journal = Arc::new(StagedJournal::over(backends.journal.clone()));
        let backends = Backends { journal: journal.clone(), ..backends };
        (start(&settings, data, backends, Arc::default(), stopped_clock).await.unwrap(), journal)
    }
}

fn stopped_clock(at_least: Timestamp) -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(at_least.max(NOON)))
}

fn operator(running: &Running) -> Caller {
    running.service.authorize(Some(&running.operator_token), "/quotad.v1.TokenService/CreateServiceToken").unwrap()
}

/// A new organization.
async fn found(running: &Running, id: &str) -> OrganizationId {
    let organization = OrganizationId::trusted(id);
    let new = NewOrganization {
        kind: crate::domain::entity::AccountKind::Team,
        id: Some(organization.clone()),
        name: String::new(),
        credit_factor: Factor::ONE,
        wallet_mode: WalletMode::Off,
        expiry_policy: ExpiryPolicy::default(),
        bounds: None,
        disabled: false,
        suspended: false,
        ceiling: Policy::default(),
        policy: Policy::default(),
    };
    running.service.create_organization(&operator(running), new, Repeatable::default()).await.unwrap();
    organization
}

async fn seed(running: &Running) -> String {
    let (service, caller) = (&running.service, operator(running));
    let organization = found(running, "acme").await;
    let member = NewMember {
        role: crate::domain::access::Role::Developer,
        id: Some(MemberId::trusted("ada")),
        name: String::new(),
        email: String::new(),
        disabled: false,
        policy: Policy::default(),
        teams: Vec::new(),
    };
    service.create_member(&caller, &organization, member, Repeatable::default()).await.unwrap();
    let budget = Limit::Budget(Budget {
        alerts: None,
        id: LimitId::trusted("b1"),
        unit: BudgetUnit::Usd,
        max: Some(Nanos::units(10)),
        soft: None,
        period: Period::OneTime,
        models: Models::default(),
    });
    let key = NewKey {
        rule: None,
        id: Some(KeyId::trusted("k1")),
        member: Some(MemberId::trusted("ada")),
        team: TeamId::trusted(DEFAULT_TEAM),
        name: String::new(),
        disabled: false,
        expire_time: None,
        models: Models::default(),
        policy: Policy::checked(vec![budget]).unwrap(),
    };
    service.create_key(&caller, &organization, key, Repeatable::default()).await.unwrap();
    service.create_service_token(&caller, None, String::new(), Scopes::default(), None).await.unwrap().secret
}

async fn connect(running: &Running, token: &str) -> Connection {
    Connection::open(&format!("http://{}", running.address), token).await.unwrap()
}

fn costing(usd: &str) -> proto::Usage {
    proto::Usage { input_tokens: 1, cost_usd: usd.to_owned(), ..proto::Usage::default() }
}

fn reserve(request_id: &str, usd: &str) -> proto::ReserveRequest {
    proto::ReserveRequest {
        payer: Some(proto::Payer { payer: Some(proto::payer::Payer::KeyId("k1".into())) }),
        request_id: request_id.to_owned(),
        model: "m".into(),
        usage: Some(costing(usd)),
        ..proto::ReserveRequest::default()
    }
}

fn commit(reservation_id: &str, usd: &str) -> proto::CommitRequest {
    let named = proto::reservation_ref::Reservation::ReservationId(reservation_id.to_owned());
    proto::CommitRequest {
        reservation: Some(proto::ReservationRef { reservation: Some(named) }),
        usage: Some(costing(usd)),
        ..proto::CommitRequest::default()
    }
}

fn granted(response: proto::ReserveResponse) -> proto::Grant {
    match response.decision {
        Some(proto::reserve_response::Decision::Granted(grant)) => grant,
        other => panic!("{other:?}"),
    }
}

fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    (status.code(), details.error_info().map(|info| info.reason.clone()).unwrap_or_default())
}

struct Talk {
    requests: mpsc::Sender<proto::SessionRequest>,
    answers: Streaming<proto::SessionResponse>,
}

impl Talk {
    async fn open(connection: &Connection) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let answers = connection.quota().session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, correlation_id: u64, op: Op) {
        self.requests.send(proto::SessionRequest { correlation_id, op: Some(op) }).await.unwrap();
    }

    async fn next(&mut self) -> (u64, Answer) {
        let proto::SessionResponse { correlation_id, result } = self.answers.next().await.unwrap().unwrap();
        (correlation_id, result.unwrap())
    }
}

#[tokio::test]
async fn a_request_is_reserved_committed_and_refused_when_the_budget_is_used_up() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let mut quota = connect(&running, &token).await.quota();
    let grant = granted(quota.reserve(reserve("r1", "9")).await.unwrap().into_inner());
    assert_eq!(grant.held.unwrap().usd, "9");
    let open = || running.service.metrics().open_reservations.get();
    assert_eq!(open(), 1);
    let charged = quota.commit(commit(&grant.reservation_id, "9.5")).await.unwrap().into_inner();
    assert_eq!((charged.charged.unwrap().usd.as_str(), charged.entry), ("9.5", 1));
    assert_eq!(open(), 0);
    let denied = quota.reserve(reserve("r2", "1")).await.unwrap().into_inner();
    let Some(proto::reserve_response::Decision::Denied(denial)) = denied.decision else { panic!("{denied:?}") };
    assert_eq!(denial.code(), proto::DenialCode::BudgetExceeded);
    let check = proto::CheckRequest { payer: reserve("", "").payer, model: "m".into(), ..Default::default() };
    let check = proto::CheckRequest { usage: Some(costing("0.5")), ..check };
    let checked = quota.check(check).await.unwrap().into_inner();
    assert!(matches!(checked.decision, Some(proto::check_response::Decision::Granted(_))));
    let binding = checked.limits.iter().filter(|limit| limit.binding);
    let left: Vec<_> = binding.map(|limit| (limit.scope(), limit.remaining.as_str())).collect();
    assert_eq!(left, [(proto::Scope::Key, "0.5")], "the wallet is off");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn nobody_is_let_in_without_the_right_token() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let try_with = async |token: &str| {
        let refused = connect(&running, token).await.quota().reserve(reserve("r", "0.1")).await.unwrap_err();
        reason(&refused)
    };
    assert_eq!(try_with("qt_made_up").await, (Code::Unauthenticated, "TOKEN_UNKNOWN".into()));
    let operator = running.operator_token.clone();
    assert_eq!(try_with(&operator).await, (Code::PermissionDenied, "PERMISSION_DENIED".into()));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut bare = proto::quota_service_client::QuotaServiceClient::new(channel.clone());
    let refused = bare.reserve(reserve("r", "0.1")).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unauthenticated, "TOKEN_MISSING".into()));
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let asked = tonic_health::pb::HealthCheckRequest { service: "quotad.v1.QuotaService".into() };
    let health = health.check(asked).await.unwrap().into_inner();
    assert_eq!(health.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    assert!(connect(&running, &token).await.quota().reserve(reserve("r", "0.1")).await.is_ok());
}

#[tokio::test]
async fn a_session_answers_every_operation_once_and_ends_when_the_client_is_done() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let connection = connect(&running, &token).await;
    let mut talk = Talk::open(&connection).await;
    let mut open = BTreeSet::new();
    for no in 0..2000u64 {
        talk.ask(2 * no, Op::Reserve(reserve(&format!("r{no}"), "0.001"))).await;
        open.insert(2 * no);
        let (answered, answer) = talk.next().await;
        assert!(open.remove(&answered), "{answered} was answered twice");
        if let Answer::Reserve(response) = answer {
            let id = granted(response).reservation_id;
            talk.ask(answered + 1, Op::Commit(commit(&id, "0.001"))).await;
            open.insert(answered + 1);
        }
    }
    talk.requests.send(proto::SessionRequest { correlation_id: 9999, op: None }).await.unwrap();
    let Talk { requests, mut answers } = talk;
    drop(requests);
    while let Some(response) = answers.next().await {
        let proto::SessionResponse { correlation_id, result } = response.unwrap();
        match result.unwrap() {
            Answer::Error(error) => {
                assert_eq!((correlation_id, error.code), (9999, i32::from(Code::InvalidArgument)));
                assert!(!error.details.is_empty());
            }
            _ => assert!(open.remove(&correlation_id), "{correlation_id}"),
        }
    }
    assert_eq!(open, BTreeSet::new());
    // The server lets go of a session after it has said its last word.
    let closed = async {
        while running.service.metrics().open_sessions.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test]
async fn a_session_hears_at_once_of_what_was_revoked_and_may_still_commit_it() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let connection = connect(&running, &token).await;
    let mut talk = Talk::open(&connection).await;
    talk.ask(1, Op::Reserve(reserve("unnamed", "1"))).await;
    let named = proto::ReserveRequest { holder: "gpu-7".into(), ..reserve("named", "1") };
    talk.ask(2, Op::Reserve(named)).await;
    let (Answer::Reserve(one), Answer::Reserve(two)) = (talk.next().await.1, talk.next().await.1) else {
        panic!("no reservations");
    };
    let (one, two) = (granted(one).reservation_id, granted(two).reservation_id);
    let watch = proto::WatchRevocationsRequest { holder: "gpu-7".into() };
    let mut watch = connection.quota().watch_revocations(watch).await.unwrap().into_inner();
    let mut spender = connection.quota();
    let last = granted(spender.reserve(reserve("spender", "1")).await.unwrap().into_inner());
    spender.commit(commit(&last.reservation_id, "10")).await.unwrap();
    let mut revoked = BTreeSet::new();
    for _ in 0..2 {
        let (0, Answer::Revocation(revocation)) = talk.next().await else { panic!("no revocation") };
        assert_eq!(revocation.cause.unwrap().code(), proto::DenialCode::BudgetExceeded);
        revoked.insert(revocation.reservation_id);
    }
    assert_eq!(revoked, BTreeSet::from([one.clone(), two.clone()]));
    let watched = watch.next().await.unwrap().unwrap().revocation.unwrap();
    assert_eq!((watched.reservation_id, watched.request_id), (two, "named".into()));
    talk.ask(3, Op::Commit(commit(&one, "0.5"))).await;
    let (3, Answer::Commit(charged)) = talk.next().await else { panic!("not committed") };
    assert_eq!(charged.charged.unwrap().usd, "0.5");
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams_and_keeps_reservations_for_the_next() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let connection = connect(&running, &token).await;
    let mut talk = Talk::open(&connection).await;
    talk.ask(1, Op::Reserve(reserve("r1", "1"))).await;
    let (1, Answer::Reserve(response)) = talk.next().await else { panic!("no reservation") };
    let id = granted(response).reservation_id;
    let watch = proto::WatchRevocationsRequest { holder: "gpu-7".into() };
    let mut watch = connection.quota().watch_revocations(watch).await.unwrap().into_inner();
    let stopped = tokio::spawn(running.shutdown());
    let ended = talk.answers.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&ended), (Code::Unavailable, "STOPPING".into()));
    let ended = watch.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&ended), (Code::Unavailable, "STOPPING".into()));
    stopped.await.unwrap().unwrap();
    let running = home.start().await;
    assert_eq!(running.service.metrics().open_reservations.get(), 1);
    let mut quota = connect(&running, &token).await.quota();
    let charged = quota.commit(commit(&id, "1")).await.unwrap().into_inner();
    assert_eq!((charged.entry, charged.replayed), (1, false));
}

#[tokio::test]
async fn a_server_whose_journal_is_lost_acknowledges_nothing_and_says_that_it_must_end() {
    let home = Home::new();
    let (mut running, journal) = home.start_on_failing_journal().await;
    let token = seed(&running).await;
    let mut quota = connect(&running, &token).await.quota();
    let id = granted(quota.reserve(reserve("r1", "1")).await.unwrap().into_inner()).reservation_id;
    journal.failing.store(true, SeqCst);
    let refused = quota.commit(commit(&id, "1")).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "JOURNAL_FAILED".into()));
    assert!(matches!(running.failure().await, ServeError::JournalLost(_)));
    let refused = quota.reserve(reserve("r2", "1")).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "JOURNAL_FAILED".into()));
    assert!(running.shutdown().await.is_err());
}

#[tokio::test]
async fn a_journal_that_is_lost_after_the_last_acknowledgement_is_told_at_the_end() {
    let home = Home::new();
    let (mut running, journal) = home.start_on_failing_journal().await;
    let token = seed(&running).await;
    let mut quota = connect(&running, &token).await.quota();
    let id = granted(quota.reserve(reserve("r1", "1")).await.unwrap().into_inner()).reservation_id;
    // So that the Commit's batch is the next.
    running.writer.drain().await.unwrap();
    journal.checkpoints_fail.store(true, SeqCst);
    quota.commit(commit(&id, "1")).await.unwrap();
    assert!(matches!(running.failure().await, ServeError::JournalLost(_)));
    assert!(matches!(running.shutdown().await, Err(ServeError::JournalLost(_))));
}
