//! The books as finance reads them.

use std::collections::HashMap;

use quotad::api::proto::{
    GetBalanceRequest, ListTransactionsRequest, TopUpRequest, TopUpState, Transaction, TransactionKind,
};
use tonic::Code;

use crate::world::{KEY, MODEL, ORGANIZATION, World, ask, cost, failed, tokens};

async fn spend(world: &World, id: &str, usd: &str) {
    let mut request = ask(id, cost(usd));
    request.labels = HashMap::from([(String::from("project"), id.to_owned())]);
    let reservation = world.reserve(request).await.unwrap().reservation_id;
    world.commit(&reservation, cost(usd)).await.unwrap();
}

fn entries(transactions: &[Transaction]) -> Vec<u64> {
    transactions.iter().map(|transaction| transaction.entry).collect()
}

#[tokio::test]
async fn a_list_sees_every_charge_acknowledged_before_it_newest_first() {
    let world = World::new().await;
    for i in 0..30 {
        spend(&world, &format!("r{i}"), "0.5").await;
        let listed = world.list(ListTransactionsRequest { page_size: 1, ..Default::default() }).await;
        assert_eq!((entries(&listed.transactions), listed.as_of_entry), (vec![i + 2], i + 2));
    }
    let newest =
        world.list(ListTransactionsRequest { page_size: 1, ..Default::default() }).await.transactions.remove(0);
    assert_eq!((newest.key_id.as_str(), newest.member_id.as_str(), newest.team_id.as_str()), (KEY, "ann", "default"));
    assert_eq!((newest.model.as_str(), newest.cost_usd.as_str(), newest.wallet_usd.as_str()), (MODEL, "0.5", "-0.5"));
    assert_eq!((newest.balance_usd.as_str(), newest.request_id.as_str()), ("985", "r29"));
    assert_eq!(newest.labels["project"], "r29");
    assert!(newest.actor.starts_with("service:") && !newest.reservation_id.is_empty());
}

#[tokio::test]
async fn pages_and_filters_cover_everything_once() {
    let world = World::new().await;
    for i in 0..7 {
        spend(&world, &format!("r{i}"), "1").await;
        world.pass(60);
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = world.list(ListTransactionsRequest { page_size: 3, page_token, ..Default::default() }).await;
        assert_eq!(page.totals.unwrap().entries, 8, "sums are over all that matches");
        seen.extend(entries(&page.transactions));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (1..=8).rev().collect::<Vec<_>>());
    let top_ups = ListTransactionsRequest { kinds: vec![TransactionKind::TopUp.into()], ..Default::default() };
    assert_eq!(entries(&world.list(top_ups).await.transactions), [1]);
    let nobody = ListTransactionsRequest { member_id: String::from("bob"), ..Default::default() };
    assert_eq!(world.list(nobody).await.totals.unwrap().entries, 0);
    let at = |minutes: i64| Some(prost_types::Timestamp { seconds: 1_700_000_000 + minutes * 60, nanos: 0 });
    let hour = ListTransactionsRequest { start_time: at(2), end_time: at(4), ..Default::default() };
    assert_eq!(entries(&world.list(hour).await.transactions), [5, 4]);
    let organization_id = ORGANIZATION.to_owned();
    let backwards =
        ListTransactionsRequest { organization_id, start_time: at(4), end_time: at(2), ..Default::default() };
    assert_eq!(failed(world.operator.ledger().list_transactions(backwards).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn money_comes_in_once_for_ever() {
    let world = World::new().await;
    let request = TopUpRequest {
        organization_id: ORGANIZATION.to_owned(),
        amount_usd: String::from("12.5"),
        request_id: String::from("invoice-7"),
        reason: String::from("invoice 7"),
    };
    let first = world.operator.wallets().top_up(request.clone()).await.unwrap().into_inner();
    let order = first.order.unwrap();
    assert_eq!(
        (order.state(), order.entry, first.balance_usd.as_str(), first.replayed),
        (TopUpState::Settled, 2, "1012.5", false)
    );
    // A day later and after a restart, when memory has long forgotten it.
    world.pass(90_000);
    let world = world.restarted().await;
    for i in 0..5 {
        spend(&world, &format!("r{i}"), "1").await;
    }
    let again = world.operator.wallets().top_up(request.clone()).await.unwrap().into_inner();
    assert_eq!((again.replayed, again.order.unwrap().entry), (true, 2));
    let more = TopUpRequest { amount_usd: String::from("13"), ..request };
    assert_eq!(
        failed(world.operator.wallets().top_up(more).await),
        (Code::AlreadyExists, String::from("REQUEST_ID_REUSED"))
    );
    assert_eq!(world.balance().await, "1007.5");
    let request = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
    let balance = world.operator.wallets().get_balance(request).await.unwrap().into_inner();
    assert_eq!((balance.available_usd.as_str(), balance.as_of_entry), ("1007.5", 7));
    world.verify().await;
}

#[tokio::test]
async fn a_usage_of_no_tokens_is_booked_and_counts_its_request() {
    let world = World::new().await;
    let reservation = world.reserve(ask("empty", tokens(0, 0))).await.unwrap().reservation_id;
    let committed = world.commit(&reservation, tokens(0, 0)).await.unwrap();
    assert_eq!((committed.charged.unwrap().requests, committed.entry), (1, 2));
    assert_eq!(world.list(ListTransactionsRequest::default()).await.totals.unwrap().requests, 1);
}
