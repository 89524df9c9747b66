//! P3: a card's label and token, and why it was declined, are for its owner; the operator hears the reason.

use quotad::{
    api::proto::{
        AlertKind, GetTopUpOrderRequest, ListAuditEventsRequest, ListTopUpOrdersRequest, ListTransactionsRequest,
        PaymentOutcome, Role,
    },
    client::Connection,
};

use crate::{
    alerts,
    payments::{auto_of, decide, fill, method, order},
    people::joins,
    world::{ACME, World},
};

const LABEL: &str = "Pia's gambling card";
const TOKEN: &str = "tok_secret";

/// All that somebody reads of the orders, one by one and listed.
async fn failures(by: &Connection, id: &str) -> [String; 2] {
    let get = GetTopUpOrderRequest { organization_id: ACME.into(), order_id: id.into() };
    let one = by.wallets().get_top_up_order(get).await.unwrap().into_inner().order.unwrap().failure;
    let list = ListTopUpOrdersRequest { organization_id: ACME.into(), ..ListTopUpOrdersRequest::default() };
    let all = by.wallets().list_top_up_orders(list).await.unwrap().into_inner().orders;
    [one, all.into_iter().find(|order| order.id == id).unwrap().failure]
}

/// The audit log, the ledger and the alerts, as text.
async fn records(by: &Connection, world: &World) -> String {
    let asked = ListAuditEventsRequest { organization_id: ACME.into(), ..ListAuditEventsRequest::default() };
    let events = by.organizations().list_audit_events(asked).await.unwrap().into_inner().events;
    assert!(events.iter().any(|event| event.kind == "payment_method"), "that there is one is said");
    let asked = ListTransactionsRequest { organization_id: ACME.into(), ..ListTransactionsRequest::default() };
    let entries = by.ledger().list_transactions(asked).await.unwrap().into_inner().transactions;
    let told = alerts::list(world, &[AlertKind::TopUpFailed, AlertKind::AutoTopUpDisabled]).await;
    assert!(!told.is_empty());
    format!("{events:?} {entries:?} {told:?}")
}

// P3
#[tokio::test]
async fn why_a_card_was_declined_is_for_its_owner_and_the_operator() {
    let world = World::with_wallet("4").await;
    let (pia, bob) = (joins(&world, "pia", Role::Admin).await, joins(&world, "bob", Role::Owner).await);
    let ben = joins(&world, "ben", Role::Basic).await;
    let card = method(&pia, LABEL, TOKEN).await.unwrap();
    let declined = order(&pia, "o1", "20", &card).await.unwrap().order.unwrap().id;
    decide(&world, &declined, PaymentOutcome::HardDeclined).await.unwrap();
    let reversed = order(&pia, "o2", "20", &card).await.unwrap().order.unwrap().id;
    decide(&world, &reversed, PaymentOutcome::Settled).await.unwrap();
    decide(&world, &reversed, PaymentOutcome::Reversed).await.unwrap();
    let automatic = fill(&pia, &card, "5", "10", "").await.unwrap().pending_order_id;
    decide(&world, &automatic, PaymentOutcome::HardDeclined).await.unwrap();
    for id in [&declined, &reversed, &automatic] {
        let said = format!("said of {id}");
        for reader in [&pia, &world.operator] {
            assert_eq!(failures(reader, id).await, [said.as_str(); 2]);
        }
        for other in [&bob, &ben] {
            let told = failures(other, id).await;
            assert!(told.iter().all(|told| told.contains("only the payment method's owner")), "{told:?}");
        }
    }
    for (reader, knows) in [(&pia, true), (&world.operator, true), (&bob, false)] {
        let off = auto_of(reader).await.unwrap();
        assert!(!off.enabled && off.disabled_reason.starts_with("said of") == knows, "{off:?}");
    }
    for reader in [&bob, &world.operator] {
        let records = records(reader, &world).await;
        for hidden in [LABEL, TOKEN, "said of"] {
            assert!(!records.contains(hidden), "{hidden}: {records}");
        }
    }
}

// P3
#[tokio::test]
async fn what_the_server_itself_gave_up_is_told_to_everybody() {
    let world = World::with_wallet("4").await;
    let (pia, bob) = (joins(&world, "pia", Role::Admin).await, joins(&world, "bob", Role::Owner).await);
    let card = method(&pia, LABEL, TOKEN).await.unwrap();
    fill(&pia, &card, "1", "10", "").await.unwrap();
    let delete =
        quotad::api::proto::DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: card };
    pia.wallets().delete_payment_method(delete).await.unwrap();
    assert_eq!(auto_of(&bob).await.unwrap().disabled_reason, "the payment method was deleted");
}
