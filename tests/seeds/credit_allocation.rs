//! Document 003: credits per cycle for the organization, its teams and their members.

use quotad::api::proto::{
    self, AllocationSettings, Cadence, CreditRequest, CreditRequestState, DenialCode, Organization,
};
use tonic::Code;

use crate::{
    credits::team,
    messages::{failed, failure, reserve, usd},
    world::{ACME, START, World},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// 2023-12-01T00:00:00Z.
const DECEMBER: i64 = 1_701_388_800;

// D1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_organizations_credits_change_for_the_running_cycle_at_once() {
    let world = World::new().await;
    assert!(world.spend("k1", "a", "40").await);
    let settings = AllocationSettings { credits_per_cycle: "100".into(), ..AllocationSettings::default() };
    let shown = world.try_settings(settings, &["credits_per_cycle"], true).await.unwrap();
    assert_eq!((shown.used.as_str(), shown.balance.as_str(), shown.available.as_str()), ("40", "60", "60"));
    assert_eq!(world.overview().await.credits_per_cycle, "", "only shown");
    assert!(world.spend("k1", "b", "70").await, "not capped yet");
    let set = world.total("100").await;
    assert_eq!((set.used.as_str(), set.balance.as_str()), ("110", "-10"), "what was used stays");
    assert!(!world.spend("k1", "c", "1").await);
    let raised = world.total("200").await;
    assert_eq!((raised.balance.as_str(), raised.available.as_str()), ("90", "90"));
    assert!(world.spend("k1", "d", "90").await);
    // Less than is given out: available is negative, and nothing more can be.
    world.total("400").await;
    world.allot_team("150", "").await;
    let lowered = world.total("300").await;
    assert_eq!(lowered.available, "100", "the team used 200, which is more than it has");
    let lowered = world.total("100").await;
    assert_eq!(lowered.available, "-100");
    let refused = world.try_allot_team(team("201", ""), &["monthly"]).await.unwrap_err();
    assert_eq!(failure(&refused), failed(Code::FailedPrecondition, "FAILED_PRECONDITION"));
    assert!(refused.message().contains("-100.00 available"), "{}", refused.message());
}

// D2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cadence_starts_a_fresh_cycle_at_once() {
    let world = World::new().await;
    world.total("10").await;
    let first = world.overview().await;
    assert_eq!(first.cycle_end.unwrap().seconds, DECEMBER, "a calendar month at first");
    for (at, (cadence, seconds)) in [
        (Cadence::FifteenDays, 15 * DAY),
        (Cadence::Week, 7 * DAY),
        (Cadence::Day, DAY),
        (Cadence::TwelveHours, 12 * HOUR),
        (Cadence::SixHours, 6 * HOUR),
        (Cadence::Hour, HOUR),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(world.spend("k1", &format!("a{at}"), "10").await);
        assert!(!world.spend("k1", &format!("b{at}"), "1").await);
        world.advance(60);
        let now = START + 60 * (i64::try_from(at).unwrap() + 1);
        let fresh = world.cadence(cadence).await;
        assert_eq!((fresh.used.as_str(), fresh.cycle_start.unwrap().seconds), ("0", now));
        assert_eq!(fresh.cycle_end.unwrap().seconds, now + seconds);
    }
    let zone = AllocationSettings {
        cadence: Cadence::CalendarMonth.into(),
        time_zone: "Asia/Tokyo".into(),
        ..AllocationSettings::default()
    };
    let month = world.try_settings(zone, &["cadence", "time_zone"], false).await.unwrap();
    assert_eq!(month.cycle_end.unwrap().seconds, DECEMBER - 9 * HOUR);
    let bad = AllocationSettings { cadence: 99, ..AllocationSettings::default() };
    let refused = world.try_settings(bad, &["cadence"], false).await.unwrap_err();
    assert_eq!(refused, failed(Code::InvalidArgument, "INVALID_ARGUMENT"));
}

