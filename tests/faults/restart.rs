//! Rolling restarts: an orderly end under load, and the next server on the same directory and port.

use crate::{
    check::{check, verify},
    database,
    load::Load,
    moments::{Moments, rounds},
    world::{Books, World},
};

async fn survives_restarts(books: Books, short: u32) {
    let restarts = rounds(short);
    let mut moments = Moments::new("restart");
    let (world, mut server, known) = World::seeded(&books, &[]).await;
    let mut load = Load::start(&world, known).await;
    for _ in 0..restarts {
        load.answered(moments.number(50..500)).await;
        assert_eq!(server.terminate().await.code(), Some(0), "an orderly end");
        server = world.start();
        verify(&server.operator().await).await;
    }
    let known = load.finish().await;
    let operator = server.operator().await;
    let gateway = operator.with_token(&world.service_token).unwrap();
    let figures = check(&operator, &gateway, known).await;
    println!("{restarts} restarts, books in {books}: {figures}");
    assert_eq!(server.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rolling_restarts_under_load_charge_nothing_twice_and_lose_no_charge() {
    survives_restarts(Books::Sqlite, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rolling_restarts_under_load_charge_nothing_twice_and_lose_no_charge_in_postgres() {
    survives_restarts(database::books(), 2).await;
}
