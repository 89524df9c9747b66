//! E4 to E6 and E8: what is charged, whose it was, who may look at it, and batches beside single requests.

use quotad::{
    api::proto::{
        BookedUsage, ListTransactionsRequest, ListTransactionsResponse, ReserveRequest, SummarizeUsageRequest,
        TransactionKind, Usage, UsageGrouping, WalletMode,
    },
    domain::money::Nanos,
};
use tonic::Code;

use crate::{
    messages::{MODEL, charge, charged, commit, failed, failure, reserve, reserved, tokens, usd},
    payments::balance,
    people::{everybody, joins},
    world::{ACME, START, World, all_at_once},
};

fn batch(requests: u64, cost: &str) -> Usage {
    Usage { requests, ..usd(cost) }
}

// E4
#[tokio::test]
async fn the_balance_is_charged_when_the_tokens_are_counted() {
    let world = World::with_wallet("10").await;
    let id = world.reserve(reserve("k1", "r1", tokens(100_000, 200_000))).await.unwrap().reservation_id;
    let open = world.balance().await;
    assert_eq!((open.balance_usd.as_str(), open.held_usd.as_str(), open.available_usd.as_str()), ("10", "2.1", "7.9"));
    let done = world.commit(commit(&id, tokens(100_000, 50_000))).await.unwrap();
    assert_eq!((done.charged.unwrap().usd.as_str(), done.balance_usd.as_str()), ("0.6", "9.4"));
    let closed = world.balance().await;
    assert_eq!((closed.balance_usd.as_str(), closed.held_usd.as_str()), ("9.4", "0"));
}

// E4
#[tokio::test]
async fn a_batch_of_many_requests_is_one_reservation_or_one_charge_of_as_many() {
    let world = World::with_wallet("10").await;
    let id = world.reserve(reserve("k1", "batch-1", batch(500, "3"))).await.unwrap().reservation_id;
    world.commit(commit(&id, batch(480, "2.5"))).await.unwrap();
    world.charge(charge("k1", "batch-2", batch(1000, "4"))).await.unwrap().unwrap();
    let ledger = world.ledger().await;
    let booked: Vec<_> = ledger
        .transactions
        .iter()
        .map(|entry| (entry.kind(), entry.usage.unwrap_or_default().requests, entry.balance_usd.as_str()))
        .collect();
    let expected = [
        (TransactionKind::Charge, 1000, "3.5"),
        (TransactionKind::Commit, 480, "7.5"),
        (TransactionKind::TopUp, 0, "10"),
    ];
    assert_eq!(booked, expected);
    assert_eq!(ledger.totals.unwrap().requests, 1480);
    let more = world.charge(charge("k1", "batch-3", batch(1000, "3.6"))).await.unwrap();
    assert!(more.is_err(), "all of it or nothing");
    world.verify().await;
}

// E5
#[tokio::test]
async fn a_transaction_says_who_by_which_key_what_for_how_much_and_what_is_left() {
    let world = World::with_wallet("10").await;
    world.team("lab").await;
    world.member_of(ACME, "eve", &["lab"]).await;
    world.key("k2", "eve", "lab").await;
    world.advance(60);
    let usage = Usage { cached_input_tokens: 400, cache_write_tokens: 100, ..tokens(1000, 50) };
    let labels = [("job".to_owned(), "nightly".to_owned())].into();
    let request = ReserveRequest { labels, ..reserve("k2", "r1", usage.clone()) };
    let id = world.reserve(request).await.unwrap().reservation_id;
    world.advance(5);
    world.commit(commit(&id, usage)).await.unwrap();
    let entry = world.ledger().await.transactions.remove(0);
    let who = (entry.member_id.as_str(), entry.key_id.as_str(), entry.team_id.as_str(), entry.model.as_str());
    assert_eq!(who, ("eve", "k2", "lab", MODEL));
    let booked = BookedUsage {
        input_tokens: 1000,
        cached_input_tokens: 400,
        cache_write_tokens: 100,
        output_tokens: 50,
        requests: 1,
    };
    assert_eq!((entry.usage, entry.entry, entry.kind()), (Some(booked), 2, TransactionKind::Commit));
    let money =
        (entry.cost_usd.as_str(), entry.credits.as_str(), entry.wallet_usd.as_str(), entry.balance_usd.as_str());
    assert_eq!(money, ("0.0015", "0.0015", "-0.0015", "9.9985"));
    let times = (entry.time.unwrap().seconds, entry.occurred_at.unwrap().seconds);
    assert_eq!(times, (START + 65, START + 60));
    assert_eq!((entry.request_id.as_str(), entry.reservation_id.as_str()), ("r1", id.as_str()));
    assert!(entry.actor.starts_with("service:") && entry.labels["job"] == "nightly");
    assert_eq!(entry.price.unwrap().output_per_million, "10");
}

