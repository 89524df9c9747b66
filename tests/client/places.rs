//! What settles doesn't wait behind what begins, however much of that there is.

use std::{sync::Arc, time::Duration};

use quotad::{
    api::proto::{CheckResponse, ReserveResponse},
    client::{Connection, Gate, GateError, Session, WhenUnreachable, reason},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};

use crate::{
    asking::options,
    fake::{Deed, Fake, drained, idle},
    messages::{check, commit, reserve, usd},
};

/// New work that one connection sends at a time.
const PLACES: usize = 256;
/// More than fits beside a Commit in anything.
const TOO_MUCH: usize = 5 * PLACES;

/// Reserves that nobody waits for any more when this is dropped.
fn reserve_many(connection: &Connection) -> JoinSet<Result<ReserveResponse, Status>> {
    let mut reserves = JoinSet::new();
    for no in 0..TOO_MUCH {
        let mut quota = connection.quota();
        let request = reserve("k1", &format!("r{no}"), usd("1"));
        reserves.spawn(async move { quota.reserve(request).await.map(tonic::Response::into_inner) });
    }
    reserves
}

/// A connection without a free place, and the Reserves, which aren't answered, that took all or wait for one.
async fn full() -> (Arc<Fake>, Connection, JoinSet<Result<ReserveResponse, Status>>) {
    let fake = Fake::new(vec![Deed::Hang; PLACES]);
    let connection = fake.connect();
    let reserves = reserve_many(&connection);
    idle().await;
    (fake, connection, reserves)
}

async fn check_over(connection: &Connection) -> Result<CheckResponse, Status> {
    connection.quota().check(check("k1", usd("1"))).await.map(tonic::Response::into_inner)
}

fn assert_overloaded<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let error = answer.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_deref()), (Code::Unavailable, Some("OVERLOADED")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_sent_while_more_reserves_wait_than_a_connection_takes() {
    let (fake, connection, reserves) = full().await;
    assert_eq!(fake.names(), ["reserve"; PLACES]);
    let committed =
        timeout(Duration::from_secs(1), async { connection.quota().commit(commit("id", usd("1"))).await }).await;
    committed.expect("a Commit isn't kept waiting").unwrap();
    assert_eq!((fake.names().len(), fake.names().last()), (PLACES + 1, Some(&"commit")));
    drop(reserves);
}

#[tokio::test(start_paused = true)]
async fn reserves_go_on_when_those_before_are_answered_or_given_up() {
    let (fake, connection, given_up) = full().await;
    let others = reserve_many(&connection);
    idle().await;
    assert_eq!(fake.names().len(), PLACES);
    drop(given_up);
    assert!(others.join_all().await.iter().all(Result::is_ok));
    assert_eq!(fake.names().len(), PLACES + TOO_MUCH);
}

#[tokio::test(start_paused = true)]
async fn new_work_that_finds_no_place_in_time_is_told_so_whatever_its_token_and_its_method() {
    let (fake, connection, mut reserves) = full().await;
    assert_overloaded(check_over(&connection).await);
    assert_overloaded(check_over(&connection.with_token("another").unwrap()).await);
    for _ in PLACES..TOO_MUCH {
        assert_overloaded(reserves.join_next().await.unwrap().unwrap());
    }
    assert_eq!(fake.names(), ["reserve"; PLACES]);
    check_over(&fake.connect()).await.expect("connections don't wait for each other");
    drop(reserves);
}

#[tokio::test(start_paused = true)]
async fn a_gate_gives_back_nothing_that_was_never_sent() {
    let (fake, connection, reserves) = full().await;
    let gate = Gate::new(connection, options(WhenUnreachable::FailClosed));
    let Err(error) = gate.enter(reserve("k1", "late", usd("1"))).await else { panic!("there is no place") };
    assert!(
        matches!(&error, GateError::Unreachable(status) if reason(status).as_deref() == Some("OVERLOADED")),
        "{error}"
    );
    drained(&gate).await;
    assert_eq!(fake.names(), ["reserve"; PLACES], "a Release of what was never asked");
    drop(reserves);
}

#[tokio::test(start_paused = true)]
async fn a_session_has_half_of_its_room_for_what_settles() {
    let fake = Fake::new(vec![Deed::Hang; 4]);
    let (session, _revocations) = Session::new(fake.connect(), 8);
    let mut reserves = JoinSet::new();
    for no in 0..TOO_MUCH {
        let session = session.clone();
        reserves.spawn(async move { session.reserve(reserve("k1", &format!("r{no}"), usd("1"))).await });
    }
    idle().await;
    assert_eq!(fake.names(), ["reserve"; 4]);
    timeout(Duration::from_secs(1), session.check(check("k1", usd("1")))).await.expect_err("a Check begins, too");
    let committed = timeout(Duration::from_secs(1), session.commit(commit("id", usd("1"))));
    committed.await.expect("a Commit isn't kept waiting").unwrap();
    assert_eq!(fake.names().len(), 5);
    drop(reserves);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closed_answers_all_that_was_asked_before() {
    let fake = Fake::new([]);
    let (session, _revocations) = Session::new(fake.connect(), 2);
    let mut reserves = JoinSet::new();
    for no in 0..20 {
        let session = session.clone();
        reserves.spawn(async move { session.reserve(reserve("k1", &format!("r{no}"), usd("1"))).await });
    }
    tokio::task::yield_now().await;
    session.close().await;
    assert!(reserves.join_all().await.iter().all(Result::is_ok));
    assert_eq!(session.reserve(reserve("k1", "late", usd("1"))).await.unwrap_err().code(), Code::FailedPrecondition);
}
