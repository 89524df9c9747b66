//! What settles doesn't wait behind what begins, however much of that there is.

use std::time::Duration;

use quotad::{
    api::proto::{CheckRequest, CommitResponse},
    client::{Connection, Session},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::Status;

use crate::{
    fake::{Deed, Fake, idle},
    messages::{check, commit, reserve, usd},
};

/// New work that one connection sends at a time.
const PLACES: usize = 256;
/// More than fits beside a Commit in anything.
const TOO_MUCH: usize = 5 * PLACES;

/// Reserves that nobody waits for any more when this is dropped.
fn reserve_many(connection: &Connection) -> JoinSet<Result<(), Status>> {
    let mut reserves = JoinSet::new();
    for no in 0..TOO_MUCH {
        let mut quota = connection.quota();
        let request = reserve("k1", &format!("r{no}"), usd("1"));
        reserves.spawn(async move { quota.reserve(request).await.map(drop) });
    }
    reserves
}

async fn commit_over(connection: &Connection) -> CommitResponse {
    let answer = timeout(Duration::from_secs(1), async { connection.quota().commit(commit("id", usd("1"))).await });
    answer.await.expect("a Commit isn't kept waiting").unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_sent_while_more_reserves_wait_than_a_connection_takes() {
    let fake = Fake::new(vec![Deed::Hang; PLACES]);
    let connection = fake.connect();
    let reserves = reserve_many(&connection);
    idle().await;
    assert_eq!(fake.names(), ["reserve"; PLACES]);
    commit_over(&connection.with_token("another").unwrap()).await;
    assert_eq!(fake.names().last(), Some(&"commit"), "one connection, whatever the token");
    assert_eq!(fake.names().len(), PLACES + 1);
    drop(reserves);
}

#[tokio::test(start_paused = true)]
async fn reserves_go_on_when_those_before_are_answered_or_given_up() {
    let fake = Fake::new(vec![Deed::Hang; PLACES]);
    let connection = fake.connect();
    let given_up = reserve_many(&connection);
    idle().await;
    let others = reserve_many(&connection);
    idle().await;
    assert_eq!(fake.names().len(), PLACES);
    drop(given_up);
    let answers = timeout(Duration::from_secs(1), others.join_all()).await.expect("places are free again");
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(fake.names().len(), PLACES + TOO_MUCH);
}

#[tokio::test(start_paused = true)]
async fn a_check_waits_like_a_reserve_and_connections_do_not_wait_for_each_other() {
    let fake = Fake::new(vec![Deed::Hang; PLACES]);
    let connection = fake.connect();
    let reserves = reserve_many(&connection);
    idle().await;
    let ask = async |connection: &Connection, request: CheckRequest| {
        timeout(Duration::from_secs(1), async { connection.quota().check(request).await }).await
    };
    ask(&connection, check("k1", usd("1"))).await.unwrap_err();
    ask(&fake.connect(), check("k1", usd("1"))).await.unwrap().unwrap();
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
    let committed = timeout(Duration::from_secs(1), session.commit(commit("id", usd("1"))));
    committed.await.expect("a Commit isn't kept waiting").unwrap();
    assert_eq!(fake.names().len(), 5);
    drop(reserves);
}
