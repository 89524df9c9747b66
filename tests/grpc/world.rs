//! A server in this process, and what tests need to say in a line.

use std::{path::Path, sync::Arc};

use quotad::{
    api::proto::{
        Budget, CommitRequest, CommitResponse, CreateKeyRequest, CreateMemberRequest, CreateMembershipRequest,
        CreateOrganizationRequest, CreatePriceRequest, CreateServiceTokenRequest, CreateTeamRequest, Denial,
        GetBalanceRequest, Grant, Key, ListTransactionsRequest, ListTransactionsResponse, Member, Membership,
        Organization, Payer, Period, PeriodKind, Policy, Price, Quota, ReservationRef, ReserveRequest, ServiceToken,
        Team, TopUpRequest, Unit, Usage, VerifyRequest, payer, reservation_ref, reserve_response,
    },
    client::{Connection, reason},
    clock::{Clock, ManualClock},
    config::Settings,
    domain::time::{Span, Timestamp},
    server::{Running, serve},
};
use tempfile::TempDir;
use tonic::{Code, Status};

pub(crate) const ORGANIZATION: &str = "acme";
pub(crate) const KEY: &str = "key-1";
pub(crate) const MODEL: &str = "llama";
/// A Tuesday, 22:13:20 UTC.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

pub(crate) struct World {
    pub(crate) server: Running,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) operator: Connection,
    pub(crate) gateway: Connection,
    pub(crate) secret: String,
    directory: TempDir,
}

async fn run(directory: &Path, start: Timestamp) -> (Running, Arc<ManualClock>) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let settings = Settings { listen, data_dir: directory.to_owned(), ..Settings::default() };
    let mut clock = None;
    let server = serve(&settings, Arc::default(), |at_least| {
        let manual = Arc::new(ManualClock::new(at_least.max(start)));
        clock = Some(Arc::clone(&manual));
        manual
    });
    let server = server.await.unwrap();
    (server, clock.unwrap())
}

