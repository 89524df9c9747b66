//! B2 and B8: alerts by mail, over a real SMTP server in every mood: none is lost, none is sent twice to whoever has it.

use quotad::{
    api::proto::{AlertKind, AlertSettings, AlertState, Budget, BudgetAlerts, PeriodKind, Policy, Role, WalletMode},
    notify::SmtpTls,
};

use crate::{
    alerts::{configure, ended, fact, find, list, send_test, tried},
    messages::{budget, charge, period, policy, reserve, usd},
    notify::{Letter, MailServer, Mood},
    people::{joins, until},
    world::{Place, START, World},
};

async fn mailing(server: &MailServer) -> World {
    World::start(WalletMode::Off, |settings| settings.smtp = Some(server.settings())).await
}

/// Of 1 USD a day, which tells two people.
fn soft() -> Option<Policy> {
    let recipients = vec!["ops@example.com".to_owned(), "cfo@example.com".to_owned()];
    let alerts = Some(BudgetAlerts { thresholds: Vec::new(), recipients });
    let soft = Budget {
        max: String::new(),
        soft: "1".into(),
        period: period(PeriodKind::Daily),
        alerts,
        ..budget("soft", "")
    };
    policy(vec![soft], Vec::new())
}

fn recipients(letters: &[Letter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.to.as_str()).collect()
}

// B2
#[tokio::test]
async fn a_soft_team_budget_mails_its_recipients_once_a_period_and_refuses_nothing() {
    let mut server = MailServer::start(Mood::Sound).await;
    let world = mailing(&server).await;
    world.limit(Place::Team("default"), soft()).await;
    world.charge(charge("k1", "c1", usd("0.9"))).await.unwrap().unwrap();
    assert_eq!(list(&world, &[]).await, []);
    for no in 0..3 {
        world.charge(charge("k1", &format!("d{no}"), usd("5"))).await.unwrap().unwrap();
    }
    let [told] = list(&world, &[AlertKind::SoftBudget]).await.try_into().unwrap();
    assert_eq!(told.recipients, ["ops@example.com", "cfo@example.com"]);
    assert_eq!((fact(&told, "scope"), fact(&told, "spent")), ("team default", "5.90 USD"));
    let delivered = ended(&world, &told.id).await;
    assert_eq!(
        (delivered.state(), delivered.mail.unwrap().deliver_time.unwrap().seconds),
        (AlertState::Delivered, START)
    );
    let letters = [server.letter().await, server.letter().await];
    assert_eq!(recipients(&letters), ["ops@example.com", "cfo@example.com"]);
    let letter = &letters[0];
    assert_eq!(
        (letter.fact("budget"), letter.fact("spent"), letter.fact("threshold")),
        ("soft", "5.90 USD", "1.00 USD")
    );
    assert!(letter.subject.contains("team default") && letter.html.contains("<td>5.90 USD</td>"), "{letter:?}");
    // 2023-11-15T00:00:00Z
    world.advance(1_700_006_400 - START);
    world.charge(charge("k1", "e1", usd("1"))).await.unwrap().unwrap();
    let next = [server.letter().await, server.letter().await];
    assert_eq!(next[0].fact("spent"), "1.00 USD", "of the new day");
    assert_ne!(next[0].id, letters[0].id);
    let told = list(&world, &[]).await;
    assert_eq!(told.len(), 2, "{told:?}");
    ended(&world, &told[0].id).await;
    assert_eq!(server.letters(), []);
}

// B8
#[tokio::test]
async fn mail_goes_encrypted_and_logged_in_where_it_is_so_configured() {
    for tls in [SmtpTls::StartTls, SmtpTls::Tls] {
        let mut server = MailServer::encrypted(tls, Mood::Sound).await;
        let world = mailing(&server).await;
        let id = send_test(&world, &["ops@example.com"]).await;
        let letter = server.letter().await;
        assert_eq!((letter.to.as_str(), letter.fact("asked for by")), ("ops@example.com", "operator"));
        assert_eq!(ended(&world, &id).await.state(), AlertState::Delivered);
        assert_eq!((server.heard("AUTH"), server.heard("STARTTLS")), (1, usize::from(tls == SmtpTls::StartTls)));
    }
}

