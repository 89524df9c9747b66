//! Sums that can't be kept are refused loudly, before, and over the API: nothing is lost, and nothing is counted short.

use quotad::api::proto::{ListTransactionsRequest, Organization, WalletMode};
use tonic::Code;

use crate::{
    messages::{Failure, charge, commit, failed, release, reserve, usd},
    payments::{balance, order},
    world::{ACME, World},
};

fn too_large() -> Failure {
    failed(Code::OutOfRange, "SUM_TOO_LARGE")
}

#[tokio::test]
async fn a_top_up_that_the_balance_could_not_take_is_out_of_range_and_books_nothing() {
    let world = World::with_wallet("1000000000").await;
    for number in 1..9 {
        order(&world.operator, &format!("o{number}"), "1000000000", "").await.unwrap();
    }
    let refused = order(&world.operator, "o9", "0.000000001", "").await;
    assert_eq!(refused.map(|_| ()), Err(too_large()));
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "9000000000");
    assert_eq!(world.ledger().await.transactions.len(), 9);
    world.verify().await;
}

#[tokio::test]
async fn usage_that_counters_could_not_take_is_out_of_range_and_its_hold_stays() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    let costly = Organization { credit_factor: "1000".into(), ..Organization::default() };
    world.update_organization(costly, &["credit_factor"]).await;
    let held = world.reserve(reserve("k1", "r", usd("1"))).await.unwrap();
    for number in 0..8 {
        world.charge(charge("k1", &format!("c{number}"), usd("1000000"))).await.unwrap().unwrap();
    }
    world.charge(charge("k1", "last", usd("999999"))).await.unwrap().unwrap();
    assert_eq!(world.charge(charge("k1", "more", usd("0.000001"))).await.map(|_| ()), Err(too_large()));
    assert_eq!(world.try_reserve(reserve("k1", "s", usd("0.000001"))).await.map(|_| ()), Err(too_large()));
    assert_eq!(world.commit(commit(&held.reservation_id, usd("2"))).await.map(|_| ()), Err(too_large()));
    world.restart().await;
    assert_eq!(world.commit(commit(&held.reservation_id, usd("2"))).await.map(|_| ()), Err(too_large()));
    world.release(release(&held.reservation_id)).await.unwrap();
    world.verify().await;
}

/// Of more than one counter ever counts: the books add up beyond it.
#[tokio::test]
async fn totals_are_right_beyond_what_any_counter_holds() {
    let world = World::start(WalletMode::Off, |_| {}).await;
    let costly = Organization { credit_factor: "1000".into(), ..Organization::default() };
    world.update_organization(costly, &["credit_factor"]).await;
    for number in 0..12 {
        if number == 9 {
            // The next month's counters begin at zero.
            world.advance(31 * 86_400);
        }
        world.charge(charge("k1", &format!("c{number}"), usd("1000000"))).await.unwrap().unwrap();
    }
    let asked = ListTransactionsRequest { organization_id: ACME.into(), page_size: 1, ..Default::default() };
    let totals = world.operator.ledger().list_transactions(asked).await.unwrap().into_inner().totals.unwrap();
    assert_eq!((totals.cost_usd.as_str(), totals.credits.as_str()), ("12000000", "12000000000"));
    world.verify().await;
}
