//! Reserve and Check: what is held, what is refused and why, and the same request twice.

use std::collections::HashMap;

use quotad::api::proto::{
    CheckRequest, DenialCode, Organization, PeriodKind, ReservationState, ReserveRequest, Scope, Unit, Usage,
};
use tonic::Code;

use crate::{
    messages::{
        budget, charge, check, codes, commit, failed, key, period, policy, quota, release, reserve, seconds, secret,
        tokens, usd,
    },
    world::{Place, START, World},
};

#[tokio::test]
async fn a_grant_says_what_is_held_and_until_when() {
    let world = World::new().await;
    let soft = quotad::api::proto::Budget { soft: "0.003".into(), ..budget("cap", "1") };
    world.limit(Place::Team("default"), policy(vec![soft], Vec::new())).await;
    let request = ReserveRequest { include_limits: true, ttl: seconds(90), ..reserve("k1", "a", tokens(1000, 100)) };
    let grant = world.reserve(request).await.unwrap();
    let held = grant.held.as_ref().unwrap();
    assert_eq!((held.usd.as_str(), held.credits.as_str(), held.tokens, held.requests), ("0.002", "0.002", 1100, 1));
    assert_eq!((grant.output_tokens, grant.expire_time.unwrap().seconds), (100, START + 90));
    assert_eq!((grant.replayed, grant.state(), grant.warnings.len()), (false, ReservationState::Open, 0));
    let [cap, wallet] = grant.limits.as_slice() else { panic!("{:?}", grant.limits) };
    assert_eq!((cap.scope(), cap.scope_id.as_str(), cap.limit_id.as_str()), (Scope::Team, "default", "cap"));
    assert_eq!((cap.unit(), cap.max.as_str(), cap.soft.as_str()), (Unit::Usd, "1", "0.003"));
    assert_eq!((cap.spent.as_str(), cap.held.as_str(), cap.remaining.as_str()), ("0", "0.002", "0.998"));
    assert!(cap.binding && cap.reset_time.is_none());
    assert!(wallet.scope() == Scope::Wallet && !wallet.binding, "the wallet is off");
    let second = world.reserve(reserve("k1", "b", tokens(1000, 0))).await.unwrap();
    assert_eq!(second.limits, Vec::new(), "limits only where they were asked for");
    assert_eq!(second.warnings.len(), 1, "0.002 + 0.001 reaches the soft cap");
    assert_eq!(second.warnings[0].limit_id, "cap");
}

#[tokio::test]
async fn the_same_request_twice_is_one_hold_and_other_content_is_refused() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let labels = HashMap::from([("run".to_owned(), "7".to_owned())]);
    let request = ReserveRequest { labels, holder: "gpu".into(), ..reserve("k1", "a", usd("4")) };
    let first = world.reserve(request.clone()).await.unwrap();
    world.advance(5);
    let again = world.reserve(ReserveRequest { payer: secret(&world.secret), ..request.clone() }).await.unwrap();
    assert!(again.replayed && again.state() == ReservationState::Open);
    assert_eq!(
        (&again.reservation_id, &again.expire_time, &again.held),
        (&first.reservation_id, &first.expire_time, &first.held)
    );
    assert_eq!(world.books().await.limit("cap"), ("0", "4", "6"));
    world.key("k2", "ada", "default").await;
    let others = [
        ReserveRequest { usage: Some(usd("4.1")), ..request.clone() },
        ReserveRequest { model: "other".into(), ..request.clone() },
        ReserveRequest { ttl: seconds(5), ..request.clone() },
        ReserveRequest { holder: "gpu-2".into(), ..request.clone() },
        ReserveRequest { labels: HashMap::new(), ..request.clone() },
        ReserveRequest { min_output_tokens: Some(0), ..request.clone() },
        ReserveRequest { payer: key("k2"), ..request.clone() },
    ];
    let reused = || failed(Code::AlreadyExists, "REQUEST_ID_REUSED");
    for other in others {
        assert_eq!(world.try_reserve(other.clone()).await, Err(reused()), "{other:?}");
    }
    assert_eq!(world.charge(charge("k1", "a", usd("4"))).await, Err(reused()));
    assert_eq!(world.top_up("a", "4").await.unwrap_err(), reused());
    assert_eq!(world.books().await.limit("cap"), ("0", "4", "6"));
    world.commit(commit(&first.reservation_id, usd("1"))).await.unwrap();
    let closed = world.reserve(request).await.unwrap();
    assert_eq!((closed.replayed, closed.state()), (true, ReservationState::Committed));
    assert_eq!((&closed.reservation_id, closed.held.unwrap().usd.as_str()), (&first.reservation_id, "4"));
}

