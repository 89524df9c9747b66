//! Credits at the edges: extra credits, what is used of what, and credits that aren't tracked.

use quotad::api::proto::{
    self, AllocationSettings, DenialCode, Organization, Role, Scope, SummarizeUsageRequest, UsageGrouping,
};
use tonic::Code;

use crate::{
    credits::team,
    messages::{budget, charge, check, extend, failed, failure, mask, period, policy, reserve, seconds, usd},
    people::{outcome, set_member_limits},
    world::{ACME, Place, World},
};

const DAY: i64 = 86_400;

fn needs_credits() -> crate::messages::Failure {
    failed(Code::FailedPrecondition, "FAILED_PRECONDITION")
}

impl World {
    async fn factor(&self, factor: &str) {
        let organization = Organization { credit_factor: factor.into(), ..Organization::default() };
        self.update_organization(organization, &["credit_factor"]).await;
    }

    /// Credits in a usage report of this member.
    async fn reported(&self, member: &str) -> String {
        let asked = SummarizeUsageRequest {
            organization_id: ACME.into(),
            member_id: member.into(),
            grouping: UsageGrouping::Member.into(),
            ..SummarizeUsageRequest::default()
        };
        let summary = self.operator.ledger().summarize_usage(asked).await.unwrap().into_inner();
        summary.totals.map_or_else(|| String::from("0"), |totals| totals.credits)
    }

    async fn fits(&self, key: &str, credits: &str) -> bool {
        self.check(check(key, usd(credits))).await.0.is_ok()
    }
}

// M11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credits_that_were_asked_for_add_to_the_pool() {
    let mut world = World::new().await;
    let bob = world.joined("bob", "bob@example.org").await;
    world.allot_team("100", "").await;
    assert!(world.fits("bob", "90").await);
    let asked = bob.ask("5").await;
    world.decide(&asked.id, Some("5")).await.unwrap();
    assert!(world.fits("bob", "90").await && world.fits("bob", "100").await, "5 of his own and 95 of the pool");
    assert!(!world.fits("bob", "100.01").await);
    assert!(world.spend("bob", "a", "3").await);
    let (bobs, default) = (world.credits_of("bob").await, world.team_credits().await);
    assert_eq!((bobs.used.as_str(), bobs.remaining.as_str()), ("3", "97"), "the extra is used first");
    assert_eq!((default.shared_used.as_str(), default.available.as_str()), ("0", "95"));
    assert!(world.spend("bob", "b", "90").await, "one request spans both");
    let (bobs, default) = (world.credits_of("bob").await, world.team_credits().await);
    assert_eq!((bobs.used.as_str(), bobs.remaining.as_str()), ("93", "7"));
    assert_eq!((default.used.as_str(), default.shared_used.as_str(), default.available.as_str()), ("93", "88", "7"));
    let denial = world.reserve(reserve("k1", "c", usd("7.5"))).await.unwrap_err();
    let limit = denial.violations[0].limit.as_ref().unwrap();
    assert_eq!(
        (limit.scope(), limit.scope_id.as_str(), limit.max.as_str(), limit.spent.as_str()),
        (Scope::Allocation, "default", "95", "88")
    );
    world.restart().await;
    assert_eq!(world.credits_of("bob").await, bobs, "a restart changes nothing");
    world.verify().await;
}

// M11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extra_credits_cap_nobody_and_signup_credits_make_nobody_poorer() {
    let world = World::new().await;
    world.joined("bob", "bob@example.org").await;
    world.allot("bob", "", "5").await;
    assert!(world.spend("bob", "a", "1000").await, "neither he nor his team has a cap");
    world.allot_team("", "5").await;
    assert!(world.spend("k1", "b", "1000").await, "nor has the team by its extra");
    let signup = AllocationSettings { signup_credits: "3".into(), ..AllocationSettings::default() };
    world.try_settings(signup, &["signup_credits"], false).await.unwrap();
    world.joined("cat", "cat@example.org").await;
    assert!(world.spend("cat", "c", "1000").await);
    let cats = world.credits_of("cat").await;
    assert_eq!((cats.extra.as_str(), cats.used.as_str(), cats.remaining.as_str()), ("3", "1000", ""));
    world.verify().await;
}

