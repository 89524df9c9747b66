//! What is told, whom, and how often: once for each cause and period.

use quotad::api::proto::{
    AcceptInvitationRequest, AcknowledgeAlertRequest, Alert, AlertKind, AlertSettings, AlertState, AllocationSettings,
    ApproveCreditRequestRequest, Budget, BudgetAlerts, CreateInvitationRequest, DenyCreditRequestRequest,
    GetAlertRequest, Invitation, ListAlertsRequest, Organization, PaymentOutcome, PeriodKind, ResendInvitationRequest,
    RevokeInvitationRequest, Role, SubmitCreditRequestRequest, TeamAllocation, UpdateAllocationSettingsRequest,
    UpdateTeamAllocationRequest, WalletMode,
};
use tonic::Code;

use crate::{
    alerts::{configure, ended, fact, list, send_test},
    messages::{budget, charge, failed, failure, mask, period, policy, usd},
    notify::{MailServer, Mood},
    payments::{correct, decide, pending},
    people::{email, joins},
    world::{ACME, Place, START, World, all_at_once},
};

/// 2023-11-15T00:00:00Z
const NEXT_DAY: i64 = 1_700_006_400 - START;

async fn spend(world: &World, request: &str, cost: &str) {
    world.charge(charge("k1", request, usd(cost))).await.unwrap().unwrap();
}

/// Of 10 USD a day, 4 of them soft, with thresholds.
fn daily(thresholds: &[&str]) -> Budget {
    let thresholds = thresholds.iter().map(ToString::to_string).collect();
    let alerts = Some(BudgetAlerts { thresholds, recipients: Vec::new() });
    Budget { soft: "4".into(), period: period(PeriodKind::Daily), alerts, ..budget("day", "10") }
}

/// Kind and threshold, in the order in which they were told.
fn told(alerts: &[Alert]) -> Vec<(AlertKind, &str)> {
    alerts.iter().rev().map(|alert| (alert.kind(), fact(alert, "threshold"))).collect()
}

// B2
#[tokio::test]
async fn each_threshold_by_amount_or_share_is_told_once_a_period_and_the_hard_limit_too() {
    use AlertKind::{BudgetReached, SoftBudget};
    let mut world = World::new().await;
    world.limit(Place::Team("default"), policy(vec![daily(&["5", "80%"])], Vec::new())).await;
    let expected =
        [(SoftBudget, "4.00 USD"), (SoftBudget, "5.00 USD"), (SoftBudget, "8.00 USD"), (BudgetReached, "10.00 USD")];
    let spent = ["3.999999999", "0.000000001", "0.5", "0.5", "2.999999999", "0.000000001", "1", "1"];
    let counts = [0, 1, 1, 2, 2, 3, 3, 4];
    for (no, (cost, count)) in spent.into_iter().zip(counts).enumerate() {
        spend(&world, &format!("c{no}"), cost).await;
        assert_eq!(told(&list(&world, &[]).await), expected[..count], "after {no}");
    }
    world.charge(charge("k1", "refused", usd("1"))).await.unwrap().unwrap_err();
    world.restart().await;
    world.charge(charge("k1", "refused", usd("1"))).await.unwrap().unwrap_err();
    assert_eq!(list(&world, &[]).await.len(), 4, "refusals tell nobody, nor does a restart");
    world.advance(NEXT_DAY);
    spend(&world, "all at once", "10").await;
    let mut again =
        told(&list(&world, &[]).await[..4]).into_iter().map(|(kind, at)| (at.to_owned(), kind)).collect::<Vec<_>>();
    again.sort();
    let all = ["10.00 USD", "4.00 USD", "5.00 USD", "8.00 USD"];
    assert_eq!(again.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), all);
    assert_eq!(list(&world, &[]).await.len(), 8);
}

// B2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_that_cross_a_threshold_together_tell_of_it_once() {
    let world = World::new().await;
    world.limit(Place::Organization, policy(vec![daily(&[])], Vec::new())).await;
    let done = all_at_once(32, |no| {
        let mut quota = world.service.quota();
        async move { quota.charge(charge("k1", &format!("c{no}"), usd("0.25"))).await.is_ok() }
    });
    assert!(done.await.into_iter().all(|done| done));
    assert_eq!(list(&world, &[AlertKind::SoftBudget]).await.len(), 1);
}

// B2
#[tokio::test]
async fn a_threshold_set_below_what_is_spent_is_told_at_once_and_one_that_was_told_is_not() {
    let world = World::new().await;
    let place = Place::Member("ada");
    world.limit(place, policy(vec![daily(&[])], Vec::new())).await;
    spend(&world, "c1", "6").await;
    assert_eq!(told(&list(&world, &[]).await), [(AlertKind::SoftBudget, "4.00 USD")]);
    world.limit(place, policy(vec![daily(&["50%", "90%"])], Vec::new())).await;
    let expected = [(AlertKind::SoftBudget, "4.00 USD"), (AlertKind::SoftBudget, "5.00 USD")];
    assert_eq!(told(&list(&world, &[]).await), expected);
}