#[tokio::test]
async fn a_replay_tells_how_the_reservation_ended() {
    let world = World::new().await;
    let grant = world.reserve(reserve("k1", "released", usd("1"))).await.unwrap();
    world.release(release(&grant.reservation_id)).await.unwrap();
    let replay = world.reserve(reserve("k1", "released", usd("1"))).await.unwrap();
    assert_eq!((replay.replayed, replay.state()), (true, ReservationState::Released));
    let short = ReserveRequest { ttl: seconds(1), ..reserve("k1", "expired", usd("1")) };
    world.reserve(short.clone()).await.unwrap();
    world.advance(1);
    assert_eq!(world.reserve(short).await.unwrap().state(), ReservationState::Expired);
}

#[tokio::test]
async fn a_refusal_is_not_remembered_and_a_retry_is_decided_anew() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "1")], Vec::new())).await;
    let request = reserve("k1", "a", usd("2"));
    assert_eq!(world.reserve(request.clone()).await.unwrap_err().code(), DenialCode::BudgetExceeded);
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "3")], Vec::new())).await;
    assert!(!world.reserve(request).await.unwrap().replayed);
}

/// One limit of each kind, too small, at another place of the path each: all are named, in order, with their numbers.
#[tokio::test]
async fn a_denial_lists_every_limit_that_fails_with_its_numbers() {
    use DenialCode::{BudgetExceeded, ConcurrencyExceeded, RateLimitExceeded, WalletInsufficient};
    let world = World::with_wallet("0.5").await;
    let daily = quotad::api::proto::Budget { period: period(PeriodKind::Daily), ..budget("member-day", "0.4") };
    world.limit(Place::Organization, policy(Vec::new(), vec![quota("org-flight", Unit::InFlight, 0)])).await;
    world.limit(Place::Ceiling, policy(vec![budget("most", "0.6")], Vec::new())).await;
    world.limit(Place::Team("default"), policy(Vec::new(), vec![quota("team-rpm", Unit::RequestsPerMinute, 0)])).await;
    world.limit(Place::Member("ada"), policy(vec![daily], Vec::new())).await;
    world.limit(Place::Membership, policy(Vec::new(), vec![quota("ms-tpm", Unit::TokensPerMinute, 10)])).await;
    world.limit(Place::Key("k1"), policy(vec![budget("key-usd", "0.3")], Vec::new())).await;
    let before = world.books().await;
    let denial = world.reserve(reserve("k1", "a", Usage { cost_usd: "2".into(), ..tokens(10, 20) })).await.unwrap_err();
    let expected = vec![
        ConcurrencyExceeded,
        RateLimitExceeded,
        RateLimitExceeded,
        BudgetExceeded,
        BudgetExceeded,
        BudgetExceeded,
        WalletInsufficient,
    ];
    assert_eq!(codes(&denial), (ConcurrencyExceeded, expected));
    assert_eq!((denial.http_status, denial.message.as_str(), denial.retry_after), (429, "Rate limit exceeded", None));
    let shown: Vec<_> = denial
        .violations
        .iter()
        .map(|violation| {
            let limit = violation.limit.as_ref().unwrap();
            assert!(violation.message.contains(&limit.scope_id), "{}", violation.message);
            (
                limit.scope(),
                limit.scope_id.as_str(),
                limit.limit_id.as_str(),
                limit.max.as_str(),
                violation.asked.as_str(),
            )
        })
        .collect();
    let expected = [
        (Scope::Organization, "acme", "org-flight", "0", "1"),
        (Scope::Membership, "default/ada", "ms-tpm", "10", "30"),
        (Scope::Team, "default", "team-rpm", "0", "1"),
        (Scope::Key, "k1", "key-usd", "0.3", "2"),
        (Scope::Member, "ada", "member-day", "0.4", "2"),
        (Scope::Ceiling, "acme", "most", "0.6", "2"),
        (Scope::Wallet, "acme", "", "0.5", "2"),
    ];
    assert_eq!(shown, expected);
    // The day ends at midnight UTC, 6,400 s after the start.
    assert_eq!(denial.violations[4].limit.as_ref().unwrap().reset_time.unwrap().seconds, START + 6400);
    assert_eq!(world.books().await, before);
}