// M11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_returns_to_the_pool_first() {
    let world = World::new().await;
    world.allot_team("100", "").await;
    world.allot("ada", "", "10").await;
    let first = world.reserve(reserve("k1", "a", usd("8"))).await.unwrap();
    let second = world.reserve(reserve("k1", "b", usd("8"))).await.unwrap();
    let pool = async || {
        let (_, limits) = world.check(check("k1", usd("0"))).await;
        let pool = limits.into_iter().find(|limit| limit.scope() == Scope::Allocation).unwrap();
        (pool.spent, pool.held, pool.remaining)
    };
    let stands = |spent: &str, held: &str, left: &str| (spent.to_owned(), held.to_owned(), left.to_owned());
    assert_eq!(pool().await, stands("0", "6", "84"));
    let release = proto::ReleaseRequest {
        reservation: crate::messages::by_id(&first.reservation_id),
        ..proto::ReleaseRequest::default()
    };
    world.release(release).await.unwrap();
    assert_eq!(pool().await, stands("0", "0", "90"));
    let commit = crate::messages::commit(&second.reservation_id, usd("14"));
    world.commit(commit).await.unwrap();
    assert_eq!(pool().await, stands("4", "0", "86"), "the split is made anew when it is charged");
    world.verify().await;
}

// M2, M11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_its_own_extra_credits_waits_for_them_where_the_pool_is_used_up() {
    let world = World::new().await;
    world.joined("bob", "bob@example.org").await;
    world.allot_team("30", "").await;
    world.allot("ada", "", "10").await;
    assert!(world.spend("bob", "all", "20").await, "the pool has nothing left");
    let brief = |request: &str, ttl: i64, cost: &str| proto::ReserveRequest {
        ttl: seconds(ttl),
        ..reserve("k1", request, usd(cost))
    };
    world.reserve(brief("short", 4, "6")).await.unwrap();
    let long = world.reserve(brief("long", 600, "4")).await.unwrap().reservation_id;
    let told =
        |denial: proto::Denial| denial.retry_after.map(|wait| (wait.seconds, denial.may_be_sooner, denial.at_least));
    let asked = async |cost| told(world.reserve(reserve("k1", "asked", usd(cost))).await.unwrap_err());
    assert_eq!(asked("6").await, Some((4, true, false)));
    assert_eq!(told(world.check(check("k1", usd("6"))).await.0.unwrap_err()), Some((4, true, false)));
    assert!(asked("11").await.unwrap().0 > 600, "more than its own: when the cycle ends");
    assert_eq!(asked("31").await, None, "more than the pool ever has");
    let more = |cost: &str| proto::ExtendRequest { estimate: Some(usd(cost)), ..extend(&long) };
    assert_eq!(told(world.extend(more("7")).await.unwrap().unwrap_err()), Some((4, true, false)));
    assert_eq!(told(world.extend(more("11")).await.unwrap().unwrap_err()), None);
    world.advance(4);
    world.extend(more("7")).await.unwrap().unwrap();
    world.reserve(reserve("k1", "asked", usd("3"))).await.unwrap();
    world.verify().await;
}

// M12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_is_one_number_whatever_it_was_drawn_on() {
    let world = World::new().await;
    world.joined("bob", "bob@example.org").await;
    world.allot_team("100", "").await;
    assert!(world.spend("bob", "a", "27").await);
    let (bobs, default) = world.allot("bob", "30", "").await;
    assert_eq!((bobs.used.as_str(), bobs.remaining.as_str()), ("27", "3"));
    assert_eq!((default.distributed.as_str(), default.available.as_str()), ("30", "70"));
    assert!(!world.spend("bob", "b", "4").await);
    assert!(world.spend("bob", "c", "3").await);
    assert_eq!((world.credits_of("bob").await.used, world.reported("bob").await), ("30".into(), "30".into()));
    let (bobs, default) = world.allot("bob", "", "").await;
    assert_eq!((bobs.used.as_str(), bobs.remaining.as_str()), ("30", "70"));
    assert_eq!((default.distributed.as_str(), default.available.as_str()), ("0", "70"), "30 are drawn on the pool");
    let (bobs, default) = world.allot("bob", "40", "").await;
    assert_eq!((bobs.used.as_str(), bobs.remaining.as_str(), default.available.as_str()), ("30", "10", "60"));
    world.verify().await;
}

