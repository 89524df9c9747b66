//! What ran is what counts, and what was done is always booked: another model at Commit, progress at Release, caches beside the
//! input, amounts of any size.

use quotad::api::proto::{
    self, Budget, ChargeRequest, CommitRequest, ExtendRequest, LimitState, Organization, Price, Quota, ReleaseRequest,
    TransactionKind, Unit, Usage, WalletMode,
};
use tonic::Code;

use crate::{
    messages::{
        MODEL, budget, charge, commit, extend, failed, mask, policy, quota, release, reserve, seconds, tokens, usd,
    },
    world::{Place, World},
};

const BIG: &str = "big";

fn only_big(budget: Budget) -> Budget {
    Budget { models: vec![BIG.into()], ..budget }
}

/// A free model and a dear one, with limits on the dear one at every place that has a policy.
async fn narrowed(wallet: WalletMode) -> World {
    let world = World::start(wallet, |_| {}).await;
    if wallet == WalletMode::Enforced {
        world.top_up("first", "100").await.unwrap();
    }
    world.price("free", "0", "0").await;
    world.price(BIG, "1", "10").await;
    let tpm = Quota { models: vec![BIG.into()], ..quota("big-tpm", Unit::TokensPerMinute, 1_000_000) };
    world.limit(Place::Key("k1"), policy(vec![only_big(budget("key", "1"))], vec![tpm])).await;
    world.limit(Place::Membership, policy(vec![only_big(budget("membership", "100"))], vec![])).await;
    world.limit(Place::Member("ada"), policy(vec![only_big(budget("member", "100"))], vec![])).await;
    world.limit(Place::Team("default"), policy(vec![only_big(budget("team", "100"))], vec![])).await;
    let free = Budget { models: vec!["free".into()], ..budget("free-only", "50") };
    world.limit(Place::Organization, policy(vec![only_big(budget("organization", "100")), free], vec![])).await;
    world.limit(Place::Ceiling, policy(vec![only_big(budget("ceiling", "100"))], vec![])).await;
    world
}

fn of_model(model: &str, request: proto::ReserveRequest) -> proto::ReserveRequest {
    proto::ReserveRequest { model: model.into(), ..request }
}

/// Spent and held of a limit that binds `model`.
async fn standing(world: &World, model: &str, id: &str) -> (String, String) {
    let check = proto::CheckRequest { model: model.into(), ..crate::messages::check("k1", usd("0")) };
    let (_, limits) = world.check(check).await;
    let LimitState { spent, held, .. } = limits.into_iter().find(|limit| limit.limit_id == id).unwrap();
    (spent, held)
}

const PLACES: [&str; 6] = ["key", "membership", "member", "team", "organization", "ceiling"];

// M1
#[tokio::test]
async fn limits_that_bind_the_model_that_ran_count_it_and_those_of_the_reserved_one_are_free_again() {
    for wallet in [WalletMode::Off, WalletMode::Enforced] {
        let world = narrowed(wallet).await;
        let mut ids = Vec::new();
        for number in 0..5 {
            let ask = of_model("free", reserve("k1", &format!("r{number}"), usd("2")));
            ids.push(world.reserve(ask).await.unwrap().reservation_id);
        }
        let running = of_model(BIG, reserve("k1", "running", usd("0.05")));
        let running = world.reserve(running).await.unwrap().reservation_id;
        assert_eq!(standing(&world, "free", "free-only").await, ("0".into(), "10".into()));
        let mut overages = Vec::new();
        for id in &ids {
            let ran = Usage { cost_usd: "0.9".into(), ..tokens(400, 100) };
            let answer = world.commit(CommitRequest { model: BIG.into(), ..commit(id, ran) }).await.unwrap();
            overages.push(answer.overage.unwrap().usd);
        }
        assert_eq!(overages, ["0", "0.85", "0.9", "0.9", "0.9"], "beside what the running work holds");
        for id in PLACES {
            assert_eq!(standing(&world, BIG, id).await, ("4.5".into(), "0.05".into()), "{id}");
        }
        assert_eq!(standing(&world, "free", "free-only").await, ("0".into(), "0".into()));
        assert_eq!(standing(&world, BIG, "big-tpm").await.0, "2500");
        let stopped = world.extend(extend(&running)).await.unwrap().unwrap_err();
        assert_eq!(stopped.code(), proto::DenialCode::Revoked);
        let refused = world.reserve(of_model(BIG, reserve("k1", "next", usd("0")))).await.unwrap_err();
        assert_eq!(refused.code(), proto::DenialCode::BudgetExceeded);
        let by_model: Vec<_> = world.ledger().await.transactions.into_iter().map(|entry| entry.model).collect();
        assert_eq!(by_model.iter().filter(|model| *model == BIG).count(), 5);
        world.verify().await;
    }
}

