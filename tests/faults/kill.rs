//! SIGKILL at random moments, over and over, while the server works and while it starts.

use std::process::Stdio;

use crate::{
    check::{check, verify},
    database,
    load::Load,
    moments::{Moments, rounds},
    world::{Books, World},
};

async fn survives_kills(books: Books, short: u32) {
    let kills = rounds(short);
    let mut moments = Moments::new("kill");
    // So few remembered ids that repeats are answered from the books too.
    let (world, mut server, known) = World::seeded(&books, &["--remembered-max", "1000"]).await;
    let mut load = Load::start(&world, known).await;
    for kill in 0..kills {
        load.answered(moments.number(20..400)).await;
        tokio::time::sleep(moments.micros(0..5000)).await;
        server.kill();
        if kill % 4 == 3 {
            kill_while_starting(&world, &mut moments).await;
        }
        server = world.start();
        verify(&server.operator().await).await;
    }
    let known = load.finish().await;
    let operator = server.operator().await;
    let gateway = operator.with_token(&world.service_token).unwrap();
    let figures = check(&operator, &gateway, known.clone()).await;
    println!("{kills} kills, books in {books}: {figures}");
    // And once more, from what the last one leaves.
    server.kill();
    let server = world.start();
    let operator = server.operator().await;
    check(&operator, &operator.with_token(&world.service_token).unwrap(), known).await;
}

async fn kill_while_starting(world: &World, moments: &mut Moments) {
    let mut starting = world.command().stdout(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(moments.micros(0..200_000)).await;
    starting.kill().unwrap();
    starting.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn kills_under_load_lose_nothing_acknowledged_and_book_nothing_twice() {
    survives_kills(Books::Sqlite, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn kills_under_load_lose_nothing_acknowledged_and_book_nothing_twice_in_postgres() {
    survives_kills(database::books(), 3).await;
}
