//! A payment provider behind webhooks: orders go out signed, what became of them comes back signed. Both are checked here by
//! an implementation of the signature that isn't the server's.

use std::time::Duration;

use quotad::{
    api::proto::{AlertKind, ConfirmPaymentRequest, PaymentOutcome, Role, TopUpOrder, TopUpState, WalletMode},
    client::Connection,
    config::PaymentSettings,
    notify::{SmtpSettings, WebhookSecret},
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    alerts,
    messages::{Failure, charge, failed, failure, usd},
    notify::{MailServer, Mood},
    payments::{auto, automatic, balance, decide, find, method, order, pending, pending_by_card, switch_on_by_card},
    people::{joins, until},
    receiver::{Receiver, SECRET, sign},
    world::{ACME, START, World},
};

/// An empty wallet, and orders that go to the receiver.
pub(crate) async fn world(provider: &Receiver) -> World {
    let (url, secret) = (provider.url.clone(), WebhookSecret::parse("secret", SECRET).unwrap());
    World::start(WalletMode::Enforced, |settings| settings.payments = Some(PaymentSettings { url: url.into(), secret }))
        .await
}

/// What the provider says of an order, signed at that time.
pub(crate) fn said(order: &str, outcome: &str, timestamp: i64) -> ConfirmPaymentRequest {
    let body = json!({
        "organization_id": ACME, "order_id": order, "outcome": outcome, "reference": "pay_1", "reason": "no funds",
    });
    signed(body.to_string().as_bytes(), timestamp)
}

fn signed(payload: &[u8], timestamp: i64) -> ConfirmPaymentRequest {
    ConfirmPaymentRequest {
        payload: payload.to_vec(),
        webhook_id: "evt_1".into(),
        webhook_timestamp: timestamp.to_string(),
        webhook_signature: sign(SECRET, "evt_1", timestamp, payload),
    }
}

pub(crate) async fn confirm(by: &Connection, confirmation: ConfirmPaymentRequest) -> Result<TopUpOrder, Failure> {
    let answer = by.wallets().confirm_payment(confirmation).await;
    answer.map(|answer| answer.into_inner().order.unwrap()).map_err(|status| failure(&status))
}

// E2
#[tokio::test]
async fn an_order_goes_out_signed_and_its_confirmation_credits() {
    let mut provider = Receiver::start(Some("202 Accepted")).await;
    let world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Developer).await;
    let own = method(&ann, "Visa …4242", "tok_4242").await.unwrap();
    let id = order(&ann, "o1", "12.5", &own).await.unwrap().order.unwrap().id;
    let post = provider.post().await;
    let expected = json!({
        "type": "top_up.ordered",
        "timestamp": "2023-11-14T22:13:20Z",
        "data": {
            "idempotency_key": format!("acme.{id}"),
            "organization_id": ACME,
            "order_id": id,
            "amount": "12.5",
            "currency": "USD",
            "payment_method": "tok_4242",
            "ordered_by": "member:ann",
        },
    });
    assert_eq!(post.verified(SECRET), expected);
    assert_eq!((post.id, post.timestamp), (format!("acme.{id}"), START));
    assert_eq!(find(&world, &id).await.state(), TopUpState::Pending);
    for _ in 0..2 {
        let settled = confirm(&world.service, said(&id, "settled", START)).await.unwrap();
        assert_eq!((settled.state(), settled.provider_reference.as_str()), (TopUpState::Settled, "pay_1"));
    }
    assert_eq!(balance(&ann, ACME).await.unwrap(), "12.5");
    assert_eq!(world.ledger().await.transactions.len(), 1);
    world.verify().await;
}

// E2
#[tokio::test]
async fn a_confirmation_that_is_not_the_providers_is_refused_and_credits_nothing() {
    let provider = Receiver::start(Some("200 OK")).await;
    let world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    let sound = said(&id, "settled", START);
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let larger = String::from_utf8(sound.payload.clone()).unwrap().replace("acme", "acne").into_bytes();
    let forged = [
        ConfirmPaymentRequest { webhook_signature: sign(other, "evt_1", START, &sound.payload), ..sound.clone() },
        ConfirmPaymentRequest { webhook_signature: String::new(), ..sound.clone() },
        ConfirmPaymentRequest { webhook_signature: sound.webhook_signature[3..].to_owned(), ..sound.clone() },
        ConfirmPaymentRequest { webhook_id: "evt_2".into(), ..sound.clone() },
        ConfirmPaymentRequest { webhook_timestamp: (START + 1).to_string(), ..sound.clone() },
        ConfirmPaymentRequest { payload: larger, ..sound.clone() },
        said(&id, "settled", START - 301),
        said(&id, "settled", START + 301),
    ];
    for confirmation in forged {
        let refused = confirm(&world.service, confirmation.clone()).await.unwrap_err();
        assert_eq!(refused, failed(Code::PermissionDenied, "PERMISSION_DENIED"), "{confirmation:?}");
    }
    assert_eq!(confirm(&ann, sound.clone()).await.unwrap_err().0, Code::PermissionDenied, "not by a member");
    assert_eq!(
        (find(&world, &id).await.state(), balance(&ann, ACME).await.unwrap().as_str()),
        (TopUpState::Pending, "0")
    );
    // Before it is too old it was fine.
    world.advance(300);
    confirm(&world.service, sound).await.unwrap();
    assert_eq!(balance(&ann, ACME).await.unwrap(), "20");
}

