//! A server with one organization, and the two connections that everything is done over.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quotad::{
    api::proto::{
        self, CommitResponse, Denial, GetBalanceRequest, Key, ListTransactionsRequest, Member, Organization, Policy,
        Price, Team, WalletMode,
    },
    client::Connection,
    clock::ManualClock,
    config::{Connections, Settings},
    domain::time::{Span, Timestamp},
    notify::Network,
    server::{Running, serve},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::messages::{Decision, Failure, MODEL, charged, check, checked, extended, failure, mask, reserved, usd};

/// 2023-11-14T22:13:20Z, a Tuesday.
pub(crate) const START: i64 = 1_700_000_000;
pub(crate) const ACME: &str = "acme";

/// The organization `acme` with member `ada` in team `default`, her key `k1`, and a price for [`MODEL`].
pub(crate) struct World {
    home: TempDir,
    settings: Settings,
    clock: Arc<ManualClock>,
    running: Option<Running>,
    pub(crate) service_token: String,
    pub(crate) operator: Connection,
    pub(crate) service: Connection,
    /// What the key's user sends.
    pub(crate) secret: String,
}

/// Where a policy is set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Key(&'static str),
    /// Of `ada` in `default`.
    Membership,
    Member(&'static str),
    Team(&'static str),
    Organization,
    /// The operator's, on the organization.
    Ceiling,
}

impl Place {
    /// Every place that carries a policy.
    pub(crate) const ALL: [Self; 6] = [
        Self::Key("k1"),
        Self::Membership,
        Self::Member("ada"),
        Self::Team("default"),
        Self::Organization,
        Self::Ceiling,
    ];
}

/// All that a request could have changed: whatever is compared stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) balance: String,
    pub(crate) held: String,
    pub(crate) entry: u64,
    /// By scope, scope id and limit id: spent, held and remaining.
    pub(crate) limits: BTreeMap<String, (String, String, String)>,
}

impl World {
    /// With the wallet off.
    pub(crate) async fn new() -> Self {
        Self::start(WalletMode::Off, |_| {}).await
    }

    pub(crate) async fn with_wallet(balance: &str) -> Self {
        let world = Self::start(WalletMode::Enforced, |_| {}).await;
        world.top_up("first", balance).await.unwrap();
        world
    }

    pub(crate) async fn start(wallet: WalletMode, tune: impl FnOnce(&mut Settings)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        // The receivers of the tests are on this machine.
        let webhook_allow = Network::parse_list("webhook_allow", "127.0.0.0/8").unwrap();
        let data_dir = home.path().join("data");
        // P20: however slow the machine is, nothing is refused for it.
        let connections = Connections { max_call_wait: Duration::from_mins(1), ..Connections::default() };
        let mut settings = Settings { listen, data_dir, webhook_allow, connections, ..Settings::default() };
        tune(&mut settings);
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let running = serving(&settings, &clock).await;
        let operator = connect(&running, &running.operator_token).await;
        let new = proto::CreateServiceTokenRequest { token: Some(proto::ServiceToken::default()) };
        let service_token = operator.tokens().create_service_token(new).await.unwrap().into_inner().secret;
        let service = operator.with_token(&service_token).unwrap();
        let running = Some(running);
        let mut world =
            Self { home, settings, clock, running, service_token, operator, service, secret: String::new() };
        world.seed(wallet).await;
        world
    }

    async fn seed(&mut self, wallet: WalletMode) {
        self.price(MODEL, "1", "10").await;
        self.organization(ACME, wallet).await;
        self.member("ada").await;
        self.secret = self.key("k1", "ada", "default").await;
    }