// B8
#[tokio::test]
async fn without_a_mail_server_an_alert_is_kept_listed_and_marked_undeliverable() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    world.limit(Place::Team("default"), soft()).await;
    world.charge(charge("k1", "c1", usd("2"))).await.unwrap().unwrap();
    let [told] = list(&world, &[AlertKind::SoftBudget]).await.try_into().unwrap();
    let kept = ended(&world, &told.id).await;
    assert_eq!(kept.state(), AlertState::Undeliverable);
    assert!(kept.mail.as_ref().unwrap().problem.contains("smtp_host"), "it says what to do: {kept:?}");
    world.restart().await;
    assert_eq!(list(&world, &[]).await, [kept]);
}

// B8
#[tokio::test]
async fn an_alert_for_nobody_is_kept_and_says_so() {
    let server = MailServer::start(Mood::Sound).await;
    let world = mailing(&server).await;
    joins(&world, "dev", Role::Developer).await;
    let id = send_test(&world, &[]).await;
    let kept = find(&world, &id).await;
    assert_eq!((kept.state(), kept.recipients.as_slice()), (AlertState::Undeliverable, [].as_slice()));
    assert!(kept.mail.unwrap().problem.contains("nobody"));
}

// B8
#[tokio::test]
async fn recipients_are_those_that_are_set_or_else_who_looks_after_the_money() {
    let mut server = MailServer::start(Mood::Sound).await;
    let world = mailing(&server).await;
    crate::people::everybody(&world).await;
    send_test(&world, &[]).await;
    let mut letters = Vec::new();
    for _ in 0..3 {
        letters.push(server.letter().await);
    }
    assert_eq!(recipients(&letters), ["owner@example.com", "admin@example.com", "finance@example.com"]);
    let settings = AlertSettings { recipients: vec!["ops@example.com".into()], ..AlertSettings::default() };
    configure(&world.operator, settings, &["recipients"]).await.unwrap();
    let id = send_test(&world, &[]).await;
    ended(&world, &id).await;
    assert_eq!(recipients(&server.letters()), ["ops@example.com"]);
}

// B8
#[tokio::test]
async fn a_recipient_who_is_refused_for_good_fails_with_the_servers_words_and_costs_the_others_nothing() {
    let mut server = MailServer::start(Mood::Unknown("gone@")).await;
    let world = mailing(&server).await;
    let id = send_test(&world, &["gone@example.com", "ops@example.com"]).await;
    let failed = ended(&world, &id).await;
    assert_eq!(failed.state(), AlertState::Failed);
    let problem = failed.mail.unwrap().problem;
    assert!(problem.contains("gone@example.com") && problem.contains("no such user"), "{problem}");
    let tenant = crate::people::joins(&world, "olga", quotad::api::proto::Role::Owner).await;
    let asked = quotad::api::proto::GetAlertRequest { organization_id: crate::world::ACME.into(), alert_id: id };
    let told = tenant.alerts().get_alert(asked).await.unwrap().into_inner().alert.unwrap().mail.unwrap().problem;
    assert!(told.contains("the operator") && !told.contains("user"), "{told}");
    assert_eq!(recipients(&server.letters()), ["ops@example.com"]);
    world.advance(86_400);
    let id = send_test(&world, &["ops@example.com"]).await;
    ended(&world, &id).await;
    assert_eq!(recipients(&server.letters()), ["ops@example.com"], "nobody is written to again");
}

// B8
#[tokio::test]
async fn a_server_that_is_down_and_returns_gets_what_waited_also_over_a_restart() {
    let mut server = MailServer::start(Mood::Busy).await;
    let mut world = mailing(&server).await;
    let id = send_test(&world, &["ops@example.com"]).await;
    let waiting = tried(&world, &id, 1).await;
    let mail = waiting.mail.clone().unwrap();
    assert_eq!((waiting.state(), mail.next_attempt_time.unwrap().seconds), (AlertState::Pending, START + 30));
    assert!(mail.problem.contains("come back later"), "{mail:?}");
    world.restart().await;
    assert_eq!(find(&world, &id).await, waiting, "as it was");
    world.advance(29);
    assert_eq!(find(&world, &id).await, waiting);
    world.advance(1);
    let again = tried(&world, &id, 2).await;
    assert_eq!(again.mail.unwrap().next_attempt_time.unwrap().seconds, START + 90, "it waits twice as long");
    server.becomes(Mood::Sound);
    world.restart().await;
    world.advance(60);
    let delivered = ended(&world, &id).await;
    assert_eq!(
        (delivered.state(), delivered.mail.unwrap().deliver_time.unwrap().seconds),
        (AlertState::Delivered, START + 90)
    );
    assert_eq!(recipients(&server.letters()), ["ops@example.com"]);
}

