//! The books: they see what was acknowledged, filter, page, and add up.

use std::collections::HashMap;

use prost_types::Timestamp;
use quotad::{
    api::proto::{ListTransactionsRequest, ListTransactionsResponse, Role, TransactionKind, VerifyRequest, WalletMode},
    client::Connection,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    messages::{Failure, budget, charge, commit, extend, failed, failure, policy, reserve, tokens, usd},
    world::{ACME, Place, START, World, all_at_once},
};

/// Entry 1 tops up; 2 to 9 are charges and commits of two keys in two teams, one every 10 seconds.
async fn booked() -> World {
    let world = World::with_wallet("100").await;
    world.price("other", "2", "20").await;
    world.team("lab").await;
    world.member_of(ACME, "eve", &["lab"]).await;
    world.key("k2", "eve", "lab").await;
    for no in 0..4_i64 {
        world.advance(10);
        let key = if no % 2 == 0 { "k1" } else { "k2" };
        world.charge(charge(key, &format!("c{no}"), usd(&format!("0.{no}1")))).await.unwrap().unwrap();
        let model = if no < 2 { "m" } else { "other" };
        let request = quotad::api::proto::ReserveRequest {
            model: model.into(),
            ..reserve(key, &format!("r{no}"), tokens(10, 10))
        };
        let id = world.reserve(request).await.unwrap().reservation_id;
        world.commit(commit(&id, tokens(1000, 100))).await.unwrap();
    }
    world
}

fn entries(page: &ListTransactionsResponse) -> Vec<u64> {
    page.transactions.iter().map(|transaction| transaction.entry).collect()
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: START + seconds, nanos: 0 })
}

#[tokio::test]
async fn filters_narrow_the_list_and_its_totals_alike() {
    let world = booked().await;
    let all = || ListTransactionsRequest::default();
    let kinds = |kinds: &[TransactionKind]| kinds.iter().map(|kind| i32::from(*kind)).collect();
    let cases: Vec<(ListTransactionsRequest, Vec<u64>, &str, i64)> = vec![
        (all(), vec![9, 8, 7, 6, 5, 4, 3, 2, 1], "0.652", 8),
        (ListTransactionsRequest { key_id: "k1".into(), ..all() }, vec![7, 6, 3, 2], "0.226", 4),
        (ListTransactionsRequest { member_id: "eve".into(), ..all() }, vec![9, 8, 5, 4], "0.426", 4),
        (ListTransactionsRequest { team_id: "lab".into(), model: "m".into(), ..all() }, vec![8, 5, 4], "0.422", 3),
        (ListTransactionsRequest { model: "other".into(), ..all() }, vec![9, 7], "0.008", 2),
        (ListTransactionsRequest { kinds: kinds(&[TransactionKind::TopUp]), ..all() }, vec![1], "0", 0),
        (
            ListTransactionsRequest { kinds: kinds(&[TransactionKind::Charge, TransactionKind::TopUp]), ..all() },
            vec![8, 6, 4, 2, 1],
            "0.64",
            4,
        ),
        (ListTransactionsRequest { start_time: at(20), end_time: at(40), ..all() }, vec![7, 6, 5, 4], "0.326", 4),
        (ListTransactionsRequest { start_time: at(40), ..all() }, vec![9, 8], "0.314", 2),
        (ListTransactionsRequest { end_time: at(10), ..all() }, vec![1], "0", 0),
        (ListTransactionsRequest { key_id: "nobody".into(), ..all() }, vec![], "0", 0),
    ];
    for (query, expected, cost, requests) in cases {
        let page = world.transactions(query.clone()).await.unwrap();
        let totals = page.totals.clone().unwrap();
        assert_eq!(
            (entries(&page), totals.cost_usd.as_str(), totals.requests),
            (expected.clone(), cost, requests),
            "{query:?}"
        );
        assert_eq!((totals.entries, page.as_of_entry, page.next_page_token.as_str()), (expected.len() as u64, 9, ""));
        let one = world.transactions(ListTransactionsRequest { page_size: 1, ..query }).await.unwrap();
        assert_eq!((one.transactions.len(), one.totals), (expected.len().min(1), page.totals), "of all that match");
    }
}

