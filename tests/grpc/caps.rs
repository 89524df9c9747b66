//! However many ask at once, a hard cap is never passed; and a refusal takes nothing.

use std::sync::Arc;

use quotad::api::proto::{CheckRequest, DenialCode, LimitState, PeriodKind, Policy, Unit, Usage, Violation};

use crate::world::{MODEL, World, ask, both, by_key, cost, quota, tokens, usd};

const TASKS: usize = 64;

/// How many of `TASKS` × 25 requests, over the given keys, are granted.
async fn hammer(world: World, keys: &'static [&'static str], usage: Usage) -> (World, usize) {
    let world = Arc::new(world);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (world, usage) = (Arc::clone(&world), usage.clone());
            tokio::spawn(async move {
                let mut granted = 0;
                for i in 0..25 {
                    let mut request = ask(&format!("{task}-{i}"), usage.clone());
                    request.payer = by_key(keys[(task + i) % keys.len()]);
                    granted += usize::from(world.reserve(request).await.is_ok());
                }
                granted
            })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += task.await.unwrap();
    }
    (Arc::into_inner(world).unwrap(), granted)
}

async fn limits(world: &World, key: &str) -> Vec<LimitState> {
    let request = CheckRequest {
        payer: by_key(key),
        model: MODEL.to_owned(),
        usage: Some(tokens(0, 0)),
        ..CheckRequest::default()
    };
    world.gateway.quota().check(request).await.unwrap().into_inner().limits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_get_exactly_what_a_keys_cap_allows() {
    let world = World::new().await;
    world.key("capped", "ann", "", usd("cap", "10", PeriodKind::OneTime)).await;
    let (world, granted) = hammer(world, &["capped"], cost("0.01")).await;
    assert_eq!(granted, 1000);
    let states = limits(&world, "capped").await;
    assert_eq!((states[0].held.as_str(), states[0].remaining.as_str()), ("10", "0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teams_cap_holds_over_all_of_its_keys() {
    const KEYS: [&str; 4] = ["many-0", "many-1", "many-2", "many-3"];
    let world = World::new().await;
    world.team("red", usd("cap", "10", PeriodKind::Monthly)).await;
    world.join("red", "ann", Policy::default()).await;
    for key in KEYS {
        world.key(key, "ann", "red", Policy::default()).await;
    }
    let (_, granted) = hammer(world, &KEYS, cost("0.01")).await;
    assert_eq!(granted, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_quota_holds_under_concurrency() {
    let world = World::new().await;
    world.key("slow", "ann", "", quota("tpm", Unit::TokensPerMinute, 100_000)).await;
    let (_, granted) = hammer(world, &["slow"], tokens(60, 40)).await;
    assert_eq!(granted, 1000);
}

#[tokio::test]
async fn a_refused_request_leaves_every_other_limit_untouched() {
    let world = World::new().await;
    let policy = both(
        both(usd("cap", "5", PeriodKind::Daily), quota("rpm", Unit::RequestsPerMinute, 50)),
        both(quota("tpm", Unit::TokensPerMinute, 900), quota("slots", Unit::InFlight, 10)),
    );
    world.key("strict", "ann", "", policy).await;
    let strict = |id: &str, usage| {
        let mut request = ask(id, usage);
        request.payer = by_key("strict");
        request
    };
    world.reserve(strict("fits", tokens(100, 100))).await.unwrap();
    let before = limits(&world, "strict").await;
    let denial = world.reserve(strict("too many tokens", tokens(600, 200))).await.unwrap_err();
    assert_eq!(denial.code(), DenialCode::RateLimitExceeded);
    let denial =
        world.reserve(strict("too dear", Usage { cost_usd: String::from("7"), ..tokens(900, 0) })).await.unwrap_err();
    let codes: Vec<_> = denial.violations.iter().map(Violation::code).collect();
    assert_eq!(codes, [DenialCode::RateLimitExceeded, DenialCode::BudgetExceeded], "all that fails is listed");
    let budget = denial.violations[1].limit.as_ref().unwrap();
    assert_eq!((budget.limit_id.as_str(), budget.max.as_str(), budget.scope_id.as_str()), ("cap", "5", "strict"));
    assert_eq!((denial.violations[1].asked.as_str(), denial.http_status), ("7", 429));
    assert!(budget.reset_time.is_some());
    assert_eq!(limits(&world, "strict").await, before);
    assert_eq!(world.held().await, "0.0003");
}

#[tokio::test]
async fn a_caller_that_waits_retry_after_is_granted() {
    let world = World::new().await;
    world.key("slow", "ann", "", quota("rpm", Unit::RequestsPerMinute, 3)).await;
    let request = |i: u32| {
        let mut request = ask(&format!("r{i}"), tokens(1, 1));
        request.payer = by_key("slow");
        request
    };
    for i in 0..3 {
        world.reserve(request(i)).await.unwrap();
        world.pass(5);
    }
    let denial = world.reserve(request(9)).await.unwrap_err();
    assert_eq!((denial.code(), denial.message.as_str()), (DenialCode::RateLimitExceeded, "Rate limit exceeded"));
    let wait = denial.retry_after.unwrap();
    world.pass(wait.seconds - 1);
    world.reserve(request(9)).await.unwrap_err();
    world.pass(2);
    world.reserve(request(9)).await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_fit_whole_is_granted_in_part() {
    let world = World::new().await;
    world.key("small", "ann", "", usd("cap", "0.001", PeriodKind::OneTime)).await;
    let mut request = ask("partial", tokens(400, 1000));
    (request.payer, request.min_output_tokens) = (by_key("small"), Some(100));
    let granted = world.reserve(request.clone()).await.unwrap();
    assert_eq!(granted.output_tokens, 300, "400 × 1 + 300 × 2 micro-USD are all there is");
    assert_eq!(granted.held.unwrap().usd, "0.001");
    world.commit(&granted.reservation_id, tokens(400, 10)).await.unwrap();
    let mut too_much = ask("too much", tokens(400, 1000));
    (too_much.payer, too_much.min_output_tokens) = (by_key("small"), Some(200));
    let denial = world.reserve(too_much).await.unwrap_err();
    assert_eq!((denial.code(), denial.retry_after), (DenialCode::BudgetExceeded, None), "it never resets");
    assert_eq!(denial.violations[0].asked, "0.0008", "what the least would need");
}