// B8
#[tokio::test]
async fn a_server_that_hangs_holds_up_no_decision_and_gets_it_later() {
    let mut server = MailServer::start(Mood::Hangs).await;
    let world = mailing(&server).await;
    world.limit(Place::Team("default"), soft()).await;
    world.charge(charge("k1", "c1", usd("2"))).await.unwrap().unwrap();
    let [told] = list(&world, &[]).await.try_into().unwrap();
    for no in 0..50 {
        world.reserve(reserve("k1", &format!("r{no}"), usd("1"))).await.unwrap();
    }
    assert_eq!(find(&world, &told.id).await.mail.unwrap().attempts, 0, "while it hangs, others are served");
    let waiting = tried(&world, &told.id, 1).await.mail.unwrap();
    assert!(waiting.problem.contains("within"), "{waiting:?}");
    server.becomes(Mood::Sound);
    world.advance(30);
    assert_eq!(ended(&world, &told.id).await.state(), AlertState::Delivered);
    assert_eq!(recipients(&server.letters()), ["ops@example.com", "cfo@example.com"]);
}

// B8
#[tokio::test]
async fn only_those_who_have_not_got_it_are_written_to_again() {
    let mut server = MailServer::start(Mood::Full("cfo@")).await;
    let mut world = mailing(&server).await;
    let id = send_test(&world, &["ops@example.com", "cfo@example.com", "cto@example.com"]).await;
    tried(&world, &id, 1).await;
    assert_eq!(recipients(&server.letters()), ["ops@example.com", "cto@example.com"]);
    server.becomes(Mood::Sound);
    world.restart().await;
    world.advance(30);
    assert_eq!(ended(&world, &id).await.state(), AlertState::Delivered);
    assert_eq!(recipients(&server.letters()), ["cfo@example.com"]);
}

// B8
#[tokio::test]
async fn what_was_not_delivered_before_a_stop_is_delivered_after_it() {
    let mut server = MailServer::start(Mood::Hangs).await;
    let mut world = mailing(&server).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(send_test(&world, &["ops@example.com"]).await);
    }
    // Stopped in the middle of an attempt, of which nothing is known then.
    server.becomes(Mood::Sound);
    world.restart().await;
    world.advance(30);
    for id in &ids {
        assert_eq!(ended(&world, id).await.state(), AlertState::Delivered);
    }
    let mut letters = server.letters();
    letters.dedup_by(|one, other| one.id == other.id);
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert_eq!(list(&world, &[]).await.len(), 3);
}

/// Once a mail is out, or waits because there were so many.
async fn settled(world: &World, id: &str) {
    until("a mail that left or waits", async || {
        let alert = find(world, id).await;
        let waits = alert.mail.as_ref().is_some_and(|mail| mail.problem.starts_with("waits"));
        (waits || alert.state() != AlertState::Pending).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_gets_so_many_mails_an_hour_and_those_beyond_in_one() {
    let mut server = MailServer::start(Mood::Sound).await;
    let smtp = server.settings();
    let mut world = World::start(WalletMode::Off, |settings| {
        settings.smtp = Some(smtp);
        settings.bounds.mails_per_address = 3;
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(send_test(&world, &["ops@example.com"]).await);
    }
    for id in &ids {
        settled(&world, id).await;
    }
    let first = server.letters().len();
    assert!((1..=3).contains(&first), "{first}");
    let other = send_test(&world, &["cfo@example.com"]).await;
    ended(&world, &other).await;
    assert_eq!(recipients(&server.letters()), ["cfo@example.com"], "others get theirs");
    world.restart().await;
    ids.push(send_test(&world, &["OPS@example.com"]).await);
    settled(&world, &ids[8]).await;
    assert_eq!(server.letters(), [], "what went out before a restart counts");
    world.advance(3600);
    for id in &ids {
        assert_eq!(ended(&world, id).await.state(), AlertState::Delivered);
    }
    let second = server.letters();
    assert!((1..=3).contains(&second.len()) && first + second.len() < ids.len(), "{first} and {second:?}");
}
