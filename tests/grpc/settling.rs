//! Commit, Release and what comes second: every pair of settlements with its exact answer, late commits, overage.

use quotad::api::proto::{
    CommitRequest, DenialCode, ExpiryPolicy, ListTransactionsRequest, Organization, ReleaseRequest, TransactionKind,
    Unit, WalletMode,
};
use tonic::Code;

use crate::{
    messages::{
        budget, by_id, by_request, commit, extend, failed, key, policy, quota, release, reserve, seconds, secret,
        tokens, usd,
    },
    world::{Place, World},
};

async fn with_cap(max: &str) -> World {
    let world = World::new().await;
    let limits = vec![quota("slots", Unit::InFlight, 10), quota("tpm", Unit::TokensPerMinute, 1000)];
    world.limit(Place::Key("k1"), policy(vec![budget("cap", max)], limits)).await;
    world
}

async fn held(world: &World, request_id: &str, cost: &str) -> String {
    world.reserve(reserve("k1", request_id, usd(cost))).await.unwrap().reservation_id
}

#[tokio::test]
async fn a_commit_charges_less_than_was_held_or_more_and_says_what_passed_the_cap() {
    let world = with_cap("10").await;
    let id = held(&world, "less", "6").await;
    let less = world.commit(commit(&id, usd("5"))).await.unwrap();
    let (charged, overage) = (less.charged.unwrap(), less.overage.unwrap());
    assert_eq!((charged.usd.as_str(), charged.credits.as_str(), charged.requests), ("5", "5", 1));
    assert_eq!((overage.usd.as_str(), overage.credits.as_str(), overage.tokens), ("0", "0", 0));
    assert_eq!(world.books().await.limit("cap"), ("5", "0", "5"));
    let id = held(&world, "more", "4").await;
    let request = CommitRequest { include_limits: true, ..commit(&id, usd("7.5")) };
    let more = world.commit(request).await.unwrap();
    assert_eq!((more.charged.unwrap().usd.as_str(), more.overage.unwrap().usd.as_str()), ("7.5", "2.5"));
    let cap = more.limits.iter().find(|limit| limit.limit_id == "cap").unwrap();
    assert_eq!((cap.spent.as_str(), cap.held.as_str(), cap.remaining.as_str()), ("12.5", "0", "-2.5"));
    let refused = world.reserve(reserve("k1", "next", usd("0"))).await.unwrap_err();
    assert_eq!(refused.code(), DenialCode::BudgetExceeded, "used up is used up, even for a free request");
    let overages = world.ledger().await.transactions[0].overage.clone().unwrap();
    assert_eq!(overages.usd, "2.5");
    world.verify().await;
}

#[tokio::test]
async fn what_others_hold_is_not_taken_for_room_when_an_overage_is_measured() {
    let world = World::with_wallet("10").await;
    let id = held(&world, "a", "2").await;
    held(&world, "b", "7").await;
    let charged = world.commit(commit(&id, usd("4"))).await.unwrap();
    assert_eq!((charged.overage.unwrap().usd.as_str(), charged.balance_usd.as_str()), ("1", "6"));
    let balance = world.balance().await;
    assert_eq!((balance.held_usd.as_str(), balance.available_usd.as_str()), ("7", "-1"));
}