// D3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_shows_what_it_will_do_then_starts_from_zero_and_is_audited() {
    let world = World::new().await;
    world.total("10").await;
    world.cadence(Cadence::Day).await;
    assert!(world.spend("k1", "a", "10").await);
    world.advance(HOUR);
    let shown = world.reset(true).await;
    assert_eq!((shown.used.as_str(), shown.balance.as_str()), ("0", "10"));
    assert_eq!(shown.cycle_end.unwrap().seconds, START + HOUR + DAY);
    assert_eq!(world.overview().await.used, "10", "nothing was changed");
    let done = world.reset(false).await;
    assert_eq!((done.used, done.cycle_end), (shown.used, shown.cycle_end));
    assert!(world.spend("k1", "b", "10").await);
    world.cadence(Cadence::CalendarMonth).await;
    world.advance(DAY);
    assert_eq!(world.reset(false).await.cycle_end.unwrap().seconds, DECEMBER, "the end of the month it is in");
    let asked = proto::ListAuditEventsRequest {
        organization_id: ACME.into(),
        kind: "cycle".into(),
        ..proto::ListAuditEventsRequest::default()
    };
    let events = world.operator.organizations().list_audit_events(asked).await.unwrap().into_inner().events;
    assert!(events[0].after.contains("\"reset\"") && events[0].actor == "operator", "{events:?}");
    assert_eq!(events[0].before, events[1].after);
}

// D4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_credit_factor_turns_dollars_into_credits_and_zero_turns_tracking_off() {
    let world = World::new().await;
    let factor = |factor: &str| Organization { credit_factor: factor.into(), ..Organization::default() };
    world.update_organization(factor("100"), &["credit_factor"]).await;
    world.total("500").await;
    assert!(world.spend("k1", "a", "5").await);
    assert_eq!(world.overview().await.used, "500");
    assert!(!world.spend("k1", "b", "0.01").await);
    world.update_organization(factor("0"), &["credit_factor"]).await;
    assert!(world.spend("k1", "c", "1000").await, "existing caps don't bind");
    let settings = AllocationSettings { credits_per_cycle: "600".into(), ..AllocationSettings::default() };
    let refused = world.try_settings(settings, &["credits_per_cycle"], false).await.unwrap_err();
    assert_eq!(refused, failed(Code::FailedPrecondition, "FAILED_PRECONDITION"));
    let refused = world.try_allot_team(team("5", ""), &["monthly"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

// D5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_gets_its_signup_credits_out_of_the_default_team() {
    let world = World::new().await;
    world.allot_team("25", "").await;
    let signup = |credits: &str| AllocationSettings { signup_credits: credits.into(), ..AllocationSettings::default() };
    world.try_settings(signup("20"), &["signup_credits"], false).await.unwrap();
    world.joined("bob", "bob@example.org").await;
    let bob = world.credits_of("bob").await;
    assert_eq!((bob.monthly.as_str(), bob.extra.as_str(), bob.remaining.as_str()), ("", "20", "25"), "and the pool");
    assert_eq!(world.team_credits().await.available, "5");
    world.joined("cat", "cat@example.org").await;
    assert_eq!(world.credits_of("cat").await.extra, "", "no room: none");
    let asked = proto::ListAlertsRequest {
        organization_id: ACME.into(),
        kinds: vec![proto::AlertKind::SignupCreditsMissing.into()],
        ..proto::ListAlertsRequest::default()
    };
    let alerts = world.operator.alerts().list_alerts(asked).await.unwrap().into_inner().alerts;
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].facts.iter().any(|fact| fact.value == "cat"), "{alerts:?}");
    world.try_settings(signup("0"), &["signup_credits"], false).await.unwrap();
    world.joined("dan", "dan@example.org").await;
    assert_eq!(world.credits_of("dan").await.extra, "");
}

// D6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teams_numbers_follow_from_its_members_and_lists_are_searched_and_paged() {
    let world = World::new().await;
    for id in ["bob", "cat"] {
        world.joined(id, &format!("{id}@example.org")).await;
    }
    world.allot_team("100", "20").await;
    world.auto_approve("15").await;
    world.allot("bob", "30", "5").await;
    assert!(world.spend("bob", "a", "10").await);
    assert!(world.spend("cat", "b", "7").await);
    let team = world.team_credits().await;
    assert_eq!((team.member_count, team.used.as_str(), team.name.as_str()), (3, "17", "Default"));
    assert_eq!((team.monthly.as_str(), team.extra.as_str(), team.distributed.as_str()), ("100", "20", "35"));
    assert_eq!((team.shared_used.as_str(), team.available.as_str()), ("7", "78"), "100 + 20 − 35 − 7");
    assert_eq!(team.auto_approve_reserve, "15");
    let (found, _, total) = world.members_of("default", "BOB@EXAMPLE", 10, "").await;
    assert_eq!((found[0].member_id.as_str(), found[0].name.as_str(), total), ("bob", "bob of Acme", 1));
    let (first, next, total) = world.members_of("default", "", 2, "").await;
    assert_eq!((first.len(), total), (2, 3));
    let (rest, end, _) = world.members_of("default", "", 2, &next).await;
    assert_eq!((rest.len(), end.as_str()), (1, ""));
    let asked = proto::ListMemberAllocationsRequest {
        organization_id: ACME.into(),
        team_id: "default".into(),
        search: "another".into(),
        page_token: next,
        ..proto::ListMemberAllocationsRequest::default()
    };
    let refused = world.operator.allocations().list_member_allocations(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "a token of another query");
    world.team("research").await;
    let asked = proto::ListTeamAllocationsRequest {
        organization_id: ACME.into(),
        search: "rese".into(),
        ..proto::ListTeamAllocationsRequest::default()
    };
    let listed = world.operator.allocations().list_team_allocations(asked).await.unwrap().into_inner();
    assert_eq!((listed.teams.len(), listed.teams[0].team_id.as_str(), listed.total_size), (1, "research", 1));
}