#[tokio::test]
async fn who_waits_for_as_long_as_told_is_granted() {
    let world = World::new().await;
    let daily = quotad::api::proto::Budget { period: period(PeriodKind::Daily), ..budget("day", "1") };
    world.limit(Place::Key("k1"), policy(vec![daily], vec![quota("rpm", Unit::RequestsPerMinute, 2)])).await;
    world.reserve(reserve("k1", "a", usd("0.1"))).await.unwrap();
    world.advance(20);
    world.charge(charge("k1", "b", usd("0.1"))).await.unwrap().unwrap();
    let denial = world.reserve(reserve("k1", "c", usd("0.1"))).await.unwrap_err();
    assert_eq!((denial.code(), denial.retry_after), (DenialCode::RateLimitExceeded, seconds(41)));
    world.advance(40);
    assert_eq!(world.reserve(reserve("k1", "c", usd("0.1"))).await.unwrap_err().retry_after, seconds(1));
    world.advance(1);
    world.reserve(reserve("k1", "c", usd("0.1"))).await.unwrap();
    world.advance(120);
    let denial = world.reserve(reserve("k1", "d", usd("0.9"))).await.unwrap_err();
    let both_holds_run_out = seconds(660 + 1 - 181);
    assert_eq!((denial.code(), denial.retry_after), (DenialCode::BudgetExceeded, both_holds_run_out));
    let denial = world.reserve(reserve("k1", "d", usd("1.1"))).await.unwrap_err();
    assert_eq!(denial.retry_after, None, "no wait makes room for more than the cap");
    world.advance(660 + 1 - 181);
    world.reserve(reserve("k1", "d", usd("0.9"))).await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_fit_is_granted_in_part_where_that_will_do() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "0.01")], Vec::new())).await;
    // 1,000 input tokens cost 0.001, so 0.009 is left for 900 output tokens.
    let ask = |request: &str, least| ReserveRequest {
        min_output_tokens: Some(least),
        ..reserve("k1", request, tokens(1000, 5000))
    };
    let denial = world.reserve(ask("a", 901)).await.unwrap_err();
    assert_eq!(denial.violations[0].asked, "0.01001", "the least that would have done");
    let grant = world.reserve(ask("a", 900)).await.unwrap();
    let held = grant.held.as_ref().unwrap();
    assert_eq!((grant.output_tokens, held.usd.as_str()), (900, "0.01"));
    let replay = world.reserve(ask("a", 900)).await.unwrap();
    assert_eq!((replay.replayed, replay.output_tokens, replay.held.unwrap().tokens), (true, 900, 1900));
    assert_eq!(world.books().await.limit("cap"), ("0", "0.01", "0"));
    world.release(release(&grant.reservation_id)).await.unwrap();
    let whole = ReserveRequest { min_output_tokens: Some(1), ..reserve("k1", "b", tokens(1000, 900)) };
    assert_eq!(world.reserve(whole).await.unwrap().output_tokens, 900);
}

