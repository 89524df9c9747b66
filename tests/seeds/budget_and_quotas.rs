//! Budget & Quotas: caps on the money and the rate of teams, their members and keys.

use quotad::api::proto::{
    self, Budget, Denial, DenialCode, Key, LimitState, PeriodKind, Policy, Role, Scope, Unit, Usage,
};

use crate::{
    messages::{budget, charge, check, mask, period, policy, quota, release, reserve, tokens, usd},
    people::{outcome, set_member_limits},
    world::{ACME, Place, World},
};

#[path = "budget_and_quotas/alerts.rs"]
mod alerts;
#[path = "budget_and_quotas/retrying.rs"]
mod retrying;

const DAY: i64 = 86_400;
/// From the start, Tuesday, 2023-11-14 22:13:20Z, to midnight in UTC.
const TO_MIDNIGHT: i64 = 6_400;

async fn spend(world: &World, key: &str, request: &str, usage: Usage) -> Result<(), Denial> {
    world.charge(charge(key, request, usage)).await.unwrap().map(drop)
}

/// A budget in USD over a calendar period in UTC.
fn each(kind: PeriodKind, id: &str, max: &str) -> Budget {
    Budget { period: period(kind), ..budget(id, max) }
}

/// Where each limit that refuses stands, by scope, scope id and limit id.
fn refusing(denial: &Denial) -> Vec<(Scope, &str, &str)> {
    let names = denial.violations.iter().map(|violation| {
        let LimitState { scope_id, limit_id, .. } = violation.limit.as_ref().unwrap();
        (violation.limit.as_ref().unwrap().scope(), scope_id.as_str(), limit_id.as_str())
    });
    names.collect()
}

#[track_caller]
fn assert_answer(denial: &Denial, message: &str) {
    assert_eq!((denial.http_status, denial.message.as_str()), (429, message));
}

/// Another member of `default`, with a key.
async fn colleague(world: &World, member: &str, key: &str) {
    world.member(member).await;
    world.key(key, member, "default").await;
}

// B1
#[tokio::test]
async fn a_teams_max_budget_refuses_what_would_pass_it_whoever_asks() {
    let world = World::new().await;
    colleague(&world, "eve", "k-eve").await;
    world.team("lab").await;
    world.member_of(ACME, "lou", &["lab"]).await;
    world.key("k-lab", "lou", "lab").await;
    world.limit(Place::Team("default"), policy(vec![budget("max", "10")], Vec::new())).await;
    spend(&world, "k1", "a", usd("6")).await.unwrap();
    let denial = spend(&world, "k-eve", "b", usd("4.000000001")).await.unwrap_err();
    assert_answer(&denial, "Budget exceeded");
    assert_eq!(refusing(&denial), [(Scope::Team, "default", "max")]);
    let held = world.reserve(reserve("k-eve", "c", usd("4"))).await.unwrap();
    let denial = world.reserve(reserve("k1", "d", usd("0.1"))).await.unwrap_err();
    assert_eq!(denial.violations[0].limit.as_ref().unwrap().held, "4", "what is under way counts too");
    world.release(release(&held.reservation_id)).await.unwrap();
    spend(&world, "k1", "e", usd("4")).await.unwrap();
    for key in ["k1", "k-eve"] {
        assert_answer(&spend(&world, key, &format!("{key}-late"), usd("0")).await.unwrap_err(), "Budget exceeded");
    }
    spend(&world, "k-lab", "f", usd("100")).await.unwrap();
    world.verify().await;
}

async fn membership(world: &World, member: &str) -> proto::Membership {
    let get = proto::GetMembershipRequest {
        organization_id: ACME.into(),
        team_id: "default".into(),
        member_id: member.into(),
    };
    outcome(world.operator.teams().get_membership(get).await).unwrap().membership.unwrap()
}

// B3
#[tokio::test]
async fn one_setting_of_the_team_caps_each_of_its_members_separately() {
    let world = World::new().await;
    let finance = world.person("finn", Role::FinanceAdmin).await;
    colleague(&world, "eve", "k-eve").await;
    world.team("lab").await;
    let five: Option<Policy> = policy(vec![budget("member", "5")], Vec::new());
    let team = set_member_limits(&finance, "default", five.clone()).await.unwrap();
    assert_eq!(team.member_policy, five);
    spend(&world, "k1", "a", usd("5")).await.unwrap();
    let denial = spend(&world, "k1", "b", usd("1")).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Membership, "default/ada", "member")]);
    assert_answer(&denial, "Budget exceeded");
    spend(&world, "k-eve", "c", usd("5")).await.unwrap();
    world.member_of(ACME, "new", &["default", "lab"]).await;
    world.key("k-new", "new", "default").await;
    world.key("k-lab", "new", "lab").await;
    let denial = spend(&world, "k-new", "d", usd("6")).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Membership, "default/new", "member")], "who joins later too");
    spend(&world, "k-lab", "e", usd("6")).await.unwrap();
    set_member_limits(&finance, "default", policy(vec![budget("member", "7")], Vec::new())).await.unwrap();
    for key in ["k1", "k-eve"] {
        assert_eq!(world.spent(key, "member").await, ("5".into(), "2".into()), "an edit keeps what is spent");
    }
    set_member_limits(&finance, "default", policy(Vec::new(), Vec::new())).await.unwrap();
    spend(&world, "k1", "f", usd("1000")).await.unwrap();
}