// E2
#[tokio::test]
async fn a_signed_payload_that_says_nothing_sensible_is_refused_by_its_field() {
    let provider = Receiver::start(Some("200 OK")).await;
    let world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    let wrong: [(Value, Code); 7] = [
        (json!("settled"), Code::InvalidArgument),
        (json!({"order_id": id, "outcome": "settled"}), Code::InvalidArgument),
        (json!({"organization_id": ACME, "order_id": id, "outcome": "paid"}), Code::InvalidArgument),
        (json!({"organization_id": "a b", "order_id": id, "outcome": "settled"}), Code::InvalidArgument),
        (json!({"organization_id": ACME, "order_id": "order-0", "outcome": "settled"}), Code::NotFound),
        (json!({"organization_id": "nobody", "order_id": id, "outcome": "settled"}), Code::NotFound),
        (json!({"organization_id": ACME, "order_id": id, "outcome": "reversed"}), Code::FailedPrecondition),
    ];
    for (payload, code) in wrong {
        for by in [&world.service, &world.operator] {
            let refused = confirm(by, signed(payload.to_string().as_bytes(), START)).await.unwrap_err();
            assert_eq!(refused.0, code, "{payload}");
        }
    }
    let no_time = ConfirmPaymentRequest { webhook_timestamp: "now".into(), ..said(&id, "settled", START) };
    assert_eq!(confirm(&world.service, no_time).await.unwrap_err().0, Code::InvalidArgument);
    assert_eq!(
        (find(&world, &id).await.state(), balance(&ann, ACME).await.unwrap().as_str()),
        (TopUpState::Pending, "0")
    );
}

// E7
#[tokio::test]
async fn what_the_provider_declines_and_reverses_is_done_as_if_the_operator_said_so() {
    let mut provider = Receiver::start(Some("200 OK")).await;
    let world = world(&provider).await;
    let first = switch_on_by_card(&world, "5", "10", "").await.pending_order_id;
    provider.post().await.verified(SECRET);
    let declined = confirm(&world.service, said(&first, "soft_declined", START)).await.unwrap();
    assert_eq!((declined.state(), declined.failure.as_str()), (TopUpState::Failed, "no funds"));
    world.advance(3600);
    world.charge(charge("k1", "c1", usd("1"))).await.unwrap().unwrap_err();
    let second = provider.post().await.verified(SECRET)["data"]["order_id"].as_str().unwrap().to_owned();
    assert_eq!(auto(&world).await.pending_order_id, second);
    confirm(&world.service, said(&second, "settled", START + 3600)).await.unwrap();
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "10");
    confirm(&world.service, said(&second, "reversed", START + 3600)).await.unwrap();
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "0");
    world.charge(charge("k1", "c2", usd("1"))).await.unwrap().unwrap_err();
    let third = auto(&world).await.pending_order_id;
    confirm(&world.service, said(&third, "hard_declined", START + 3600)).await.unwrap();
    let off = auto(&world).await;
    assert_eq!((off.enabled, off.disabled_reason.as_str()), (false, "no funds"));
    world.verify().await;
}

// E7
#[tokio::test]
async fn a_provider_that_fails_is_asked_again_for_the_same_payment() {
    let mut provider = Receiver::start(Some("503 Service Unavailable")).await;
    let mut world = world(&provider).await;
    let id = switch_on_by_card(&world, "5", "10", "").await.pending_order_id;
    let first = provider.post().await;
    let second = provider.post_after(|| world.advance(10)).await;
    assert_eq!((first.id.as_str(), second.id.as_str()), (format!("acme.{id}").as_str(), first.id.as_str()));
    assert!(first.timestamp == START && second.timestamp >= START + 30, "it waits, and the signature is fresh");
    second.verified(SECRET);
    provider.answers(Some("200 OK"));
    world.restart().await;
    let third = provider.post().await;
    assert_eq!(third.verified(SECRET)["data"]["idempotency_key"], first.id);
    confirm(&world.service, said(&id, "settled", third.timestamp)).await.unwrap();
    world.advance(86_400);
    // Whatever is due goes out in order: had the order still been due, it would have come before this one.
    world.charge(charge("k1", "c1", usd("9"))).await.unwrap().unwrap();
    assert_ne!(provider.post().await.id, first.id);
    assert_eq!(automatic(&world).await.len(), 2);
}