// M1
#[tokio::test]
async fn what_ran_counts_in_the_windows_of_its_admission() {
    let world = narrowed(WalletMode::Off).await;
    let daily = Budget { period: crate::messages::period(proto::PeriodKind::Daily), ..only_big(budget("day", "10")) };
    world.limit(Place::Key("k1"), policy(vec![daily], vec![])).await;
    let id = world.reserve(of_model("free", reserve("k1", "r", usd("1")))).await.unwrap().reservation_id;
    world.extend(ExtendRequest { ttl: seconds(86_400), ..extend(&id) }).await.unwrap().unwrap();
    world.advance(86_399);
    world.commit(CommitRequest { model: BIG.into(), ..commit(&id, usd("3")) }).await.unwrap();
    assert_eq!(standing(&world, BIG, "day").await.0, "0", "the day of the admission is over");
    world.verify().await;
}

// M1
#[tokio::test]
async fn a_model_without_a_price_costs_what_was_reserved_and_counts_on_the_limits_of_both() {
    let world = World::new().await;
    let dated = Budget { models: vec!["m-2026-11".into()], ..budget("dated", "10") };
    let reserved = Budget { models: vec![MODEL.into()], ..budget("reserved", "10") };
    world.limit(Place::Key("k1"), policy(vec![dated, reserved], vec![])).await;
    let priced = world.reserve(reserve("k1", "priced", tokens(1_000_000, 0))).await.unwrap().reservation_id;
    let ran = |id: &str, usage| CommitRequest { model: "m-2026-11".into(), ..commit(id, usage) };
    let charged = world.commit(ran(&priced, tokens(2_000_000, 0))).await.unwrap();
    assert_eq!(charged.charged.unwrap().usd, "2", "at the reserved price");
    let given = world.reserve(reserve("k1", "given", usd("0.7"))).await.unwrap().reservation_id;
    let charged = world.commit(ran(&given, tokens(2_000_000, 0))).await.unwrap();
    assert_eq!(charged.charged.unwrap().usd, "0.7", "there was no price: what was held");
    assert_eq!(standing(&world, MODEL, "reserved").await, ("2.7".into(), "0".into()));
    assert_eq!(standing(&world, "m-2026-11", "dated").await, ("2.7".into(), "0".into()));
    world.verify().await;
}

// M1
#[tokio::test]
async fn a_late_commit_of_another_model_takes_back_what_expiry_charged_and_charges_all_on_the_new_one() {
    let world = narrowed(WalletMode::Enforced).await;
    let id = world.reserve(of_model("free", reserve("k1", "late", usd("2")))).await.unwrap().reservation_id;
    let progress = ExtendRequest { usage_so_far: Some(usd("1.5")), ttl: seconds(10), ..extend(&id) };
    world.extend(progress).await.unwrap().unwrap();
    world.advance(10);
    assert_eq!(standing(&world, "free", "free-only").await, ("1.5".into(), "0".into()));
    let ran = CommitRequest { model: BIG.into(), ..commit(&id, usd("4.5")) };
    let late = world.commit(ran.clone()).await.unwrap();
    assert_eq!(
        (late.late, late.charged.clone().unwrap().usd.as_str(), late.balance_usd.as_str()),
        (true, "4.5", "95.5")
    );
    assert_eq!(late.overage.clone().unwrap().usd, "3.5");
    assert_eq!(standing(&world, "free", "free-only").await, ("0".into(), "0".into()));
    assert_eq!(standing(&world, BIG, "key").await, ("4.5".into(), "0".into()));
    let again = world.commit(ran).await.unwrap();
    assert_eq!((again.replayed, again.entry, again.charged), (true, late.entry, late.charged));
    let booked: Vec<_> = world.ledger().await.transactions.into_iter().take(3).collect();
    let shown: Vec<_> =
        booked.iter().map(|entry| (entry.kind(), entry.model.as_str(), entry.cost_usd.as_str())).collect();
    let expected = [
        (TransactionKind::LateCommit, BIG, "4.5"),
        (TransactionKind::Expiry, "free", "-1.5"),
        (TransactionKind::Expiry, "free", "1.5"),
    ];
    assert_eq!(shown, expected);
    world.verify().await;
}