// M12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_those_used_that_left_is_not_given_out_again() {
    let world = World::new().await;
    world.total("100").await;
    world.team("research").await;
    world.member_of(ACME, "eve", &["research"]).await;
    world.key("eves", "eve", "research").await;
    let research = proto::TeamAllocation { team_id: "research".into(), ..team("40", "") };
    world.try_allot_team(research, &["monthly"]).await.unwrap();
    assert!(world.spend("eves", "a", "25").await);
    assert_eq!(world.overview().await.available, "60");
    let delete =
        proto::DeleteTeamRequest { organization_id: ACME.into(), team_id: "research".into(), ..Default::default() };
    world.operator.teams().delete_team(delete).await.unwrap();
    let overview = world.overview().await;
    assert_eq!((overview.used.as_str(), overview.available.as_str()), ("25", "75"), "the deleted team's rest");
    let refused = world.try_allot_team(team("76", ""), &["monthly"]).await.unwrap_err();
    assert!(refused.message().contains("75.00 available"), "{refused}");
    world.joined("bob", "bob@example.org").await;
    world.allot_team("75", "").await;
    world.allot("bob", "30", "").await;
    assert!(world.spend("bob", "b", "20").await);
    let delete =
        proto::DeleteMemberRequest { organization_id: ACME.into(), member_id: "bob".into(), ..Default::default() };
    world.operator.members().delete_member(delete).await.unwrap();
    assert_eq!(world.team_credits().await.available, "55");
    world.verify().await;
}

// M12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_that_has_ended_shows_no_overage_and_revokes_nothing() {
    let world = World::new().await;
    world.cadence(proto::Cadence::Day).await;
    world.allot_team("100", "").await;
    world.allot("ada", "10", "80").await;
    let [first, second] = ["a", "b"]
        .map(|id| proto::ReserveRequest { ttl: crate::messages::seconds(2 * DAY / 3), ..reserve("k1", id, usd("40")) });
    let first = world.reserve(first).await.unwrap();
    let second = world.reserve(second).await.unwrap();
    world.advance(DAY / 2);
    world.reset(false).await;
    let late = world.commit(crate::messages::commit(&first.reservation_id, usd("40"))).await.unwrap();
    assert_eq!(late.overage.unwrap_or_default().credits, "0", "80 extra were there when it was admitted");
    world.allot("ada", "5", "").await;
    let more = world.extend(crate::messages::extend(&second.reservation_id)).await.unwrap();
    assert!(more.is_ok(), "nothing was revoked: {more:?}");
    assert_eq!(world.credits_of("ada").await.used, "0");
    world.verify().await;
}

// M15, M12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_used_before_the_cycle_counts_in_no_cycle_that_runs_and_every_read_says_so() {
    let world = World::new().await;
    world.total("100").await;
    world.allot_team("50", "").await;
    world.allot("ada", "", "5").await;
    world.advance(3600);
    world.reset(false).await;
    world.allot("ada", "", "5").await;
    let start = world.overview().await.cycle_start.unwrap();
    world.advance(600);
    let before = prost_types::Timestamp { seconds: start.seconds - 60, nanos: 0 };
    let late =
        proto::ChargeRequest { already_used: true, occurred_at: Some(before), ..charge("k1", "before", usd("7")) };
    assert_eq!(world.charge(late).await.unwrap().unwrap().overage.unwrap().credits, "0");
    assert!(world.spend("k1", "since", "8").await);
    let (adas, default, account) = (world.credits_of("ada").await, world.team_credits().await, world.overview().await);
    assert_eq!((adas.used.as_str(), default.used.as_str(), account.used.as_str()), ("8", "8", "8"));
    assert_eq!((default.shared_used.as_str(), default.available.as_str()), ("3", "42"), "5 of its own first");
    let reported = async |start, end| {
        let asked = SummarizeUsageRequest {
            organization_id: ACME.into(),
            grouping: UsageGrouping::Member.into(),
            start_time: start,
            end_time: end,
            ..SummarizeUsageRequest::default()
        };
        let summary = world.operator.ledger().summarize_usage(asked).await.unwrap().into_inner();
        summary.totals.unwrap().credits
    };
    assert_eq!(reported(Some(start), None).await, "8", "as the allocation has it");
    assert_eq!(reported(None, Some(start)).await, "7");
    assert_eq!(world.reported("ada").await, "15");
    let (_, limits) = world.check(check("k1", usd("0"))).await;
    let pool = limits.iter().find(|limit| limit.scope() == Scope::Allocation && limit.scope_id == "default").unwrap();
    assert_eq!(pool.spent, "3");
    world.verify().await;
}