// E7
#[tokio::test]
async fn an_order_that_the_provider_never_answers_stays_the_only_one_of_its_shortfall() {
    let mut provider = Receiver::start(Some("503 Service Unavailable")).await;
    let world = world(&provider).await;
    let id = switch_on_by_card(&world, "5", "10", "10").await.pending_order_id;
    provider.post().await.verified(SECRET);
    for attempt in 0..33 {
        // The last attempt may not be over yet when the hour has passed.
        let again = loop {
            world.advance(3600);
            // Has what is due looked for at once.
            alerts::send_test(&world, &["ops@example.com"]).await;
            if let Some(again) = provider.post_soon().await {
                break again;
            }
        };
        assert_eq!(again.id, format!("acme.{id}"), "after {attempt} more");
        world.charge(charge("k1", &format!("c{attempt}"), usd("1"))).await.unwrap().unwrap_err();
    }
    assert_eq!((automatic(&world).await.len(), find(&world, &id).await.state()), (1, TopUpState::Pending));
    let told = alerts::list(&world, &[AlertKind::TopUpFailed]).await;
    assert!(told.len() >= 2 && told.iter().all(|alert| alert.subject.contains("doesn't take")), "daily: {told:?}");
    let problems = told.iter().flat_map(|alert| &alert.facts).filter(|fact| fact.label == "problem");
    assert!(problems.into_iter().all(|fact| fact.value.contains("operator's log")), "not how it failed: {told:?}");
    // It had taken the first, and only its answer was lost.
    decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
    assert_eq!((automatic(&world).await.len(), balance(&world.operator, ACME).await.unwrap().as_str()), (1, "10"));
    assert!(auto(&world).await.enabled);
}

// E7
#[tokio::test]
async fn a_provider_that_refuses_an_order_fails_it_and_switches_automatic_top_up_off() {
    let mut provider = Receiver::start(Some("422 Unprocessable Entity")).await;
    let world = world(&provider).await;
    let id = switch_on_by_card(&world, "5", "10", "").await.pending_order_id;
    provider.post().await.verified(SECRET);
    let failed = until("the order's end", async || {
        let order = find(&world, &id).await;
        (order.state() == TopUpState::Failed).then_some(order)
    })
    .await;
    assert!(failed.failure.contains("refused the order") && !failed.failure.contains("422"), "{failed:?}");
    assert!(!auto(&world).await.enabled);
    assert_eq!(alerts::list(&world, &[AlertKind::AutoTopUpDisabled]).await.len(), 1);
}

// E2
#[tokio::test]
async fn a_confirmation_may_come_before_the_provider_has_answered_the_order() {
    let mut provider = Receiver::start(None).await;
    let world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    let first = provider.post().await;
    confirm(&world.service, said(&id, "settled", START)).await.unwrap();
    assert_eq!(balance(&ann, ACME).await.unwrap(), "20");
    // Even an answer that would have been a refusal changes nothing any more.
    provider.answers(Some("400 Bad Request"));
    let next = pending_by_card(&ann, "o2", "30").await;
    assert_ne!(provider.post().await.id, first.id);
    until("the other order's end", async || (find(&world, &next).await.state() == TopUpState::Failed).then_some(()))
        .await;
    assert_eq!(find(&world, &id).await.state(), TopUpState::Settled);
    assert_eq!(balance(&ann, ACME).await.unwrap(), "20");
}

// E2
#[tokio::test]
async fn without_a_provider_nothing_signed_is_believed() {
    let world = World::start(WalletMode::Enforced, |_| {}).await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let id = pending(&ann, "o1", "20").await;
    let refused = confirm(&world.service, said(&id, "settled", START)).await.unwrap_err();
    assert_eq!(refused, failed(Code::FailedPrecondition, "FAILED_PRECONDITION"));
    decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
}

// E7
#[tokio::test]
async fn an_order_does_not_wait_for_mail_that_hangs() {
    let server = MailServer::start(Mood::Hangs).await;
    let mut provider = Receiver::start(Some("200 OK")).await;
    let (url, secret) = (provider.url.clone(), WebhookSecret::parse("secret", SECRET).unwrap());
    let world = World::start(WalletMode::Enforced, |settings| {
        settings.payments = Some(PaymentSettings { url: url.into(), secret });
        // Longer than this test waits for anything.
        settings.smtp = Some(SmtpSettings { timeout: Duration::from_mins(5), ..server.settings() });
    })
    .await;
    let told = alerts::send_test(&world, &["ops@example.com"]).await;
    until("the mail server's turn", async || (server.heard("EHLO") > 0).then_some(())).await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    assert_eq!(provider.post().await.id, format!("acme.{id}"));
    assert_eq!(alerts::find(&world, &told).await.mail.unwrap().attempts, 0, "it hangs still");
}