/// Two keys of two members in two teams with two models, over two days.
async fn used() -> World {
    let world = World::with_wallet("100").await;
    world.price("other", "1", "1").await;
    world.team("lab").await;
    world.member_of(ACME, "eve", &["lab"]).await;
    world.key("k2", "eve", "lab").await;
    for (no, (key, model, cost)) in
        [("k1", MODEL, "1"), ("k2", MODEL, "2"), ("k2", "other", "4"), ("k1", "other", "8")].into_iter().enumerate()
    {
        if no == 2 {
            world.advance(86_400);
        }
        let request =
            quotad::api::proto::ChargeRequest { model: model.into(), ..charge(key, &format!("c{no}"), usd(cost)) };
        world.charge(request).await.unwrap().unwrap();
    }
    world
}

// E6
#[tokio::test]
async fn every_member_sees_the_whole_history_and_nobody_of_another_organization_does() {
    let world = used().await;
    let all = world.ledger().await.transactions;
    assert_eq!(all.len(), 5);
    for (role, person) in everybody(&world).await {
        let asked = ListTransactionsRequest { organization_id: ACME.into(), ..ListTransactionsRequest::default() };
        let seen = person.ledger().list_transactions(asked.clone()).await.unwrap().into_inner();
        assert_eq!(seen.transactions, all, "{role}");
        let foreign = ListTransactionsRequest { organization_id: "other-org".into(), ..asked };
        let status = person.ledger().list_transactions(foreign).await.unwrap_err();
        assert_eq!(failure(&status), failed(Code::NotFound, "NOT_FOUND"), "{role}");
    }
    world.organization("other-org", WalletMode::Off).await;
    world.member_of("other-org", "max", &[]).await;
    let stranger = crate::people::acting(&world, "other-org", "max").await;
    let asked = ListTransactionsRequest { organization_id: ACME.into(), ..ListTransactionsRequest::default() };
    let status = stranger.ledger().list_transactions(asked).await.unwrap_err();
    assert_eq!(failure(&status), failed(Code::NotFound, "NOT_FOUND"));
    assert_eq!(balance(&stranger, ACME).await.unwrap_err(), failed(Code::NotFound, "NOT_FOUND"));
}

fn costs(page: &ListTransactionsResponse) -> Vec<&str> {
    page.transactions.iter().map(|entry| entry.cost_usd.as_str()).collect()
}

// E6
#[tokio::test]
async fn history_is_filtered_by_member_key_team_model_kind_and_time() {
    let world = used().await;
    let ann = joins(&world, "ann", quotad::api::proto::Role::Basic).await;
    let all = || ListTransactionsRequest { organization_id: ACME.into(), ..ListTransactionsRequest::default() };
    let day = |offset: i64| Some(prost_types::Timestamp { seconds: START + offset, nanos: 0 });
    let kinds = vec![TransactionKind::TopUp.into()];
    let cases: Vec<(_, &[&str], &str)> = vec![
        (ListTransactionsRequest { member_id: "eve".into(), ..all() }, &["4", "2"], "6"),
        (ListTransactionsRequest { key_id: "k1".into(), ..all() }, &["8", "1"], "9"),
        (ListTransactionsRequest { team_id: "lab".into(), ..all() }, &["4", "2"], "6"),
        (ListTransactionsRequest { model: "other".into(), ..all() }, &["8", "4"], "12"),
        (ListTransactionsRequest { model: "other".into(), key_id: "k2".into(), ..all() }, &["4"], "4"),
        (ListTransactionsRequest { kinds, ..all() }, &["0"], "0"),
        (ListTransactionsRequest { start_time: day(1), ..all() }, &["8", "4"], "12"),
        (ListTransactionsRequest { end_time: day(1), ..all() }, &["2", "1", "0"], "3"),
        (ListTransactionsRequest { member_id: "nobody".into(), ..all() }, &[], "0"),
    ];
    for (query, expected, sum) in cases {
        let page = ann.ledger().list_transactions(query.clone()).await.unwrap().into_inner();
        assert_eq!(costs(&page), expected, "{query:?}");
        assert_eq!(page.totals.unwrap().cost_usd, sum, "{query:?}");
    }
}