impl World {
    /// An organization of one member in the default team with one key, 1,000 USD, and a model at 1 USD per million tokens in
    /// and 2 USD out.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (server, clock) = run(directory.path(), START).await;
        let operator = Connection::open(&endpoint(&server), &server.operator_token).await.unwrap();
        let request = CreateServiceTokenRequest { token: Some(ServiceToken::default()) };
        let secret = operator.tokens().create_service_token(request).await.unwrap().into_inner().secret;
        let gateway = operator.with_token(&secret).unwrap();
        let world = Self { server, clock, operator, gateway, secret, directory };
        world.organization(ORGANIZATION, Policy::default()).await;
        world.top_up("1000").await;
        world.price(MODEL, "1", "2").await;
        world.member("ann", &[]).await;
        world.key(KEY, "ann", "", Policy::default()).await;
        world
    }

    /// The same after a restart on the same directory.
    pub(crate) async fn restarted(self) -> Self {
        let Self { server, clock, directory, secret, .. } = self;
        let now = clock.now();
        server.shutdown().await.unwrap();
        let (server, clock) = run(directory.path(), now).await;
        let operator = Connection::open(&endpoint(&server), &server.operator_token).await.unwrap();
        let gateway = operator.with_token(&secret).unwrap();
        Self { server, clock, operator, gateway, secret, directory }
    }

    pub(crate) fn endpoint(&self) -> String {
        endpoint(&self.server)
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.advance(Span::seconds(seconds));
    }

    pub(crate) async fn organization(&self, id: &str, policy: Policy) {
        let organization = Organization { id: id.to_owned(), policy: Some(policy), ..Organization::default() };
        let request = CreateOrganizationRequest { organization: Some(organization), request_id: String::new() };
        self.operator.organizations().create_organization(request).await.unwrap();
    }

    pub(crate) async fn top_up(&self, usd: &str) {
        let request = TopUpRequest {
            organization_id: ORGANIZATION.to_owned(),
            amount_usd: usd.to_owned(),
            request_id: format!("top-up-{usd}"),
            reason: String::new(),
        };
        self.operator.wallets().top_up(request).await.unwrap();
    }

    pub(crate) async fn price(&self, model: &str, input: &str, output: &str) {
        let price = Price {
            model: model.to_owned(),
            input_per_million: input.to_owned(),
            output_per_million: output.to_owned(),
            ..Price::default()
        };
        self.operator.prices().create_price(CreatePriceRequest { price: Some(price) }).await.unwrap();
    }

    pub(crate) async fn team(&self, id: &str, policy: Policy) {
        let organization_id = ORGANIZATION.to_owned();
        let team = Team { organization_id, id: id.to_owned(), policy: Some(policy), ..Team::default() };
        let request = CreateTeamRequest { team: Some(team), request_id: String::new() };
        self.operator.teams().create_team(request).await.unwrap();
    }

    pub(crate) async fn member(&self, id: &str, teams: &[&str]) {
        let member = Member { organization_id: ORGANIZATION.to_owned(), id: id.to_owned(), ..Member::default() };
        let team_ids = teams.iter().map(ToString::to_string).collect();
        let request = CreateMemberRequest { member: Some(member), team_ids, request_id: String::new() };
        self.operator.members().create_member(request).await.unwrap();
    }

    pub(crate) async fn join(&self, team: &str, member: &str, policy: Policy) {
        let membership = Membership {
            organization_id: ORGANIZATION.to_owned(),
            team_id: team.to_owned(),
            member_id: member.to_owned(),
            policy: Some(policy),
            ..Membership::default()
        };
        let request = CreateMembershipRequest { membership: Some(membership), request_id: String::new() };
        self.operator.teams().create_membership(request).await.unwrap();
    }

    /// Answers the key's secret.
    pub(crate) async fn key(&self, id: &str, member: &str, team: &str, policy: Policy) -> String {
        let key = Key {
            organization_id: ORGANIZATION.to_owned(),
            id: id.to_owned(),
            member_id: member.to_owned(),
            team_id: team.to_owned(),
            policy: Some(policy),
            ..Key::default()
        };
        let request = CreateKeyRequest { key: Some(key), request_id: String::new() };
        self.operator.keys().create_key(request).await.unwrap().into_inner().secret
    }

    pub(crate) async fn try_reserve(&self, request: ReserveRequest) -> Result<Result<Grant, Denial>, Status> {
        let answer = self.gateway.quota().reserve(request).await?.into_inner();
        Ok(match answer.decision.unwrap() {
            reserve_response::Decision::Granted(granted) => Ok(granted),
            reserve_response::Decision::Denied(denial) => Err(denial),
        })
    }

    pub(crate) async fn reserve(&self, request: ReserveRequest) -> Result<Grant, Denial> {
        self.try_reserve(request).await.unwrap()
    }

    pub(crate) async fn commit(&self, reservation: &str, usage: Usage) -> Result<CommitResponse, Status> {
        let request = CommitRequest { reservation: by_id(reservation), usage: Some(usage), ..CommitRequest::default() };
        self.gateway.quota().commit(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn balance(&self) -> String {
        let request = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
        self.operator.wallets().get_balance(request).await.unwrap().into_inner().balance_usd
    }

    pub(crate) async fn held(&self) -> String {
        let request = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
        self.operator.wallets().get_balance(request).await.unwrap().into_inner().held_usd
    }

    pub(crate) async fn list(&self, request: ListTransactionsRequest) -> ListTransactionsResponse {
        let request = ListTransactionsRequest { organization_id: ORGANIZATION.to_owned(), ..request };
        self.operator.ledger().list_transactions(request).await.unwrap().into_inner()
    }

    pub(crate) async fn verify(&self) {
        let verified = self.operator.ledger().verify(VerifyRequest::default()).await.unwrap().into_inner();
        assert_eq!(verified.differences, [], "the books add up");
    }
}

fn endpoint(server: &Running) -> String {
    format!("http://{}", server.address)
}

pub(crate) fn by_key(key: &str) -> Option<Payer> {
    Some(Payer { payer: Some(payer::Payer::KeyId(key.to_owned())) })
}

pub(crate) fn by_id(reservation: &str) -> Option<ReservationRef> {
    Some(ReservationRef { reservation: Some(reservation_ref::Reservation::ReservationId(reservation.to_owned())) })
}

pub(crate) fn tokens(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

pub(crate) fn cost(usd: &str) -> Usage {
    Usage { cost_usd: usd.to_owned(), ..Usage::default() }
}

pub(crate) fn ask(request_id: &str, usage: Usage) -> ReserveRequest {
    ReserveRequest {
        payer: by_key(KEY),
        request_id: request_id.to_owned(),
        model: MODEL.to_owned(),
        usage: Some(usage),
        ..ReserveRequest::default()
    }
}

pub(crate) fn usd(id: &str, max: &str, kind: PeriodKind) -> Policy {
    let period = Some(Period { kind: kind.into(), ..Period::default() });
    let (id, max) = (id.to_owned(), max.to_owned());
    let budget = Budget { id, unit: Unit::Usd.into(), max, period, ..Budget::default() };
    Policy { budgets: vec![budget], quotas: Vec::new() }
}

pub(crate) fn quota(id: &str, unit: Unit, max: u64) -> Policy {
    let quota = Quota { id: id.to_owned(), unit: unit.into(), max, models: Vec::new() };
    Policy { budgets: Vec::new(), quotas: vec![quota] }
}

pub(crate) fn both(mut one: Policy, other: Policy) -> Policy {
    one.budgets.extend(other.budgets);
    one.quotas.extend(other.quotas);
    one
}

/// The code of a failed call, and its reason.
pub(crate) fn failed<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    let why = reason(&status).unwrap_or_default();
    (status.code(), why)
}
