//! A small organization to decide on: one team, one member, one key, until a test adds others.
//!
//! Every turn's records are replayed into a second state, which must equal the live one, and what the state has counted must
//! follow from its parts: so each test proves that too.

use std::sync::Arc;

use crate::{
    domain::{
        decision::{Charged, Denial, Granted, LimitState, Revocation, Violated},
        ended::{EndedName, ended_in},
        entity::{ExpiryPolicy, Key, Member, Organization, PriceEntry, Team, WalletMode},
        event::{EntryKind, Event, Record, Settled},
        id::{Actor, DEFAULT_TEAM, KeyId, LimitId, MemberId, Model, OrganizationId, RequestId, TeamId},
        model::ModelPattern,
        money::{Factor, Nanos},
        operation::{Charge, Commit, DEFAULT_TTL, Extend, Reserve},
        period::{Period, Window},
        policy::{Budget, BudgetUnit, Limit, Models, Place, Policy, Quota, QuotaUnit},
        price::{Price, PriceBook},
        reservation_id::ReservationNo,
        time::{Span, Timestamp},
        usage::Usage,
    },
    engine::{
        conflict::Conflict,
        decide::Ask,
        state::OrganizationState,
        turn::{
            Bounds, Context, Correctable, Decision, Effects, KeyChange, MemberChange, MembershipChange, NewCorrection,
            NewOrder, OrganizationChange, Outcome, TeamChange, Turn,
        },
    },
};

/// 2026-03-02, a Monday, at noon UTC.
pub(super) const NOON: Timestamp = Timestamp::from_seconds(1_772_452_800);
pub(super) const MINUTE: Span = Span::seconds(60);
pub(super) const MODEL: &str = "llama";
/// Costs nothing.
pub(super) const FREE: &str = "free";
pub(super) const KEY: &str = "k1";

/// An order to top up.
pub(super) fn top_up(id: &str, amount: i64, fingerprint: u64) -> NewOrder {
    NewOrder { request: request(id), fingerprint, amount: Nanos::new(amount), reason: String::new(), method: None }
}

/// A refund of so much.
pub(super) fn correction(id: &str, amount: i64) -> NewCorrection {
    NewCorrection {
        request: request(id),
        fingerprint: 1,
        kind: EntryKind::Refund,
        amount: Nanos::new(amount),
        reason: String::new(),
        by_operator: true,
    }
}

/// An entry of money that came in.
pub(super) fn money(entry: u64) -> Correctable {
    Correctable { entry, kind: EntryKind::TopUp, wallet: Nanos::ZERO, booked: Vec::new(), is_committed: false }
}

pub(super) struct World {
    pub state: OrganizationState,
    pub now: Timestamp,
    pub epoch: u32,
    pub prices: PriceBook,
    pub records: Vec<Record>,
    pub bounds: Bounds,
    /// Actor of the turns.
    pub actor: Actor,
    /// Of the last turn.
    pub revocations: Vec<Revocation>,
    replica: OrganizationState,
}

fn organization(now: Timestamp) -> Organization {
    Organization {
        kind: crate::domain::entity::AccountKind::Team,
        default_rule: None,
        id: OrganizationId::trusted("acme"),
        name: String::from("Acme"),
        credit_factor: Factor::ONE,
        wallet_mode: WalletMode::Off,
        expiry_policy: ExpiryPolicy::Release,
        disabled: false,
        suspended: false,
        deleted: false,
        create_time: now,
        update_time: now,
        bounds: None,
    }
}

impl World {
    /// `k1` of `ann` in the default team; the wallet off; `llama` at 1000 nano-USD an input and 2000 an output token.
    pub(super) fn new() -> Self {
        let founded = organization(NOON);
        let state = OrganizationState::new(founded.clone());
        let replica = state.clone();
        let (records, revocations) = (Vec::new(), Vec::new());
        let mut world = Self {
            state,
            now: NOON,
            epoch: 1,
            prices: PriceBook::default(),
            records,
            bounds: Bounds::default(),
            actor: Actor::OPERATOR,
            revocations,
            replica,
        };
        world.set_price(MODEL, Price { input: Nanos::units(1), output: Nanos::units(2), ..Price::default() });
        world.set_price(FREE, Price::default());
        world.turn(|turn| turn.found_organization(founded, &Policy::default(), &Policy::default())).unwrap();
        world.add_member("ann", &[DEFAULT_TEAM]);
        world.add_key(KEY, "ann", DEFAULT_TEAM);
        world.open_counters(KEY);
        world
    }

