//! Soft budgets: who is told, how often, and what becomes of it.

use std::{collections::BTreeSet, net::TcpListener, time::Duration};

use quotad::{
    api::proto::{self, Alert, AlertKind, AlertState, Budget, BudgetAlerts, PeriodKind, Policy, Role, WalletMode},
    notify::{SmtpSettings, SmtpTls},
};

use super::{DAY, TO_MIDNIGHT, each, spend};
use crate::{
    messages::{budget, charge, charged, policy, reserve, usd},
    people::outcome,
    world::{ACME, Place, World, all_at_once},
};

const SOFT: [AlertKind; 1] = [AlertKind::SoftBudget];

/// A daily budget that warns at 5 USD and refuses beyond 10.
fn daily() -> Budget {
    let alerts = BudgetAlerts {
        recipients: vec!["finance@example.com".into(), "boss@example.com".into()],
        ..BudgetAlerts::default()
    };
    Budget { soft: "5".into(), alerts: Some(alerts), ..each(PeriodKind::Daily, "team", "10") }
}

fn only(budget: Budget) -> Option<Policy> {
    policy(vec![budget], Vec::new())
}

fn fact<'a>(alert: &'a Alert, label: &str) -> &'a str {
    let found = alert.facts.iter().find(|fact| fact.label == label);
    found.map_or("", |fact| fact.value.as_str())
}

// B2
#[tokio::test]
async fn a_soft_budget_alerts_its_recipients_once_a_period_and_refuses_nothing() {
    let world = World::new().await;
    world.limit(Place::Team("default"), only(daily())).await;
    spend(&world, "k1", "a", usd("4.999999999")).await.unwrap();
    world.reserve(reserve("k1", "held", usd("1"))).await.unwrap();
    assert_eq!(world.alerts(&[]).await, Vec::new(), "what is only held doesn't count");
    spend(&world, "k1", "b", usd("0.000000001")).await.unwrap();
    spend(&world, "k1", "c", usd("1")).await.unwrap();
    spend(&world, "k1", "d", usd("2")).await.unwrap();
    let [alert] = <[Alert; 1]>::try_from(world.alerts(&[]).await).unwrap();
    assert_eq!(alert.kind(), AlertKind::SoftBudget);
    assert_eq!(alert.recipients, ["finance@example.com", "boss@example.com"]);
    assert_eq!((fact(&alert, "scope"), fact(&alert, "budget")), ("team default", "team"));
    assert_eq!((fact(&alert, "spent"), fact(&alert, "threshold")), ("5.00 USD", "5.00 USD"));
    world.advance(TO_MIDNIGHT);
    spend(&world, "k1", "e", usd("1")).await.unwrap();
    assert_eq!(world.alerts(&SOFT).await.len(), 1, "a new period begins below it");
    spend(&world, "k1", "f", usd("6")).await.unwrap();
    spend(&world, "k1", "g", usd("1")).await.unwrap();
    let alerts = world.alerts(&SOFT).await;
    let days: Vec<_> = alerts.iter().map(|alert| alert.create_time.unwrap().seconds / DAY).collect();
    assert_eq!(days, [19_676, 19_675], "the newest first");
}

// B2
#[tokio::test]
async fn a_grant_beyond_the_soft_budget_warns_and_without_a_hard_one_nothing_is_ever_refused() {
    let world = World::new().await;
    let soft_only = Budget { max: String::new(), ..daily() };
    world.limit(Place::Team("default"), only(soft_only)).await;
    assert_eq!(world.reserve(reserve("k1", "a", usd("4"))).await.unwrap().warnings.len(), 0);
    let grant = world.reserve(reserve("k1", "b", usd("2"))).await.unwrap();
    assert_eq!(grant.warnings.len(), 1, "{:?}", grant.warnings);
    for no in 0..3 {
        spend(&world, "k1", &format!("more-{no}"), usd("1000")).await.unwrap();
    }
    assert_eq!(world.alerts(&[]).await.len(), 1);
}

// B2
#[tokio::test]
async fn many_requests_that_cross_it_at_once_alert_once() {
    let world = World::new().await;
    world.limit(Place::Team("default"), only(daily())).await;
    let answers = all_at_once(20, |no| {
        let service = world.service.clone();
        let request = charge("k1", &format!("r{no}"), usd("1"));
        async move { charged(service.quota().charge(request).await.unwrap().into_inner()).is_ok() }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|granted| *granted).count(), 10);
    let kinds: Vec<_> = world.alerts(&[]).await.iter().map(Alert::kind).collect();
    assert_eq!(kinds, [AlertKind::BudgetReached, AlertKind::SoftBudget], "and the hard one once");
}

// B2
#[tokio::test]
async fn thresholds_in_amounts_and_shares_alert_one_by_one() {
    let world = World::new().await;
    let alerts = BudgetAlerts { thresholds: vec!["80%".into(), "9".into()], recipients: Vec::new() };
    let budget = Budget { alerts: Some(alerts), ..each(PeriodKind::Monthly, "month", "10") };
    world.limit(Place::Key("k1"), only(budget)).await;
    let mut told = Vec::new();
    for (no, cost) in ["7.99", "0.01", "0.5", "0.5", "1"].into_iter().enumerate() {
        spend(&world, "k1", &format!("r{no}"), usd(cost)).await.unwrap();
        let alerts = world.alerts(&[]).await;
        told.push(alerts.iter().map(|alert| fact(alert, "threshold").to_owned()).collect::<Vec<_>>());
    }
    let (share, amount, hard) = ("8.00 USD", "9.00 USD", "10.00 USD");
    assert_eq!(told, [vec![], vec![share], vec![share], vec![amount, share], vec![hard, amount, share]]);
}

