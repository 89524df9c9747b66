//! M10: what is counted outlives the rows that it is counted under, and starts over only where the caller says so.

use quotad::api::proto::{
    self, Budget, Cadence, CreateMembershipRequest, DeleteMembershipRequest, Membership, Period, PeriodKind, Policy,
    Team, Unit, UpdateTeamRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    messages::{budget, charge, failed, failure, mask, period, policy, quota, reserve, tokens, usd},
    world::{ACME, Place, World},
};

fn of(kind: PeriodKind, max: &str) -> Option<Policy> {
    policy(vec![Budget { period: period(kind), ..budget("cap", max) }], Vec::new())
}

fn refused() -> crate::messages::Failure {
    failed(Code::FailedPrecondition, "WOULD_RESTART_SPENDING")
}

async fn spend(world: &World, request: &str, cost: &str) {
    world.charge(charge("k1", request, usd(cost))).await.unwrap().unwrap();
}

async fn spent(world: &World, limit: &str) -> String {
    world.books().await.limit(limit).0.to_owned()
}

async fn each_member(world: &World, member_policy: Option<Policy>, restart_spending: bool) -> Result<(), Status> {
    let team = Some(Team { organization_id: ACME.into(), id: "default".into(), member_policy, ..Team::default() });
    let update = UpdateTeamRequest { team, update_mask: mask(&["member_policy"]), restart_spending };
    world.operator.teams().update_team(update).await.map(drop)
}

/// Takes `ada` out of the team `lab` and puts her in again.
async fn leave_and_join(world: &World) {
    let (organization_id, team_id, member_id) = (String::from(ACME), String::from("lab"), String::from("ada"));
    let key = proto::DeleteKeyRequest { organization_id: ACME.into(), key_id: "k2".into(), ..Default::default() };
    world.operator.keys().delete_key(key).await.unwrap();
    let leave = DeleteMembershipRequest { organization_id, team_id, member_id };
    world.operator.teams().delete_membership(leave.clone()).await.unwrap();
    let DeleteMembershipRequest { organization_id, team_id, member_id } = leave;
    let membership = Some(Membership { organization_id, team_id, member_id, ..Membership::default() });
    let join = CreateMembershipRequest { membership, ..Default::default() };
    world.operator.teams().create_membership(join).await.unwrap();
}

// M10
#[tokio::test]
async fn a_member_that_leaves_a_team_and_joins_again_has_spent_what_it_had() {
    let mut world = World::new().await;
    let team = Team {
        organization_id: ACME.into(),
        id: "lab".into(),
        member_policy: policy(
            vec![Budget { period: period(PeriodKind::Monthly), ..budget("cap", "20") }, budget("once", "30")],
            vec![quota("rpm", Unit::RequestsPerMinute, 5)],
        ),
        ..Team::default()
    };
    let new = proto::CreateTeamRequest { team: Some(team), request_id: String::new() };
    world.operator.teams().create_team(new).await.unwrap();
    let membership = Membership {
        organization_id: ACME.into(),
        team_id: "lab".into(),
        member_id: "ada".into(),
        ..Default::default()
    };
    let join = CreateMembershipRequest { membership: Some(membership), ..Default::default() };
    world.operator.teams().create_membership(join).await.unwrap();
    world.key("k2", "ada", "lab").await;
    world.charge(charge("k2", "all", usd("20"))).await.unwrap().unwrap();
    leave_and_join(&world).await;
    world.restart().await;
    world.key("k3", "ada", "lab").await;
    let books = world.books_of("k3").await;
    assert_eq!((books.limit("cap").0, books.limit("once").0, books.limit("rpm").0), ("20", "20", "1"));
    assert!(world.reserve(reserve("k3", "more", usd("20"))).await.is_err());
    world.verify().await;
    // Its month is over; what was given once isn't.
    world.advance(31 * 86_400);
    let books = world.books_of("k3").await;
    assert_eq!((books.limit("cap").0, books.limit("once").0), ("0", "20"));
    world.charge(charge("k3", "next", usd("10"))).await.unwrap().unwrap();
    world.verify().await;
}

