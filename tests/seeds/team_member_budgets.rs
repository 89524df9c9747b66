//! Team Member Budgets: what each member may spend, over all its keys.

use quotad::api::proto::{self, Budget, DenialCode, MemberBudget, PeriodKind, Role, Scope, Unit};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::{
    messages::{Failure, budget, charge, check, codes, commit, extend, failed, mask, period, policy, reserve, usd},
    people::{budget_of, get_member, invitation, invite, outcome, set_member_limits, set_member_policy},
    world::{ACME, Place, START, World, all_at_once},
};

#[path = "team_member_budgets/joining.rs"]
mod joining;

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

fn one_time(limit: &str) -> Option<proto::Policy> {
    policy(vec![budget("budget", limit)], Vec::new())
}

fn seen(kind: PeriodKind, limit: &str) -> Vec<MemberBudget> {
    vec![MemberBudget { r#type: kind.into(), unit: Unit::Usd.into(), limit: limit.into(), binding: true }]
}

/// Books what a request cost; the denial's code where it is refused.
async fn spend(world: &World, key: &str, request: &str, cost: &str) -> Result<(), DenialCode> {
    world.charge(charge(key, request, usd(cost))).await.unwrap().map(drop).map_err(|denial| denial.code())
}

// A1
#[tokio::test]
async fn owners_admins_and_finance_admins_see_and_manage_every_members_budget() {
    let world = World::new().await;
    for (role, id, limit) in
        [(Role::Owner, "olga", "7"), (Role::Admin, "adam", "8"), (Role::FinanceAdmin, "finn", "9.5")]
    {
        let person = world.person(id, role).await;
        set_member_policy(&person, "ada", one_time(limit)).await.unwrap();
        assert_eq!(budget_of(&person, "ada").await.unwrap(), seen(PeriodKind::OneTime, limit));
        let member = get_member(&person, "ada").await.unwrap();
        assert_eq!((member.limits[0].max.as_str(), member.limits[0].spent.as_str()), (limit, "0"));
        let list = proto::ListMembersRequest { organization_id: ACME.into(), ..Default::default() };
        let members = outcome(person.members().list_members(list).await).unwrap().members;
        let ada = members.into_iter().find(|member| member.id == "ada").unwrap();
        assert_eq!(ada.policy, one_time(limit));
        assert_eq!(world.standing("k1", "budget").await.max, limit, "{role:?}");
    }
}

// A1
#[tokio::test]
async fn developers_and_basic_members_read_their_own_type_and_limit_and_nothing_else() {
    let world = World::new().await;
    let owner = world.person("olga", Role::Owner).await;
    set_member_policy(&owner, "ada", one_time("3")).await.unwrap();
    let (open, _) = invite(&owner, invitation("new@example.com")).await.unwrap();
    for (role, id) in [(Role::Developer, "dev"), (Role::Basic, "ben")] {
        let person = world.person(id, role).await;
        set_member_policy(&owner, id, one_time("5")).await.unwrap();
        for own in ["", id] {
            assert_eq!(budget_of(&person, own).await.unwrap(), seen(PeriodKind::OneTime, "5"), "{role:?}");
        }
        assert_eq!(budget_of(&person, "ada").await, Err(denied()));
        for other in [id, "ada"] {
            assert_eq!(get_member(&person, other).await, Err(denied()));
            assert_eq!(set_member_policy(&person, other, one_time("1000")).await, Err(denied()));
        }
        assert_eq!(set_member_limits(&person, "default", one_time("1000")).await, Err(denied()));
        let membership = proto::Membership {
            organization_id: ACME.into(),
            team_id: "default".into(),
            member_id: id.into(),
            policy: one_time("1000"),
            ..Default::default()
        };
        let update = proto::UpdateMembershipRequest {
            membership: Some(membership),
            update_mask: mask(&["policy"]),
            ..Default::default()
        };
        assert_eq!(outcome(person.teams().update_membership(update).await), Err(denied()));
        let list = proto::ListMembersRequest { organization_id: ACME.into(), ..Default::default() };
        assert_eq!(outcome(person.members().list_members(list).await), Err(denied()));
        let changed = proto::Invitation { policy: one_time("1000"), ..open.clone() };
        let update = proto::UpdateInvitationRequest { invitation: Some(changed), update_mask: mask(&["policy"]) };
        assert_eq!(outcome(person.members().update_invitation(update).await), Err(denied()));
        assert_eq!(budget_of(&owner, id).await.unwrap(), seen(PeriodKind::OneTime, "5"), "nothing changed");
    }
    assert_eq!(budget_of(&owner, "ada").await.unwrap(), seen(PeriodKind::OneTime, "3"));
}

// A2
#[tokio::test]
async fn new_members_and_invited_ones_are_unlimited_until_told_otherwise() {
    let world = World::new().await;
    let owner = world.person("olga", Role::Owner).await;
    let (open, token) = invite(&owner, invitation("ivy@example.com")).await.unwrap();
    assert_eq!(open.policy.unwrap_or_default(), proto::Policy::default());
    let (ivy, as_ivy) = world.accept(&token, "ivy").await;
    assert_eq!(ivy.role(), Role::Basic);
    assert_eq!(budget_of(&as_ivy, "").await.unwrap(), Vec::new());
    assert_eq!(budget_of(&owner, "ada").await.unwrap(), Vec::new());
    world.key("k-ivy", "ivy", "default").await;
    for key in ["k1", "k-ivy"] {
        spend(&world, key, &format!("{key}-a"), "1000000").await.unwrap();
        spend(&world, key, &format!("{key}-b"), "1000000").await.unwrap();
        let (decision, limits) = world.check(check(key, usd("1000000"))).await;
        assert!(decision.is_ok());
        assert_eq!(limits.iter().filter(|limit| limit.scope() == Scope::Member).count(), 0);
    }
}

// A3
#[tokio::test]
async fn a_one_time_budget_freezes_when_used_up_and_never_thaws_by_itself() {
    let world = World::new().await;
    world.limit(Place::Member("ada"), one_time("10")).await;
    spend(&world, "k1", "a", "9.5").await.unwrap();
    spend(&world, "k1", "b", "0.5").await.unwrap();
    for (round, days) in [0, 1, 31, 366, 3660].into_iter().enumerate() {
        world.advance(days * 86_400);
        let denial = world.reserve(reserve("k1", &format!("r{round}"), usd("0"))).await.unwrap_err();
        assert_eq!((denial.code(), denial.retry_after), (DenialCode::BudgetExceeded, None), "after {days} days");
        let limit = denial.violations[0].limit.clone().unwrap();
        assert_eq!((limit.scope(), limit.scope_id.as_str(), limit.reset_time), (Scope::Member, "ada", None));
        assert_eq!((limit.spent.as_str(), limit.remaining.as_str()), ("10", "0"));
    }
}

// A4
#[tokio::test]
async fn a_limit_set_on_an_unlimited_member_binds_at_once_and_counts_from_zero() {
    let world = World::new().await;
    spend(&world, "k1", "before", "500").await.unwrap();
    let open = world.reserve(reserve("k1", "open", usd("100"))).await.unwrap().reservation_id;
    world.limit(Place::Member("ada"), one_time("10")).await;
    assert_eq!(world.spent("k1", "budget").await, ("0".into(), "10".into()));
    assert_eq!(spend(&world, "k1", "over", "10.000000001").await, Err(DenialCode::BudgetExceeded));
    world.commit(commit(&open, usd("100"))).await.unwrap();
    assert_eq!(world.spent("k1", "budget").await, ("0".into(), "10".into()), "admitted before the budget was");
    spend(&world, "k1", "all", "10").await.unwrap();
    assert_eq!(spend(&world, "k1", "more", "0.000000001").await, Err(DenialCode::BudgetExceeded));
    world.verify().await;
}

// A5
#[tokio::test]
async fn a_member_made_unlimited_is_free_at_once_and_a_later_limit_begins_anew() {
    let world = World::new().await;
    let owner = world.person("olga", Role::Owner).await;
    world.limit(Place::Member("ada"), one_time("10")).await;
    spend(&world, "k1", "a", "10").await.unwrap();
    assert_eq!(spend(&world, "k1", "b", "1").await, Err(DenialCode::BudgetExceeded));
    world.limit(Place::Member("ada"), policy(Vec::new(), Vec::new())).await;
    assert_eq!(budget_of(&owner, "ada").await.unwrap(), Vec::new());
    spend(&world, "k1", "b", "1000").await.unwrap();
    world.limit(Place::Member("ada"), one_time("10")).await;
    assert_eq!(world.spent("k1", "budget").await, ("0".into(), "10".into()), "the old quota was discarded");
    spend(&world, "k1", "c", "10").await.unwrap();
}

// A6
#[tokio::test]
async fn a_raised_or_lowered_limit_keeps_what_is_spent_and_holds_for_the_next_request() {
    let world = World::new().await;
    world.limit(Place::Member("ada"), one_time("10")).await;
    spend(&world, "k1", "a", "8").await.unwrap();
    assert_eq!(spend(&world, "k1", "b", "3").await, Err(DenialCode::BudgetExceeded));
    world.limit(Place::Member("ada"), one_time("11")).await;
    let id = world.reserve(reserve("k1", "b", usd("3"))).await.unwrap().reservation_id;
    world.commit(commit(&id, usd("2"))).await.unwrap();
    assert_eq!(world.spent("k1", "budget").await, ("10".into(), "1".into()));
    world.limit(Place::Member("ada"), one_time("4")).await;
    assert_eq!(world.spent("k1", "budget").await, ("10".into(), "-6".into()));
    assert_eq!(spend(&world, "k1", "c", "0").await, Err(DenialCode::BudgetExceeded));
    world.limit(Place::Member("ada"), one_time("10.5")).await;
    assert_eq!(spend(&world, "k1", "c", "0.6").await, Err(DenialCode::BudgetExceeded));
    spend(&world, "k1", "c", "0.5").await.unwrap();
    world.verify().await;
}

// A8
#[tokio::test]
async fn all_keys_of_a_member_draw_on_one_pool_even_at_once() {
    let world = World::new().await;
    world.team("lab").await;
    world.member_of(ACME, "eve", &["default", "lab"]).await;
    for (key, team) in [("e1", "default"), ("e2", "lab"), ("e3", "lab"), ("e4", "default")] {
        world.key(key, "eve", team).await;
    }
    world.limit(Place::Member("eve"), one_time("10")).await;
    let answers = all_at_once(40, |no| {
        let service = world.service.clone();
        let request = charge(&format!("e{}", no % 4 + 1), &format!("r{no}"), usd("1"));
        async move { crate::messages::charged(service.quota().charge(request).await.unwrap().into_inner()).is_ok() }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|granted| *granted).count(), 10);
    for key in ["e1", "e2", "e3", "e4"] {
        assert_eq!(world.spent(key, "budget").await, ("10".into(), "0".into()));
        assert_eq!(spend(&world, key, &format!("{key}-late"), "1").await, Err(DenialCode::BudgetExceeded));
    }
    spend(&world, "k1", "another", "1").await.unwrap();
    world.verify().await;
}

// A9
#[tokio::test]
async fn a_request_needs_room_in_the_members_budget_and_in_the_wallet() {
    let world = World::with_wallet("20").await;
    world.limit(Place::Member("ada"), one_time("10")).await;
    let before = world.books().await;
    let refused =
        async |request: &str, cost: &str| codes(&world.reserve(reserve("k1", request, usd(cost))).await.unwrap_err()).1;
    assert_eq!(refused("a", "11").await, [DenialCode::BudgetExceeded]);
    assert_eq!(refused("a", "21").await, [DenialCode::BudgetExceeded, DenialCode::WalletInsufficient]);
    world.limit(Place::Member("ada"), one_time("100")).await;
    assert_eq!(refused("a", "21").await, [DenialCode::WalletInsufficient]);
    world.limit(Place::Member("ada"), one_time("10")).await;
    assert_eq!(world.books().await, before, "a refusal holds nothing anywhere");
    let (decision, limits) = world.check(check("k1", usd("10"))).await;
    assert!(decision.is_ok());
    let named: Vec<_> = limits.iter().map(|limit| (limit.scope(), limit.remaining.as_str())).collect();
    assert_eq!(named, [(Scope::Member, "10"), (Scope::Wallet, "20")]);
    spend(&world, "k1", "a", "10").await.unwrap();
    assert_eq!(refused("b", "1").await, [DenialCode::BudgetExceeded], "the wallet has 10 left");
    world.limit(Place::Member("ada"), one_time("100")).await;
    spend(&world, "k1", "b", "10").await.unwrap();
    let denial = world.reserve(reserve("k1", "c", usd("0"))).await.unwrap_err();
    assert_eq!((denial.code(), denial.http_status), (DenialCode::WalletInsufficient, 402), "the budget has 80 left");
}

// A10
#[tokio::test]
async fn a_used_up_member_budget_stops_the_members_running_work_and_refuses_new() {
    let world = World::new().await;
    world.member("eve").await;
    world.key("k-eve", "eve", "default").await;
    world.key("k2", "ada", "default").await;
    world.limit(Place::Member("ada"), one_time("10")).await;
    let start = async |key: &str, request: &str| {
        let request = proto::ReserveRequest { holder: "gpu".into(), ..reserve(key, request, usd("2")) };
        world.reserve(request).await.unwrap().reservation_id
    };
    let (running, other) = (start("k1", "running").await, start("k-eve", "other").await);
    let asked = proto::WatchRevocationsRequest { holder: "gpu".into() };
    let mut watch = world.service.quota().watch_revocations(asked).await.unwrap().into_inner();
    let last = proto::ChargeRequest { already_used: true, ..charge("k2", "last", usd("10")) };
    world.charge(last).await.unwrap().unwrap();
    let revoked = watch.next().await.unwrap().unwrap().revocation.unwrap();
    assert_eq!((&revoked.reservation_id, revoked.key_id.as_str()), (&running, "k1"));
    let cause = revoked.cause.unwrap();
    assert_eq!(
        (cause.code(), cause.scope(), cause.scope_id.as_str()),
        (DenialCode::BudgetExceeded, Scope::Member, "ada")
    );
    let denial = world.extend(extend(&running)).await.unwrap().unwrap_err();
    assert_eq!((denial.code(), denial.message.as_str()), (DenialCode::Revoked, "Budget exceeded"));
    assert_eq!(spend(&world, "k1", "new", "0").await, Err(DenialCode::BudgetExceeded));
    assert!(world.extend(extend(&other)).await.unwrap().is_ok(), "another member's work goes on");
    assert_eq!(world.commit(commit(&running, usd("1"))).await.unwrap().charged.unwrap().usd, "1", "what ran is booked");
    // A limit lowered below what is spent stops work likewise.
    world.limit(Place::Member("eve"), one_time("10")).await;
    spend(&world, "k-eve", "spent", "5").await.unwrap();
    let second = start("k-eve", "second").await;
    world.limit(Place::Member("eve"), one_time("5")).await;
    assert_eq!(world.extend(extend(&second)).await.unwrap().unwrap_err().code(), DenialCode::Revoked);
    let revoked = watch.next().await.unwrap().unwrap().revocation.unwrap();
    assert_eq!(revoked.reservation_id, second, "nobody else's work was stopped in between");
}

fn recurring(kind: PeriodKind, zone: &str) -> Option<proto::Policy> {
    let period = proto::Period { time_zone: zone.into(), ..period(kind).unwrap() };
    policy(vec![Budget { period: Some(period), ..budget("budget", "1") }], Vec::new())
}

// A12
#[tokio::test]
async fn recurring_member_budgets_are_full_again_at_the_turn_of_their_day_week_or_month() {
    let world = World::new().await;
    // From Tuesday, 2023-11-14 22:13:20Z: a day in Berlin, in UTC and in Kiritimati (UTC+14), the week from Monday, the month.
    let cases = [
        ("berlin", PeriodKind::Daily, "Europe/Berlin", 1_700_002_800, 86_400),
        ("day", PeriodKind::Daily, "", 1_700_006_400, 86_400),
        ("far", PeriodKind::Daily, "Pacific/Kiritimati", 1_700_042_400, 86_400),
        ("week", PeriodKind::Weekly, "", 1_700_438_400, 7 * 86_400),
        ("month", PeriodKind::Monthly, "UTC+8", 1_701_360_000, 31 * 86_400),
    ];
    for (member, kind, zone, ..) in cases {
        world.member(member).await;
        world.key(&format!("k-{member}"), member, "default").await;
        world.limit(Place::Member(member), recurring(kind, zone)).await;
        spend(&world, &format!("k-{member}"), &format!("{member}-a"), "1").await.unwrap();
    }
    let mut now = START;
    for (member, _, _, end, length) in cases {
        let key = format!("k-{member}");
        world.advance(end - 1 - now);
        let denial = world.reserve(reserve(&key, &format!("{member}-b"), usd("1"))).await.unwrap_err();
        assert_eq!((denial.code(), denial.retry_after.unwrap().seconds), (DenialCode::BudgetExceeded, 1), "{member}");
        assert_eq!(denial.violations[0].limit.as_ref().unwrap().reset_time.unwrap().seconds, end, "{member}");
        world.advance(1);
        now = end;
        spend(&world, &key, &format!("{member}-b"), "1").await.unwrap();
        let next = world.standing(&key, "budget").await.reset_time.unwrap().seconds;
        assert_eq!(next, end + length, "{member}");
    }
    world.verify().await;
}

// A12
#[tokio::test]
async fn a_member_sees_the_type_of_its_recurring_budget_and_may_have_several() {
    let world = World::new().await;
    let dev = world.person("dev", Role::Developer).await;
    world.key("k-dev", "dev", "default").await;
    let daily = Budget { period: period(PeriodKind::Daily), ..budget("day", "2") };
    world.limit(Place::Member("dev"), policy(vec![daily, budget("all", "3")], Vec::new())).await;
    let both = [seen(PeriodKind::Daily, "2"), seen(PeriodKind::OneTime, "3")].concat();
    assert_eq!(budget_of(&dev, "").await.unwrap(), both);
    spend(&world, "k-dev", "a", "2").await.unwrap();
    world.advance(86_400);
    assert_eq!(spend(&world, "k-dev", "b", "1.5").await, Err(DenialCode::BudgetExceeded));
    spend(&world, "k-dev", "b", "1").await.unwrap();
    world.advance(86_400);
    assert_eq!(
        spend(&world, "k-dev", "c", "0.1").await,
        Err(DenialCode::BudgetExceeded),
        "the day's is full, the other not"
    );
}