#[tokio::test]
async fn a_check_answers_like_reserve_and_holds_nothing() {
    let world = World::new().await;
    world
        .limit(Place::Key("k1"), policy(vec![budget("cap", "0.01")], vec![quota("rpm", Unit::RequestsPerMinute, 5)]))
        .await;
    let before = world.books().await;
    for _ in 0..20 {
        let (decision, limits) = world.check(check("k1", tokens(1000, 100))).await;
        let grant = decision.unwrap();
        assert_eq!((grant.reservation_id.as_str(), grant.held.unwrap().usd.as_str()), ("", "0.002"));
        assert_eq!((grant.expire_time, limits.len()), (None, 3));
    }
    let request = CheckRequest { min_output_tokens: Some(1), ..check("k1", tokens(1000, 5000)) };
    assert_eq!(world.check(request).await.0.unwrap().output_tokens, 900);
    let (denied, limits) = world.check(check("k1", usd("1"))).await;
    let reserved = world.reserve(reserve("k1", "a", usd("1"))).await.unwrap_err();
    assert_eq!((denied.unwrap_err(), limits.len()), (reserved, 3));
    assert_eq!(world.books().await, before);
    let (unknown, limits) = world.check(check("nobody", usd("1"))).await;
    assert_eq!((unknown.unwrap_err().code(), limits), (DenialCode::KeyUnknown, Vec::new()));
}

#[tokio::test]
async fn limits_narrowed_to_models_and_credit_caps_bind_where_they_should() {
    let world = World::new().await;
    world.price("big", "1", "10").await;
    let narrowed = quotad::api::proto::Budget { models: vec!["big".into()], ..budget("big-only", "1") };
    let credits = quotad::api::proto::Budget { unit: Unit::Credits.into(), ..budget("credits", "5") };
    let factor = |factor: &str| Organization { credit_factor: factor.into(), ..Organization::default() };
    world.update_organization(factor("2"), &["credit_factor"]).await;
    world.limit(Place::Key("k1"), policy(vec![narrowed, credits], Vec::new())).await;
    world.reserve(reserve("k1", "small", usd("2"))).await.unwrap();
    assert_eq!(world.books().await.limit("credits"), ("0", "4", "1"));
    let big = ReserveRequest { model: "big".into(), ..reserve("k1", "big", usd("1.1")) };
    let denial = world.reserve(big.clone()).await.unwrap_err();
    let failing: Vec<_> = denial.violations.iter().map(|v| v.limit.as_ref().unwrap().limit_id.as_str()).collect();
    assert_eq!(failing, ["big-only", "credits"]);
    world.update_organization(factor("0"), &["credit_factor"]).await;
    let (_, limits) = world.check(check("k1", usd("0"))).await;
    let binding: HashMap<_, _> = limits.iter().map(|limit| (limit.limit_id.as_str(), limit.binding)).collect();
    assert_eq!(binding.get("credits"), Some(&false), "{limits:?}");
    world.reserve(reserve("k1", "free of credits", usd("500"))).await.unwrap();
    assert_eq!(world.reserve(big).await.unwrap_err().violations.len(), 1);
}

#[tokio::test]
async fn a_request_counts_in_the_day_in_which_it_was_admitted() {
    let world = World::new().await;
    let daily = quotad::api::proto::Budget { period: period(PeriodKind::Daily), ..budget("day", "10") };
    world.limit(Place::Key("k1"), policy(vec![daily], Vec::new())).await;
    world.advance(6399);
    let ask = async |request: &str| {
        let request = ReserveRequest { ttl: seconds(3600), ..reserve("k1", request, usd("4")) };
        world.reserve(request).await.unwrap().reservation_id
    };
    let (over_midnight, freed) = (ask("a").await, ask("b").await);
    assert_eq!(world.books().await.limit("day"), ("0", "8", "2"));
    world.advance(1);
    assert_eq!(world.books().await.limit("day"), ("0", "0", "10"), "a new day is untouched by yesterday's holds");
    let today = ask("c").await;
    let charged = world.commit(commit(&over_midnight, usd("11"))).await.unwrap();
    assert_eq!(charged.overage.unwrap().usd, "5", "beside the 4 that are held, 6 of yesterday's 10 are left");
    world.release(release(&freed)).await.unwrap();
    assert_eq!(world.books().await.limit("day"), ("0", "4", "6"));
    world.commit(commit(&today, usd("4"))).await.unwrap();
    assert_eq!(world.books().await.limit("day"), ("4", "0", "6"));
    world.verify().await;
}
