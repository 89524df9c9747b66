//! Charge: known usage, decided and settled at once, or booked whatever the limits say; and top-ups.

use std::collections::HashMap;

use prost_types::Timestamp;
use quotad::api::proto::{ChargeRequest, DenialCode, Key, PeriodKind, TransactionKind, Unit};
use tonic::Code;

use crate::{
    messages::{budget, charge, failed, period, policy, quota, reserve, tokens, usd},
    world::{ACME, Place, START, World},
};

fn used(request: ChargeRequest) -> ChargeRequest {
    ChargeRequest { already_used: true, ..request }
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_charge_is_decided_like_a_reserve_and_booked_once() {
    let world = World::with_wallet("10").await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "3")], vec![quota("slots", Unit::InFlight, 1)])).await;
    let request = charge("k1", "a", usd("2"));
    let first = world.charge(request.clone()).await.unwrap().unwrap();
    assert_eq!((first.entry, first.balance_usd.as_str(), first.replayed, first.late), (2, "8", false, false));
    let again = world.charge(request.clone()).await.unwrap().unwrap();
    assert_eq!((again.entry, again.balance_usd.as_str(), again.replayed), (2, "8", true));
    let reused = || failed(Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!(world.charge(charge("k1", "a", usd("2.1"))).await, Err(reused()));
    assert_eq!(world.charge(used(request)).await, Err(reused()));
    assert_eq!(world.try_reserve(reserve("k1", "a", usd("2"))).await, Err(reused()));
    let before = world.books().await;
    let denial = world.charge(charge("k1", "b", usd("1.1"))).await.unwrap().unwrap_err();
    assert_eq!(denial.code(), DenialCode::BudgetExceeded);
    assert_eq!(world.books().await, before);
    assert_eq!((before.limit("slots"), before.entry), (("0", "0", "1"), 2));
    world.verify().await;
}

#[tokio::test]
async fn what_was_used_is_charged_whatever_the_limits_and_the_key_say() {
    let world = World::with_wallet("1").await;
    world
        .limit(Place::Key("k1"), policy(vec![budget("cap", "3")], vec![quota("rpm", Unit::RequestsPerMinute, 1)]))
        .await;
    let disabled = Key { organization_id: ACME.into(), id: "k1".into(), disabled: true, ..Key::default() };
    world.update_key(disabled, &["disabled"]).await.unwrap();
    assert_eq!(world.charge(charge("k1", "no", usd("1"))).await.unwrap().unwrap_err().code(), DenialCode::KeyDisabled);
    for (no, (overage, balance)) in [("1", "-1"), ("2", "-3"), ("2", "-5")].into_iter().enumerate() {
        let booked = world.charge(used(charge("k1", &format!("c{no}"), usd("2")))).await.unwrap().unwrap();
        assert_eq!((booked.overage.unwrap().usd.as_str(), booked.balance_usd.as_str()), (overage, balance), "{no}");
    }
    let books = world.books().await;
    assert_eq!((books.limit("cap"), books.limit("rpm").0), (("6", "0", "-3"), "3"));
    let unknown = world.charge(used(charge("nobody", "x", usd("1")))).await.unwrap().unwrap_err();
    assert_eq!(unknown.code(), DenialCode::KeyUnknown, "nobody pays for an unknown key");
    let unpriced = ChargeRequest { model: "unheard-of".into(), ..used(charge("k1", "y", tokens(1, 1))) };
    assert_eq!(world.charge(unpriced).await.unwrap().unwrap_err().code(), DenialCode::ModelUnpriced);
    world.verify().await;
}

