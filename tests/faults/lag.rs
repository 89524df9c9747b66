//! Books that can be reached and don't follow: they stand still, until waiting for them is given up.

use std::time::Duration;

use quotad::{
    client::{Session, reason},
    clock::Stopwatch,
};
use sqlx::Connection as _;

use crate::{
    check::{check, verify},
    load::Load,
    world::{Books, World},
};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn books_that_lag_too_far_hold_back_what_is_new_and_nothing_else() {
    let (world, server, known) = World::seeded(&Books::Sqlite, &["--books-max-lag", "100"]).await;
    verify(&server.operator().await).await;
    let mut load = Load::start(&world, known).await;
    let held = load.hold().await;
    let mut books = world.books().await;
    let standstill = books.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let watch = Stopwatch::start();
    let told = |load: &Load| load.known(|known| known.failures.get(&("Reserve", "OVERLOADED".into())).copied());
    while told(&load).is_none() {
        assert!(watch.elapsed() < PATIENCE, "nothing is held back: {}", world.log());
        load.failed(1).await;
    }
    load.settle(held).await;
    load.try_charge(true).await.unwrap();
    let refused = load.try_charge(false).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("OVERLOADED"), "{}", world.log());
    let (session, _revocations) = Session::new(world.operator().await.with_token(&world.service_token).unwrap(), 8);
    let (asked, request) = (Stopwatch::start(), load.one_more());
    let refused = session.reserve(request).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("OVERLOADED"));
    assert!(asked.elapsed() >= Duration::from_millis(100), "a session is held back before it is refused");
    // Once nobody can tell whether they will ever be written, work goes on without them.
    while load.try_reserve().await.is_err() {
        assert!(watch.elapsed() < PATIENCE, "work waits for books that are out of reach: {}", world.log());
        load.answered(1).await;
    }
    load.answered(500).await;
    standstill.rollback().await.unwrap();
    load.answered(500).await;
    let known = load.finish().await;
    for ((method, why), count) in &known.failures {
        let new_work = why == "OVERLOADED" && ["Reserve", "Charge"].contains(method);
        assert!(new_work || why == "STORE_UNAVAILABLE", "{method}: {why}, {count} times");
    }
    assert_eq!(known.failed(&["Commit", "Release", "Extend"]), 0, "{:?}", known.failures);
    let operator = server.operator().await;
    let figures = check(&operator, &operator.with_token(&world.service_token).unwrap(), known).await;
    println!("books that lag too far: {figures}");
}