// B3
#[tokio::test]
async fn a_members_own_budget_overrides_the_teams_setting_until_it_is_given_back() {
    let world = World::new().await;
    let finance = world.person("finn", Role::FinanceAdmin).await;
    colleague(&world, "eve", "k-eve").await;
    let set = async |max: &str| {
        set_member_limits(&finance, "default", policy(vec![budget("member", max)], Vec::new())).await.unwrap();
    };
    set("5").await;
    world.limit(Place::Membership, policy(vec![budget("member", "8")], Vec::new())).await;
    spend(&world, "k1", "a", usd("8")).await.unwrap();
    assert!(spend(&world, "k-eve", "b", usd("8")).await.is_err());
    set("6").await;
    let own = membership(&world, "ada").await;
    assert_eq!((own.overrides, own.limits[0].max.as_str(), own.limits[0].spent.as_str()), (true, "8", "8"));
    let others = membership(&world, "eve").await;
    assert_eq!((others.overrides, others.limits[0].max.as_str()), (false, "6"));
    let back = proto::Membership { overrides: false, ..own };
    let update = proto::UpdateMembershipRequest {
        membership: Some(back),
        update_mask: mask(&["overrides"]),
        ..Default::default()
    };
    outcome(finance.teams().update_membership(update).await).unwrap();
    let common = membership(&world, "ada").await;
    assert_eq!((common.overrides, common.limits[0].max.as_str(), common.limits[0].spent.as_str()), (false, "6", "8"));
    assert!(spend(&world, "k1", "c", usd("0")).await.is_err());
    set("9").await;
    spend(&world, "k1", "c", usd("1")).await.unwrap();
    world.verify().await;
}

// B4
#[tokio::test]
async fn each_budget_of_a_team_is_reset_by_its_own_day_week_or_month() {
    let world = World::new().await;
    let budgets = vec![
        each(PeriodKind::Daily, "day", "1"),
        each(PeriodKind::Weekly, "week", "2"),
        each(PeriodKind::Monthly, "month", "3"),
    ];
    world.limit(Place::Team("default"), policy(budgets, Vec::new())).await;
    let days = [
        ("Tuesday", 0, None),
        ("Wednesday", TO_MIDNIGHT, None),
        ("Thursday", DAY, Some(vec!["week"])),
        ("Monday", 4 * DAY, None),
        ("Tuesday after", DAY, Some(vec!["month"])),
        ("30 November, a Thursday", 9 * DAY, Some(vec!["month"])),
        ("1 December", DAY, None),
    ];
    for (day, later, refused) in days {
        world.advance(later);
        let answer = spend(&world, "k1", day, usd("1")).await;
        let names = |denial: Denial| refusing(&denial).into_iter().map(|(.., id)| id.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            answer.map_err(names).err(),
            refused.map(|ids| ids.into_iter().map(str::to_owned).collect()),
            "{day}"
        );
    }
    world.verify().await;
}

// B4
#[tokio::test]
async fn each_budget_of_a_key_is_reset_by_its_own_period_in_its_own_zone() {
    let world = World::new().await;
    let in_zone = |zone: &str| Some(proto::Period { time_zone: zone.into(), ..period(PeriodKind::Daily).unwrap() });
    let budgets = vec![
        Budget { period: in_zone("America/New_York"), ..budget("new-york", "1") },
        Budget { period: in_zone("Asia/Kathmandu"), ..budget("kathmandu", "2") },
    ];
    world.limit(Place::Key("k1"), policy(budgets, Vec::new())).await;
    let ends = async || {
        let of = async |id: &str| world.standing("k1", id).await.reset_time.unwrap().seconds;
        (of("new-york").await, of("kathmandu").await)
    };
    // Midnight is 05:00Z in New York, 18:15Z in Kathmandu (UTC+05:45).
    assert_eq!(ends().await, (1_700_024_400, 1_700_072_100));
    spend(&world, "k1", "a", usd("1")).await.unwrap();
    world.advance(24_400);
    spend(&world, "k1", "b", usd("1")).await.unwrap();
    assert_eq!(world.spent("k1", "kathmandu").await, ("2".into(), "0".into()));
    world.advance(72_100 - 24_400);
    assert_eq!(world.spent("k1", "kathmandu").await, ("0".into(), "2".into()));
    assert_eq!(world.spent("k1", "new-york").await, ("1".into(), "0".into()));
    assert_eq!(ends().await, (1_700_110_800, 1_700_158_500));
}

