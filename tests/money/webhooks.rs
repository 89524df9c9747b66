//! Alerts by webhook: signed as Standard Webhooks says, which is checked by another implementation, and repeated until taken.

use quotad::api::proto::{AlertSettings, AlertState, GetAlertSettingsRequest, Role, WalletMode};
use serde_json::json;
use tonic::Code;

use crate::{
    alerts::{configure, ended, find, send_test, tried},
    messages::failed,
    notify::{MailServer, Mood},
    people::joins,
    receiver::{Receiver, SECRET},
    world::{ACME, START, World},
};

/// A world whose alerts go to the receiver; answers the secret that was minted for it.
async fn posting(receiver: &Receiver) -> (World, String) {
    let world = World::start(WalletMode::Off, |_| {}).await;
    let secret = set_url(&world, &receiver.url).await;
    (world, secret)
}

async fn set_url(world: &World, url: &str) -> String {
    let settings = AlertSettings { webhook_url: url.into(), ..AlertSettings::default() };
    configure(&world.operator, settings, &["webhook_url"]).await.unwrap().minted_webhook_secret
}

// B2
#[tokio::test]
async fn an_alert_is_posted_with_a_signature_that_another_implementation_verifies() {
    let mut receiver = Receiver::start(Some("204 No Content")).await;
    let (world, secret) = posting(&receiver).await;
    let id = send_test(&world, &[]).await;
    let post = receiver.post().await;
    let expected = json!({
        "type": "alert.test",
        "timestamp": "2023-11-14T22:13:20Z",
        "data": {
            "organization_id": ACME,
            "id": id,
            "subject": find(&world, &id).await.subject,
            "facts": {"asked for by": "operator"},
        },
    });
    assert_eq!(post.verified(&secret), expected);
    assert_eq!((post.id, post.timestamp), (format!("acme.{id}"), START));
    let delivered = ended(&world, &id).await;
    assert_eq!(delivered.state(), AlertState::Delivered, "by one channel at least");
    assert_eq!(delivered.webhook.unwrap().state(), AlertState::Delivered);
    assert_eq!(delivered.mail.unwrap().state(), AlertState::Undeliverable, "there is nobody to write to");
}

// B2
#[tokio::test]
async fn a_receiver_that_fails_gets_the_same_message_again_freshly_signed_also_over_a_restart() {
    let mut receiver = Receiver::start(Some("500 Internal Server Error")).await;
    let (mut world, secret) = posting(&receiver).await;
    let id = send_test(&world, &[]).await;
    let first = receiver.post().await;
    let waiting = tried(&world, &id, 1).await;
    assert_eq!(waiting.state(), AlertState::Pending);
    let problem = waiting.webhook.unwrap().problem;
    assert!(problem.contains("couldn't be reached or didn't take it") && !problem.contains("500"), "{problem}");
    receiver.answers(Some("200 OK"));
    world.restart().await;
    world.advance(30);
    let second = receiver.post().await;
    assert_eq!((&second.id, second.timestamp), (&first.id, START + 30));
    assert_eq!(first.verified(&secret), second.verified(&secret));
    assert_eq!(ended(&world, &id).await.state(), AlertState::Delivered);
}

// B8
#[tokio::test]
async fn one_channel_that_fails_for_good_holds_up_no_other() {
    let mut server = MailServer::start(Mood::Sound).await;
    let mut receiver = Receiver::start(Some("410 Gone")).await;
    let world = World::start(WalletMode::Off, |settings| settings.smtp = Some(server.settings())).await;
    set_url(&world, &receiver.url).await;
    let id = send_test(&world, &["ops@example.com"]).await;
    let done = ended(&world, &id).await;
    let channels = (done.state(), done.mail.unwrap().state(), done.webhook.unwrap().state());
    assert_eq!(channels, (AlertState::Delivered, AlertState::Delivered, AlertState::Failed));
    assert_eq!((server.letters().len(), receiver.posts().len()), (1, 1));
    world.advance(86_400);
    let id = send_test(&world, &["ops@example.com"]).await;
    ended(&world, &id).await;
    assert_eq!((server.letters().len(), receiver.posts().len()), (1, 1), "the first isn't tried again");
}