/// What was done first, what comes second, and its answer: `Ok` for a replay.
#[tokio::test]
async fn second_settlements_are_answered_by_the_table() {
    let world = with_cap("1000").await;
    let committed = || failed(Code::FailedPrecondition, "RESERVATION_COMMITTED");
    let released = || failed(Code::FailedPrecondition, "RESERVATION_RELEASED");
    let otherwise = || failed(Code::AlreadyExists, "SETTLED_OTHERWISE");

    let id = held(&world, "committed", "1").await;
    let first = world.commit(commit(&id, usd("0.5"))).await.unwrap();
    let before = world.books().await;
    let again = world.commit(commit(&id, usd("0.50"))).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!((again.entry, &again.charged, &again.balance_usd), (first.entry, &first.charged, &first.balance_usd));
    assert_eq!(world.commit(commit(&id, usd("0.6"))).await, Err(otherwise()));
    let other_model = CommitRequest { model: "other".into(), ..commit(&id, usd("0.5")) };
    assert_eq!(world.commit(other_model).await, Err(otherwise()));
    assert_eq!(world.release(release(&id)).await, Err(committed()));
    assert_eq!(world.extend(extend(&id)).await, Err(committed()));
    assert_eq!(world.books().await, before, "nothing was changed by a second settlement");

    let id = held(&world, "released", "1").await;
    let reason = |reason: &str| ReleaseRequest { reason: reason.to_owned(), ..release(&id) };
    let first = world.release(reason("never ran")).await.unwrap();
    assert_eq!((first.released.unwrap().usd.as_str(), first.replayed), ("1", false));
    let again = world.release(reason("never ran")).await.unwrap();
    assert_eq!((again.released.unwrap().usd.as_str(), again.replayed), ("1", true));
    assert_eq!(world.release(reason("another reason")).await, Err(otherwise()));
    assert_eq!(world.commit(commit(&id, usd("0.5"))).await, Err(released()));
    assert_eq!(world.extend(extend(&id)).await, Err(released()));
    assert_eq!(world.books().await, before);
    world.verify().await;
}