    /// One turn, recorded and replayed.
    pub(super) fn turn<T>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let context =
            Context { bounds: self.bounds, now: self.now, epoch: self.epoch, actor: &self.actor, prices: &self.prices };
        let mut turn = Turn::new(&mut self.state, context);
        let answer = act(&mut turn);
        let Effects { records, revocations } = turn.finish();
        for record in &records {
            self.replica.apply(record).unwrap();
        }
        assert_eq!(self.replica, self.state, "replay leads to another state");
        assert_eq!(self.state.inconsistencies(), [], "the state doesn't follow from its parts");
        self.records.extend(records);
        self.revocations = revocations;
        answer
    }

    /// One turn on a state that no records lead to.
    pub(super) fn turn_unreplayed<T>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let bounds = self.bounds;
        let context = Context { now: self.now, epoch: 1, actor: &Actor::OPERATOR, prices: &self.prices, bounds };
        act(&mut Turn::new(&mut self.state, context))
    }

    /// A start of the server after which all but the first `kept` records are lost.
    pub(super) fn crash(&mut self, kept: usize) {
        self.records.truncate(kept);
        self.state = OrganizationState::new(organization(NOON));
        for record in &self.records {
            self.state.apply(record).unwrap();
        }
        self.replica = self.state.clone();
        self.epoch += 1;
    }

    pub(super) fn forget(&mut self, before: Timestamp) {
        let stored = self.state.sequence;
        while self.state.forget(before, usize::MAX, stored) > 0 {}
        self.replica = self.state.clone();
    }

    /// Forgets what of the control plane has been over for 30 days, as far as the books have it.
    pub(super) fn forget_ended(&mut self, stored: u64) {
        self.forget_ended_after(Span::seconds(30 * 86_400), stored);
    }

    /// The replica forgets by itself: what is taken back from the books is no part of it.
    pub(super) fn forget_ended_after(&mut self, span: Span, stored: u64) {
        for state in [&mut self.state, &mut self.replica] {
            while state.forget_ended(self.now, span, stored, &mut Vec::new()) > 0 {}
        }
        assert_eq!(self.replica, self.state, "replay forgets something else");
        assert_eq!(self.state.mismatches(&self.replayed()), [], "replay that forgets nothing leads to another state");
    }

    /// As all records lead to it.
    pub(super) fn replayed(&self) -> OrganizationState {
        let mut replayed = OrganizationState::new(self.state.organization.clone());
        for record in &self.records {
            replayed.apply(record).unwrap();
        }
        replayed
    }

    /// Takes back what memory has forgotten of an ended thing, as the service does from the books.
    pub(super) fn recall(&mut self, name: &EndedName) {
        if self.state.may_have_ended(name) {
            let ended = self.records.iter().rev().filter_map(|record| ended_in(&record.event));
            let ended = ended.into_iter().find(|ended| ended.name() == *name);
            self.state.recall_ended(ended.unwrap(), self.now);
        }
    }

    pub(super) fn advance(&mut self, span: Span) {
        self.now = self.now + span;
    }

    pub(super) fn set_price(&mut self, name: &str, price: Price) {
        self.prices.set(PriceEntry { model: model(name), price: price.into(), update_time: self.now });
    }

    pub(super) fn add_team(&mut self, id: &str) {
        let (id, now) = (TeamId::trusted(id), self.now);
        let team = Team {
            member_policy: crate::domain::policy::Policy::default(),
            id,
            name: String::new(),
            disabled: false,
            deleted: false,
            create_time: now,
            update_time: now,
        };
        self.turn(|turn| turn.create_team(team, &Policy::default())).unwrap();
    }

    pub(super) fn add_member(&mut self, id: &str, teams: &[&str]) {
        let member = Member {
            role: crate::domain::access::Role::Developer,
            id: MemberId::trusted(id),
            name: String::new(),
            email: String::new(),
            disabled: false,
            deleted: false,
            create_time: self.now,
            update_time: self.now,
        };
        let teams: Vec<_> = teams.iter().map(|team| TeamId::trusted(*team)).collect();
        self.turn(|turn| turn.create_member(member, &teams, &Policy::default())).unwrap();
    }

    pub(super) fn add_key(&mut self, id: &str, member: &str, team: &str) {
        let key = Key {
            rule: None,
            managed: crate::domain::entity::Managed::default(),
            previous_until: None,
            id: KeyId::trusted(id),
            member: MemberId::trusted(member),
            team: TeamId::trusted(team),
            name: String::new(),
            secret_prefix: String::new(),
            disabled: false,
            deleted: false,
            expire_time: None,
            models: Models::default(),
            create_time: self.now,
            update_time: self.now,
        };
        self.turn(|turn| turn.create_key(key, &Policy::default())).unwrap();
    }

    /// The first question about a key opens the counters of its allocations; tests that compare states ask it beforehand.
    pub(super) fn open_counters(&mut self, key: &str) {
        let key = self.state.keys.place(&KeyId::trusted(key)).unwrap();
        let (model, usage) = (model(FREE), Usage { requests: 1, ..Usage::default() });
        let ask = Ask { key, model: &model, usage: &usage, min_output_tokens: None };
        self.turn(|turn| turn.check(&ask).map(drop)).unwrap();
    }

    pub(super) fn organization(&mut self, change: OrganizationChange) {
        self.turn(|turn| turn.update_organization(change)).unwrap();
    }

    pub(super) fn key(&mut self, change: KeyChange) {
        self.turn(|turn| turn.update_key(&KeyId::trusted(KEY), change, true)).unwrap();
    }

    pub(super) fn member(&mut self, change: MemberChange) {
        self.turn(|turn| turn.update_member(&MemberId::trusted("ann"), change)).unwrap();
    }

    pub(super) fn team(&mut self, change: TeamChange) {
        self.turn(|turn| turn.update_team(&TeamId::trusted(DEFAULT_TEAM), change)).unwrap();
    }

    /// Turns the wallet on, with this balance.
    pub(super) fn wallet(&mut self, balance: i64) {
        self.organization(OrganizationChange { wallet_mode: Some(WalletMode::Enforced), ..Default::default() });
        self.top_up("first", balance);
    }

    pub(super) fn top_up(&mut self, id: &str, amount: i64) {
        self.turn(|turn| turn.order_top_up(top_up(id, amount, 7), None)).unwrap();
    }

    pub(super) fn set_policy(&mut self, place: &Place, limits: Vec<Limit>) -> Outcome<()> {
        self.replace_policy(place, limits, false)
    }

    pub(super) fn replace_policy(&mut self, place: &Place, limits: Vec<Limit>, restart: bool) -> Outcome<()> {
        let policy = Some(Policy::checked(limits).unwrap());
        let restart_spending = restart;
        self.turn(|turn| match place {
            Place::Key(id) => turn.update_key(id, KeyChange { policy, restart_spending, ..Default::default() }, true),
            Place::Membership(team, member) => {
                let change = MembershipChange { policy, restart_spending, ..Default::default() };
                turn.update_membership(team, member, change)
            }
            Place::Member(id) => {
                turn.update_member(id, MemberChange { policy, restart_spending, ..Default::default() })
            }
            Place::Team(id) => turn.update_team(id, TeamChange { policy, restart_spending, ..Default::default() }),
            Place::Rule(..) | Place::Allocation(_) => panic!("carries no policy"),
            Place::Organization => {
                turn.update_organization(OrganizationChange { policy, restart_spending, ..Default::default() })
            }
            Place::Ceiling => {
                turn.update_organization(OrganizationChange { ceiling: policy, restart_spending, ..Default::default() })
            }
        })
    }

    /// An entry as the books have it.
    pub(super) fn correctable(&self, entry: u64) -> Correctable {
        let settled = self.records.iter().filter_map(|record| match &record.event {
            Event::Settled(settled) if settled.entry.is_some() => Some(settled),
            _ => None,
        });
        let of = settled.clone().find(|settled| settled.entry == Some(entry)).unwrap();
        let same = |other: &&Arc<Settled>| match of.reservation {
            Some(no) => other.reservation == Some(no),
            None => other.entry == of.entry,
        };
        let booked = settled.filter(same).cloned().collect();
        let is_committed = of.reservation.is_some_and(|no| {
            let settles = |record: &Record| match &record.event {
                Event::Settled(settled) => settled.reservation == Some(no) && !settled.is_expiry(),
                _ => false,
            };
            self.records.iter().any(settles)
        });
        Correctable { entry, kind: of.kind, wallet: of.wallet, booked, is_committed }
    }

    /// Limits of `k1` itself, which may begin anew.
    pub(super) fn restart_limits(&mut self, limits: Vec<Limit>) {
        self.replace_policy(&Place::Key(KeyId::trusted(KEY)), limits, true).unwrap();
    }

    /// Limits of `k1` itself.
    pub(super) fn limits(&mut self, limits: Vec<Limit>) {
        self.set_policy(&Place::Key(KeyId::trusted(KEY)), limits).unwrap();
    }

    pub(super) fn reserve_as(&mut self, key: &str, request: &Reserve) -> Outcome<Decision<Granted>> {
        let key = KeyId::trusted(key);
        let place = self.state.keys.place(&key).unwrap();
        self.turn(|turn| turn.reserve(place, request, request.fingerprint(place)))
    }

    pub(super) fn try_reserve(&mut self, request: &Reserve) -> Decision<Granted> {
        self.reserve_as(KEY, request).unwrap()
    }

    pub(super) fn reserve(&mut self, id: &str, usage: Usage) -> ReservationNo {
        self.try_reserve(&ask(id, usage)).unwrap().reservation
    }

    /// The refusal of a request that must be refused.
    pub(super) fn refused(&mut self, usage: Usage) -> Denial {
        self.try_reserve(&ask("refused", usage)).unwrap_err()
    }

    pub(super) fn try_commit(&mut self, no: ReservationNo, commit: &Commit) -> Outcome<Charged> {
        self.turn(|turn| turn.commit(no, commit, commit.fingerprint()))
    }

    pub(super) fn commit(&mut self, no: ReservationNo, usage: Usage) -> Charged {
        self.try_commit(no, &Commit { usage, model: None }).unwrap()
    }

    pub(super) fn release(&mut self, no: ReservationNo) -> Outcome<bool> {
        self.turn(|turn| turn.release(no, &"".into())).map(|released| released.replayed)
    }

    pub(super) fn extend(&mut self, no: ReservationNo, extend: &Extend) -> Outcome<Decision<Granted>> {
        self.turn(|turn| turn.extend(no, extend))
    }

    pub(super) fn try_charge(&mut self, charge: &Charge) -> Outcome<Decision<Charged>> {
        let key = KeyId::trusted(KEY);
        let place = self.state.keys.place(&key).unwrap();
        self.turn(|turn| turn.charge(place, charge))
    }

    pub(super) fn charge(&mut self, id: &str, usage: Usage) -> Charged {
        self.try_charge(&charge(id, usage)).unwrap().unwrap()
    }

    #[allow(clippy::redundant_closure_for_method_calls, reason = "a method isn't general enough over lifetimes")]
    pub(super) fn reset_cycle(&mut self) -> Window {
        self.turn(|turn| turn.reset_cycle()).unwrap()
    }

    #[allow(clippy::redundant_closure_for_method_calls, reason = "a method isn't general enough over lifetimes")]
    pub(super) fn tick(&mut self) {
        self.turn(|turn| turn.tick());
    }

    pub(super) fn expire_due(&mut self) {
        self.turn(|turn| turn.expire_due(None));
    }

    /// A limit of `k1`'s path as it stands.
    pub(super) fn limit(&self, id: &str) -> LimitState {
        let key = self.state.keys.place(&KeyId::trusted(KEY)).unwrap();
        let states = self.state.path_states(key, &model(MODEL), self.now);
        states.into_iter().find(|state| state.limit == Some(limit_id(id))).unwrap()
    }

    /// What is spent and held of a limit.
    pub(super) fn counted(&self, id: &str) -> (i64, i64) {
        let state = self.limit(id);
        (state.spent, state.held)
    }
}

