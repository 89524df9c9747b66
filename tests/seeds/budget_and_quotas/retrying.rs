//! How long a refused caller should wait before it tries again.

use quotad::api::proto::{self, DayOfWeek, DenialCode, Key, PeriodKind, Quota, TeamAllocation, Unit};

use super::{DAY, TO_MIDNIGHT, each};
use crate::{
    messages::{budget, charge, mask, policy, quota, release, reserve, tokens, usd},
    people::outcome,
    world::{ACME, Place, World},
};

fn limited(quota: Quota) -> Option<proto::Policy> {
    policy(Vec::new(), vec![quota])
}

/// The wait that a refusal asks for, in whole seconds.
async fn wait(world: &World, request: &str) -> (DenialCode, Option<i64>) {
    let denial = world.reserve(reserve("k1", request, tokens(10, 10))).await.unwrap_err();
    let wait = denial.retry_after.map(|wait| {
        assert_eq!(wait.nanos, 0);
        wait.seconds
    });
    (denial.code(), wait)
}

/// That what is refused now is granted after just the wait it is told, and not a second before.
#[track_caller]
fn assert_cured_after(world: &World, code: DenialCode, seconds: Option<i64>) -> impl Future<Output = ()> + use<'_> {
    let place = std::panic::Location::caller();
    async move {
        let (refused, told) = wait(world, "retried").await;
        let told = told.unwrap_or_else(|| panic!("no wait for {refused:?}, at {place}"));
        assert_eq!(refused, code, "at {place}");
        assert!(seconds.is_none_or(|seconds| seconds == told), "{told} s instead of {seconds:?} s, at {place}");
        world.advance(told - 1);
        assert_eq!(wait(world, "retried").await, (code, Some(1)), "a second before, at {place}");
        world.advance(1);
        world.reserve(reserve("k1", "retried", tokens(10, 10))).await.unwrap();
    }
}

async fn used(world: &World) {
    world.charge(charge("k1", "used", tokens(10, 10))).await.unwrap().unwrap();
}

// B7
#[tokio::test]
async fn a_rate_refusal_says_when_the_request_fits_again() {
    for quota in [quota("rpm", Unit::RequestsPerMinute, 1), quota("tpm", Unit::TokensPerMinute, 20)] {
        for place in [Place::Key("k1"), Place::Team("default")] {
            let world = World::new().await;
            world.limit(place, limited(quota.clone())).await;
            used(&world).await;
            world.advance(25);
            assert_cured_after(&world, DenialCode::RateLimitExceeded, None).await;
        }
    }
}

// B7
#[tokio::test]
async fn a_budget_refusal_says_when_the_period_ends() {
    let cases = [
        (PeriodKind::Daily, TO_MIDNIGHT),
        (PeriodKind::Weekly, TO_MIDNIGHT + 5 * DAY),
        (PeriodKind::Monthly, TO_MIDNIGHT + 16 * DAY),
    ];
    for (kind, seconds) in cases {
        for place in [Place::Key("k1"), Place::Team("default"), Place::Membership] {
            let world = World::new().await;
            world.limit(place, policy(vec![each(kind, "cap", "0.00015")], Vec::new())).await;
            used(&world).await;
            assert_cured_after(&world, DenialCode::BudgetExceeded, Some(seconds)).await;
        }
    }
}

// B7
#[tokio::test]
async fn closed_hours_and_used_up_credits_say_when_they_open() {
    let world = World::new().await;
    let hours = proto::AccessHours {
        enabled: true,
        weekdays: vec![DayOfWeek::Thursday.into(), DayOfWeek::Friday.into()],
        hours: "08:00-20:00".into(),
    };
    let rule = proto::Rule {
        organization_id: ACME.into(),
        id: "office".into(),
        enabled: true,
        hours: Some(hours),
        ..Default::default()
    };
    let new = proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
    outcome(world.operator.rules().create_rule(new).await).unwrap();
    let bound = Key { organization_id: ACME.into(), id: "k1".into(), rule_id: "office".into(), ..Key::default() };
    world.update_key(bound, &["rule_id"]).await.unwrap();
    assert_cured_after(&world, DenialCode::OutsideTimeWindow, Some(TO_MIDNIGHT + DAY + 8 * 3600)).await;

    let world = World::new().await;
    let allocation = TeamAllocation {
        organization_id: ACME.into(),
        team_id: "default".into(),
        monthly: "0.00015".into(),
        ..Default::default()
    };
    let update = proto::UpdateTeamAllocationRequest { allocation: Some(allocation), update_mask: mask(&["monthly"]) };
    outcome(world.operator.allocations().update_team_allocation(update).await).unwrap();
    used(&world).await;
    assert_cured_after(&world, DenialCode::BudgetExceeded, Some(TO_MIDNIGHT + 16 * DAY)).await;
}

// B7
#[tokio::test]
async fn of_several_waits_the_longest_is_told() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), limited(quota("rpm", Unit::RequestsPerMinute, 1))).await;
    let daily = each(PeriodKind::Daily, "day", "0.00015");
    world.limit(Place::Team("default"), policy(vec![daily], Vec::new())).await;
    used(&world).await;
    assert_eq!(wait(&world, "a").await, (DenialCode::RateLimitExceeded, Some(TO_MIDNIGHT)));
    world.limit(Place::Organization, policy(vec![budget("all", "0.0001")], Vec::new())).await;
    world.charge(proto::ChargeRequest { already_used: true, ..charge("k1", "more", usd("1")) }).await.unwrap().unwrap();
    assert_eq!(wait(&world, "b").await, (DenialCode::RateLimitExceeded, None), "one that never ends");
}

// B7
#[tokio::test]
async fn a_full_house_is_worth_another_try_in_a_second() {
    let world = World::new().await;
    world.limit(Place::Team("default"), limited(quota("slots", Unit::InFlight, 1))).await;
    let running = world.reserve(reserve("k1", "a", tokens(1, 1))).await.unwrap().reservation_id;
    assert_eq!(wait(&world, "b").await, (DenialCode::ConcurrencyExceeded, Some(1)));
    world.release(release(&running)).await.unwrap();
    world.reserve(reserve("k1", "b", tokens(1, 1))).await.unwrap();
}

// B7
#[tokio::test]
async fn what_no_wait_can_cure_asks_for_none() {
    let world = World::with_wallet("0.0001").await;
    assert_eq!(wait(&world, "poor").await, (DenialCode::WalletInsufficient, None));
    let world = World::new().await;
    world.limit(Place::Key("k1"), limited(quota("tpm", Unit::TokensPerMinute, 19))).await;
    assert_eq!(wait(&world, "large").await, (DenialCode::RateLimitExceeded, None), "more than fits any minute");
    let small = each(PeriodKind::Daily, "day", "0.0001");
    world.limit(Place::Key("k1"), policy(vec![small], Vec::new())).await;
    assert_eq!(wait(&world, "dear").await, (DenialCode::BudgetExceeded, None), "more than fits any day");
    world.limit(Place::Key("k1"), policy(vec![budget("once", "0.0001")], Vec::new())).await;
    assert_eq!(wait(&world, "once").await, (DenialCode::BudgetExceeded, None));
    let disabled = Key { organization_id: ACME.into(), id: "k1".into(), disabled: true, ..Key::default() };
    world.update_key(disabled, &["disabled"]).await.unwrap();
    assert_eq!(wait(&world, "off").await, (DenialCode::KeyDisabled, None));
}