// M17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_credits_are_not_tracked_every_read_says_so_and_none_are_given_out() {
    let world = World::new().await;
    let bob = world.joined("bob", "bob@example.org").await;
    world.total("500").await;
    world.allot_team("100", "").await;
    world.allot("bob", "10", "").await;
    let rule = || proto::Rule {
        organization_id: ACME.into(),
        id: "desk".into(),
        enabled: true,
        cap: Some(proto::CreditCap { enabled: true, max_credits: "5".into(), period: proto::PeriodKind::Daily.into() }),
        ..proto::Rule::default()
    };
    let new = proto::CreateRuleRequest { rule: Some(rule()), ..Default::default() };
    let made = world.operator.rules().create_rule(new).await.unwrap().into_inner().rule.unwrap();
    assert!(made.credits_tracked && !made.preview.contains("aren't tracked"), "{}", made.preview);
    let asked = bob.ask("5").await;
    assert!(world.overview().await.credits_tracked);

    world.factor("0").await;
    let overview = world.overview().await;
    assert!(!overview.credits_tracked && overview.teams.iter().all(|team| !team.credits_tracked));
    assert!(!world.credits_of("bob").await.credits_tracked);
    let settings = proto::GetAllocationSettingsRequest { organization_id: ACME.into() };
    let settings = world.operator.allocations().get_allocation_settings(settings).await.unwrap().into_inner();
    assert!(!settings.settings.unwrap().credits_tracked);
    let own = proto::GetMemberBudgetRequest { organization_id: ACME.into(), ..Default::default() };
    let own = outcome(bob.0.members().get_member_budget(own).await).unwrap();
    assert!(own.allocations.iter().all(|credits| !credits.credits_tracked) && own.allocations.len() == 1);
    let get = proto::GetRuleRequest { organization_id: ACME.into(), rule_id: "desk".into() };
    let got = world.operator.rules().get_rule(get).await.unwrap().into_inner().rule.unwrap();
    let preview = proto::PreviewRuleRequest { rule: Some(rule()) };
    let previewed = world.operator.rules().preview_rule(preview).await.unwrap().into_inner();
    for (text, tracked) in [(got.preview, got.credits_tracked), (previewed.preview, previewed.credits_tracked)] {
        assert!(!tracked && text.contains("Credits aren't tracked now"), "{text}");
    }

    for refused in [
        world.decide(&asked.id, Some("5")).await.unwrap_err(),
        world.try_allot("bob", "20", "").await.unwrap_err(),
        world.try_allot_team(team("", "5"), &["extra"]).await.unwrap_err(),
        world
            .try_allot_team(
                proto::TeamAllocation { auto_approve_reserve: "5".into(), ..team("", "") },
                &["auto_approve_reserve"],
            )
            .await
            .unwrap_err(),
    ] {
        assert_eq!(failure(&refused), needs_credits());
        assert!(refused.message().contains("aren't tracked"), "{refused}");
    }
    let signup = AllocationSettings { signup_credits: "3".into(), ..AllocationSettings::default() };
    assert_eq!(world.try_settings(signup, &["signup_credits"], false).await, Err(needs_credits()));
    let credits = policy(vec![proto::Budget { unit: proto::Unit::Credits.into(), ..budget("credits", "1") }], vec![]);
    assert_eq!(set_member_limits(&world.operator, "default", credits).await.unwrap_err(), needs_credits());
    assert!(world.spend("bob", "a", "1000").await, "nothing of it binds");
    assert_eq!(
        world.decide(&asked.id, None).await.unwrap().state(),
        proto::CreditRequestState::Denied,
        "a denial gives none"
    );
    world.factor("1").await;
    assert!(!world.spend("bob", "b", "11").await);
    world.verify().await;
}

