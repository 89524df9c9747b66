//! A Postgres that is stopped, whose connections are killed, and whose acknowledgements are lost, while the server works.

use std::{sync::LazyLock, time::Duration};

use quotad::{
    api::proto::{ListMembersRequest, ListTransactionsRequest},
    client::Connection,
    clock::Stopwatch,
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Request, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    acknowledged::Acknowledged,
    check::{check, verify},
    cluster::Cluster,
    load::Load,
    moments::{Moments, rounds},
    proxy::Proxy,
    seed::ORGANIZATIONS,
    server::Server,
    world::{Books, World},
};

/// For tests that let it run.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(&["fsync = off"]));
/// Calls that never wait for the books.
const DATA_PLANE: [&str; 5] = ["Reserve", "Commit", "Release", "Extend", "Charge"];
const PATIENCE: Duration = Duration::from_mins(1);

/// Books in a new database.
pub(crate) fn books() -> Books {
    tokio::task::block_in_place(|| Books::Postgres(CLUSTER.database()))
}

/// The callers finish, and nothing differs, now and after a kill.
async fn finished(world: &World, server: Server, known: Acknowledged, what: &str) {
    let operator = world.operator().await;
    let gateway = operator.with_token(&world.service_token).unwrap();
    let figures = check(&operator, &gateway, known.clone()).await;
    println!("{what}: {figures}");
    server.kill();
    let _server = world.start();
    let operator = world.operator().await;
    check(&operator, &operator.with_token(&world.service_token).unwrap(), known).await;
}

/// Whether the books can be read to their end within a second.
async fn books_follow(operator: &Connection) -> bool {
    let list = ListTransactionsRequest {
        organization_id: ORGANIZATIONS[0].into(),
        page_size: 1,
        ..ListTransactionsRequest::default()
    };
    let mut request = Request::new(list);
    request.set_timeout(Duration::from_secs(1));
    match operator.ledger().list_transactions(request).await {
        Ok(_) => true,
        Err(status) => {
            let waits = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];
            assert!(waits.contains(&status.code()), "{status:?}");
            false
        }
    }
}

async fn searches_wait_for_the_books_and_lists_go_on(operator: &Connection) {
    let list = |search: &str| {
        let search = search.to_owned();
        ListMembersRequest { organization_id: ORGANIZATIONS[0].into(), search, ..ListMembersRequest::default() }
    };
    assert!(!operator.members().list_members(list("")).await.unwrap().into_inner().members.is_empty());
    let refused = operator.members().list_members(list("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

async fn serves(server: &Server, service: &str) -> bool {
    let channel = Endpoint::from_shared(server.endpoint.clone()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stopped_database_fails_no_reserve_and_no_commit_and_the_books_complete_afterwards() {
    let outages = rounds(3);
    let cluster = tokio::task::block_in_place(|| Cluster::start(&[]));
    let url = tokio::task::block_in_place(|| cluster.database());
    let (world, server, known) = World::seeded(&Books::Postgres(url), &[]).await;
    let operator = server.operator().await;
    let mut load = Load::start(&world, known).await;
    for outage in 0..outages {
        load.answered(100).await;
        let mode = if outage % 2 == 0 { "fast" } else { "immediate" };
        tokio::task::block_in_place(|| cluster.stop(mode));
        load.answered(200).await;
        assert!(!books_follow(&operator).await, "the books are said to be complete while their database is stopped");
        let stopped = Stopwatch::start();
        while serves(&server, "quotad.v1.LedgerService").await {
            assert!(stopped.elapsed() < PATIENCE, "the ledger is said to be readable");
        }
        assert!(serves(&server, "quotad.v1.QuotaService").await, "decisions go on");
        searches_wait_for_the_books_and_lists_go_on(&operator).await;
        tokio::task::block_in_place(|| cluster.resume());
        load.answered(100).await;
        let resumed = Stopwatch::start();
        while !books_follow(&operator).await {
            assert!(resumed.elapsed() < PATIENCE, "the books don't follow: {}", world.log());
        }
        while !serves(&server, "quotad.v1.LedgerService").await {
            assert!(resumed.elapsed() < PATIENCE, "the ledger isn't said to be readable again");
        }
    }
    let known = load.finish().await;
    assert_eq!(known.failed(&DATA_PLANE), 0, "{:?}", known.failures);
    assert!(world.log().contains("the books can't be written; trying again"), "{}", world.log());
    finished(&world, server, known, &format!("{outages} times a stopped database")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn connections_killed_within_transactions_leave_no_gap_and_no_duplicate() {
    let kills = u64::from(rounds(3)) * 10;
    let mut moments = Moments::new("terminate");
    let books = books();
    let Books::Postgres(url) = &books else { unreachable!() };
    let mut admin = PgConnection::connect(url).await.unwrap();
    let (world, server, known) = World::seeded(&books, &[]).await;
    let mut load = Load::start(&world, known).await;
    let (mut killed, mut reached) = (0, -1);
    while killed < kills {
        load.answered(moments.number(1..20)).await;
        tokio::time::sleep(moments.micros(0..3000)).await;
        let position: i64 = sqlx::query_scalar("SELECT position FROM projector").fetch_one(&mut admin).await.unwrap();
        // After every kill something gets through: otherwise the books would rightly stand still.
        if position == reached {
            continue;
        }
        // Only who is in the middle of changing something.
        let now: i64 = sqlx::query_scalar(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        if now > 0 {
            reached = position;
            killed += now.unsigned_abs();
        }
    }
    let known = load.finish().await;
    assert_eq!(known.failed(&DATA_PLANE), 0, "{:?}", known.failures);
    finished(&world, server, known, &format!("{killed} connections killed within transactions")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_lost_acknowledgement_of_a_commit_books_nothing_twice() {
    let losses = u64::from(rounds(3)) * 5;
    let mut moments = Moments::new("lost acknowledgements");
    let Books::Postgres(url) = books() else { unreachable!() };
    let proxy = Proxy::start(CLUSTER.port).await;
    let through = url.replace(&CLUSTER.port.to_string(), &proxy.port.to_string());
    let (world, server, known) = World::seeded(&Books::Postgres(through), &[]).await;
    let mut load = Load::start(&world, known).await;
    while proxy.lost() < losses {
        proxy.lose_next("");
        // One that is counted is lost; some more get through before the next.
        load.answered(moments.number(5..60)).await;
    }
    let known = load.finish().await;
    proxy.lose_no_more();
    assert_eq!(known.failed(&DATA_PLANE), 0, "{:?}", known.failures);
    verify(&server.operator().await).await;
    let lost = proxy.lost();
    finished(&world, server, known, &format!("{lost} acknowledgements of commits lost")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_server_started_without_its_database_joins_it_even_if_the_answer_is_lost() {
    let Books::Postgres(url) = books() else { unreachable!() };
    let proxy = Proxy::start(CLUSTER.port).await;
    let through = url.replace(&CLUSTER.port.to_string(), &proxy.port.to_string());
    let (world, server, known) = World::seeded(&Books::Postgres(through), &[]).await;
    server.kill();
    proxy.refuse(true);
    let server = world.start();
    let mut load = Load::start(&world, known).await;
    load.answered(100).await;
    proxy.lose_next("DELETE FROM writer_lease");
    proxy.refuse(false);
    let known = load.finish().await;
    verify(&server.operator().await).await;
    assert_eq!(proxy.lost(), 1, "the answer to taking the lease was to be lost");
    finished(&world, server, known, "joined later").await;
}