pub(super) fn model(name: &str) -> Model {
    Model::trusted(name)
}

pub(super) fn pattern(text: &str) -> ModelPattern {
    ModelPattern::parse("models", text).unwrap()
}

pub(super) fn request(id: &str) -> RequestId {
    RequestId::trusted(id)
}

fn limit_id(id: &str) -> LimitId {
    LimitId::trusted(id)
}

pub(super) fn ask(id: &str, usage: Usage) -> Reserve {
    Reserve {
        request: request(id),
        model: model(MODEL),
        usage,
        min_output_tokens: None,
        ttl: DEFAULT_TTL,
        holder: None,
        labels: None,
    }
}

pub(super) fn charge(id: &str, usage: Usage) -> Charge {
    let (request, model) = (request(id), model(MODEL));
    Charge { request, model, usage, already_used: false, occurred_at: None, labels: None }
}

pub(super) fn renew() -> Extend {
    Extend { ttl: DEFAULT_TTL, usage_so_far: None, estimate: None }
}

pub(super) fn tokens(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, requests: 1, ..Usage::default() }
}

/// One request whose cost the caller gives, in nano-USD.
pub(super) fn cost(nanos: i64) -> Usage {
    Usage { requests: 1, cost: Some(Nanos::new(nanos)), ..Usage::default() }
}