#[tokio::test]
async fn used_up_yesterday_counts_yesterday() {
    let world = World::new().await;
    let daily = quotad::api::proto::Budget { period: period(PeriodKind::Daily), ..budget("day", "10") };
    world.limit(Place::Key("k1"), policy(vec![daily], vec![quota("rpm", Unit::RequestsPerMinute, 10)])).await;
    // 22:13:20 UTC: 23 hours back is yesterday.
    let back = |seconds| at(START - seconds);
    let yesterday = ChargeRequest { occurred_at: back(23 * 3600), ..used(charge("k1", "a", usd("4"))) };
    world.charge(yesterday.clone()).await.unwrap().unwrap();
    assert!(world.charge(yesterday).await.unwrap().unwrap().replayed);
    let today = ChargeRequest { occurred_at: back(60), ..used(charge("k1", "b", usd("3"))) };
    world.charge(today).await.unwrap().unwrap();
    assert_eq!(world.books().await.limit("day"), ("3", "0", "7"));
    let entries = world.ledger().await.transactions;
    assert_eq!(entries[1].occurred_at, back(23 * 3600));
    assert_eq!(entries[1].time, at(START));
    let before = world.books().await;
    let edge = ChargeRequest { occurred_at: back(24 * 3600), ..used(charge("k1", "edge", usd("1"))) };
    world.charge(edge).await.unwrap().unwrap();
    let wrong = [
        ChargeRequest { occurred_at: back(24 * 3600 + 1), ..used(charge("k1", "c", usd("1"))) },
        ChargeRequest { occurred_at: back(-1), ..used(charge("k1", "c", usd("1"))) },
        ChargeRequest { occurred_at: back(60), ..charge("k1", "c", usd("1")) },
        ChargeRequest {
            occurred_at: Some(Timestamp { seconds: START, nanos: -1 }),
            ..used(charge("k1", "c", usd("1")))
        },
        ChargeRequest { occurred_at: at(i64::MAX), ..used(charge("k1", "c", usd("1"))) },
        ChargeRequest { occurred_at: at(i64::MIN), ..used(charge("k1", "c", usd("1"))) },
    ];
    for wrong in wrong {
        assert_eq!(
            world.charge(wrong.clone()).await,
            Err(failed(Code::InvalidArgument, "INVALID_ARGUMENT")),
            "{wrong:?}"
        );
    }
    let after = world.books().await;
    assert_eq!((after.limit("day"), after.entry), (before.limit("day"), before.entry + 1));
    world.verify().await;
}

#[tokio::test]
async fn an_entry_keeps_all_that_was_said_about_it() {
    let world = World::with_wallet("10").await;
    let labels = HashMap::from([("run".to_owned(), "7".to_owned()), ("empty".to_owned(), String::new())]);
    let usage =
        quotad::api::proto::Usage { requests: 3, cached_input_tokens: 40, cache_write_tokens: 10, ..tokens(100, 7) };
    world.charge(ChargeRequest { labels: labels.clone(), ..charge("k1", "a", usage) }).await.unwrap().unwrap();
    let entry = world.ledger().await.transactions.remove(0);
    assert_eq!((entry.kind(), entry.entry, entry.request_id.as_str()), (TransactionKind::Charge, 2, "a"));
    assert_eq!((entry.key_id.as_str(), entry.member_id.as_str(), entry.team_id.as_str()), ("k1", "ada", "default"));
    assert_eq!((entry.labels, entry.model.as_str(), entry.reservation_id.as_str()), (labels, "m", ""));
    let usage = entry.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens), (100, 40, 10));
    assert_eq!((usage.output_tokens, usage.requests), (7, 3));
    // Cached kinds cost as the input where no price is given: 100 × 0.000001 + 7 × 0.00001.
    assert_eq!((entry.cost_usd.as_str(), entry.credits.as_str()), ("0.00017", "0.00017"));
    assert_eq!((entry.wallet_usd.as_str(), entry.balance_usd.as_str()), ("-0.00017", "9.99983"));
    let price = entry.price.unwrap();
    assert_eq!((price.input_per_million.as_str(), price.output_per_million.as_str()), ("1", "10"));
    assert!(entry.actor.starts_with("service:"), "{}", entry.actor);
}

#[tokio::test]
async fn a_top_up_credits_once_and_for_ever() {
    let world = World::with_wallet("1.5").await;
    let first = world.top_up("pay-1", "0.000000001").await.unwrap();
    assert_eq!((first.balance_usd.as_str(), first.replayed), ("1.500000001", false));
    let order = first.order.unwrap();
    assert_eq!((order.entry, order.amount_usd.as_str(), order.request_id.as_str()), (2, "0.000000001", "pay-1"));
    world.top_up("pay-2", "2").await.unwrap();
    world.advance(30 * 24 * 3600);
    let again = world.top_up("pay-1", "0.0000000010").await.unwrap();
    assert_eq!((again.replayed, again.order.unwrap()), (true, order));
    let reused = Err(failed(Code::AlreadyExists, "REQUEST_ID_REUSED"));
    assert_eq!(world.top_up("pay-1", "1").await, reused);
    assert_eq!(
        world.charge(charge("k1", "pay-1", usd("1"))).await,
        Err(failed(Code::AlreadyExists, "REQUEST_ID_REUSED"))
    );
    assert_eq!(world.balance().await.balance_usd, "3.500000001");
    for absurd in ["0", "-1", "NaN", "inf", "1e3", "", "0.0000000001", "1000000000.1", "٣", " 1", "1,5", "0x10"] {
        assert_eq!(
            world.top_up("bad", absurd).await,
            Err(failed(Code::InvalidArgument, "INVALID_ARGUMENT")),
            "{absurd:?}"
        );
    }
    assert_eq!(world.ledger().await.as_of_entry, 3);
    world.verify().await;
}