// M10
#[tokio::test]
async fn a_limit_that_is_removed_and_set_again_goes_on_counting_at_every_place() {
    for place in Place::ALL {
        let mut world = World::new().await;
        let both = || {
            let quotas = vec![quota("tpm", Unit::TokensPerMinute, 1000), quota("slots", Unit::InFlight, 5)];
            policy(vec![Budget { period: period(PeriodKind::Monthly), ..budget("cap", "10") }], quotas)
        };
        world.limit(place, both()).await;
        world
            .charge(charge("k1", "c", proto::Usage { cost_usd: "4".into(), ..tokens(100, 0) }))
            .await
            .unwrap()
            .unwrap();
        let open = world.reserve(reserve("k1", "r", usd("1"))).await.unwrap().reservation_id;
        world.limit(place, policy(Vec::new(), Vec::new())).await;
        spend(&world, "free", "100").await;
        world.verify().await;
        world.restart().await;
        world.commit(crate::messages::commit(&open, usd("2"))).await.unwrap();
        world.limit(place, both()).await;
        let books = world.books().await;
        let standing = (books.limit("cap").0, books.limit("tpm").0, books.limit("slots").1);
        assert_eq!(standing, ("6", "100", "0"), "{place:?}, with what was admitted under it and committed since");
        assert!(world.reserve(reserve("k1", "over", usd("4.1"))).await.is_err(), "{place:?}");
        world.verify().await;
    }
}

// M10, A5
#[tokio::test]
async fn a_one_time_budget_outlives_its_removal_but_for_a_members_own() {
    for (place, left) in Place::ALL.into_iter().zip(["4", "4", "0", "4", "4", "4"]) {
        let world = World::new().await;
        world.limit(place, of(PeriodKind::OneTime, "10")).await;
        spend(&world, "c", "4").await;
        world.limit(place, policy(Vec::new(), Vec::new())).await;
        world.advance(400 * 86_400);
        world.limit(place, of(PeriodKind::OneTime, "10")).await;
        assert_eq!(spent(&world, "cap").await, left, "{place:?}");
        world.verify().await;
    }
}

// M10
#[tokio::test]
async fn spending_restarts_at_every_place_only_where_that_is_said() {
    let berlin = |kind: PeriodKind| Period { time_zone: "Europe/Berlin".into(), ..period(kind).unwrap() };
    let with = |period: Period| policy(vec![Budget { period: Some(period), ..budget("cap", "10") }], Vec::new());
    for place in Place::ALL {
        let world = World::new().await;
        world.limit(place, of(PeriodKind::Weekly, "10")).await;
        let held = world.reserve(reserve("k1", "r", usd("1"))).await.unwrap().reservation_id;
        let status = world.try_limit(place, of(PeriodKind::Daily, "10"), false).await.unwrap_err();
        assert_eq!(failure(&status), refused(), "{place:?}: what is held may be spent");
        world.commit(crate::messages::commit(&held, usd("4"))).await.unwrap();
        let sunday = Period { week_start: proto::DayOfWeek::Sunday.into(), ..period(PeriodKind::Weekly).unwrap() };
        for other in [berlin(PeriodKind::Weekly), sunday, period(PeriodKind::Monthly).unwrap()] {
            let status = world.try_limit(place, with(other), false).await.unwrap_err();
            assert_eq!(failure(&status), refused(), "{place:?}");
            let details = status.get_error_details();
            let metadata = &details.error_info().unwrap().metadata;
            assert_eq!((metadata["limit_id"].as_str(), metadata["spent"].as_str()), ("cap", "4"));
            assert!(status.message().contains("restart_spending"), "{}", status.message());
        }
        let rpm = policy(Vec::new(), vec![quota("cap", Unit::RequestsPerMinute, 9)]);
        assert_eq!(failure(&world.try_limit(place, rpm, false).await.unwrap_err()), refused(), "another unit");
        assert_eq!(spent(&world, "cap").await, "4");
        world.try_limit(place, of(PeriodKind::Monthly, "10"), true).await.unwrap();
        assert_eq!(spent(&world, "cap").await, "0", "{place:?}");
        world.limit(place, of(PeriodKind::Daily, "10")).await;
        assert_eq!(spent(&world, "cap").await, "0", "nothing was counted that could be lost");
        spend(&world, "c", "1").await;
        world.limit(place, policy(Vec::new(), Vec::new())).await;
        let status = world.try_limit(place, with(berlin(PeriodKind::Daily)), false).await.unwrap_err();
        assert_eq!(failure(&status), refused(), "{place:?}: nor in two steps");
        world.try_limit(place, of(PeriodKind::Daily, "10"), true).await.unwrap();
        assert_eq!(spent(&world, "cap").await, "0", "{place:?}: said, also of what was removed");
        world.verify().await;
    }
}