// B2
#[tokio::test]
async fn a_budget_that_asks_for_no_alert_tells_nobody() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("quiet", "1")], Vec::new())).await;
    spend(&world, "c1", "1").await;
    world.charge(charge("k1", "c2", usd("1"))).await.unwrap().unwrap_err();
    assert_eq!(list(&world, &[]).await, []);
}

// E7
#[tokio::test]
async fn a_low_wallet_is_told_once_and_again_after_it_has_risen() {
    let mut world = World::with_wallet("10").await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let settings = AlertSettings { low_balance_usd: "5".into(), ..AlertSettings::default() };
    configure(&ann, settings, &["low_balance_usd"]).await.unwrap();
    let count = async |world: &World| list(world, &[AlertKind::WalletLow]).await.len();
    spend(&world, "c1", "5").await;
    assert_eq!(count(&world).await, 0, "5 isn't below 5");
    spend(&world, "c2", "1").await;
    spend(&world, "c3", "1").await;
    assert_eq!(count(&world).await, 1);
    world.restart().await;
    spend(&world, "c4", "1").await;
    world.top_up("little", "2").await.unwrap();
    spend(&world, "c5", "1").await;
    assert_eq!(count(&world).await, 1, "it never rose to 5");
    let ann = crate::people::acting(&world, ACME, "ann").await;
    let paid = pending(&ann, "o1", "10").await;
    decide(&world, &paid, PaymentOutcome::Settled).await.unwrap();
    spend(&world, "c6", "9").await;
    assert_eq!(count(&world).await, 2);
    correct(&world.operator, "f1", 2, quotad::api::proto::TransactionKind::Refund, "5").await.unwrap();
    decide(&world, &paid, PaymentOutcome::Reversed).await.unwrap();
    assert_eq!(count(&world).await, 3, "refunds lift it, reversals lower it");
    let [latest, ..] = list(&world, &[AlertKind::WalletLow]).await.try_into().map(|all: [Alert; 3]| all).unwrap();
    assert_eq!((fact(&latest, "balance"), fact(&latest, "threshold")), ("-1.00 USD", "5.00 USD"));
}

// M17
#[tokio::test]
async fn a_balance_is_low_only_where_the_wallet_is_enforced_and_the_settings_say_whether_it_is() {
    let world = World::start(WalletMode::Off, |_| {}).await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let settings = AlertSettings { low_balance_usd: "5".into(), ..AlertSettings::default() };
    let set = configure(&ann, settings, &["low_balance_usd"]).await.unwrap().settings.unwrap();
    assert_eq!((set.low_balance_usd.as_str(), set.wallet_enforced), ("5", false));
    spend(&world, "c1", "1").await;
    assert_eq!(list(&world, &[AlertKind::WalletLow]).await, []);
    let mode = async |mode: WalletMode| {
        let organization = Organization { wallet_mode: mode.into(), ..Organization::default() };
        world.update_organization(organization, &["wallet_mode"]).await;
        let asked = quotad::api::proto::GetAlertSettingsRequest { organization_id: ACME.into() };
        ann.alerts().get_alert_settings(asked).await.unwrap().into_inner().settings.unwrap()
    };
    let set = mode(WalletMode::Enforced).await;
    assert_eq!((set.low_balance_usd.as_str(), set.wallet_enforced), ("5", true));
    assert_eq!(list(&world, &[AlertKind::WalletLow]).await.len(), 1, "told as soon as it counts");
    assert!(!mode(WalletMode::Off).await.wallet_enforced);
}

/// The default team may give out 100 credits, 10 of them by itself.
async fn credits(world: &World) {
    let credits = AllocationSettings {
        organization_id: ACME.into(),
        credits_per_cycle: "1000".into(),
        ..AllocationSettings::default()
    };
    let update = UpdateAllocationSettingsRequest {
        settings: Some(credits),
        update_mask: mask(&["credits_per_cycle"]),
        ..UpdateAllocationSettingsRequest::default()
    };
    world.operator.allocations().update_allocation_settings(update).await.unwrap();
    let allocation = TeamAllocation {
        organization_id: ACME.into(),
        team_id: "default".into(),
        monthly: "100".into(),
        auto_approve_reserve: "10".into(),
        ..TeamAllocation::default()
    };
    let update = UpdateTeamAllocationRequest {
        allocation: Some(allocation),
        update_mask: mask(&["monthly", "auto_approve_reserve"]),
    };
    world.operator.allocations().update_team_allocation(update).await.unwrap();
}

