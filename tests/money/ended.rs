//! E2, E3, E7: orders on their way whose payment method has ended meanwhile.

use quotad::api::proto::{AlertKind, AutoTopUp, DeletePaymentMethodRequest, PaymentOutcome, Role, TopUpState};
use tonic::Code;

use crate::{
    alerts,
    messages::failed,
    payments::{auto, automatic, decide, find, method, order, switch_on, update_auto},
    people::{joins, until},
    provider::world,
    receiver::{Receiver, SECRET},
    world::{ACME, World},
};

async fn delete_method(by: &quotad::client::Connection, id: &str) {
    let delete = DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: id.into() };
    by.wallets().delete_payment_method(delete).await.unwrap();
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
    provider.answers(Some("200 OK"));
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
    let by_card = AutoTopUp { payment_method_id: card.clone(), ..AutoTopUp::default() };
    update_auto(&bob, by_card, &["payment_method_id"]).await.unwrap();
    let first = switch_on(&world, "5", "10", "").await.pending_order_id;
    decide(&world, &first, PaymentOutcome::HardDeclined).await.unwrap();
    delete_method(&bob, &card).await;
    let on = AutoTopUp { enabled: true, ..AutoTopUp::default() };
    let refused = update_auto(&olga, on, &["enabled"]).await.unwrap_err();
    assert_eq!(refused, failed(Code::FailedPrecondition, "FAILED_PRECONDITION"));
    assert_eq!((auto(&world).await.enabled, automatic(&world).await.len()), (false, 1));
    let on = AutoTopUp { enabled: true, ..AutoTopUp::default() };
    assert!(update_auto(&olga, on, &["enabled", "payment_method_id"]).await.unwrap().enabled, "with none named");
}
