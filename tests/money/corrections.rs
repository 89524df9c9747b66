//! Refunds and adjustments: entries of their own beside the one they put right, never more than it was.

use quotad::api::proto::{Organization, Role, TransactionKind, WalletMode};
use tonic::Code;

use crate::{
    messages::{charge, failed, usd},
    payments::{balance, correct, decide, pending},
    people::{everybody, joins},
    world::{ACME, World, all_at_once},
};

use TransactionKind::{Adjustment, Refund};

/// Entry 1 tops up 10 USD, entry 2 charges 2.
async fn charged() -> World {
    let world = World::with_wallet("10").await;
    world.charge(charge("k1", "c1", usd("2"))).await.unwrap().unwrap();
    world
}

fn refused() -> crate::messages::Failure {
    failed(Code::FailedPrecondition, "FAILED_PRECONDITION")
}

// E5
#[tokio::test]
async fn refunds_of_a_charge_never_give_back_more_than_it_took() {
    let mut world = charged().await;
    assert_eq!(correct(&world.operator, "f0", 2, Refund, "2.000000001").await.unwrap_err(), refused());
    let first = correct(&world.operator, "f1", 2, Refund, "1.5").await.unwrap();
    assert_eq!((first.entry, first.balance_usd.as_str(), first.replayed), (3, "9.5", false));
    assert_eq!(correct(&world.operator, "f2", 2, Refund, "0.6").await.unwrap_err(), refused());
    assert_eq!(correct(&world.operator, "f3", 2, Adjustment, "0.500000001").await.unwrap_err(), refused());
    world.restart().await;
    assert_eq!(correct(&world.operator, "f4", 2, Refund, "0.500000001").await.unwrap_err(), refused());
    correct(&world.operator, "f5", 2, Adjustment, "0.5").await.unwrap();
    assert_eq!(correct(&world.operator, "f6", 2, Refund, "0.000000001").await.unwrap_err(), refused());
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "10");
    let ledger = world.ledger().await.transactions;
    let shown: Vec<_> = ledger
        .iter()
        .map(|entry| (entry.entry, entry.kind(), entry.corrects_entry, entry.wallet_usd.as_str(), entry.actor.as_str()))
        .collect();
    let expected = [
        (4, Adjustment, 2, "0.5", "operator"),
        (3, Refund, 2, "1.5", "operator"),
        (2, TransactionKind::Charge, 0, "-2", ledger[2].actor.as_str()),
        (1, TransactionKind::TopUp, 0, "10", "operator"),
    ];
    assert_eq!(shown, expected);
    assert_eq!((ledger[1].reason.as_str(), ledger[1].request_id.as_str()), ("because of f1", "f1"));
    world.verify().await;
}

// E5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_at_the_same_time_share_what_is_left() {
    let world = charged().await;
    let done = all_at_once(32, |no| {
        let operator = world.operator.clone();
        async move { correct(&operator, &format!("f{no}"), 2, Refund, "0.15").await }
    })
    .await;
    let (granted, denied): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    assert_eq!(granted.len(), 13, "13 × 0.15 is 1.95");
    assert!(denied.into_iter().all(|failure| failure.unwrap_err() == refused()));
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "9.95");
    world.verify().await;
}

// E5
#[tokio::test]
async fn a_top_up_is_adjusted_within_what_it_credited() {
    let world = charged().await;
    assert_eq!(correct(&world.operator, "a0", 1, Adjustment, "1").await.unwrap_err(), refused(), "it paid in 10 only");
    assert_eq!(correct(&world.operator, "a1", 1, Adjustment, "-10.5").await.unwrap_err(), refused());
    assert_eq!(correct(&world.operator, "a2", 1, Adjustment, "-7").await.unwrap().balance_usd, "1");
    assert_eq!(correct(&world.operator, "a3", 1, Adjustment, "-3.000000001").await.unwrap_err(), refused());
    assert_eq!(correct(&world.operator, "a4", 1, Adjustment, "2").await.unwrap().balance_usd, "3", "partly after all");
    assert_eq!(correct(&world.operator, "a5", 1, Adjustment, "-5").await.unwrap().balance_usd, "-2");
    world.verify().await;
}

// E5
#[tokio::test]
async fn a_reversal_takes_what_adjustments_left_of_the_top_up() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    let id = pending(&ann, "o1", "20").await;
    let settled = decide(&world, &id, quotad::api::proto::PaymentOutcome::Settled).await.unwrap();
    correct(&world.operator, "a1", settled.entry, Adjustment, "-5").await.unwrap();
    decide(&world, &id, quotad::api::proto::PaymentOutcome::Reversed).await.unwrap();
    assert_eq!(balance(&ann, ACME).await.unwrap(), "1");
    let more = correct(&world.operator, "a2", settled.entry, Adjustment, "-0.01").await.unwrap_err();
    assert_eq!(more, refused());
    world.verify().await;
}