// M1
#[tokio::test]
async fn limits_changed_while_it_runs_count_what_ran_if_they_were_there_at_its_admission() {
    let mut world = narrowed(WalletMode::Off).await;
    let of = |id: &str, models: &[&str]| {
        let models = models.iter().map(ToString::to_string).collect();
        policy(vec![Budget { models, ..budget(id, "10") }], vec![])
    };
    world.limit(Place::Key("k1"), of("widened", &["small"])).await;
    world.limit(Place::Member("ada"), of("narrowed", &[])).await;
    world.limit(Place::Team("default"), of("removed", &[BIG])).await;
    world.limit(Place::Membership, policy(vec![], vec![])).await;
    let used = ChargeRequest { already_used: true, model: BIG.into(), ..charge("k1", "before", usd("1")) };
    world.charge(used).await.unwrap().unwrap();
    let id = world.reserve(of_model("free", reserve("k1", "r", usd("2")))).await.unwrap().reservation_id;
    world.limit(Place::Key("k1"), of("widened", &[])).await;
    world.limit(Place::Member("ada"), of("narrowed", &["small"])).await;
    world.limit(Place::Team("default"), policy(vec![], vec![])).await;
    world.limit(Place::Team("default"), of("removed", &[BIG])).await;
    world.limit(Place::Membership, of("added", &[BIG])).await;
    world.restart().await;
    let ran = CommitRequest { model: BIG.into(), ..commit(&id, usd("4")) };
    assert_eq!(world.commit(ran).await.unwrap().overage.unwrap().usd, "0");
    assert_eq!(standing(&world, BIG, "widened").await, ("4".into(), "0".into()));
    assert_eq!(standing(&world, "small", "narrowed").await, ("1".into(), "0".into()), "what was held is free again");
    assert_eq!(standing(&world, BIG, "removed").await, ("5".into(), "0".into()));
    assert_eq!(standing(&world, BIG, "added").await, ("0".into(), "0".into()));
    world.verify().await;
}

// M3
#[tokio::test]
async fn a_release_gives_back_all_but_what_was_reported_as_used() {
    for wallet in [WalletMode::Enforced, WalletMode::Off] {
        let mut world = World::start(wallet, |_| {}).await;
        world.top_up("first", "10").await.unwrap();
        world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], vec![])).await;
        let id = world.reserve(reserve("k1", "r", usd("5"))).await.unwrap().reservation_id;
        let so_far = Usage { cost_usd: "0.8".into(), ..tokens(30, 12) };
        world.extend(ExtendRequest { usage_so_far: Some(so_far), ..extend(&id) }).await.unwrap().unwrap();
        let why = ReleaseRequest { reason: "aborted".into(), ..release(&id) };
        let first = world.release(why.clone()).await.unwrap();
        let left = if wallet == WalletMode::Enforced { "9.2" } else { "10" };
        let (charged, released) = (first.charged.clone().unwrap(), first.released.clone().unwrap());
        assert_eq!((charged.usd.as_str(), charged.tokens, released.usd.as_str()), ("0.8", 42, "4.2"));
        assert_eq!((first.entry, first.balance_usd.as_str(), first.replayed), (2, left, false));
        assert_eq!(world.books().await.limit("cap"), ("0.8", "0", "9.2"));
        let entry = world.ledger().await.transactions.remove(0);
        assert_eq!((entry.kind(), entry.cost_usd.as_str()), (TransactionKind::Release, "0.8"));
        let repeat = proto::ReleaseResponse { replayed: true, ..first };
        assert_eq!(world.release(why.clone()).await.unwrap(), repeat);
        let released = || failed(Code::FailedPrecondition, "RESERVATION_RELEASED");
        assert_eq!(world.commit(commit(&id, usd("1"))).await, Err(released()));
        assert_eq!(world.release(release(&id)).await, Err(failed(Code::AlreadyExists, "SETTLED_OTHERWISE")));
        world.restart().await;
        assert_eq!(world.release(why).await.unwrap(), repeat);
        world.verify().await;
    }
}