// M10
#[tokio::test]
async fn what_a_team_sets_for_each_of_its_members_restarts_only_where_that_is_said() {
    let world = World::new().await;
    each_member(&world, of(PeriodKind::Monthly, "10"), false).await.unwrap();
    spend(&world, "c", "4").await;
    each_member(&world, None, false).await.unwrap();
    each_member(&world, of(PeriodKind::Monthly, "9"), false).await.unwrap();
    assert_eq!(spent(&world, "cap").await, "4");
    let status = each_member(&world, of(PeriodKind::Weekly, "9"), false).await.unwrap_err();
    assert_eq!(failure(&status), refused());
    world.limit(Place::Membership, of(PeriodKind::Monthly, "8")).await;
    assert_eq!(spent(&world, "cap").await, "4", "limits of its own go on");
    each_member(&world, of(PeriodKind::Weekly, "9"), false).await.unwrap();
    let back = |restart_spending| {
        let membership = Membership {
            organization_id: ACME.into(),
            team_id: "default".into(),
            member_id: "ada".into(),
            ..Membership::default()
        };
        let update_mask = mask(&["overrides"]);
        proto::UpdateMembershipRequest { membership: Some(membership), update_mask, restart_spending }
    };
    let status = world.operator.teams().update_membership(back(false)).await.unwrap_err();
    assert_eq!(failure(&status), refused(), "back to the team's");
    world.operator.teams().update_membership(back(true)).await.unwrap();
    assert_eq!(spent(&world, "cap").await, "0");
    world.verify().await;
}

// M10
#[tokio::test]
async fn joining_a_team_again_restarts_only_where_that_is_said() {
    let world = World::new().await;
    world.team("lab").await;
    let join = async |policy: Option<Policy>, restart_spending| {
        let membership = Some(Membership {
            organization_id: ACME.into(),
            team_id: "lab".into(),
            member_id: "ada".into(),
            policy,
            ..Membership::default()
        });
        let join = CreateMembershipRequest { membership, restart_spending, ..Default::default() };
        world.operator.teams().create_membership(join).await
    };
    let of_team = async |member_policy| {
        let team = Some(Team { organization_id: ACME.into(), id: "lab".into(), member_policy, ..Team::default() });
        let update_mask = mask(&["member_policy"]);
        let update = UpdateTeamRequest { team, update_mask, restart_spending: false };
        world.operator.teams().update_team(update).await.unwrap();
    };
    let leave = async |key_id: &str| {
        let delete =
            proto::DeleteKeyRequest { organization_id: ACME.into(), key_id: key_id.into(), ..Default::default() };
        world.operator.keys().delete_key(delete).await.unwrap();
        let (team_id, member_id) = (String::from("lab"), String::from("ada"));
        let leave = DeleteMembershipRequest { organization_id: ACME.into(), team_id, member_id };
        world.operator.teams().delete_membership(leave).await.unwrap();
    };
    of_team(of(PeriodKind::Monthly, "20")).await;
    join(None, false).await.unwrap();
    world.key("k2", "ada", "lab").await;
    world.charge(charge("k2", "four", usd("4"))).await.unwrap().unwrap();
    leave("k2").await;

    let own = join(of(PeriodKind::Weekly, "9"), false).await.unwrap_err();
    assert_eq!(failure(&own), refused(), "with limits of its own");
    let details = own.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["spent"], "4");
    of_team(of(PeriodKind::Daily, "20")).await;
    assert_eq!(failure(&join(None, false).await.unwrap_err()), refused(), "with those that the team has now");
    join(of(PeriodKind::Monthly, "9"), false).await.unwrap();
    world.key("k3", "ada", "lab").await;
    assert_eq!(world.books_of("k3").await.limit("cap").0, "4", "another maximum restarts nothing");
    leave("k3").await;
    join(None, true).await.unwrap();
    world.key("k4", "ada", "lab").await;
    assert_eq!(world.books_of("k4").await.limit("cap").0, "0", "it was said");
    world.charge(charge("k4", "all", usd("20"))).await.unwrap().unwrap();
    world.verify().await;
}