// B2
#[tokio::test]
async fn a_soft_budget_without_recipients_tells_those_who_look_after_money() {
    let world = World::new().await;
    for (id, role) in [
        ("olga", Role::Owner),
        ("adam", Role::Admin),
        ("finn", Role::FinanceAdmin),
        ("dev", Role::Developer),
        ("ben", Role::Basic),
    ] {
        world.person(id, role).await;
    }
    spend(&world, "k1", "a", usd("3")).await.unwrap();
    let soft = |id: &str, soft: &str| Budget { soft: soft.into(), ..budget(id, "10") };
    world.limit(Place::Team("default"), only(soft("team", "2"))).await;
    assert_eq!(world.alerts(&[]).await, Vec::new(), "a new budget begins at zero");
    spend(&world, "k1", "b", usd("2")).await.unwrap();
    let told = |alert: &Alert| alert.recipients.iter().cloned().collect::<BTreeSet<_>>();
    let chosen = ["olga@example.com", "adam@example.com", "finn@example.com"].map(String::from);
    assert_eq!(told(&world.alerts(&SOFT).await[0]), BTreeSet::from(chosen));
    let settings = proto::AlertSettings {
        organization_id: ACME.into(),
        recipients: vec!["desk@example.com".into()],
        ..Default::default()
    };
    let update = proto::UpdateAlertSettingsRequest {
        settings: Some(settings),
        update_mask: crate::messages::mask(&["recipients"]),
    };
    outcome(world.operator.alerts().update_alert_settings(update).await).unwrap();
    world.limit(Place::Team("default"), only(soft("team", "1.5"))).await;
    let alerts = world.alerts(&SOFT).await;
    assert_eq!((alerts.len(), fact(&alerts[0], "threshold")), (2, "1.50 USD"), "set below what is spent: at once");
    assert_eq!(alerts[0].recipients, ["desk@example.com"]);
}

// B8
#[tokio::test]
async fn without_a_mail_server_an_alert_is_kept_listed_and_marked_undelivered() {
    let mut world = World::new().await;
    world.limit(Place::Team("default"), only(daily())).await;
    spend(&world, "k1", "a", usd("5")).await.unwrap();
    let [alert] = <[Alert; 1]>::try_from(world.tried_alerts(&SOFT).await).unwrap();
    let mail = alert.mail.clone().unwrap();
    assert_eq!((alert.state(), mail.state()), (AlertState::Undeliverable, AlertState::Undeliverable));
    assert!(mail.problem.contains("smtp_host"), "says the way out: {}", mail.problem);
    assert_eq!((mail.deliver_time, alert.recipients.len()), (None, 2));
    let list = |states: Vec<AlertState>| proto::ListAlertsRequest {
        organization_id: ACME.into(),
        states: states.into_iter().map(i32::from).collect(),
        unacknowledged: true,
        ..Default::default()
    };
    let listed =
        async |world: &World, states| outcome(world.operator.alerts().list_alerts(list(states)).await).unwrap().alerts;
    world.restart().await;
    assert_eq!(listed(&world, vec![AlertState::Undeliverable]).await, std::slice::from_ref(&alert));
    assert_eq!(listed(&world, vec![AlertState::Delivered, AlertState::Pending]).await, Vec::new());
    let seen = proto::AcknowledgeAlertRequest { organization_id: ACME.into(), alert_id: alert.id.clone() };
    let seen = outcome(world.operator.alerts().acknowledge_alert(seen).await).unwrap().alert.unwrap();
    assert_eq!(seen.acknowledged_by, "operator");
    assert_eq!(listed(&world, Vec::new()).await, Vec::new());
    assert_eq!(world.alerts(&SOFT).await, [seen], "kept for good");
}

// B8
#[tokio::test]
async fn with_a_mail_server_that_cannot_be_reached_an_alert_waits_for_another_attempt() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = World::start(WalletMode::Off, |settings| {
        settings.smtp = Some(SmtpSettings {
            host: "127.0.0.1".into(),
            port,
            tls: SmtpTls::Plain,
            ca_file: None,
            user: None,
            password: None,
            from: "quotad@example.com".into(),
            timeout: Duration::from_secs(5),
        });
    })
    .await;
    world.limit(Place::Team("default"), only(daily())).await;
    spend(&world, "k1", "a", usd("5")).await.unwrap();
    let [alert] = <[Alert; 1]>::try_from(world.tried_alerts(&SOFT).await).unwrap();
    let mail = alert.mail.clone().unwrap();
    assert_eq!((alert.state(), mail.attempts), (AlertState::Pending, 1));
    assert!(mail.next_attempt_time.unwrap().seconds > alert.create_time.unwrap().seconds);
    assert!(!mail.problem.is_empty());
    spend(&world, "k1", "b", usd("1")).await.unwrap();
}