// M3
#[tokio::test]
async fn a_release_after_a_charged_expiry_is_refused_and_memory_may_have_forgotten_one_that_charged() {
    let world = World::start(WalletMode::Off, |settings| {
        settings.remembered_max = 1;
    })
    .await;
    let reported = async |request: &str| {
        let id = world.reserve(reserve("k1", request, usd("5"))).await.unwrap().reservation_id;
        let progress = ExtendRequest { usage_so_far: Some(usd("0.8")), ttl: seconds(10), ..extend(&id) };
        world.extend(progress).await.unwrap().unwrap();
        id
    };
    let expired = reported("expired").await;
    world.advance(10);
    assert_eq!(world.release(release(&expired)).await, Err(failed(Code::FailedPrecondition, "RESERVATION_EXPIRED")));
    let given_back = reported("given back").await;
    let first = world.release(release(&given_back)).await.unwrap();
    for other in 0..3 {
        let id = world.reserve(reserve("k1", &format!("other{other}"), usd("1"))).await.unwrap().reservation_id;
        world.release(release(&id)).await.unwrap();
        world.advance(601);
    }
    world.ledger().await;
    assert_eq!(world.release(release(&given_back)).await.unwrap(), proto::ReleaseResponse { replayed: true, ..first });
    world.verify().await;
}

/// 19 input tokens at 1 USD, 39,000 cached ones at 0.1 USD a million, as a provider says it that counts them apart.
fn beside() -> Usage {
    Usage { cached_input_tokens: 39_000, ..tokens(19, 0) }
}

const BESIDE_COSTS: &str = "0.003919";

async fn cached_at_a_tenth(world: &World) {
    let cheap = Price { model: MODEL.into(), cached_input_per_million: "0.1".into(), ..Price::default() };
    let update = proto::UpdatePriceRequest { price: Some(cheap), update_mask: mask(&["cached_input_per_million"]) };
    world.operator.prices().update_price(update).await.unwrap();
}

// M4
#[tokio::test]
async fn more_cached_tokens_than_input_come_beside_it_on_every_verb() {
    let world = World::new().await;
    cached_at_a_tenth(&world).await;
    let tpm = quota("tpm", Unit::TokensPerMinute, 10_000_000);
    world.limit(Place::Key("k1"), policy(vec![], vec![tpm])).await;
    let held = world.reserve(reserve("k1", "r", beside())).await.unwrap();
    assert_eq!(held.held.unwrap().usd, BESIDE_COSTS);
    let progress =
        ExtendRequest { usage_so_far: Some(beside()), estimate: Some(beside()), ..extend(&held.reservation_id) };
    let extended = world.extend(progress).await.unwrap().unwrap();
    assert_eq!(extended.held.unwrap().usd, BESIDE_COSTS);
    let charged = world.commit(commit(&held.reservation_id, beside())).await.unwrap();
    assert_eq!(charged.charged.as_ref().unwrap().usd, BESIDE_COSTS);
    assert_eq!(charged.charged.unwrap().tokens, 39_019, "quotas see the whole input");
    assert!(world.commit(commit(&held.reservation_id, beside())).await.unwrap().replayed);
    for already_used in [false, true] {
        let request = ChargeRequest { already_used, ..charge("k1", &format!("c{already_used}"), beside()) };
        let charged = world.charge(request).await.unwrap().unwrap();
        assert_eq!(charged.charged.unwrap().usd, BESIDE_COSTS);
    }
    let plain = world.reserve(reserve("k1", "plain", tokens(1, 0))).await.unwrap().reservation_id;
    world.extend(ExtendRequest { usage_so_far: Some(beside()), ..extend(&plain) }).await.unwrap().unwrap();
    let released = world.release(release(&plain)).await.unwrap();
    assert_eq!(released.charged.unwrap().usd, BESIDE_COSTS);
    for entry in world.ledger().await.transactions {
        let usage = entry.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.cached_input_tokens), (39_019, 39_000), "{:?}", entry.kind);
    }
    world.verify().await;
}