// D9
#[tokio::test]
async fn who_decides_hears_of_a_credit_request_and_who_asked_hears_of_the_decision() {
    let mut server = MailServer::start(Mood::Sound).await;
    let world = World::start(WalletMode::Off, |settings| settings.smtp = Some(server.settings())).await;
    credits(&world).await;
    joins(&world, "fin", Role::FinanceAdmin).await;
    let dev = joins(&world, "dev", Role::Developer).await;
    let submit = async |amount: &str| {
        let request = SubmitCreditRequestRequest {
            organization_id: ACME.into(),
            amount: amount.into(),
            reason: "a long night".into(),
            ..SubmitCreditRequestRequest::default()
        };
        dev.credit_requests().submit_credit_request(request).await.unwrap().into_inner().request.unwrap().id
    };
    let first = submit("30").await;
    let asked = server.letter().await;
    assert_eq!(
        (asked.to.as_str(), asked.fact("asked for"), asked.fact("reason")),
        ("fin@example.com", "30.00", "a long night")
    );
    assert_eq!((asked.fact("request"), asked.fact("member")), (first.as_str(), "dev Name of dev"));
    let approve = ApproveCreditRequestRequest {
        organization_id: ACME.into(),
        credit_request_id: first,
        amount: "20".into(),
        note: "not all of it".into(),
    };
    world.operator.credit_requests().approve_credit_request(approve).await.unwrap();
    let decided = server.letter().await;
    let said = (decided.to.as_str(), decided.fact("decision"), decided.fact("granted"), decided.fact("note"));
    assert_eq!(said, ("dev@example.com", "approved", "20.00", "not all of it"));
    let second = submit("40").await;
    server.letter().await;
    let deny =
        DenyCreditRequestRequest { organization_id: ACME.into(), credit_request_id: second, note: String::new() };
    world.operator.credit_requests().deny_credit_request(deny).await.unwrap();
    assert_eq!(server.letter().await.fact("decision"), "denied");
    submit("10").await;
    let at_once = server.letter().await;
    assert_eq!((at_once.to.as_str(), at_once.fact("decision")), ("dev@example.com", "auto_approved"));
    let kinds: Vec<_> = list(&world, &[]).await.iter().rev().map(Alert::kind).collect();
    let (asked, decided) = (AlertKind::CreditRequested, AlertKind::CreditDecided);
    assert_eq!(kinds, [asked, decided, asked, decided, decided]);
}

async fn invite(world: &World, name: &str) -> (Invitation, String) {
    let invitation = Invitation {
        organization_id: ACME.into(),
        email: email(name),
        name: name.into(),
        role: Role::Developer.into(),
        ..Invitation::default()
    };
    let new = CreateInvitationRequest { invitation: Some(invitation), ..CreateInvitationRequest::default() };
    let made = world.operator.members().create_invitation(new).await.unwrap().into_inner();
    (made.invitation.unwrap(), made.token)
}

async fn accept(world: &World, token: &str) -> Result<quotad::api::proto::Member, crate::messages::Failure> {
    let invitee = world.operator.with_token(token).unwrap();
    let answer = invitee.members().accept_invitation(AcceptInvitationRequest::default()).await;
    answer.map(|answer| answer.into_inner().member.unwrap()).map_err(|status| failure(&status))
}

// A7
#[tokio::test]
async fn an_invitation_is_mailed_with_a_token_that_lets_its_reader_in() {
    let mut server = MailServer::start(Mood::Busy).await;
    let mut world = World::start(WalletMode::Off, |settings| settings.smtp = Some(server.settings())).await;
    let (_, shown) = invite(&world, "new").await;
    let [told] = list(&world, &[AlertKind::Invitation]).await.try_into().unwrap();
    crate::alerts::tried(&world, &told.id, 1).await;
    server.becomes(Mood::Sound);
    world.restart().await;
    world.advance(30);
    let letter = server.letter().await;
    assert_eq!(letter.to, "new@example.com");
    let mailed = letter.fact("token").to_owned();
    assert_ne!(mailed, shown, "only hashes are kept, so that each has its own");
    let delivered = ended(&world, &told.id).await;
    assert!(delivered.facts.iter().all(|fact| fact.value != mailed && fact.value != shown), "{delivered:?}");
    let member = accept(&world, &mailed).await.unwrap();
    assert_eq!((member.email.as_str(), member.role()), ("new@example.com", Role::Developer));
    assert!(accept(&world, &mailed).await.is_err() && accept(&world, &shown).await.is_err(), "once only");
}

