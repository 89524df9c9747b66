//! When to ask again for what was refused: held is not spent (case M2).

use quotad::api::proto::{
    self, Budget, Denial, DenialCode, ExtendRequest, PeriodKind, ReserveRequest, SessionRequest, Unit,
    session_request::Op, session_response::Result as Answer,
};
use tokio_stream::StreamExt as _;

use crate::{
    messages::{budget, charge, check, codes, extend, period, policy, quota, reserve, reserved, seconds, tokens, usd},
    world::{Place, World},
};

/// Of `k1`, which runs out after some seconds.
fn brief(request_id: &str, ttl: i64, usage: proto::Usage) -> ReserveRequest {
    ReserveRequest { ttl: seconds(ttl), ..reserve("k1", request_id, usage) }
}

/// The wait in seconds, and whether it may be sooner or longer.
fn told(denial: &Denial) -> Option<(i64, bool, bool)> {
    denial.retry_after.map(|wait| (wait.seconds, denial.may_be_sooner, denial.at_least))
}

/// That `ask` is refused until the hold runs out 4 s after it was granted, on every verb that begins work.
async fn assert_granted_after_four_seconds(world: &World, code: DenialCode) {
    world.reserve(brief("held", 4, usd("9.5"))).await.unwrap();
    let denials = [
        world.reserve(reserve("k1", "asked", usd("1"))).await.unwrap_err(),
        world.charge(charge("k1", "charged", usd("1"))).await.unwrap().unwrap_err(),
        world.check(check("k1", usd("1"))).await.0.unwrap_err(),
        over_session(world, reserve("k1", "asked", usd("1"))).await,
    ];
    for denial in denials {
        assert_eq!((codes(&denial), told(&denial)), ((code, vec![code]), Some((4, true, false))));
    }
    world.advance(3);
    let denial = world.reserve(reserve("k1", "asked", usd("1"))).await.unwrap_err();
    assert_eq!(told(&denial), Some((1, true, false)));
    world.advance(1);
    world.reserve(reserve("k1", "asked", usd("1"))).await.unwrap();
}

async fn over_session(world: &World, request: ReserveRequest) -> Denial {
    let request = SessionRequest { correlation_id: 1, op: Some(Op::Reserve(request)) };
    let mut answers = world.service.quota().session(tokio_stream::iter([request])).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().result.unwrap() {
        Answer::Reserve(answer) => reserved(answer).unwrap_err(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_hold_keeps_from_a_budget_is_waited_for_until_it_runs_out_whatever_the_period() {
    for kind in [PeriodKind::Monthly, PeriodKind::Daily, PeriodKind::OneTime] {
        for unit in [Unit::Usd, Unit::Credits] {
            let world = World::new().await;
            let limit = Budget { period: period(kind), unit: unit.into(), ..budget("b", "10") };
            world.limit(Place::Key("k1"), policy(vec![limit], Vec::new())).await;
            assert_granted_after_four_seconds(&world, DenialCode::BudgetExceeded).await;
        }
    }
}

#[tokio::test]
async fn what_a_hold_keeps_from_a_ceiling_is_waited_for() {
    let world = World::new().await;
    world.limit(Place::Ceiling, policy(vec![budget("most", "10")], Vec::new())).await;
    assert_granted_after_four_seconds(&world, DenialCode::BudgetExceeded).await;
}

#[tokio::test]
async fn what_a_hold_keeps_from_the_wallet_is_waited_for() {
    let world = World::with_wallet("10").await;
    assert_granted_after_four_seconds(&world, DenialCode::WalletInsufficient).await;
}

#[tokio::test]
async fn a_hold_that_runs_out_within_the_minute_gives_its_tokens_back() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(Vec::new(), vec![quota("t", Unit::TokensPerMinute, 100)])).await;
    world.reserve(brief("held", 4, tokens(90, 0))).await.unwrap();
    let denial = world.reserve(reserve("k1", "asked", tokens(20, 0))).await.unwrap_err();
    assert_eq!((denial.code(), told(&denial)), (DenialCode::RateLimitExceeded, Some((4, true, false))));
    world.advance(4);
    world.reserve(reserve("k1", "asked", tokens(20, 0))).await.unwrap();
}

#[tokio::test]
async fn a_slot_is_a_guess() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(Vec::new(), vec![quota("s", Unit::InFlight, 1)])).await;
    world.reserve(brief("held", 600, usd("1"))).await.unwrap();
    let denial = world.reserve(reserve("k1", "asked", usd("1"))).await.unwrap_err();
    assert_eq!((denial.code(), told(&denial)), (DenialCode::ConcurrencyExceeded, Some((1, true, true))));
}

#[tokio::test]
async fn a_hold_that_is_charged_when_it_runs_out_frees_only_the_rest() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("b", "10")], Vec::new())).await;
    let held = world.reserve(brief("held", 60, usd("9.5"))).await.unwrap().reservation_id;
    let report = ExtendRequest { ttl: seconds(4), usage_so_far: Some(usd("4")), ..extend(&held) };
    world.extend(report).await.unwrap().unwrap();
    let asked = async |cost| told(&world.reserve(reserve("k1", "asked", usd(cost))).await.unwrap_err());
    assert_eq!(asked("6").await, Some((4, true, false)));
    assert_eq!(asked("6.1").await, None, "4 of 10 are gone for good");
    world.advance(4);
    world.reserve(reserve("k1", "asked", usd("6"))).await.unwrap();
}

#[tokio::test]
async fn an_extension_that_does_not_fit_waits_for_other_holds() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("b", "10")], Vec::new())).await;
    let own = world.reserve(brief("own", 60, usd("2"))).await.unwrap().reservation_id;
    world.reserve(brief("other", 4, usd("7"))).await.unwrap();
    let more = |cost: &str| ExtendRequest { ttl: seconds(60), estimate: Some(usd(cost)), ..extend(&own) };
    let denial = world.extend(more("5")).await.unwrap().unwrap_err();
    assert_eq!(told(&denial), Some((4, true, false)));
    assert_eq!(told(&world.extend(more("11")).await.unwrap().unwrap_err()), None);
    world.advance(4);
    world.extend(more("5")).await.unwrap().unwrap();
}

#[tokio::test]
async fn waiting_helps_neither_the_unknown_nor_the_spent_nor_who_asks_above_the_cap() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("b", "10")], Vec::new())).await;
    assert_eq!(told(&world.reserve(reserve("nobody", "a", usd("1"))).await.unwrap_err()), None);
    assert_eq!(told(&world.reserve(reserve("k1", "b", usd("11"))).await.unwrap_err()), None);
    world.charge(charge("k1", "c", usd("10"))).await.unwrap().unwrap();
    assert_eq!(told(&world.reserve(reserve("k1", "d", usd("1"))).await.unwrap_err()), None);
}
