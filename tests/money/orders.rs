//! E2: what becomes of an order, told once, twice, late, or after a restart: money comes once and goes once.

use quotad::api::proto::{
    DeletePaymentMethodRequest, DenialCode, ListTopUpOrdersRequest, PaymentOutcome, Role, TopUpRequest, TopUpState,
    Transaction, TransactionKind,
};
use tonic::Code;

use crate::{
    messages::{charge, failed, failure, reserve, usd, wrong_field},
    payments::{automatic, balance, decide, find, method, order, orders, pending, switch_on},
    people::joins,
    world::{ACME, World},
};

fn kinds(entries: &[Transaction]) -> Vec<(TransactionKind, &str, &str)> {
    entries.iter().map(|entry| (entry.kind(), entry.wallet_usd.as_str(), entry.balance_usd.as_str())).collect()
}

// E2
#[tokio::test]
async fn a_payment_confirmed_twice_is_credited_once() {
    let mut world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending(&ann, "o1", "20").await;
    assert_eq!(balance(&ann, ACME).await.unwrap(), "1");
    for _ in 0..2 {
        let settled = decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
        assert_eq!((settled.state(), settled.entry), (TopUpState::Settled, 2));
        assert_eq!(settled.provider_reference, format!("bank-{id}"));
    }
    world.restart().await;
    decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
    let ledger = world.ledger().await.transactions;
    assert_eq!(kinds(&ledger), [(TransactionKind::TopUp, "20", "21"), (TransactionKind::TopUp, "1", "1")]);
    assert_eq!((ledger[0].order_id.as_str(), ledger[0].member_id.as_str()), (id.as_str(), "ann"));
    world.verify().await;
}

// E2
#[tokio::test]
async fn a_confirmation_after_a_restart_still_credits() {
    let mut world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let members = pending(&ann, "o1", "20").await;
    let automatic_one = switch_on(&world, "5", "10", "").await.pending_order_id;
    world.restart().await;
    assert_eq!(find(&world, &members).await.state(), TopUpState::Pending);
    decide(&world, &automatic_one, PaymentOutcome::Settled).await.unwrap();
    decide(&world, &members, PaymentOutcome::Settled).await.unwrap();
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "31");
    assert_eq!(automatic(&world).await.len(), 1);
    world.verify().await;
}

// E2
#[tokio::test]
async fn a_payment_that_failed_and_came_after_all_is_credited() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending(&ann, "o1", "20").await;
    for _ in 0..2 {
        let declined = decide(&world, &id, PaymentOutcome::SoftDeclined).await.unwrap();
        assert_eq!((declined.state(), declined.failure), (TopUpState::Failed, format!("said of {id}")));
    }
    assert_eq!(balance(&ann, ACME).await.unwrap(), "1");
    decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
    assert_eq!(balance(&ann, ACME).await.unwrap(), "21");
    let denied = decide(&world, &id, PaymentOutcome::HardDeclined).await.unwrap_err();
    assert_eq!(denied, failed(Code::FailedPrecondition, "FAILED_PRECONDITION"), "settled is settled");
    assert_eq!(find(&world, &id).await.state(), TopUpState::Settled);
}

// E2
#[tokio::test]
async fn a_reversal_debits_once_with_an_entry_of_its_own() {
    let mut world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending(&ann, "o1", "20").await;
    let early = decide(&world, &id, PaymentOutcome::Reversed).await.unwrap_err();
    assert_eq!(early, failed(Code::FailedPrecondition, "FAILED_PRECONDITION"), "nothing was paid yet");
    decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
    world.charge(charge("k1", "c1", usd("5"))).await.unwrap().unwrap();
    let running = world.reserve(reserve("k1", "r1", usd("2"))).await.unwrap().reservation_id;
    for _ in 0..2 {
        assert_eq!(decide(&world, &id, PaymentOutcome::Reversed).await.unwrap().state(), TopUpState::Reversed);
    }
    // Confirmed once more, late: what was taken back doesn't come again.
    assert_eq!(decide(&world, &id, PaymentOutcome::Settled).await.unwrap().state(), TopUpState::Reversed);
    let ledger = world.ledger().await.transactions;
    assert_eq!(kinds(&ledger)[0], (TransactionKind::Reversal, "-20", "-4"));
    assert_eq!((ledger[0].corrects_entry, ledger[0].reason.as_str()), (2, "reversed by the payment provider"));
    assert_eq!(find(&world, &id).await.failure, format!("said of {id}"));
    assert_eq!(ledger.len(), 4);
    let stopped = world.extend(crate::messages::extend(&running)).await.unwrap().unwrap_err();
    assert_eq!(stopped.code(), DenialCode::Revoked);
    let refused = world.reserve(reserve("k1", "r2", usd("0"))).await.unwrap_err();
    assert_eq!(refused.code(), DenialCode::WalletInsufficient);
    world.verify().await;
    world.restart().await;
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "-4");
}

