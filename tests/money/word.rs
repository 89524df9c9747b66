//! The operator's word where money moves: whose confirmations a token hands on, and whose orders are placed.

use quotad::{
    api::proto::{Organization, Role, TopUpState, Verb, WalletMode},
    client::Connection,
};
use tonic::Code;

use crate::{
    messages::failed,
    payments::{find, pending_by_card, switch_on_by_card},
    people::joins,
    provider::{confirm, said, world},
    receiver::{Receiver, SECRET},
    world::{ACME, START, World},
};

async fn scoped(world: &World, organization: &str, verb: Verb) -> Connection {
    world.operator.with_token(&world.scoped_token(&[organization], &[verb]).await).unwrap()
}

#[tokio::test]
async fn a_confirmation_is_handed_on_by_a_token_that_is_for_it_and_for_its_organization() {
    let provider = Receiver::start(Some("200 OK")).await;
    let world = world(&provider).await;
    world.organization("lab", WalletMode::Enforced).await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let id = pending_by_card(&ann, "o1", "20").await;
    let elsewhere = scoped(&world, "lab", Verb::ConfirmPayment).await;
    assert_eq!(confirm(&elsewhere, said(&id, "settled", START)).await, Err(failed(Code::NotFound, "NOT_FOUND")));
    let gateway = scoped(&world, ACME, Verb::Reserve).await;
    let denied = failed(Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!(confirm(&gateway, said(&id, "settled", START)).await, Err(denied));
    assert_eq!(find(&world, &id).await.state(), TopUpState::Pending);
    let settled = confirm(&scoped(&world, ACME, Verb::ConfirmPayment).await, said(&id, "settled", START)).await;
    assert_eq!(settled.unwrap().state(), TopUpState::Settled);
}

#[tokio::test]
async fn what_was_ordered_before_a_suspension_is_placed_after_it_and_paid_whenever() {
    let mut provider = Receiver::start(Some("503 Service Unavailable")).await;
    let mut world = world(&provider).await;
    let id = switch_on_by_card(&world, "5", "10", "").await.pending_order_id;
    let first = provider.post().await;
    let suspend = |suspended| Organization { suspended, ..Organization::default() };
    world.update_organization(suspend(true), &["suspended"]).await;
    provider.answers(Some("200 OK"));
    world.restart().await;
    world.advance(3600);
    assert!(provider.post_soon().await.is_none(), "nobody is charged for what is suspended");
    world.update_organization(suspend(false), &["suspended"]).await;
    let second = provider.post().await;
    assert_eq!(second.verified(SECRET)["data"]["idempotency_key"], first.id);
    world.update_organization(suspend(true), &["suspended"]).await;
    let settled = confirm(&world.service, said(&id, "settled", second.timestamp)).await.unwrap();
    assert_eq!(settled.state(), TopUpState::Settled, "what was paid is booked");
}