pub(super) fn budget(id: &str, unit: BudgetUnit, max: i64, period: Period) -> Limit {
    let max = Some(Nanos::new(max));
    Limit::Budget(Budget { alerts: None, id: limit_id(id), unit, max, soft: None, period, models: Models::default() })
}

pub(super) fn usd(id: &str, max: i64) -> Limit {
    budget(id, BudgetUnit::Usd, max, Period::OneTime)
}

pub(super) fn credits(id: &str, max: i64) -> Limit {
    budget(id, BudgetUnit::Credits, max, Period::OneTime)
}

pub(super) fn daily(id: &str, max: i64) -> Limit {
    budget(id, BudgetUnit::Usd, max, Period::Daily { zone: crate::domain::period::Zone::UTC })
}

fn quota(id: &str, unit: QuotaUnit, max: u64) -> Limit {
    Limit::Quota(Quota { id: limit_id(id), unit, max, models: Models::default() })
}

pub(super) fn rpm(id: &str, max: u64) -> Limit {
    quota(id, QuotaUnit::RequestsPerMinute, max)
}

pub(super) fn tpm(id: &str, max: u64) -> Limit {
    quota(id, QuotaUnit::TokensPerMinute, max)
}

pub(super) fn slots(id: &str, max: u64) -> Limit {
    quota(id, QuotaUnit::InFlight, max)
}

/// Narrows a limit.
pub(super) fn only(name: &str, mut limit: Limit) -> Limit {
    let models = Models::checked("models", vec![pattern(name)]).unwrap();
    match &mut limit {
        Limit::Budget(budget) => budget.models = models,
        Limit::Quota(quota) => quota.models = models,
    }
    limit
}

/// The ids of the limits that a refusal names, in its order; the scope's name for anything else.
pub(super) fn named(denial: &Denial) -> Vec<String> {
    let name = |at: &Violated| match at {
        Violated::Limit { state, .. } => state.limit.as_ref().map_or("wallet".into(), ToString::to_string),
        Violated::State(scope, _) => scope.name().to_owned(),
    };
    denial.violations.iter().map(|violation| name(&violation.at)).collect()
}

pub(super) fn is_invalid<T>(outcome: &Outcome<T>, field: &str) -> bool {
    matches!(outcome, Err(Conflict::Invalid(invalid)) if invalid.field == field)
}