    /// An orderly stop, and another start on the same directory and clock.
    pub(crate) async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await.unwrap();
        }
        let running = serving(&self.settings, &self.clock).await;
        self.operator = connect(&running, &running.operator_token).await;
        self.service = self.operator.with_token(&self.service_token).unwrap();
        self.running = Some(running);
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.running.as_ref().unwrap().address)
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(Span::seconds(seconds));
    }

    pub(crate) async fn organization(&self, id: &str, wallet_mode: WalletMode) {
        let new = Organization { id: id.into(), wallet_mode: wallet_mode.into(), ..Organization::default() };
        let new = proto::CreateOrganizationRequest { organization: Some(new), request_id: String::new() };
        self.operator.organizations().create_organization(new).await.unwrap();
    }

    pub(crate) async fn team(&self, id: &str) {
        let team = Team { organization_id: ACME.into(), id: id.into(), ..Team::default() };
        let new = proto::CreateTeamRequest { team: Some(team), request_id: String::new() };
        self.operator.teams().create_team(new).await.unwrap();
    }

    pub(crate) async fn member(&self, id: &str) {
        self.member_of(ACME, id, &[]).await;
    }

    pub(crate) async fn member_of(&self, organization: &str, id: &str, teams: &[&str]) {
        let member = Member { organization_id: organization.into(), id: id.into(), ..Member::default() };
        let team_ids = teams.iter().map(ToString::to_string).collect();
        let new = proto::CreateMemberRequest { member: Some(member), team_ids, request_id: String::new() };
        self.operator.members().create_member(new).await.unwrap();
    }

    /// A service token for these organizations and verbs.
    pub(crate) async fn scoped_token(&self, organizations: &[&str], verbs: &[proto::Verb]) -> String {
        let token = proto::ServiceToken {
            organization_ids: organizations.iter().map(ToString::to_string).collect(),
            verbs: verbs.iter().map(|verb| i32::from(*verb)).collect(),
            ..proto::ServiceToken::default()
        };
        let new = proto::CreateServiceTokenRequest { token: Some(token) };
        self.operator.tokens().create_service_token(new).await.unwrap().into_inner().secret
    }

    /// Answers the secret.
    pub(crate) async fn key(&self, id: &str, member: &str, team: &str) -> String {
        self.key_of(ACME, id, member, team).await
    }

    pub(crate) async fn key_of(&self, organization: &str, id: &str, member: &str, team: &str) -> String {
        let key = Key {
            organization_id: organization.into(),
            id: id.into(),
            member_id: member.into(),
            team_id: team.into(),
            ..Key::default()
        };
        let new = proto::CreateKeyRequest { key: Some(key), request_id: String::new() };
        self.operator.keys().create_key(new).await.unwrap().into_inner().secret
    }

    pub(crate) async fn price(&self, model: &str, input: &str, output: &str) {
        let price = Price {
            model: model.into(),
            input_per_million: input.into(),
            output_per_million: output.into(),
            ..Price::default()
        };
        self.operator.prices().create_price(proto::CreatePriceRequest { price: Some(price) }).await.unwrap();
    }

    pub(crate) async fn update_key(&self, key: Key, paths: &[&str]) -> Result<Key, Failure> {
        let update = proto::UpdateKeyRequest { key: Some(key), update_mask: mask(paths), ..Default::default() };
        let answer = self.operator.keys().update_key(update).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().key.unwrap())
    }

    pub(crate) async fn update_organization(&self, organization: Organization, paths: &[&str]) {
        let organization = Some(Organization { id: ACME.into(), ..organization });
        let update = proto::UpdateOrganizationRequest { organization, update_mask: mask(paths), ..Default::default() };
        self.operator.organizations().update_organization(update).await.unwrap();
    }

    /// Replaces the limits of a place of `acme`.
    pub(crate) async fn limit(&self, place: Place, policy: Option<Policy>) {
        self.try_limit(place, policy, false).await.unwrap();
    }

    /// The same, where it may be refused or restart what is spent.
    pub(crate) async fn try_limit(
        &self,
        place: Place,
        policy: Option<Policy>,
        restart_spending: bool,
    ) -> Result<(), tonic::Status> {
        let (organization_id, mut update_mask) = (String::from(ACME), mask(&["policy"]));
        match place {
            Place::Key(id) => {
                let key = Some(Key { organization_id, id: id.into(), policy, ..Key::default() });
                let update = proto::UpdateKeyRequest { key, update_mask, restart_spending };
                self.operator.keys().update_key(update).await?;
            }
            Place::Membership => {
                let (team_id, member_id) = ("default".into(), "ada".into());
                let membership =
                    proto::Membership { organization_id, team_id, member_id, policy, ..proto::Membership::default() };
                let membership = Some(membership);
                let update = proto::UpdateMembershipRequest { membership, update_mask, restart_spending };
                self.operator.teams().update_membership(update).await?;
            }
            Place::Member(id) => {
                let member = Some(Member { organization_id, id: id.into(), policy, ..Member::default() });
                let update = proto::UpdateMemberRequest { member, update_mask, restart_spending };
                self.operator.members().update_member(update).await?;
            }
            Place::Team(id) => {
                let team = Some(Team { organization_id, id: id.into(), policy, ..Team::default() });
                let update = proto::UpdateTeamRequest { team, update_mask, restart_spending };
                self.operator.teams().update_team(update).await?;
            }
            Place::Organization | Place::Ceiling => {
                let mut organization = Organization { id: organization_id, ..Organization::default() };
                if let Place::Ceiling = place {
                    (organization.ceiling, update_mask) = (policy, mask(&["ceiling"]));
                } else {
                    organization.policy = policy;
                }
                let organization = Some(organization);
                let update = proto::UpdateOrganizationRequest { organization, update_mask, restart_spending };
                self.operator.organizations().update_organization(update).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn top_up(&self, request_id: &str, amount: &str) -> Result<proto::TopUpResponse, Failure> {
        let order = proto::TopUpRequest {
            organization_id: ACME.into(),
            amount_usd: amount.into(),
            request_id: request_id.into(),
            reason: String::new(),
            ..Default::default()
        };
        let answer = self.operator.wallets().top_up(order).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
    }

    pub(crate) async fn balance(&self) -> proto::GetBalanceResponse {
        let asked = GetBalanceRequest { organization_id: ACME.into() };
        self.operator.wallets().get_balance(asked).await.unwrap().into_inner()
    }

    pub(crate) async fn try_reserve(&self, request: proto::ReserveRequest) -> Result<Decision, Failure> {
        let answer = self.service.quota().reserve(request).await.map_err(|status| failure(&status))?;
        Ok(reserved(answer.into_inner()))
    }

    /// Panics where there is neither grant nor denial.
    pub(crate) async fn reserve(&self, request: proto::ReserveRequest) -> Decision {
        self.try_reserve(request).await.unwrap()
    }

    pub(crate) async fn commit(&self, request: proto::CommitRequest) -> Result<CommitResponse, Failure> {
        let answer = self.service.quota().commit(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
    }

    pub(crate) async fn release(&self, request: proto::ReleaseRequest) -> Result<proto::ReleaseResponse, Failure> {
        let answer = self.service.quota().release(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
    }

    pub(crate) async fn extend(&self, request: proto::ExtendRequest) -> Result<Decision, Failure> {
        let answer = self.service.quota().extend(request).await.map_err(|status| failure(&status))?;
        Ok(extended(answer.into_inner()))
    }

    pub(crate) async fn charge(
        &self,
        request: proto::ChargeRequest,
    ) -> Result<Result<CommitResponse, Denial>, Failure> {
        let answer = self.service.quota().charge(request).await.map_err(|status| failure(&status))?;
        Ok(charged(answer.into_inner()))
    }

    pub(crate) async fn check(&self, request: proto::CheckRequest) -> (Decision, Vec<proto::LimitState>) {
        checked(self.service.quota().check(request).await.unwrap().into_inner())
    }

    /// Of `k1` and its whole path.
    pub(crate) async fn books(&self) -> Books {
        self.books_of("k1").await
    }

    pub(crate) async fn books_of(&self, key_id: &str) -> Books {
        // First, because it expires what is due; reading the balance leaves that to the timer.
        let (_, limits) = self.check(check(key_id, usd("0"))).await;
        let balance = self.balance().await;
        let limits = limits.into_iter().map(|limit| {
            let name = format!("{}/{}/{}", limit.scope().as_str_name(), limit.scope_id, limit.limit_id);
            (name, (limit.spent, limit.held, limit.remaining))
        });
        Books {
            balance: balance.balance_usd,
            held: balance.held_usd,
            entry: balance.as_of_entry,
            limits: limits.collect(),
        }
    }

    /// The whole ledger of `acme`, newest first.
    pub(crate) async fn ledger(&self) -> proto::ListTransactionsResponse {
        self.transactions(ListTransactionsRequest { page_size: 1000, ..ListTransactionsRequest::default() })
            .await
            .unwrap()
    }

    pub(crate) async fn transactions(
        &self,
        query: ListTransactionsRequest,
    ) -> Result<proto::ListTransactionsResponse, Failure> {
        let query = ListTransactionsRequest { organization_id: ACME.into(), ..query };
        let answer = self.operator.ledger().list_transactions(query).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
    }

    /// Panics unless the books add up. Answers what was compared.
    pub(crate) async fn verify(&self) -> proto::VerifyResponse {
        let all = proto::VerifyRequest { organization_id: String::new() };
        let verified = self.operator.ledger().verify(all).await.unwrap().into_inner();
        assert_eq!(verified.differences, Vec::new());
        verified
    }
}

impl Books {
    /// Spent, held and remaining of the limit with this id.
    pub(crate) fn limit(&self, id: &str) -> (&str, &str, &str) {
        let end = format!("/{id}");
        let found = self.limits.iter().find(|(name, _)| name.ends_with(&end));
        let (_, (spent, held, remaining)) = found.unwrap_or_else(|| panic!("no limit {id} in {self:?}"));
        (spent, held, remaining)
    }
}

async fn serving(settings: &Settings, clock: &Arc<ManualClock>) -> Running {
    let clock = Arc::clone(clock);
    let made = move |at_least| {
        clock.set(at_least);
        clock
    };
    serve(settings, Arc::default(), |at_least| made(at_least)).await.unwrap()
}

pub(crate) async fn connect(running: &Running, token: &str) -> Connection {
    Connection::open(&format!("http://{}", running.address), token).await.unwrap()
}

/// Runs `task` for each of `0..count` at the same time; answers in no order.
pub(crate) async fn all_at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for no in 0..count {
        tasks.spawn(task(no));
    }
    tasks.join_all().await
}