// M17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_invited_with_a_credit_budget_joins_while_credits_are_not_tracked() {
    let world = World::new().await;
    let owner = world.person("olga", Role::Owner).await;
    let credits = policy(vec![proto::Budget { unit: proto::Unit::Credits.into(), ..budget("credits", "1") }], vec![]);
    let asked = proto::Invitation { policy: credits, ..crate::people::invitation("ivy@example.com") };
    let (_, token) = crate::people::invite(&owner, asked.clone()).await.unwrap();
    world.factor("0").await;
    let again = proto::Invitation { email: "other@example.com".into(), ..asked };
    assert_eq!(crate::people::invite(&owner, again).await.unwrap_err(), needs_credits());
    world.accept(&token, "ivy").await;
    world.key("ivys", "ivy", "default").await;
    assert!(world.spend("ivys", "a", "5").await);
    world.factor("1").await;
    assert!(!world.spend("ivys", "b", "1.5").await, "it is there when credits are tracked again");
}

/// A rule that caps a key at 4 credits a day.
async fn rule_for_bobs_key(world: &World) {
    let rule = proto::Rule {
        organization_id: ACME.into(),
        id: "desk".into(),
        enabled: true,
        cap: Some(proto::CreditCap { enabled: true, max_credits: "4".into(), period: proto::PeriodKind::Daily.into() }),
        ..proto::Rule::default()
    };
    let new = proto::CreateRuleRequest { rule: Some(rule), ..Default::default() };
    world.operator.rules().create_rule(new).await.unwrap();
    let (organization_id, id, rule_id) = (ACME.into(), "bob".into(), "desk".into());
    let bound = proto::Key { organization_id, id, rule_id, ..Default::default() };
    world.update_key(bound, &["rule_id"]).await.unwrap();
}

type Row = (Scope, String, String, String, String);

fn rows(limits: &[proto::MemberLimit]) -> Vec<Row> {
    let one = |limit: &proto::MemberLimit| {
        let state = limit.limit.clone().unwrap();
        (state.scope(), state.limit_id, state.spent, state.remaining, limit.key_id.clone())
    };
    limits.iter().map(one).collect()
}

/// Scope, limit, spent, left and key.
fn row(scope: Scope, [limit, spent, left, key]: [&str; 4]) -> Row {
    (scope, limit.to_owned(), spent.to_owned(), left.to_owned(), key.to_owned())
}

// P6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_reads_every_limit_that_binds_it() {
    let world = World::new().await;
    let bob = world.joined("bob", "bob@example.org").await;
    let read = async || {
        let own = proto::GetMemberBudgetRequest { organization_id: ACME.into(), ..Default::default() };
        outcome(bob.0.members().get_member_budget(own).await).unwrap()
    };
    assert_eq!((read().await.limits, read().await.allocations), (vec![], vec![]));
    let owner = world.person("olga", Role::Owner).await;
    set_member_limits(&owner, "default", policy(vec![budget("each", "5")], vec![])).await.unwrap();
    let daily = proto::Budget { period: period(proto::PeriodKind::Daily), ..budget("day", "3") };
    world.limit(Place::Member("bob"), policy(vec![daily], vec![])).await;
    world.allot_team("50", "").await;
    world.allot("bob", "20", "").await;
    rule_for_bobs_key(&world).await;
    let expected = [
        row(Scope::Member, ["day", "0", "3", ""]),
        row(Scope::Membership, ["each", "0", "5", ""]),
        row(Scope::Rule, ["cap", "0", "4", "bob"]),
    ];
    assert_eq!(rows(&read().await.limits), expected, "before any request too");
    assert!(world.spend("bob", "a", "2.5").await);
    let after = read().await;
    let expected = [
        row(Scope::Member, ["day", "2.5", "0.5", ""]),
        row(Scope::Membership, ["each", "2.5", "2.5", ""]),
        row(Scope::Rule, ["cap", "2.5", "1.5", "bob"]),
    ];
    assert_eq!(rows(&after.limits), expected);
    let credits = &after.allocations[0];
    assert_eq!(
        (credits.team_id.as_str(), credits.monthly.as_str(), credits.used.as_str(), credits.remaining.as_str()),
        ("default", "20", "2.5", "17.5")
    );
    let denial = world.charge(charge("bob", "b", usd("0.6"))).await.unwrap().unwrap_err();
    assert_eq!(denial.code(), DenialCode::BudgetExceeded);
    world.verify().await;
}