// A7
#[tokio::test]
async fn tokens_mailed_before_an_invitation_was_sent_again_or_revoked_let_nobody_in() {
    let mut server = MailServer::start(Mood::Sound).await;
    let world = World::start(WalletMode::Off, |settings| settings.smtp = Some(server.settings())).await;
    let (invitation, _) = invite(&world, "new").await;
    let first = server.letter().await.fact("token").to_owned();
    let named = ResendInvitationRequest {
        organization_id: ACME.into(),
        invitation_id: invitation.id.clone(),
        ..ResendInvitationRequest::default()
    };
    world.operator.members().resend_invitation(named).await.unwrap();
    let second = server.letter().await.fact("token").to_owned();
    assert!(accept(&world, &first).await.is_err());
    let named = RevokeInvitationRequest { organization_id: ACME.into(), invitation_id: invitation.id };
    world.operator.members().revoke_invitation(named).await.unwrap();
    assert!(accept(&world, &second).await.is_err());
}

// B8
#[tokio::test]
async fn alerts_are_listed_by_kind_and_state_and_page_and_who_has_seen_to_them() {
    let mut world = World::new().await;
    let fin = joins(&world, "fin", Role::FinanceAdmin).await;
    world.limit(Place::Organization, policy(vec![daily(&[])], Vec::new())).await;
    let mut tests = Vec::new();
    for _ in 0..3 {
        tests.push(send_test(&world, &["ops@example.com"]).await);
    }
    spend(&world, "c1", "4").await;
    for alert in list(&world, &[]).await {
        assert_eq!(ended(&world, &alert.id).await.state(), AlertState::Undeliverable);
    }
    world.advance(60);
    let seen = AcknowledgeAlertRequest { organization_id: ACME.into(), alert_id: tests[1].clone() };
    for by in [&fin, &world.operator] {
        let alert = by.alerts().acknowledge_alert(seen.clone()).await.unwrap().into_inner().alert.unwrap();
        let told = (alert.acknowledged_by.as_str(), alert.acknowledge_time.unwrap().seconds);
        assert_eq!(told, ("member:fin", START + 60), "the first who saw to it");
    }
    world.restart().await;
    let all = || ListAlertsRequest { organization_id: ACME.into(), ..ListAlertsRequest::default() };
    let ids = async |asked: ListAlertsRequest| {
        let page = world.operator.alerts().list_alerts(asked).await.unwrap().into_inner();
        (page.alerts.into_iter().map(|alert| alert.id).collect::<Vec<_>>(), page.next_page_token)
    };
    let newest: Vec<_> = ids(all()).await.0;
    assert_eq!(newest[1..], [tests[2].clone(), tests[1].clone(), tests[0].clone()]);
    let kinds = vec![AlertKind::SoftBudget.into(), AlertKind::WalletLow.into()];
    assert_eq!(ids(ListAlertsRequest { kinds, ..all() }).await.0, newest[..1]);
    let states = vec![AlertState::Undeliverable.into()];
    assert_eq!(ids(ListAlertsRequest { states, ..all() }).await.0, newest);
    let states = vec![AlertState::Delivered.into(), AlertState::Pending.into(), AlertState::Failed.into()];
    assert_eq!(ids(ListAlertsRequest { states, ..all() }).await.0, Vec::<String>::new());
    let open = ListAlertsRequest { unacknowledged: true, page_size: 2, ..all() };
    let (page, page_token) = ids(open.clone()).await;
    assert_eq!(page, [newest[0].clone(), tests[2].clone()]);
    assert_eq!(
        ids(ListAlertsRequest { page_token: page_token.clone(), ..open }).await,
        (vec![tests[0].clone()], String::new())
    );
    let foreign = ListAlertsRequest { page_token, ..all() };
    let refused = world.operator.alerts().list_alerts(foreign).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "a page of another query");
    let missing = GetAlertRequest { organization_id: ACME.into(), alert_id: "alert-0".into() };
    let refused = world.operator.alerts().get_alert(missing).await.unwrap_err();
    assert_eq!(failure(&refused), failed(Code::NotFound, "NOT_FOUND"));
}

// B8
#[tokio::test]
async fn alerts_of_one_organization_are_not_anothers() {
    let world = World::new().await;
    let id = send_test(&world, &["ops@example.com"]).await;
    world.organization("other", WalletMode::Off).await;
    let named = |organization: &str| GetAlertRequest { organization_id: organization.into(), alert_id: id.clone() };
    let status = world.operator.alerts().get_alert(named("other")).await.unwrap_err();
    assert_eq!(failure(&status), failed(Code::NotFound, "NOT_FOUND"));
    let fin = joins(&world, "fin", Role::FinanceAdmin).await;
    let status = fin.alerts().get_alert(named("other")).await.unwrap_err();
    assert_eq!(failure(&status), failed(Code::NotFound, "NOT_FOUND"));
    world.update_organization(Organization { name: "Acme Inc".into(), ..Organization::default() }, &["name"]).await;
    let renamed = send_test(&world, &[]).await;
    assert!(crate::alerts::find(&world, &renamed).await.subject.contains("Acme Inc"));
}