/// 1000 input tokens with 400 cached ones in them, and beside them.
const WITHIN: &str = "0.00064";
const BESIDE: &str = "0.00104";

// M4
#[tokio::test]
async fn the_caller_says_how_its_cache_is_counted_else_the_models_price_and_a_reservation_stays_as_it_was_read() {
    let world = World::new().await;
    cached_at_a_tenth(&world).await;
    let some_cached = |said| Usage { cached_input_tokens: 400, cache_outside_input: said, ..tokens(1000, 0) };
    let costs = async |request: &str, usage| {
        world.charge(charge("k1", request, usage)).await.unwrap().unwrap().charged.unwrap().usd
    };
    assert_eq!(costs("within", some_cached(None)).await, WITHIN);
    assert_eq!(costs("said", some_cached(Some(true))).await, BESIDE);
    let price = Price { model: MODEL.into(), cache_outside_input: true, ..Price::default() };
    let update = proto::UpdatePriceRequest { price: Some(price), update_mask: mask(&["cache_outside_input"]) };
    let priced = world.operator.prices().update_price(update).await.unwrap().into_inner().price.unwrap();
    assert!(priced.cache_outside_input);
    assert_eq!(costs("by price", some_cached(None)).await, BESIDE);
    assert_eq!(costs("said otherwise", some_cached(Some(false))).await, WITHIN);
    assert_eq!(costs("can't be meant", Usage { cache_outside_input: Some(false), ..beside() }).await, BESIDE_COSTS);

    let id = world.reserve(reserve("k1", "stays", beside())).await.unwrap().reservation_id;
    let usage = Usage { cache_outside_input: Some(false), ..some_cached(None) };
    assert_eq!(
        world.commit(commit(&id, usage)).await.unwrap().charged.unwrap().usd,
        BESIDE,
        "once read so, it stays so"
    );

    let id = world.reserve(reserve("k1", "grows", tokens(1000, 0))).await.unwrap().reservation_id;
    let so_far = |input: u64| {
        let usage = Usage { cached_input_tokens: 39_000, ..tokens(input, 0) };
        ExtendRequest { usage_so_far: Some(usage), ..extend(&id) }
    };
    world.extend(so_far(19)).await.unwrap().unwrap();
    assert!(world.extend(so_far(18)).await.is_err(), "it grows as it was sent");
    world.extend(so_far(20)).await.unwrap().unwrap();

    // The estimate as it was, beside progress that counts apart.
    let id = world.reserve(reserve("k1", "renewed", tokens(39_019, 0))).await.unwrap().reservation_id;
    let renewal = ExtendRequest { usage_so_far: Some(beside()), estimate: Some(tokens(39_019, 0)), ..extend(&id) };
    for _ in 0..2 {
        world.extend(renewal.clone()).await.unwrap().unwrap();
    }
    world.verify().await;
}

