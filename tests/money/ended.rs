//! E2, E3, E7: orders on their way whose payment method or organization has ended meanwhile.

use quotad::{
    api::proto::{
        AlertKind, AutoTopUp, DecideTopUpOrderRequest, DeleteOrganizationRequest, DeletePaymentMethodRequest,
        PaymentOutcome, Role, TopUpState,
    },
    client::Connection,
};
use tonic::Code;

use crate::{
    alerts,
    messages::failed,
    payments::{auto, automatic, decide, fill, find, method, order, pending_by_card, update_auto},
    people::{joins, until},
    provider::{confirm, said, world},
    receiver::{Receiver, SECRET},
    world::{ACME, START, World},
};

async fn delete_method(by: &Connection, id: &str) {
    let delete = DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: id.into() };
    by.wallets().delete_payment_method(delete).await.unwrap();
}

async fn delete_organization(world: &World) {
    let delete = DeleteOrganizationRequest { organization_id: ACME.into(), ..DeleteOrganizationRequest::default() };
    world.operator.organizations().delete_organization(delete).await.unwrap();
}

/// How an order ended that time only is needed for.
async fn end(world: &World, id: &str) -> String {
    until("the order's end", async || {
        world.advance(10);
        let order = find(world, id).await;
        (order.state() == TopUpState::Failed).then_some(order.failure)
    })
    .await
}

// E3
#[tokio::test]
async fn an_order_whose_payment_method_is_deleted_before_the_provider_took_it_charges_nobody() {
    let mut provider = Receiver::start(Some("503 Service Unavailable")).await;
    let world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Developer).await;
    let own = method(&ann, "Visa …4242", "tok_4242").await.unwrap();
    let id = order(&ann, "o1", "20", &own).await.unwrap().order.unwrap().id;
    assert_eq!(provider.post().await.verified(SECRET)["data"]["payment_method"], "tok_4242");
    delete_method(&ann, &own).await;
    assert_eq!(end(&world, &id).await, "the payment method was deleted");
    assert_eq!(alerts::list(&world, &[AlertKind::TopUpFailed]).await.len(), 1);
    for late in provider.posts() {
        assert_eq!(late.verified(SECRET)["data"]["payment_method"], "tok_4242", "never another way to pay");
    }
}

// E7
#[tokio::test]
async fn automatic_top_up_is_not_switched_on_again_once_its_payment_method_was_deleted() {
    let world = World::with_wallet("4").await;
    let (olga, bob) = (joins(&world, "olga", Role::Owner).await, joins(&world, "bob", Role::Admin).await);
    let card = method(&bob, "Visa …1", "tok_bob").await.unwrap();
    let first = fill(&bob, &card, "5", "10", "").await.unwrap().pending_order_id;
    decide(&world, &first, PaymentOutcome::HardDeclined).await.unwrap();
    delete_method(&bob, &card).await;
    let on = AutoTopUp { enabled: true, ..AutoTopUp::default() };
    let refused = update_auto(&bob, on.clone(), &["enabled"]).await.unwrap_err();
    assert_eq!(refused, failed(Code::FailedPrecondition, "FAILED_PRECONDITION"));
    let refused = update_auto(&olga, on, &["enabled"]).await.unwrap_err();
    assert_eq!(refused, failed(Code::PermissionDenied, "PERMISSION_DENIED"));
    assert_eq!((auto(&world).await.enabled, automatic(&world).await.len()), (false, 1));
    let on = AutoTopUp { enabled: true, amount_usd: "10".into(), threshold_usd: "5".into(), ..AutoTopUp::default() };
    let fields = ["enabled", "payment_method_id", "amount_usd", "threshold_usd"];
    assert!(update_auto(&olga, on, &fields).await.unwrap().enabled, "with none named");
}

// E2
#[tokio::test]
async fn what_became_of_a_payment_is_booked_after_its_organization_was_deleted() {
    let mut provider = Receiver::start(Some("200 OK")).await;
    let mut world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    let other = pending_by_card(&ann, "o2", "30").await;
    for _ in 0..2 {
        provider.post().await.verified(SECRET);
    }
    delete_organization(&world).await;
    let settled = confirm(&world.service, said(&id, "settled", START)).await.unwrap();
    assert_eq!((settled.state(), settled.entry), (TopUpState::Settled, 1));
    world.restart().await;
    let settled = decide(&world, &other, PaymentOutcome::Settled).await.unwrap();
    assert_eq!((settled.state(), settled.entry), (TopUpState::Settled, 2));
    let reversed = confirm(&world.service, said(&id, "reversed", START)).await.unwrap();
    assert_eq!((reversed.state(), reversed.entry), (TopUpState::Reversed, 1));
}

// E2
#[tokio::test]
async fn an_order_that_the_provider_has_not_taken_is_not_sent_for_an_organization_that_was_deleted() {
    let mut provider = Receiver::start(Some("503 Service Unavailable")).await;
    let world = world(&provider).await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    provider.post().await.verified(SECRET);
    delete_organization(&world).await;
    // Nothing of it can be read any more, but what it can't be told says how it is.
    let asked = DecideTopUpOrderRequest {
        organization_id: ACME.into(),
        order_id: id.clone(),
        outcome: PaymentOutcome::Reversed.into(),
        ..DecideTopUpOrderRequest::default()
    };
    until("the order's end", async || {
        world.advance(10);
        let refused = world.operator.wallets().decide_top_up_order(asked.clone()).await.unwrap_err();
        refused.message().contains("is failed").then_some(())
    })
    .await;
    let order = decide(&world, &id, PaymentOutcome::HardDeclined).await.unwrap();
    assert_eq!((order.state(), order.failure.as_str()), (TopUpState::Failed, "the organization was deleted"));
    assert_eq!(provider.posts().len(), 0);
}