// E2
#[tokio::test]
async fn an_order_sent_twice_is_one_order() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let first = order(&ann, "o1", "20", "").await.unwrap();
    let again = order(&ann, "o1", "20", "").await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.order, again.order);
    let other = order(&ann, "o1", "21", "").await.unwrap_err();
    assert_eq!(other.0, Code::AlreadyExists);
    let corrected = crate::payments::correct(&world.operator, "o1", 1, TransactionKind::Adjustment, "-1").await;
    assert_eq!(corrected.unwrap_err().0, Code::AlreadyExists, "nor does it name another piece of money");
    assert_eq!(orders(&world).await.len(), 2, "with the operator's own");
}

// E2
#[tokio::test]
async fn orders_are_listed_by_state_and_page() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    for no in 0..4 {
        let id = pending(&ann, &format!("o{no}"), "20").await;
        let outcome = [PaymentOutcome::Settled, PaymentOutcome::HardDeclined][no % 2];
        decide(&world, &id, outcome).await.unwrap();
    }
    let open = pending(&ann, "o4", "20").await;
    let listed = async |states: &[TopUpState], page_size, page_token: &str| {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let asked =
            ListTopUpOrdersRequest { organization_id: ACME.into(), states, page_size, page_token: page_token.into() };
        let page = ann.wallets().list_top_up_orders(asked).await.unwrap().into_inner();
        (page.orders.into_iter().map(|order| order.request_id).collect::<Vec<_>>(), page.next_page_token)
    };
    assert_eq!(find(&world, &open).await.actor, "member:ann");
    assert_eq!(listed(&[], 0, "").await.0, ["o4", "o3", "o2", "o1", "o0", "first"]);
    assert_eq!(listed(&[TopUpState::Failed, TopUpState::Pending], 0, "").await.0, ["o4", "o3", "o1"]);
    let (page, next) = listed(&[TopUpState::Settled], 2, "").await;
    assert_eq!(page, ["o2", "o0"]);
    assert_eq!(listed(&[TopUpState::Settled], 2, &next).await, (vec!["first".to_owned()], String::new()));
}

// E2
#[tokio::test]
async fn amounts_and_currencies_that_cannot_be_paid_are_refused() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let sound = TopUpRequest {
        organization_id: ACME.into(),
        amount_usd: "20".into(),
        request_id: "o1".into(),
        ..TopUpRequest::default()
    };
    let amount = |usd: &str| ("amount_usd", TopUpRequest { amount_usd: usd.into(), ..sound.clone() });
    let wrong = [
        amount("0"),
        amount("-5"),
        amount("0.0000000001"),
        amount("1e3"),
        amount("1000000000.01"),
        amount(""),
        ("currency", TopUpRequest { currency: "EUR".into(), ..sound.clone() }),
        ("request_id", TopUpRequest { request_id: String::new(), ..sound.clone() }),
        ("reason", TopUpRequest { reason: "x".repeat(257), ..sound.clone() }),
    ];
    for (field, request) in wrong {
        let status = ann.wallets().top_up(request.clone()).await.unwrap_err();
        assert_eq!(wrong_field(&status), field, "{request:?}");
    }
    let missing = TopUpRequest { payment_method_id: "method-of-nobody".into(), ..sound.clone() };
    let status = ann.wallets().top_up(missing).await.unwrap_err();
    assert_eq!(failure(&status), failed(Code::NotFound, "NOT_FOUND"));
    assert_eq!(orders(&world).await.len(), 1, "the operator's own only");
    let usd = TopUpRequest { currency: "USD".into(), ..sound };
    assert!(ann.wallets().top_up(usd).await.is_ok());
}

// P13
#[tokio::test]
async fn the_operator_can_not_name_a_payment_method_that_is_not_there() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let card = method(&ann, "Visa …1", "tok_1").await.unwrap();
    let refused = Err(failed(Code::NotFound, "NOT_FOUND"));
    assert_eq!(order(&world.operator, "o1", "25", "no-such").await.map(|_| ()), refused);
    let settled = order(&world.operator, "o1", "25", &card).await.unwrap().order.unwrap();
    assert_eq!(settled.state(), TopUpState::Settled);
    let gone = DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: card.clone() };
    ann.wallets().delete_payment_method(gone).await.unwrap();
    assert_eq!(order(&world.operator, "o2", "25", &card).await.map(|_| ()), refused);
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "26");
    world.verify().await;
}

// E2
#[tokio::test]
async fn only_the_operator_says_what_became_of_a_payment() {
    let world = World::with_wallet("1").await;
    let olga = joins(&world, "olga", Role::Owner).await;
    let order_id = pending(&olga, "o1", "20").await;
    let said = quotad::api::proto::DecideTopUpOrderRequest {
        organization_id: ACME.into(),
        order_id,
        outcome: PaymentOutcome::Settled.into(),
        ..Default::default()
    };
    for nobody in [&olga, &world.service] {
        let status = nobody.wallets().decide_top_up_order(said.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }
    assert_eq!(balance(&olga, ACME).await.unwrap(), "1");
}