async fn set_rule(world: &World, cap: Option<(&str, PeriodKind)>, restart_spending: bool) -> Result<(), Status> {
    let cap =
        cap.map(|(max, period)| proto::CreditCap { enabled: true, max_credits: max.into(), period: period.into() });
    let rule = Some(proto::Rule { organization_id: ACME.into(), id: "office".into(), cap, ..proto::Rule::default() });
    let update = proto::UpdateRuleRequest { rule, update_mask: mask(&["cap"]), restart_spending };
    world.operator.rules().update_rule(update).await.map(drop)
}

// M10
#[tokio::test]
async fn what_a_key_used_under_a_rule_outlives_its_cap_and_its_binding() {
    let mut world = World::new().await;
    let rule =
        proto::Rule { organization_id: ACME.into(), id: "office".into(), enabled: true, ..proto::Rule::default() };
    let new = proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
    world.operator.rules().create_rule(new).await.unwrap();
    let bind = async |world: &World, rule_id: &str| {
        let key =
            proto::Key { organization_id: ACME.into(), id: "k1".into(), rule_id: rule_id.into(), ..Default::default() };
        world.update_key(key, &["rule_id"]).await.unwrap();
    };
    bind(&world, "office").await;
    set_rule(&world, Some(("10", PeriodKind::Monthly)), false).await.unwrap();
    spend(&world, "c", "4").await;
    set_rule(&world, None, false).await.unwrap();
    spend(&world, "uncapped", "100").await;
    world.restart().await;
    set_rule(&world, Some(("9", PeriodKind::Monthly)), false).await.unwrap();
    assert_eq!(spent(&world, "cap").await, "4");
    bind(&world, "").await;
    bind(&world, "office").await;
    assert_eq!(spent(&world, "cap").await, "4");
    let status = set_rule(&world, Some(("9", PeriodKind::Daily)), false).await.unwrap_err();
    assert_eq!(failure(&status), refused());
    set_rule(&world, None, false).await.unwrap();
    let status = set_rule(&world, Some(("9", PeriodKind::Daily)), false).await.unwrap_err();
    assert_eq!(failure(&status), refused(), "nor in two steps");
    set_rule(&world, Some(("9", PeriodKind::Daily)), true).await.unwrap();
    spend(&world, "d", "1").await;
    assert_eq!(spent(&world, "cap").await, "1");
    world.verify().await;
}

// M10
#[tokio::test]
async fn another_cadence_forgets_used_credits_only_where_that_is_said() {
    let world = World::new().await;
    let set = async |cadence: Cadence, validate_only: bool, restart_spending: bool| {
        let settings = Some(proto::AllocationSettings {
            organization_id: ACME.into(),
            cadence: cadence.into(),
            ..proto::AllocationSettings::default()
        });
        let update_mask = mask(&["cadence"]);
        let update = proto::UpdateAllocationSettingsRequest { settings, update_mask, validate_only, restart_spending };
        world.operator.allocations().update_allocation_settings(update).await
    };
    set(Cadence::Week, false, false).await.unwrap();
    spend(&world, "c", "4").await;
    world.advance(60);
    assert_eq!(failure(&set(Cadence::Day, false, false).await.unwrap_err()), refused());
    let planned = set(Cadence::Day, true, false).await.unwrap().into_inner().overview.unwrap();
    assert_eq!(planned.used, "0");
    set(Cadence::Week, false, false).await.unwrap();
    let set = set(Cadence::Day, false, true).await.unwrap().into_inner().overview.unwrap();
    assert_eq!(set.used, "0");
    world.verify().await;
}
