//! Many callers at once: never more than fits, and who is refused leaves no trace.

use quotad::{
    api::proto::{
        CreateKeyRequest, DenialCode, Key, ReserveRequest, SessionRequest, TopUpRequest, Unit, WalletMode,
        session_request::Op, session_response::Result as Answer,
    },
    client::Connection,
};
use tokio_stream::StreamExt as _;

use crate::{
    messages::{budget, charge, charged, commit, policy, quota, reserve, reserved, secret, tokens, usd},
    world::{Place, World, all_at_once},
};

const TASKS: usize = 64;
/// More than fits: 64 × 24 = 1,536 requests for 1,000 places.
const EACH: usize = 24;

/// Limits that are out of the way, at every other place of the path.
async fn roomy_elsewhere(world: &World) {
    let roomy = |id: &str| {
        policy(
            vec![budget(&format!("{id}-usd"), "1000000")],
            vec![
                quota(&format!("{id}-rpm"), Unit::RequestsPerMinute, 1_000_000),
                quota(&format!("{id}-tpm"), Unit::TokensPerMinute, 1_000_000_000),
                quota(&format!("{id}-flight"), Unit::InFlight, 1_000_000),
            ],
        )
    };
    world.limit(Place::Membership, roomy("membership")).await;
    world.limit(Place::Member("ada"), roomy("member")).await;
    world.limit(Place::Organization, roomy("organization")).await;
}

/// Reserves `EACH` times by unary calls; answers the ids granted and the codes of the refusals.
async fn hammer(connection: Connection, key: String, task: usize, usage: quotad::api::proto::Usage) -> Outcome {
    let mut quota = connection.quota();
    let mut outcome = Outcome::default();
    for no in 0..EACH {
        let request = reserve(&key, &format!("{task}-{no}"), usage.clone());
        outcome.take(reserved(quota.reserve(request).await.unwrap().into_inner()));
    }
    outcome
}

#[derive(Debug, Default)]
struct Outcome {
    granted: Vec<String>,
    denied: Vec<DenialCode>,
}

impl Outcome {
    fn take(&mut self, decision: crate::messages::Decision) {
        match decision {
            Ok(grant) => self.granted.push(grant.reservation_id),
            Err(denial) => self.denied.push(denial.code()),
        }
    }

    /// Everybody's, with every grant a hold of its own.
    fn sum(outcomes: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for outcome in outcomes {
            sum.granted.extend(outcome.granted);
            sum.denied.extend(outcome.denied);
        }
        sum.granted.sort();
        let count = sum.granted.len();
        sum.granted.dedup();
        assert_eq!(sum.granted.len(), count, "two grants share an id");
        sum
    }

    fn assert_exactly_1000(&self, why: DenialCode) {
        assert_eq!((self.granted.len(), self.denied.len()), (1000, TASKS * EACH - 1000));
        assert!(self.denied.iter().all(|code| *code == why), "{:?}", self.denied);
    }
}

// P20: none of them is told that the machine is busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_tasks_on_one_key_are_granted_exactly_what_its_cap_fits() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "1")], Vec::new())).await;
    roomy_elsewhere(&world).await;
    let outcomes = all_at_once(TASKS, |task| hammer(world.service.clone(), "k1".into(), task, usd("0.001"))).await;
    let outcome = Outcome::sum(outcomes);
    outcome.assert_exactly_1000(DenialCode::BudgetExceeded);
    let books = world.books().await;
    assert_eq!(books.limit("cap"), ("0", "1", "0"));
    for place in ["membership", "member", "organization"] {
        assert_eq!(books.limit(&format!("{place}-usd")), ("0", "1", "999999"), "{place}");
        assert_eq!(books.limit(&format!("{place}-rpm")).0, "1000", "refusals count no request at the {place}");
        assert_eq!(books.limit(&format!("{place}-flight")), ("0", "1000", "999000"), "{place}");
    }
    settle_all(&world, &outcome.granted).await;
}