// D7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn editing_a_member_recomputes_its_team_and_never_gives_out_more_than_there_is() {
    let world = World::new().await;
    world.joined("bob", "bob@example.org").await;
    world.total("100").await;
    let refused = world.try_allot_team(team("90", "11"), &["monthly", "extra"]).await.unwrap_err();
    assert!(refused.message().contains("101.00") && refused.message().contains("100.00 available"), "{refused}");
    world.allot_team("90", "10").await;
    let (bob, team) = world.allot("bob", "60", "5").await;
    assert_eq!((bob.used.as_str(), bob.remaining.as_str()), ("0", "65"));
    assert_eq!((team.distributed.as_str(), team.available.as_str()), ("65", "35"));
    assert!(world.spend("bob", "a", "20").await);
    let (bob, team) = world.allot("bob", "30", "5").await;
    assert_eq!((bob.used.as_str(), bob.remaining.as_str()), ("20", "15"));
    assert_eq!((team.distributed.as_str(), team.available.as_str()), ("35", "65"));
    let refused = world.try_allot("ada", "66", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("66.00") && refused.message().contains("65.00 available"), "{refused}");
    assert_eq!(world.credits_of("ada").await.monthly, "", "nothing was changed");
}

// D8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_nothing_of_its_own_draws_on_the_pool_and_others_never_do() {
    let world = World::new().await;
    world.joined("bob", "bob@example.org").await;
    world.allot_team("50", "").await;
    world.allot("bob", "10", "").await;
    assert!(world.spend("bob", "a", "10").await);
    let denial = world.reserve(reserve("bob", "b", usd("1"))).await.unwrap_err();
    assert_eq!(denial.code(), DenialCode::BudgetExceeded);
    let limit = denial.violations[0].limit.as_ref().unwrap();
    assert_eq!(
        (limit.scope(), limit.scope_id.as_str(), limit.max.as_str()),
        (proto::Scope::Allocation, "default/bob", "10")
    );
    assert!(world.spend("k1", "c", "40").await, "ada draws on the pool");
    let denial = world.reserve(reserve("k1", "d", usd("1"))).await.unwrap_err();
    assert_eq!(denial.violations[0].limit.as_ref().unwrap().scope_id, "default");
    assert_eq!(denial.retry_after.unwrap().seconds, DECEMBER - START, "until the cycle ends");
}

// D9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_credits_is_decided_once_and_may_be_granted_in_part() {
    let world = World::new().await;
    let bob = world.joined("bob", "bob@example.org").await;
    world.allot_team("100", "").await;
    let (first, second) = (bob.ask("30").await, bob.ask("40").await);
    assert_eq!((first.member_name.as_str(), first.member_email.as_str()), ("bob of Acme", "bob@example.org"));
    assert_eq!(
        (first.amount.as_str(), first.reason.as_str(), first.state()),
        ("30", "a launch", CreditRequestState::Pending)
    );
    let refused = world.decide(&first.id, Some("31")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let approved = world.decide(&first.id, Some("20")).await.unwrap();
    assert_eq!((approved.state(), approved.approved.as_str()), (CreditRequestState::Approved, "20"));
    assert_eq!((approved.decided_by.as_str(), approved.note.as_str()), ("operator", "as agreed"));
    let bobs = world.credits_of("bob").await;
    assert_eq!((bobs.extra.as_str(), bobs.remaining.as_str()), ("20", "100"), "20 of his own and 80 of the pool");
    assert_eq!(world.team_credits().await.available, "80");
    assert_eq!(world.decide(&first.id, Some("10")).await.unwrap_err().code(), Code::FailedPrecondition);
    let denied = world.decide(&second.id, None).await.unwrap();
    assert_eq!((denied.state(), denied.approved.as_str()), (CreditRequestState::Denied, "0"));
    assert_eq!(world.decide(&second.id, None).await.unwrap_err().code(), Code::FailedPrecondition);
    let third = bob.ask("5").await;
    let ids = |requests: Vec<CreditRequest>| requests.into_iter().map(|request| request.id).collect::<Vec<_>>();
    assert_eq!(ids(world.requests(&[]).await), [third.id.clone(), second.id.clone(), first.id.clone()]);
    assert_eq!(ids(world.requests(&[CreditRequestState::Pending]).await), [third.id]);
    assert_eq!(ids(world.requests(&[CreditRequestState::Denied]).await), [second.id]);
    assert_eq!(ids(world.requests(&[CreditRequestState::Approved]).await), [first.id]);
    let ada = world.signed_in("ada").await;
    let mine = proto::ListCreditRequestsRequest {
        organization_id: ACME.into(),
        ..proto::ListCreditRequestsRequest::default()
    };
    let mine = ada.0.credit_requests().list_credit_requests(mine).await.unwrap().into_inner();
    assert_eq!(mine.requests, Vec::new(), "others' requests aren't ada's to see");
}