#[tokio::test]
async fn pages_of_any_size_show_every_entry_once_even_while_more_are_booked() {
    let world = booked().await;
    for page_size in [1, 2, 4, 8, 9, 10, 1000, i32::MAX] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let query = ListTransactionsRequest { page_size, page_token, ..ListTransactionsRequest::default() };
            let page = world.transactions(query).await.unwrap();
            assert!(page.transactions.len() <= usize::try_from(page_size).unwrap() && !page.transactions.is_empty());
            seen.extend(entries(&page));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
            let id = format!("during {page_size} {}", seen.len());
            world.charge(charge("k1", &id, usd("0"))).await.unwrap().unwrap();
        }
        let last = seen[0];
        assert_eq!(seen, (1..=last).rev().collect::<Vec<_>>(), "pages of {page_size}");
    }
}

#[tokio::test]
async fn sums_of_a_list_are_of_all_that_its_first_page_saw() {
    let world = booked().await;
    let query = |page_token| ListTransactionsRequest { page_size: 4, page_token, ..ListTransactionsRequest::default() };
    let first = world.transactions(query(String::new())).await.unwrap();
    assert_eq!(first.totals.clone().unwrap().entries, 9);
    world.charge(charge("k1", "later", usd("5"))).await.unwrap().unwrap();
    let second = world.transactions(query(first.next_page_token)).await.unwrap();
    assert_eq!((entries(&second), second.as_of_entry), (vec![5, 4, 3, 2], 9));
    assert_eq!(second.totals, first.totals);
    let third = world.transactions(query(second.next_page_token)).await.unwrap();
    assert_eq!((entries(&third), third.totals, third.next_page_token.as_str()), (vec![1], first.totals, ""));
    let anew = world.transactions(query(String::new())).await.unwrap();
    let (entries, cost) = anew.totals.map(|totals| (totals.entries, totals.cost_usd)).unwrap();
    assert_eq!((entries, cost.as_str(), anew.as_of_entry), (10, "5.652", 10), "what was summed before is added to");
}