// M4
#[tokio::test]
async fn a_repeat_that_counts_the_cache_otherwise_is_another_request() {
    let world = World::new().await;
    let asked = |request: &str, said| {
        let usage = Usage { cached_input_tokens: 400, cache_outside_input: said, ..tokens(1000, 0) };
        (reserve("k1", request, usage.clone()), charge("k1", &format!("{request} at once"), usage))
    };
    let reused = failed(Code::AlreadyExists, "REQUEST_ID_REUSED");
    let said = [("unset", None), ("within", Some(false)), ("beside", Some(true))];
    for (request, first) in said {
        let (hold, at_once) = asked(request, first);
        let granted = world.reserve(hold.clone()).await.unwrap();
        world.charge(at_once.clone()).await.unwrap().unwrap();
        let again = world.reserve(hold).await.unwrap();
        assert_eq!((again.reservation_id, again.replayed), (granted.reservation_id, true), "{request}");
        assert!(world.charge(at_once).await.unwrap().unwrap().replayed, "{request}");
        for (_, other) in said.into_iter().filter(|(_, other)| *other != first) {
            let (hold, at_once) = asked(request, other);
            assert_eq!(world.try_reserve(hold).await.unwrap_err(), reused, "{request}, then {other:?}");
            assert_eq!(world.charge(at_once).await.unwrap_err(), reused, "{request}, then {other:?}");
        }
    }
    world.verify().await;
}

// M5
#[tokio::test]
async fn no_settlement_is_refused_for_its_size_below_absurdity() {
    let world = World::new().await;
    let batch = Usage { requests: 50_000, ..tokens(1000, 0) };
    for (number, cost) in ["", "12.5"].into_iter().enumerate() {
        let id = world.reserve(reserve("k1", &format!("r{number}"), batch.clone())).await.unwrap().reservation_id;
        let ran = Usage { requests: 50_000, cost_usd: cost.into(), ..tokens(1_500_000_000, 0) };
        let charged = world.commit(commit(&id, ran)).await.unwrap().charged.unwrap();
        let expected = if cost.is_empty() { "1500" } else { cost };
        assert_eq!((charged.usd.as_str(), charged.tokens, charged.requests), (expected, 1_500_000_000, 50_000));
    }
    let used = Usage { requests: 1_000_000_000, cost_usd: "1000000000".into(), ..tokens(1_000_000_000_000, 0) };
    let most = ChargeRequest { already_used: true, ..charge("k1", "most", used) };
    world.charge(most).await.unwrap().unwrap();
    world.verify().await;
}

// M5
#[tokio::test]
async fn absurd_usage_is_refused_as_such_and_leaves_the_hold_as_it_is() {
    let world = World::new().await;
    let id = world.reserve(reserve("k1", "r", usd("1"))).await.unwrap().reservation_id;
    let absurd = || failed(Code::InvalidArgument, "USAGE_ABSURD");
    let cases = [
        tokens(1_000_000_000_001, 0),
        tokens(0, 1_000_000_000_001),
        Usage { cached_input_tokens: 1_000_000_000_001, ..tokens(0, 0) },
        Usage { cache_write_tokens: 1_000_000_000_001, ..tokens(0, 0) },
        Usage { requests: 1_000_000_001, ..tokens(0, 0) },
        usd("1000000000.000000001"),
    ];
    for usage in cases {
        assert_eq!(world.commit(commit(&id, usage.clone())).await, Err(absurd()), "{usage:?}");
        let so_far = ExtendRequest { usage_so_far: Some(usage.clone()), ..extend(&id) };
        assert_eq!(world.extend(so_far).await, Err(absurd()), "{usage:?}");
        let used = ChargeRequest { already_used: true, ..charge("k1", "c", usage.clone()) };
        assert_eq!(world.charge(used).await, Err(absurd()), "{usage:?}");
        assert_eq!(world.try_reserve(reserve("k1", "other", usage.clone())).await, Err(absurd()), "{usage:?}");
    }
    let factor = Organization { credit_factor: "1000".into(), ..Organization::default() };
    world.update_organization(factor, &["credit_factor"]).await;
    let used = ChargeRequest { already_used: true, ..charge("k1", "c", usd("1000001")) };
    assert_eq!(world.charge(used).await, Err(absurd()), "10⁹ credits at most");
    world.price("dear", "100000", "0").await;
    let dear = CommitRequest { model: "dear".into(), ..commit(&id, tokens(1_000_000_000_000, 0)) };
    assert_eq!(world.commit(dear).await, Err(absurd()), "100,000,000,000 USD");
    assert_eq!(world.commit(commit(&id, usd("1"))).await.unwrap().charged.unwrap().usd, "1");
    world.verify().await;
}