#[tokio::test]
async fn a_reservation_that_nobody_got_is_not_found_whatever_is_done_to_it() {
    let world = with_cap("10").await;
    world.organization("other", WalletMode::Off).await;
    world.member_of("other", "eve", &[]).await;
    let foreign = world.key_of("other", "k9", "eve", "").await;
    let id = held(&world, "mine", "1").await;
    let not_found = || failed(Code::NotFound, "RESERVATION_NOT_FOUND");
    let mut flipped = id.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let named = [
        by_id("nonsense"),
        by_id(&flipped),
        by_id(&id[..id.len() - 1]),
        by_id(&"x".repeat(512)),
        by_request(key("k1"), "never-asked"),
        by_request(key("nobody"), "mine"),
        by_request(key("k9"), "mine"),
        by_request(secret(&foreign), "mine"),
        by_request(secret("qk_made_up"), "mine"),
    ];
    let before = world.books().await;
    for reservation in named {
        let commit = CommitRequest { reservation: reservation.clone(), ..commit("", usd("1")) };
        assert_eq!(world.commit(commit).await.unwrap_err(), not_found(), "{reservation:?}");
        let release = ReleaseRequest { reservation: reservation.clone(), ..release("") };
        assert_eq!(world.release(release).await.unwrap_err(), not_found(), "{reservation:?}");
        let extend = quotad::api::proto::ExtendRequest { reservation: reservation.clone(), ..extend("") };
        assert_eq!(world.extend(extend).await.unwrap_err(), not_found(), "{reservation:?}");
    }
    assert_eq!(world.books().await, before);
    world.commit(commit(&id, usd("1"))).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_lost_the_answer_settles_by_what_it_asked() {
    let world = with_cap("10").await;
    let id = held(&world, "lost", "1").await;
    let by_secret = CommitRequest { reservation: by_request(secret(&world.secret), "lost"), ..commit("", usd("0.5")) };
    let charged = world.commit(by_secret.clone()).await.unwrap();
    assert_eq!((charged.entry, charged.replayed), (1, false));
    let entry = world.ledger().await.transactions.remove(0);
    assert_eq!((entry.reservation_id.as_str(), entry.request_id.as_str()), (id.as_str(), "lost"));
    assert!(world.commit(commit(&id, usd("0.5"))).await.unwrap().replayed);
    let by_key = CommitRequest { reservation: by_request(key("k1"), "lost"), ..by_secret };
    assert!(world.commit(by_key).await.unwrap().replayed);
    held(&world, "unused", "2").await;
    let freed = ReleaseRequest { reservation: by_request(key("k1"), "unused"), reason: String::new() };
    assert_eq!(world.release(freed).await.unwrap().released.unwrap().usd, "2");
    // A Charge and a Reserve share one space of ids; a charge is no reservation.
    world.charge(crate::messages::charge("k1", "charged", usd("1"))).await.unwrap().unwrap();
    let charged = CommitRequest { reservation: by_request(key("k1"), "charged"), ..commit("", usd("1")) };
    assert_eq!(world.commit(charged).await, Err(failed(Code::NotFound, "RESERVATION_NOT_FOUND")));
}

#[tokio::test]
async fn an_expired_hold_is_free_and_its_late_commit_is_booked_once() {
    let world = with_cap("10").await;
    let request = quotad::api::proto::ReserveRequest { ttl: seconds(30), ..reserve("k1", "late", usd("8")) };
    let id = world.reserve(request).await.unwrap().reservation_id;
    world.advance(29);
    assert_eq!(world.books().await.limit("cap"), ("0", "8", "2"));
    world.advance(1);
    assert_eq!(world.books().await.limit("cap"), ("0", "0", "10"));
    assert_eq!(world.books().await.limit("slots"), ("0", "0", "10"));
    let denial = world.extend(extend(&id)).await.unwrap().unwrap_err();
    assert_eq!((denial.code(), denial.http_status), (DenialCode::ReservationExpired, 429));
    let late = world.commit(commit(&id, usd("3"))).await.unwrap();
    assert_eq!((late.late, late.replayed, late.entry), (true, false, 1));
    assert_eq!(late.charged.unwrap().usd, "3");
    let again = world.commit(commit(&id, usd("3"))).await.unwrap();
    assert_eq!((again.late, again.replayed, again.entry), (true, true, 1));
    assert_eq!(world.commit(commit(&id, usd("4"))).await, Err(failed(Code::AlreadyExists, "SETTLED_OTHERWISE")));
    assert_eq!(world.release(release(&id)).await, Err(failed(Code::FailedPrecondition, "RESERVATION_COMMITTED")));
    assert_eq!(world.books().await.limit("cap"), ("3", "0", "7"));
    let entry = world.ledger().await.transactions.remove(0);
    assert_eq!((entry.kind(), entry.cost_usd.as_str()), (TransactionKind::LateCommit, "3"));
    world.verify().await;
}

#[tokio::test]
async fn expiry_charges_reported_progress_and_a_late_commit_books_the_difference_even_downwards() {
    let world = World::with_wallet("10").await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let id = held(&world, "progress", "5").await;
    let progress = quotad::api::proto::ExtendRequest { usage_so_far: Some(usd("2")), ttl: seconds(10), ..extend(&id) };
    world.extend(progress).await.unwrap().unwrap();
    world.advance(10);
    assert_eq!(world.books().await.limit("cap"), ("2", "0", "8"));
    let balance = world.balance().await;
    assert_eq!((balance.balance_usd.as_str(), balance.held_usd.as_str()), ("8", "0"));
    let refused = world.release(release(&id)).await;
    assert_eq!(refused, Err(failed(Code::FailedPrecondition, "RESERVATION_EXPIRED")), "it was charged: no release");
    let late = world.commit(commit(&id, usd("0.5"))).await.unwrap();
    assert_eq!((late.charged.unwrap().usd.as_str(), late.balance_usd.as_str()), ("0.5", "9.5"));
    assert_eq!(world.books().await.limit("cap"), ("0.5", "0", "9.5"));
    let costs: Vec<_> =
        world.ledger().await.transactions.into_iter().map(|entry| (entry.kind(), entry.cost_usd)).collect();
    let expected = [
        (TransactionKind::LateCommit, "-1.5".to_owned()),
        (TransactionKind::Expiry, "2".to_owned()),
        (TransactionKind::TopUp, "0".to_owned()),
    ];
    let shown: Vec<_> =
        costs.iter().map(|(kind, cost)| (*kind, if cost.is_empty() { "0".into() } else { cost.clone() })).collect();
    assert_eq!(shown, expected);
    world.verify().await;
}

#[tokio::test]
async fn a_late_commit_of_just_what_expiry_charged_makes_no_entry() {
    let world = World::with_wallet("10").await;
    let charge_held = Organization { expiry_policy: ExpiryPolicy::ChargeHeld.into(), ..Organization::default() };
    world.update_organization(charge_held, &["expiry_policy"]).await;
    let id = held(&world, "held", "5").await;
    world.advance(600);
    let before = world.books().await;
    assert_eq!((before.balance.as_str(), before.held.as_str(), before.entry), ("5", "0", 2));
    let late = world.commit(commit(&id, usd("5"))).await.unwrap();
    assert_eq!((late.late, late.entry, late.balance_usd.as_str()), (true, 0, "5"));
    assert!(world.commit(commit(&id, usd("5"))).await.unwrap().replayed);
    assert_eq!(world.books().await, before);
    let query = ListTransactionsRequest { kinds: vec![TransactionKind::LateCommit.into()], ..Default::default() };
    assert_eq!(world.transactions(query).await.unwrap().transactions, Vec::new());
    world.verify().await;
}

#[tokio::test]
async fn after_a_day_nothing_can_be_settled_any_more() {
    let world = with_cap("10").await;
    let id = held(&world, "old", "1").await;
    world.advance(24 * 3600);
    let same_second = world.commit(commit(&held(&world, "new", "1").await, usd("1"))).await;
    assert!(same_second.is_ok());
    world.advance(1);
    let too_old = || failed(Code::FailedPrecondition, "RESERVATION_TOO_OLD");
    assert_eq!(world.commit(commit(&id, usd("1"))).await, Err(too_old()));
    assert_eq!(world.release(release(&id)).await, Err(too_old()));
    assert_eq!(world.extend(extend(&id)).await, Err(too_old()));
    assert_eq!(world.ledger().await.as_of_entry, 1);
}

#[tokio::test]
async fn the_price_taken_at_reserve_stays_unless_another_model_ran() {
    let world = World::new().await;
    world.price("dear", "100", "1000").await;
    let ask = async |request: &str| world.reserve(reserve("k1", request, tokens(1000, 100))).await.unwrap();
    let (one, two, three) = (ask("one").await, ask("two").await, ask("three").await);
    assert_eq!(one.held.unwrap().usd, "0.002", "1000 × 0.000001 + 100 × 0.00001");
    let dearer = quotad::api::proto::Price { model: "m".into(), input_per_million: "7".into(), ..Default::default() };
    let update = quotad::api::proto::UpdatePriceRequest {
        price: Some(dearer),
        update_mask: crate::messages::mask(&["input_per_million"]),
    };
    world.operator.prices().update_price(update).await.unwrap();
    let charged = world.commit(commit(&one.reservation_id, tokens(500, 10))).await.unwrap();
    assert_eq!(charged.charged.unwrap().usd, "0.0006");
    let other = CommitRequest { model: "dear".into(), ..commit(&two.reservation_id, tokens(500, 10)) };
    assert_eq!(world.commit(other).await.unwrap().charged.unwrap().usd, "0.06");
    let unpriced = CommitRequest { model: "unheard-of".into(), ..commit(&three.reservation_id, tokens(500, 10)) };
    assert_eq!(world.commit(unpriced).await.unwrap().charged.unwrap().usd, "0.0006", "never refused for its price");
    let models: Vec<_> = world.ledger().await.transactions.into_iter().map(|entry| entry.model).collect();
    assert_eq!(models, ["unheard-of", "dear", "m"]);
    world.verify().await;
}