/// Commits every hold for what it held, many at once: the budget ends at its cap and not a nano beyond.
async fn settle_all(world: &World, granted: &[String]) {
    let granted = granted.to_vec();
    let entries = all_at_once(TASKS, |task| {
        let (connection, mine) = (world.service.clone(), granted.iter().skip(task).step_by(TASKS).cloned());
        let mine: Vec<_> = mine.collect();
        async move {
            let mut quota = connection.quota();
            let mut entries = Vec::new();
            for id in mine {
                entries.push(quota.commit(commit(&id, usd("0.001"))).await.unwrap().into_inner().entry);
            }
            entries
        }
    })
    .await;
    let mut entries = entries.concat();
    entries.sort_unstable();
    assert_eq!(entries, (1..=1000).collect::<Vec<u64>>(), "entry numbers have no gap");
    let books = world.books().await;
    assert_eq!(books.limit("cap"), ("1", "0", "0"));
    assert_eq!(books.limit("organization-flight"), ("0", "0", "1000000"));
    let totals = world.ledger().await.totals.unwrap();
    assert_eq!((totals.entries, totals.cost_usd.as_str(), totals.requests), (1000, "1", 1000));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_sessions_on_one_key_are_granted_exactly_what_its_cap_fits() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "1")], Vec::new())).await;
    let outcomes = all_at_once(TASKS, |task| {
        let connection = world.service.clone();
        async move {
            let ask = move |no: usize| SessionRequest {
                correlation_id: no as u64,
                op: Some(Op::Reserve(reserve("k1", &format!("{task}-{no}"), usd("0.001")))),
            };
            let requests = tokio_stream::iter((0..EACH).map(ask));
            let mut answers = connection.quota().session(requests).await.unwrap().into_inner();
            let mut outcome = Outcome::default();
            while let Some(answer) = answers.next().await {
                let Some(Answer::Reserve(response)) = answer.unwrap().result else { panic!("no decision") };
                outcome.take(reserved(response));
            }
            outcome
        }
    })
    .await;
    Outcome::sum(outcomes).assert_exactly_1000(DenialCode::BudgetExceeded);
    assert_eq!(world.books().await.limit("cap"), ("0", "1", "0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_teams_cap_holds_over_all_its_keys() {
    let world = World::new().await;
    for no in 0..TASKS {
        world.key(&format!("key-{no}"), "ada", "default").await;
    }
    world.limit(Place::Team("default"), policy(vec![budget("cap", "1")], Vec::new())).await;
    roomy_elsewhere(&world).await;
    let outcomes =
        all_at_once(TASKS, |task| hammer(world.service.clone(), format!("key-{task}"), task, usd("0.001"))).await;
    Outcome::sum(outcomes).assert_exactly_1000(DenialCode::BudgetExceeded);
    let books = world.books().await;
    assert_eq!(books.limit("cap"), ("0", "1", "0"));
    assert_eq!(books.limit("member-rpm").0, "1000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_quota_admits_no_more_tokens_a_minute_than_it_says() {
    let world = World::new().await;
    roomy_elsewhere(&world).await;
    let limits = vec![quota("tpm", Unit::TokensPerMinute, 30_000), quota("rpm", Unit::RequestsPerMinute, 1_000_000)];
    world.limit(Place::Key("k1"), policy(Vec::new(), limits)).await;
    let outcomes = all_at_once(TASKS, |task| hammer(world.service.clone(), "k1".into(), task, tokens(10, 20))).await;
    Outcome::sum(outcomes).assert_exactly_1000(DenialCode::RateLimitExceeded);
    let books = world.books().await;
    assert_eq!(books.limit("tpm").2, "0");
    assert_eq!((books.limit("rpm").0, books.limit("member-rpm").0), ("1000", "1000"));
    // 10 × 0.000001 + 20 × 0.00001 USD a request.
    assert_eq!(books.limit("organization-usd"), ("0", "0.21", "999999.79"));
    assert_eq!(books.limit("member-tpm").0, "30000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_quota_and_a_slot_quota_hold_under_pressure() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(Vec::new(), vec![quota("rpm", Unit::RequestsPerMinute, 1000)])).await;
    let outcomes = all_at_once(TASKS, |task| hammer(world.service.clone(), "k1".into(), task, usd("0"))).await;
    Outcome::sum(outcomes).assert_exactly_1000(DenialCode::RateLimitExceeded);
    world.key("k2", "ada", "default").await;
    world.limit(Place::Key("k2"), policy(Vec::new(), vec![quota("slots", Unit::InFlight, 1000)])).await;
    let outcomes = all_at_once(TASKS, |task| hammer(world.service.clone(), "k2".into(), task + 100, usd("0"))).await;
    Outcome::sum(outcomes).assert_exactly_1000(DenialCode::ConcurrencyExceeded);
    assert_eq!(world.books_of("k2").await.limit("slots"), ("0", "1000", "0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wallet_is_never_charged_below_zero_by_charges_that_may_be_refused() {
    let world = World::with_wallet("1").await;
    let outcomes = all_at_once(TASKS, |task| {
        let connection = world.service.clone();
        async move {
            let mut granted = 0;
            for no in 0..EACH {
                let request = charge("k1", &format!("{task}-{no}"), usd("0.001"));
                match charged(connection.quota().charge(request).await.unwrap().into_inner()) {
                    Ok(_) => granted += 1,
                    Err(denial) => assert_eq!(denial.code(), DenialCode::WalletInsufficient),
                }
            }
            granted
        }
    })
    .await;
    assert_eq!(outcomes.iter().sum::<usize>(), 1000);
    let balance = world.balance().await;
    assert_eq!((balance.balance_usd.as_str(), balance.as_of_entry), ("0", 1001));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_id_sent_by_many_at_once_is_held_and_settled_once() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let grants = all_at_once(TASKS, |_| {
        let connection = world.service.clone();
        async move {
            let answer = connection.quota().reserve(reserve("k1", "once", usd("3"))).await.unwrap().into_inner();
            let grant = reserved(answer).unwrap();
            (grant.replayed, grant.reservation_id, grant.expire_time.unwrap().seconds)
        }
    })
    .await;
    assert_eq!(grants.iter().filter(|(replayed, ..)| !replayed).count(), 1);
    let (_, id, expire_time) = grants[0].clone();
    assert!(grants.iter().all(|(_, other, expires)| (other, expires) == (&id, &expire_time)));
    assert_eq!(world.books().await.limit("cap"), ("0", "3", "7"));
    let charges = all_at_once(TASKS, |_| {
        let (connection, id) = (world.service.clone(), id.clone());
        async move { connection.quota().commit(commit(&id, usd("2"))).await.unwrap().into_inner() }
    })
    .await;
    assert_eq!(charges.iter().filter(|charge| !charge.replayed).count(), 1);
    assert!(charges.iter().all(|charge| charge.entry == 1 && charge.charged.as_ref().unwrap().usd == "2"));
    assert_eq!(world.books().await.limit("cap"), ("2", "0", "8"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_id_wanted_by_two_organizations_at_once_goes_to_one_and_its_secret_pays() {
    let world = World::new().await;
    world.organization("other", WalletMode::Off).await;
    world.member_of("other", "ada", &[]).await;
    let made = all_at_once(TASKS, |task| {
        let operator = world.operator.clone();
        async move {
            let key = Key {
                organization_id: if task % 2 == 0 { "acme".into() } else { "other".into() },
                id: "wanted".into(),
                member_id: "ada".into(),
                ..Key::default()
            };
            let new = CreateKeyRequest { key: Some(key), request_id: String::new() };
            operator.keys().create_key(new).await.map(|made| made.into_inner().secret)
        }
    })
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, TASKS - 1));
    assert!(refused.into_iter().all(|refused| refused.unwrap_err().code() == tonic::Code::AlreadyExists));
    let payer = secret(made[0].as_ref().unwrap());
    let by_secret = ReserveRequest { payer, ..reserve("", "r", usd("1")) };
    let first = world.reserve(by_secret).await.unwrap();
    let by_id = world.reserve(reserve("wanted", "r", usd("1"))).await.unwrap();
    assert_eq!((by_id.replayed, by_id.reservation_id), (true, first.reservation_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_top_up_sent_by_many_at_once_credits_once() {
    let world = World::with_wallet("1").await;
    let answers = all_at_once(TASKS, |_| {
        let operator = world.operator.clone();
        async move {
            let order = TopUpRequest {
                organization_id: "acme".into(),
                amount_usd: "5".into(),
                request_id: "pay".into(),
                reason: String::new(),
                ..Default::default()
            };
            operator.wallets().top_up(order).await.unwrap().into_inner()
        }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.order.as_ref().unwrap().entry == 2 && answer.balance_usd == "6"));
    assert_eq!(world.balance().await.balance_usd, "6");
    world.verify().await;
}
