//! Deciding and applying in process: a path of five scopes with eight limits of every kind.
//!
//! Prints the percentiles of single operations first (a plain loop, a clock read around each), then divan's means.

use divan::{Bencher, black_box};
use quotad::{
    clock::Stopwatch,
    domain::{
        entity::{ExpiryPolicy, Key, Member, Organization, PriceEntry, Team, WalletMode},
        id::{Actor, KeyId, LimitId, MemberId, Model, OrganizationId, RequestId, TeamId},
        money::{Factor, Nanos},
        operation::{Commit, DEFAULT_TTL, Reserve},
        period::{Period, Zone},
        policy::{Budget, BudgetUnit, Limit, Models, Policy, Quota, QuotaUnit},
        price::{Price, PriceBook},
        reservation_id::ReservationNo,
        time::{Span, Timestamp},
        usage::Usage,
    },
    engine::{
        state::OrganizationState,
        turn::{Context, NewOrder, Turn},
    },
};

const START: Timestamp = Timestamp::from_seconds(1_772_452_800);
const TEAM: &str = "research";
const MEMBER: &str = "ann";

fn main() {
    percentiles();
    divan::main();
}

struct Bench {
    state: OrganizationState,
    prices: PriceBook,
    now: Timestamp,
    key: u32,
    request: Reserve,
    count: u64,
}

fn budget(id: &str, unit: BudgetUnit, period: Period) -> Limit {
    let max = Some(Nanos::units(500_000_000));
    Limit::Budget(Budget {
        alerts: None,
        id: LimitId::trusted(id),
        unit,
        max,
        soft: None,
        period,
        models: Models::default(),
    })
}

fn quota(id: &str, unit: QuotaUnit) -> Limit {
    Limit::Quota(Quota { id: LimitId::trusted(id), unit, max: 1_000_000_000_000, models: Models::default() })
}

/// Eight limits on five scopes.
fn policies() -> [Policy; 5] {
    let berlin = Zone::parse("zone", "Europe/Berlin").unwrap_or(Zone::UTC);
    let daily = Period::Daily { zone: berlin };
    let monthly = Period::Monthly { zone: berlin };
    let hourly = Period::Every { seconds: 3600, anchor: 0 };
    [
        vec![budget("day", BudgetUnit::Usd, daily), quota("rpm", QuotaUnit::RequestsPerMinute)],
        vec![budget("hour", BudgetUnit::Credits, hourly)],
        vec![budget("month", BudgetUnit::Usd, monthly), quota("tpm", QuotaUnit::TokensPerMinute)],
        vec![budget("once", BudgetUnit::Usd, Period::OneTime)],
        vec![budget("month", BudgetUnit::Usd, monthly), quota("slots", QuotaUnit::InFlight)],
    ]
    .map(|limits| Policy { limits })
}

impl Bench {
    fn new() -> Self {
        let id = OrganizationId::trusted("acme");
        let organization = Organization {
            kind: quotad::domain::entity::AccountKind::Team,
            default_rule: None,
            id,
            name: String::new(),
            credit_factor: Factor::ONE,
            wallet_mode: WalletMode::Enforced,
            expiry_policy: ExpiryPolicy::Release,
            disabled: false,
            deleted: false,
            create_time: START,
            update_time: START,
        };
        let model = Model::trusted("llama-3.1-70b");
        let mut prices = PriceBook::default();
        let price = Price { input: Nanos::new(300_000_000), output: Nanos::new(600_000_000), ..Price::default() };
        prices.set(PriceEntry { model: model.clone(), price, update_time: START });
        let usage = Usage { input_tokens: 1200, output_tokens: 400, requests: 1, ..Usage::default() };
        let request = Reserve {
            request: RequestId::trusted("r"),
            model,
            usage,
            min_output_tokens: None,
            ttl: DEFAULT_TTL,
            holder: None,
            labels: None,
        };
        let state = OrganizationState::new(organization.clone());
        let mut bench = Self { state, prices, now: START, key: 0, request, count: 0 };
        bench.turn(|turn| populate(turn, organization));
        bench
    }

