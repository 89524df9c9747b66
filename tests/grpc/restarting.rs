//! A server stopped and started again on its directory knows all that it knew.

use quotad::{
    api::proto::{ReservationState, ReserveRequest, Unit, WalletMode},
    domain::time::Span,
};
use tonic::Code;

use crate::{
    messages::{budget, charge, commit, extend, failed, policy, quota, release, reserve, seconds, secret, tokens, usd},
    world::{Place, World},
};

#[tokio::test]
async fn a_restart_changes_nothing_that_anybody_can_see() {
    let mut world = World::with_wallet("100").await;
    let limits = vec![
        quota("rpm", Unit::RequestsPerMinute, 4),
        quota("tpm", Unit::TokensPerMinute, 10_000),
        quota("slots", Unit::InFlight, 2),
    ];
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "50")], limits)).await;
    let open = world.reserve(reserve("k1", "open", tokens(100, 50))).await.unwrap();
    let closed = world.reserve(reserve("k1", "closed", usd("2"))).await.unwrap();
    let settled = world.commit(commit(&closed.reservation_id, usd("1.25"))).await.unwrap();
    let charged = world.charge(charge("k1", "charged", usd("3"))).await.unwrap().unwrap();
    let released = world.reserve(reserve("k1", "released", usd("5"))).await.unwrap();
    world.release(release(&released.reservation_id)).await.unwrap();
    let (before, ledger) = (world.books().await, world.ledger().await);
    assert_eq!(before.limit("rpm"), ("3", "0", "1"), "a release gives its request back");
    world.restart().await;
    assert_eq!(world.books().await, before);
    assert_eq!(world.ledger().await, ledger);
    let replay = world.reserve(reserve("k1", "open", tokens(100, 50))).await.unwrap();
    assert_eq!((replay.replayed, replay.state()), (true, ReservationState::Open));
    assert_eq!(
        (&replay.reservation_id, &replay.expire_time, &replay.held),
        (&open.reservation_id, &open.expire_time, &open.held)
    );
    let again = world.commit(commit(&closed.reservation_id, usd("1.25"))).await.unwrap();
    assert_eq!((again.replayed, again.entry, again.balance_usd), (true, settled.entry, settled.balance_usd));
    let again = world.charge(charge("k1", "charged", usd("3"))).await.unwrap().unwrap();
    assert_eq!((again.replayed, again.entry), (true, charged.entry));
    assert!(world.top_up("first", "100").await.unwrap().replayed);
    let refused = world.commit(commit(&released.reservation_id, usd("1"))).await;
    assert_eq!(refused, Err(failed(Code::FailedPrecondition, "RESERVATION_RELEASED")));
    assert_eq!(world.books().await, before);
    world.advance(5);
    let request = ReserveRequest { payer: secret(&world.secret), ..reserve("k1", "fourth", usd("1")) };
    world.reserve(request).await.unwrap();
    let denial = world.reserve(reserve("k1", "fifth", usd("1"))).await.unwrap_err();
    let waits: Vec<_> = denial.violations.iter().map(|v| v.limit.as_ref().unwrap().limit_id.as_str()).collect();
    assert_eq!(waits, ["slots", "rpm"]);
    assert_eq!(denial.retry_after, seconds(56), "the minute began before the restart");
    let last = world.commit(commit(&open.reservation_id, tokens(100, 50))).await.unwrap();
    assert_eq!((last.entry, last.charged.unwrap().usd.as_str()), (4, "0.0006"));
    world.verify().await;
}

#[tokio::test]
async fn what_expired_or_was_revoked_meanwhile_is_known_after_the_restart() {
    let mut world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let short = ReserveRequest { ttl: seconds(30), ..reserve("k1", "short", usd("4")) };
    let short = world.reserve(short).await.unwrap().reservation_id;
    let long = world.reserve(reserve("k1", "long", usd("1"))).await.unwrap().reservation_id;
    let used = quotad::api::proto::ChargeRequest { already_used: true, ..charge("k1", "used", usd("10")) };
    world.charge(used).await.unwrap().unwrap();
    world.restart().await;
    world.advance(30);
    assert_eq!(world.books().await.limit("cap"), ("10", "1", "-1"));
    let denial = world.extend(extend(&long)).await.unwrap().unwrap_err();
    assert_eq!(denial.code(), quotad::api::proto::DenialCode::Revoked);
    let late = world.commit(commit(&short, usd("2"))).await.unwrap();
    assert_eq!((late.late, late.entry), (true, 2));
    world.restart().await;
    assert!(world.commit(commit(&short, usd("2"))).await.unwrap().replayed);
    world.verify().await;
}

/// With room for one closed reservation in memory: the rest is answered from the books.
#[tokio::test]
async fn what_memory_forgot_is_answered_from_the_books() {
    let tune = |settings: &mut quotad::config::Settings| {
        settings.remembered_max = 1;
        settings.remembered = Span::seconds(1);
    };
    let mut world = World::start(WalletMode::Enforced, tune).await;
    world.top_up("first", "100").await.unwrap();
    let mut ids = Vec::new();
    for no in 0..5 {
        let id = world.reserve(reserve("k1", &format!("r{no}"), usd("1"))).await.unwrap().reservation_id;
        world.commit(commit(&id, usd("0.5"))).await.unwrap();
        world.charge(charge("k1", &format!("c{no}"), usd("0.1"))).await.unwrap().unwrap();
        ids.push(id);
    }
    let freed = world.reserve(reserve("k1", "freed", usd("1"))).await.unwrap().reservation_id;
    world.release(release(&freed)).await.unwrap();
    // Read, so that the books have it; then forgotten by the operations that follow.
    world.ledger().await;
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        world.advance(120);
        world.charge(charge("k1", &format!("tick {restarted}"), usd("0"))).await.unwrap().unwrap();
        let before = world.books().await;
        for (no, id) in ids.iter().enumerate() {
            let again = world.commit(commit(id, usd("0.5"))).await.unwrap();
            assert_eq!((again.replayed, again.entry), (true, 2 + 2 * no as u64), "{restarted} {no}");
            let other = world.commit(commit(id, usd("0.6"))).await;
            assert_eq!(other, Err(failed(Code::AlreadyExists, "SETTLED_OTHERWISE")), "{restarted} {no}");
            let refused = world.release(release(id)).await;
            assert_eq!(refused, Err(failed(Code::FailedPrecondition, "RESERVATION_COMMITTED")), "{restarted} {no}");
            let again = world.charge(charge("k1", &format!("c{no}"), usd("0.1"))).await.unwrap().unwrap();
            assert_eq!((again.replayed, again.entry), (true, 3 + 2 * no as u64), "{restarted} {no}");
        }
        let refused = world.commit(commit(&freed, usd("1"))).await;
        assert_eq!(refused, Err(failed(Code::FailedPrecondition, "RESERVATION_RELEASED")), "{restarted}");
        assert!(world.top_up("first", "100").await.unwrap().replayed);
        assert_eq!(world.books().await, before);
        world.verify().await;
    }
}