// E6
#[tokio::test]
async fn usage_is_summed_by_member_key_team_model_and_day_for_every_member() {
    let world = used().await;
    let cases: [(UsageGrouping, &[(&str, &str)]); 5] = [
        (UsageGrouping::Member, &[("ada", "9"), ("eve", "6")]),
        (UsageGrouping::Key, &[("k1", "9"), ("k2", "6")]),
        (UsageGrouping::Team, &[("default", "9"), ("lab", "6")]),
        (UsageGrouping::Model, &[("other", "12"), (MODEL, "3")]),
        (UsageGrouping::Day, &[("2023-11-15", "12"), ("2023-11-14", "3")]),
    ];
    for (role, person) in everybody(&world).await {
        for (grouping, expected) in cases {
            let asked = SummarizeUsageRequest {
                organization_id: ACME.into(),
                grouping: grouping.into(),
                ..SummarizeUsageRequest::default()
            };
            let summary = person.ledger().summarize_usage(asked).await.unwrap().into_inner();
            let groups: Vec<_> = summary
                .groups
                .iter()
                .map(|group| (group.id.as_str(), group.totals.as_ref().unwrap().cost_usd.as_str()))
                .collect();
            assert_eq!(groups, expected, "{role} {grouping:?}");
            assert_eq!(summary.totals.unwrap().cost_usd, "15");
        }
    }
    let largest = SummarizeUsageRequest {
        organization_id: ACME.into(),
        grouping: UsageGrouping::Key.into(),
        team_id: "lab".into(),
        model: "other".into(),
        page_size: 1,
        ..SummarizeUsageRequest::default()
    };
    let summary = world.operator.ledger().summarize_usage(largest).await.unwrap().into_inner();
    assert_eq!((summary.groups.len(), summary.totals.unwrap().cost_usd.as_str()), (1, "4"));
    assert_eq!(summary.others.unwrap().entries, 0);
}

// E8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_single_requests_together_never_spend_more_than_there_is() {
    let world = World::with_wallet("10").await;
    let tasks = all_at_once(32, |task| {
        let mut quota = world.service.quota();
        async move {
            let mut spent = Nanos::ZERO;
            for no in 0..6 {
                let id = format!("{task}-{no}");
                if task % 2 == 0 {
                    let request = charge("k1", &id, batch(10, "0.7"));
                    let done = charged(quota.charge(request).await.unwrap().into_inner());
                    spent += done.map_or(Nanos::ZERO, |done| Nanos::parse("usd", &done.charged.unwrap().usd).unwrap());
                } else if let Ok(grant) =
                    reserved(quota.reserve(reserve("k1", &id, usd("0.3"))).await.unwrap().into_inner())
                {
                    let done = quota.commit(commit(&grant.reservation_id, usd("0.2"))).await.unwrap().into_inner();
                    spent += Nanos::parse("usd", &done.charged.unwrap().usd).unwrap();
                }
            }
            spent
        }
    });
    let spent: Nanos = tasks.await.into_iter().sum();
    let left = Nanos::parse("balance", &world.balance().await.balance_usd).unwrap();
    assert_eq!(left, Nanos::parse("all", "10").unwrap() - spent);
    assert!(left >= Nanos::ZERO, "{left}");
    assert!(left < Nanos::parse("least", "0.7").unwrap(), "as much as fits was spent, {left} is left");
    let kinds = world.ledger().await.transactions;
    let of = |kind| kinds.iter().filter(|entry| entry.kind() == kind).count();
    assert!(of(TransactionKind::Charge) > 0 && of(TransactionKind::Commit) > 0, "both kinds took part");
    world.verify().await;
}