    fn turn<T>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let context = Context {
            bounds: quotad::engine::turn::Bounds::default(),
            now: self.now,
            epoch: 1,
            actor: &Actor::SYSTEM,
            prices: &self.prices,
        };
        let mut turn = Turn::new(&mut self.state, context);
        let answer = act(&mut turn);
        black_box(turn.finish());
        answer
    }

    /// The next request; 5 µs after the one before it, as of a busy organization.
    fn prepare(&mut self) {
        self.count += 1;
        self.now = self.now + Span::micros(5);
        self.request.request = RequestId::trusted(request_id(self.count));
    }

    fn reserve(&mut self) -> ReservationNo {
        let (now, key) = (self.now, self.key);
        let context = Context {
            bounds: quotad::engine::turn::Bounds::default(),
            now,
            epoch: 1,
            actor: &Actor::SYSTEM,
            prices: &self.prices,
        };
        let mut turn = Turn::new(&mut self.state, context);
        let granted = turn.reserve(key, &self.request, self.count);
        black_box(turn.finish());
        match granted {
            Ok(Ok(granted)) => granted.reservation,
            refused => unreachable!("everything fits: {refused:?}"),
        }
    }

    fn commit(&mut self, no: ReservationNo) {
        let usage = Usage { output_tokens: 250, ..self.request.usage };
        let fingerprint = self.count;
        let charged = self.turn(|turn| turn.commit(no, &Commit { usage, model: None }, fingerprint));
        debug_assert!(charged.is_ok());
    }

    /// Keeps memory bounded, as the service does behind the store.
    fn tidy(&mut self) {
        let stored = self.state.sequence;
        while self.state.forget(self.now, 1000, stored) > 0 {}
    }
}

fn request_id(count: u64) -> String {
    format!("req-{count:016x}")
}

fn populate(turn: &mut Turn<'_>, organization: Organization) {
    let [key_policy, membership_policy, member_policy, team_policy, policy] = policies();
    let (team, member) = (TeamId::trusted(TEAM), MemberId::trusted(MEMBER));
    let (name, email) = (String::new(), String::new());
    let (disabled, deleted, create_time, update_time) = (false, false, START, START);
    let done = turn
        .found_organization(organization, &policy)
        .and_then(|()| {
            let team = Team {
                member_policy: quotad::domain::policy::Policy::default(),
                id: team.clone(),
                name: name.clone(),
                disabled,
                deleted,
                create_time,
                update_time,
            };
            turn.create_team(team, &team_policy)
        })
        .and_then(|()| {
            let (id, name) = (member.clone(), name.clone());
            let member = Member {
                role: quotad::domain::access::Role::Developer,
                id,
                name,
                email,
                disabled,
                deleted,
                create_time,
                update_time,
            };
            turn.create_member(member, &[], &member_policy)
        })
        .and_then(|()| turn.create_membership(&team, &member, &membership_policy))
        .and_then(|()| {
            let key = Key {
                rule: None,
                previous_until: None,
                id: KeyId::trusted("key-1"),
                member: member.clone(),
                team: team.clone(),
                name: name.clone(),
                secret_prefix: name,
                disabled,
                deleted,
                expire_time: None,
                models: Models::default(),
                create_time,
                update_time,
            };
            turn.create_key(key, &key_policy)
        })
        .and_then(|()| turn.order_top_up(first_order(), None).map(drop));
    assert_eq!(done, Ok(()));
}

fn first_order() -> NewOrder {
    let request = RequestId::trusted("first");
    NewOrder { request, fingerprint: 0, amount: Nanos::units(500_000_000), reason: String::new(), method: None }
}

/// Each operation on its own; includes the clock, some 25 ns.
fn percentiles() {
    const ROUNDS: usize = 300_000;
    let mut bench = Bench::new();
    let (mut reserves, mut pairs, mut clock) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 10_000 {
        bench.prepare();
        let start = Stopwatch::start();
        let no = bench.reserve();
        let granted = start.elapsed();
        bench.commit(no);
        let committed = start.elapsed();
        if round % 64 == 0 {
            bench.tidy();
        }
        let start = Stopwatch::start();
        clock.push(start.elapsed());
        if round >= 10_000 {
            reserves.push(granted);
            pairs.push(committed);
        }
    }
    for (name, mut times) in [("clock alone", clock), ("decide + apply", reserves), ("reserve + commit", pairs)] {
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 1000];
        println!("{name:18} p50 {:?}  p99 {:?}  p99.9 {:?}", at(500), at(990), at(999));
    }
}

#[divan::bench(sample_count = 10_000)]
fn reserve(bencher: Bencher<'_, '_>) {
    let bench = std::cell::RefCell::new(Bench::new());
    let held = std::cell::Cell::new(None);
    bencher
        .with_inputs(|| {
            let mut bench = bench.borrow_mut();
            if let Some(no) = held.take() {
                bench.commit(no);
                bench.tidy();
            }
            bench.prepare();
        })
        .bench_local_values(|()| held.set(Some(bench.borrow_mut().reserve())));
}

#[divan::bench(sample_count = 10_000)]
fn reserve_and_commit(bencher: Bencher<'_, '_>) {
    let bench = std::cell::RefCell::new(Bench::new());
    bencher
        .with_inputs(|| {
            let mut bench = bench.borrow_mut();
            bench.tidy();
            bench.prepare();
        })
        .bench_local_values(|()| {
            let mut bench = bench.borrow_mut();
            let no = bench.reserve();
            bench.commit(no);
        });
}