// D10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_within_the_auto_approve_reserve_is_granted_at_once() {
    let world = World::new().await;
    let bob = world.joined("bob", "bob@example.org").await;
    world.allot_team("100", "").await;
    assert_eq!(bob.ask("1").await.state(), CreditRequestState::Pending, "reserve 0: always by hand");
    world.auto_approve("10").await;
    let first = bob.ask("6").await;
    assert_eq!((first.state(), first.approved.as_str()), (CreditRequestState::AutoApproved, "6"));
    assert_eq!(bob.ask("5").await.state(), CreditRequestState::Pending, "6 of 10 are used");
    assert_eq!(bob.ask("4").await.state(), CreditRequestState::AutoApproved);
    let team = world.team_credits().await;
    assert_eq!((team.auto_approved.as_str(), team.available.as_str()), ("10", "90"), "a ceiling, not a pool");
    assert!(world.spend("bob", "a", "10").await);
    world.advance(DECEMBER - START);
    assert_eq!(bob.ask("10").await.state(), CreditRequestState::AutoApproved, "in the next cycle anew");
}

// D11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_shows_the_cycle_what_is_left_and_each_teams_part() {
    let world = World::new().await;
    world.team("research").await;
    world.member_of(ACME, "eve", &["research"]).await;
    world.key("eves", "eve", "research").await;
    world.total("80").await;
    world.allot_team("50", "").await;
    assert!(world.spend("k1", "a", "20").await);
    assert!(world.spend("eves", "b", "8").await);
    let overview = world.overview().await;
    assert_eq!(overview.cycle_end.unwrap().seconds, DECEMBER);
    assert_eq!(
        (overview.used.as_str(), overview.used_percent.as_str(), overview.balance.as_str()),
        ("28", "35.00", "52")
    );
    assert_eq!((overview.distributed.as_str(), overview.available.as_str()), ("50", "22"), "80 − 50 − 8");
    let parts: Vec<_> = overview.teams.iter().map(|team| (team.team_id.as_str(), team.used.as_str())).collect();
    assert_eq!(parts, [("default", "20"), ("research", "8")]);
}

// D12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_cycles_end_exhausted_keys_work_again_without_anyone_doing_anything() {
    let mut world = World::new().await;
    world.cadence(Cadence::Day).await;
    world.allot_team("50", "10").await;
    world.allot("ada", "10", "5").await;
    assert!(world.spend("k1", "a", "15").await);
    assert!(!world.spend("k1", "b", "1").await);
    let open = world.reserve(reserve("k1", "open", usd("0"))).await;
    assert!(open.is_err(), "used up means refused, even for a free request");
    world.advance(DAY);
    assert!(world.spend("k1", "c", "10").await);
    assert!(!world.spend("k1", "d", "1").await, "the extra has lapsed, monthly stays");
    let (ada, team) = (world.credits_of("ada").await, world.team_credits().await);
    assert_eq!((ada.monthly.as_str(), ada.extra.as_str(), ada.used.as_str()), ("10", "", "10"));
    assert_eq!((team.extra.as_str(), team.distributed.as_str(), team.available.as_str()), ("", "10", "40"));
    world.restart().await;
    assert_eq!(world.team_credits().await, team, "a restart changes nothing");
    world.advance(3 * DAY + HOUR);
    let overview = world.overview().await;
    assert_eq!(overview.cycle_start.unwrap().seconds, START + 4 * DAY, "cycles that nobody saw are passed over");
    assert_eq!(overview.used, "0");
    world.verify().await;
}