#[tokio::test]
async fn an_organizations_members_verify_it_once_an_hour_and_the_operator_at_any_time() {
    let world = booked().await;
    let (owen, fay) = (world.person("owen", Role::Owner).await, world.person("fay", Role::FinanceAdmin).await);
    let verify = async |by: &Connection, organization_id: &str| {
        let request = VerifyRequest { organization_id: organization_id.into() };
        by.ledger().verify(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(verify(&owen, ACME).await.unwrap().entries, 9);
    world.advance(60);
    let refused = verify(&fay, ACME).await.unwrap_err();
    assert_eq!(failure(&refused), failed(Code::ResourceExhausted, "RATE_LIMITED"));
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(wait, Some(std::time::Duration::from_mins(59)));
    assert_eq!(failure(&verify(&fay, "").await.unwrap_err()), failed(Code::NotFound, "NOT_FOUND"));
    for _ in 0..3 {
        world.verify().await;
    }
    world.advance(3540);
    assert_eq!(verify(&fay, ACME).await.unwrap().differences, []);
}

#[tokio::test]
async fn what_no_list_can_mean_is_refused() {
    let world = booked().await;
    let all = || ListTransactionsRequest::default();
    let invalid = || failed(Code::InvalidArgument, "INVALID_ARGUMENT");
    let teams =
        quotad::api::proto::ListTeamsRequest { organization_id: ACME.into(), page_size: 1, ..Default::default() };
    let foreign = world.operator.teams().list_teams(teams).await.unwrap().into_inner().next_page_token;
    assert!(!foreign.is_empty());
    let wrong = [
        ListTransactionsRequest { page_size: -1, ..all() },
        ListTransactionsRequest { page_token: "nonsense".into(), ..all() },
        ListTransactionsRequest { page_token: foreign, ..all() },
        ListTransactionsRequest { kinds: vec![0], ..all() },
        ListTransactionsRequest { kinds: vec![1, 99], ..all() },
        ListTransactionsRequest { key_id: "a b".into(), ..all() },
        ListTransactionsRequest { start_time: at(5), end_time: at(5), ..all() },
        ListTransactionsRequest { start_time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..all() },
    ];
    for query in wrong {
        assert_eq!(world.transactions(query.clone()).await, Err(invalid()), "{query:?}");
    }
    let list = async |organization_id: &str| -> Result<(), Failure> {
        let query = ListTransactionsRequest { organization_id: organization_id.into(), ..all() };
        let listed = world.operator.ledger().list_transactions(query).await;
        listed.map(|_| ()).map_err(|status| failure(&status))
    };
    assert_eq!(list("").await, Err(invalid()));
    assert_eq!(list("nobody").await, Err(failed(Code::NotFound, "NOT_FOUND")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_sees_every_charge_acknowledged_before_it() {
    let world = World::with_wallet("1000").await;
    all_at_once(16, |task| {
        let (service, operator) = (world.service.clone(), world.operator.clone());
        async move {
            for no in 0..20 {
                let request_id = format!("{task}-{no}");
                let answer = service.quota().charge(charge("k1", &request_id, usd("0.5"))).await.unwrap().into_inner();
                let entry = crate::messages::charged(answer).unwrap().entry;
                let query =
                    ListTransactionsRequest { organization_id: ACME.into(), page_size: 400, ..Default::default() };
                let page = operator.ledger().list_transactions(query).await.unwrap().into_inner();
                assert!(page.as_of_entry >= entry);
                let mine = page.transactions.iter().find(|transaction| transaction.entry == entry).unwrap();
                assert_eq!(mine.request_id, request_id);
                assert_eq!(entries(&page), (1..=page.as_of_entry).rev().collect::<Vec<_>>(), "no gap as of then");
            }
        }
    })
    .await;
    let balance = world.balance().await;
    assert_eq!((balance.balance_usd.as_str(), balance.as_of_entry), ("840", 321));
    world.verify().await;
}

#[tokio::test]
async fn balances_run_through_the_entries_and_verify_counts_all_of_it() {
    let world = booked().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "50")], Vec::new())).await;
    let id = world.reserve(reserve("k1", "expiring", usd("5"))).await.unwrap().reservation_id;
    let progress = quotad::api::proto::ExtendRequest { usage_so_far: Some(usd("2")), ..extend(&id) };
    world.extend(progress).await.unwrap().unwrap();
    world.advance(600);
    world.commit(commit(&id, usd("1"))).await.unwrap();
    let ledger = world.ledger().await;
    let nanos = |text: &str| quotad_nanos(text);
    let mut balance = 0;
    for transaction in ledger.transactions.iter().rev() {
        balance += nanos(&transaction.wallet_usd);
        assert_eq!(nanos(&transaction.balance_usd), balance, "after entry {}", transaction.entry);
    }
    assert_eq!(nanos(&world.balance().await.balance_usd), balance);
    assert_eq!(balance, 98_348_000_000);
    world.organization("quiet", WalletMode::Off).await;
    let verified = world.verify().await;
    assert_eq!((verified.organizations, verified.entries), (2, 11));
    assert!(verified.windows >= 1);
    let one = VerifyRequest { organization_id: "quiet".into() };
    let one = world.operator.ledger().verify(one).await.unwrap().into_inner();
    assert_eq!((one.organizations, one.entries, one.windows), (1, 0, 0));
    let nobody = VerifyRequest { organization_id: "nobody".into() };
    let nobody = world.operator.ledger().verify(nobody).await.unwrap_err();
    assert_eq!(failure(&nobody), failed(Code::NotFound, "NOT_FOUND"));
}

/// Of a decimal string, without the code under test.
fn quotad_nanos(text: &str) -> i64 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    sign * format!("{whole}{decimals:0<9}").parse::<i64>().unwrap()
}

#[tokio::test]
async fn actors_and_labels_survive_into_the_books_after_a_restart() {
    let mut world = World::new().await;
    let labels = HashMap::from([("run".to_owned(), "ü\u{1F600}".to_owned())]);
    let request = quotad::api::proto::ReserveRequest { labels: labels.clone(), ..reserve("k1", "r", usd("1")) };
    let id = world.reserve(request).await.unwrap().reservation_id;
    world.restart().await;
    world.commit(commit(&id, usd("1"))).await.unwrap();
    world.restart().await;
    let entry = world.ledger().await.transactions.remove(0);
    assert_eq!((entry.labels, entry.reservation_id), (labels, id));
}