// E5
#[tokio::test]
async fn corrections_are_not_corrected() {
    let world = charged().await;
    correct(&world.operator, "f1", 2, Refund, "1").await.unwrap();
    for kind in [Refund, Adjustment] {
        assert_eq!(correct(&world.operator, "f2", 3, kind, "0.5").await.unwrap_err(), refused());
    }
    assert_eq!(correct(&world.operator, "f2", 3, Adjustment, "-0.5").await.unwrap_err(), refused());
    assert_eq!(world.ledger().await.transactions.len(), 3);
}

// E5
#[tokio::test]
async fn a_correction_sent_twice_is_booked_once() {
    let mut world = charged().await;
    let first = correct(&world.operator, "f1", 2, Refund, "1").await.unwrap();
    let again = correct(&world.operator, "f1", 2, Refund, "1").await.unwrap();
    assert_eq!((again.entry, again.balance_usd, again.replayed), (first.entry, first.balance_usd, true));
    world.restart().await;
    assert!(correct(&world.operator, "f1", 2, Refund, "1").await.unwrap().replayed);
    for (entry, kind, amount) in [(2, Refund, "0.5"), (1, Refund, "1"), (2, Adjustment, "1")] {
        let other = correct(&world.operator, "f1", entry, kind, amount).await.unwrap_err();
        assert_eq!(other.0, Code::AlreadyExists, "{entry} {kind:?} {amount}");
    }
    let charges = correct(&world.operator, "c1", 2, Refund, "1").await.unwrap_err();
    assert_eq!(charges.0, Code::AlreadyExists, "the charge's own request id");
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "9");
}

// M14
#[tokio::test]
async fn nobody_gives_back_to_itself_what_moved_the_balance_whatever_the_mode_is_now() {
    let world = charged().await;
    let people = everybody(&world).await;
    for mode in [WalletMode::Enforced, WalletMode::Off] {
        let set = Organization { wallet_mode: mode.into(), ..Organization::default() };
        world.update_organization(set, &["wallet_mode"]).await;
        for (role, person) in &people {
            for (entry, kind, amount) in [(2, Refund, "0.1"), (2, Adjustment, "2"), (1, Adjustment, "-1")] {
                let done = correct(person, &format!("{role} {entry}"), entry, kind, amount).await;
                assert_eq!(done.unwrap_err(), failed(Code::PermissionDenied, "PERMISSION_DENIED"), "{role} {entry}");
            }
        }
    }
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "8");
    correct(&world.operator, "f1", 2, Refund, "2").await.unwrap();
}

// M14
#[tokio::test]
async fn an_entry_that_left_the_balance_alone_is_finances_to_correct() {
    let world = World::start(WalletMode::Off, |_| {}).await;
    world.charge(charge("k1", "c1", usd("2"))).await.unwrap().unwrap();
    for (role, person) in everybody(&world).await {
        let done = correct(&person, role, 1, Refund, "0.1").await;
        if ["owner", "admin", "finance"].contains(&role) {
            assert_eq!(done.unwrap().balance_usd, "0", "{role}");
        } else {
            assert_eq!(done.unwrap_err(), failed(Code::PermissionDenied, "PERMISSION_DENIED"), "{role}");
        }
    }
    world.verify().await;
}

// E5
#[tokio::test]
async fn corrections_of_nothing_are_refused() {
    let world = charged().await;
    let invalid = || failed(Code::InvalidArgument, "INVALID_ARGUMENT");
    for (kind, amount) in [(Refund, "0"), (Refund, "-1"), (Adjustment, "0"), (Adjustment, "--1"), (Adjustment, "-0")] {
        assert_eq!(correct(&world.operator, "f1", 2, kind, amount).await.unwrap_err(), invalid(), "{amount}");
    }
    for kind in [TransactionKind::Charge, TransactionKind::Reversal, TransactionKind::Unspecified] {
        assert_eq!(correct(&world.operator, "f1", 2, kind, "1").await.unwrap_err(), invalid(), "{kind:?}");
    }
    assert_eq!(correct(&world.operator, "f1", 3, Refund, "1").await.unwrap_err().0, Code::NotFound);
    assert_eq!(correct(&world.operator, "f1", 0, Refund, "1").await.unwrap_err().0, Code::NotFound);
    assert_eq!(world.ledger().await.transactions.len(), 2);
}