// B8
#[tokio::test]
async fn a_webhook_that_was_removed_gets_nothing_more() {
    let mut receiver = Receiver::start(Some("503 Service Unavailable")).await;
    let (world, _) = posting(&receiver).await;
    let id = send_test(&world, &[]).await;
    receiver.post().await;
    tried(&world, &id, 1).await;
    set_url(&world, "").await;
    world.advance(30);
    assert_eq!(ended(&world, &id).await.state(), AlertState::Undeliverable);
    let after = send_test(&world, &[]).await;
    assert_eq!(find(&world, &after).await.webhook, None);
    assert_eq!(receiver.posts().len(), 0);
}

// B8
#[tokio::test]
async fn a_webhooks_secret_is_given_or_minted_told_once_and_changed_with_the_url() {
    let mut receiver = Receiver::start(Some("200 OK")).await;
    let (world, minted) = posting(&receiver).await;
    assert!(minted.starts_with("whsec_"));
    assert_eq!(set_url(&world, &receiver.url).await, "", "the same URL keeps its secret");
    send_test(&world, &[]).await;
    receiver.post().await.verified(&minted);
    let asked = GetAlertSettingsRequest { organization_id: ACME.into() };
    let told = world.operator.alerts().get_alert_settings(asked).await.unwrap().into_inner().settings.unwrap();
    assert_eq!((told.webhook_url.as_str(), told.webhook_secret.as_str()), (receiver.url.as_str(), ""));
    let own = AlertSettings { webhook_secret: SECRET.into(), ..AlertSettings::default() };
    assert_eq!(configure(&world.operator, own, &["webhook_secret"]).await.unwrap().minted_webhook_secret, "");
    send_test(&world, &[]).await;
    receiver.post().await.verified(SECRET);
    let moved = set_url(&world, &format!("{}/moved", receiver.url)).await;
    assert!(moved.starts_with("whsec_") && moved != minted);
    send_test(&world, &[]).await;
    receiver.post().await.verified(&moved);
}

// B8
#[tokio::test]
async fn settings_that_could_reach_nobody_are_refused_and_change_nothing() {
    let world = World::start(WalletMode::Off, |_| {}).await;
    let fin = joins(&world, "fin", Role::FinanceAdmin).await;
    let with = |url: &str, secret: &str, recipient: &str, low: &str| AlertSettings {
        webhook_url: url.into(),
        webhook_secret: secret.into(),
        recipients: vec![recipient.into()],
        low_balance_usd: low.into(),
        ..AlertSettings::default()
    };
    let wrong = [
        ("webhook_url", with("ftp://example.com", "", "", "")),
        ("webhook_url", with("example.com/hook", "", "", "")),
        ("webhook_secret", with("", "whsec_short", "", "")),
        ("webhook_secret", with("", SECRET, "", "")),
        ("recipients", with("", "", "nobody", "")),
        ("recipients", with("", "", "a@b@c", "")),
        ("low_balance_usd", with("", "", "", "-1")),
        ("etag", with("", "", "", "")),
    ];
    for (field, settings) in wrong {
        let refused = configure(&fin, settings.clone(), &[field]).await.unwrap_err();
        assert_eq!(refused, failed(Code::InvalidArgument, "INVALID_ARGUMENT"), "{settings:?}");
    }
    let asked = GetAlertSettingsRequest { organization_id: ACME.into() };
    let told = fin.alerts().get_alert_settings(asked).await.unwrap().into_inner().settings.unwrap();
    assert_eq!(told, AlertSettings { organization_id: ACME.into(), ..AlertSettings::default() });
}