// B5
#[tokio::test]
async fn a_keys_budget_and_its_teams_both_hold_and_each_has_its_own_period() {
    let world = World::new().await;
    world.key("k2", "ada", "default").await;
    world.limit(Place::Key("k1"), policy(vec![each(PeriodKind::Daily, "key", "2")], Vec::new())).await;
    world.limit(Place::Team("default"), policy(vec![each(PeriodKind::Weekly, "team", "5")], Vec::new())).await;
    let denial = spend(&world, "k1", "a", usd("3")).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Key, "k1", "key")], "the team has 5");
    assert_answer(&denial, "Budget exceeded");
    spend(&world, "k1", "a", usd("2")).await.unwrap();
    spend(&world, "k2", "b", usd("2")).await.unwrap();
    world.advance(TO_MIDNIGHT);
    let denial = spend(&world, "k1", "c", usd("2")).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Team, "default", "team")], "the key has 2 again");
    let (_, limits) = world.check(check("k1", usd("0"))).await;
    let remaining: Vec<_> = limits.iter().map(|limit| limit.remaining.as_str()).collect();
    assert_eq!(remaining[..2], ["2", "1"], "a refusal takes nothing of either");
    spend(&world, "k1", "d", usd("1")).await.unwrap();
    let denial = spend(&world, "k1", "e", usd("3")).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Key, "k1", "key"), (Scope::Team, "default", "team")]);
    let get = proto::GetKeyRequest { organization_id: ACME.into(), key_id: "k1".into() };
    let Key { limits, .. } = outcome(world.operator.keys().get_key(get).await).unwrap().key.unwrap();
    assert_eq!((limits[0].spent.as_str(), limits[0].max.as_str()), ("1", "2"));
}

// B6
#[tokio::test]
async fn requests_a_minute_are_capped_on_a_key_and_on_its_team() {
    let world = World::new().await;
    colleague(&world, "eve", "k-eve").await;
    let requests = |max| policy(Vec::new(), vec![quota("rpm", Unit::RequestsPerMinute, max)]);
    world.limit(Place::Key("k1"), requests(3)).await;
    world.limit(Place::Team("default"), requests(5)).await;
    let batch = || Usage { requests: 2, ..tokens(1, 1) };
    spend(&world, "k1", "a", batch()).await.unwrap();
    spend(&world, "k1", "b", tokens(1, 1)).await.unwrap();
    let denial = spend(&world, "k1", "c", tokens(1, 1)).await.unwrap_err();
    assert_eq!((denial.code(), refusing(&denial)), (DenialCode::RateLimitExceeded, vec![(Scope::Key, "k1", "rpm")]));
    assert_answer(&denial, "Rate limit exceeded");
    spend(&world, "k-eve", "d", batch()).await.unwrap();
    let denial = spend(&world, "k-eve", "e", tokens(1, 1)).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Team, "default", "rpm")]);
    assert_answer(&denial, "Rate limit exceeded");
    world.advance(61);
    spend(&world, "k1", "f", batch()).await.unwrap();
}

// B6
#[tokio::test]
async fn tokens_a_minute_are_capped_on_a_key_and_on_its_team_over_any_minute() {
    let world = World::new().await;
    colleague(&world, "eve", "k-eve").await;
    let limit = |max| policy(Vec::new(), vec![quota("tpm", Unit::TokensPerMinute, max)]);
    world.limit(Place::Key("k1"), limit(600)).await;
    world.limit(Place::Team("default"), limit(1000)).await;
    spend(&world, "k1", "a", tokens(500, 100)).await.unwrap();
    let denial = spend(&world, "k1", "b", tokens(0, 1)).await.unwrap_err();
    assert_eq!((denial.code(), refusing(&denial)), (DenialCode::RateLimitExceeded, vec![(Scope::Key, "k1", "tpm")]));
    assert_answer(&denial, "Rate limit exceeded");
    world.advance(50);
    let denial = spend(&world, "k-eve", "c", tokens(300, 101)).await.unwrap_err();
    assert_eq!(refusing(&denial), [(Scope::Team, "default", "tpm")]);
    spend(&world, "k-eve", "c", tokens(300, 100)).await.unwrap();
    world.advance(11);
    // What was used 61 s ago has slid out, what was used 11 s ago has not.
    assert_eq!(world.standing("k-eve", "tpm").await.spent, "400");
    spend(&world, "k1", "d", tokens(600, 0)).await.unwrap();
    let denial = spend(&world, "k-eve", "e", tokens(1, 0)).await.unwrap_err();
    assert_eq!(denial.violations[0].limit.as_ref().unwrap().spent, "1000");
}