// P6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_what_members_spend_and_a_key_what_its_rule_leaves() {
    let world = World::new().await;
    world.joined("bob", "bob@example.org").await;
    let owner = world.person("olga", Role::Owner).await;
    set_member_limits(&owner, "default", policy(vec![budget("each", "5")], vec![])).await.unwrap();
    world.limit(Place::Member("bob"), policy(vec![budget("all", "3")], vec![])).await;
    rule_for_bobs_key(&world).await;
    assert!(world.spend("bob", "a", "2.5").await);
    let get = proto::GetKeyRequest { organization_id: ACME.into(), key_id: "bob".into() };
    let key = outcome(owner.keys().get_key(get).await).unwrap().key.unwrap();
    let cap = key.limits.iter().find(|limit| limit.scope() == Scope::Rule).unwrap();
    assert_eq!((cap.scope_id.as_str(), cap.spent.as_str(), cap.remaining.as_str()), ("desk", "2.5", "1.5"));
    let list = proto::ListMembersRequest { organization_id: ACME.into(), ..Default::default() };
    let members = outcome(owner.members().list_members(list).await).unwrap().members;
    let bobs = members.iter().find(|member| member.id == "bob").unwrap();
    assert_eq!((bobs.credits_used.as_str(), bobs.limits[0].spent.as_str()), ("2.5", "2.5"));
    assert!(members.iter().all(|member| member.id == "bob" || member.credits_used == "0"), "{members:?}");
    let list = proto::ListMembershipsRequest { organization_id: ACME.into(), ..Default::default() };
    let memberships = outcome(owner.teams().list_memberships(list).await).unwrap().memberships;
    let bobs = memberships.iter().find(|membership| membership.member_id == "bob").unwrap();
    assert_eq!((bobs.limits[0].spent.as_str(), bobs.limits[0].remaining.as_str()), ("2.5", "2.5"));
}

// M16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_personal_account_has_no_budget_of_its_team_nor_of_its_member() {
    let world = World::new().await;
    let pia = world.personal("pia-home", "pia").await;
    let needs_team = failed(Code::FailedPrecondition, "TEAM_ACCOUNT_REQUIRED");
    let organization_id = || String::from("pia-home");
    let team = |policy, member_policy| proto::Team {
        organization_id: organization_id(),
        id: "default".into(),
        name: "Home".into(),
        policy,
        member_policy,
        ..proto::Team::default()
    };
    let one = || policy(vec![budget("budget", "1")], vec![]);
    let update = |team, paths: &[&str]| proto::UpdateTeamRequest {
        team: Some(team),
        update_mask: mask(paths),
        ..Default::default()
    };
    let outcome_of = async |team, paths: &[&str]| outcome(pia.teams().update_team(update(team, paths)).await).map(drop);
    assert_eq!(outcome_of(team(one(), None), &["policy"]).await, Err(needs_team.clone()));
    assert_eq!(outcome_of(team(None, one()), &["member_policy"]).await, Err(needs_team.clone()));
    assert_eq!(outcome_of(team(None, None), &["name"]).await, Ok(()));
    assert_eq!(outcome_of(team(None, None), &["policy"]).await, Ok(()), "none is none");
    let quota = policy(vec![], vec![crate::messages::quota("rpm", proto::Unit::RequestsPerMinute, 5)]);
    assert_eq!(outcome_of(team(quota, None), &["policy"]).await, Err(needs_team.clone()));
    for member_id in ["", "pia"] {
        let own = proto::GetMemberBudgetRequest { organization_id: organization_id(), member_id: member_id.into() };
        assert_eq!(outcome(pia.members().get_member_budget(own).await).map(drop), Err(needs_team.clone()));
    }
    let membership = proto::DeleteMembershipRequest {
        organization_id: organization_id(),
        team_id: "default".into(),
        member_id: "pia".into(),
    };
    outcome(pia.teams().delete_membership(membership).await).unwrap();
    let membership = proto::Membership {
        organization_id: organization_id(),
        team_id: "default".into(),
        member_id: "pia".into(),
        policy: one(),
        ..proto::Membership::default()
    };
    let join = proto::CreateMembershipRequest { membership: Some(membership), ..Default::default() };
    assert_eq!(outcome(pia.teams().create_membership(join).await).map(drop), Err(needs_team));
}
