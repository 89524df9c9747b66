//! A database that comes and goes.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use quotad::store::{Store as _, StoreError, postgres::PostgresStore};

use crate::{
    cluster::Cluster,
    place::{CLUSTER, LEASE},
    script::Script,
};

#[tokio::test]
async fn books_out_of_reach_are_unavailable_and_made_when_they_can_be() {
    let cluster = Cluster::start(&["fsync = off"]);
    let url = cluster.database();
    cluster.stop("fast");
    let store = PostgresStore::new(&url).unwrap();
    let status = store.status().await;
    assert!(matches!(&status, Err(StoreError::Unavailable(why)) if why.contains("refused")), "{status:?}");
    cluster.resume();
    assert_eq!(store.status().await.unwrap().position, 0);
}

#[tokio::test]
async fn what_a_broken_connection_left_open_is_written_once() {
    let cluster = Cluster::start(&[]);
    let store = PostgresStore::new(&cluster.database()).unwrap();
    store.take_lease(LEASE, "here", None).await.unwrap();
    let script = Script::busy();
    let mut reached = 0;
    for mode in ["immediate", "fast", "immediate"] {
        store.project(LEASE, &script.records[..reached + 4]).await.unwrap();
        cluster.stop(mode);
        let down = store.project(LEASE, &script.records).await;
        assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
        cluster.resume();
        reached += 4;
    }
    // A connection that was killed is noticed before it is used again, or fails and is replaced.
    while store.project(LEASE, &script.records).await.is_err() {}
    assert_eq!(store.status().await.unwrap().position, script.last());
    assert_eq!(store.total(&crate::queries::everything()).await.unwrap().entries, 7);
}

#[tokio::test]
async fn a_socket_is_as_good_as_an_address() {
    let url = CLUSTER.database();
    let database = url.rsplit('/').next().unwrap();
    let store = PostgresStore::new(&CLUSTER.socket_url(database)).unwrap();
    assert_eq!(store.status().await.unwrap().position, 0);
}

#[tokio::test]
async fn two_that_make_the_tables_at_once_make_them_once() {
    let url = CLUSTER.database();
    let stores: Vec<_> = (0..4).map(|_| PostgresStore::new(&url).unwrap()).collect();
    let [one, two, three, four] = &stores[..] else { unreachable!() };
    let all = tokio::join!(one.status(), two.status(), three.status(), four.status());
    let ids = [all.0, all.1, all.2, all.3].map(|status| status.unwrap().id);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// Serves until what it says on its standard output or error contains `awaited`; then it is killed, unless it has ended.
fn serve_until(url: &str, directory: &Path, awaited: &str) -> String {
    let mut server = Command::new("sh")
        .args(["-c", r#"exec "$0" "$@" 2>&1"#, env!("CARGO_BIN_EXE_quotad")])
        .args(["serve", "--listen", "127.0.0.1:0", "--database-url", url, "--data-dir"])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    for line in BufReader::new(server.stdout.take().unwrap()).lines() {
        said += &line.unwrap();
        said += "\n";
        if said.contains(awaited) {
            break;
        }
    }
    let _ = server.kill();
    server.wait().unwrap();
    said
}

#[test]
fn a_server_starts_without_the_database_only_where_it_wrote_into_it_before() {
    let cluster = Cluster::start(&["fsync = off"]);
    let (url, directory) = (cluster.database(), tempfile::tempdir().unwrap());
    cluster.stop("fast");
    let refused = serve_until(&url, directory.path(), "start the database first");
    assert!(refused.contains("never wrote into it") && refused.contains("start the database first"), "{refused}");
    cluster.resume();
    let served = serve_until(&url, directory.path(), "listens on");
    assert!(served.contains("listens on"), "{served}");
    cluster.stop("immediate");
    let alone = serve_until(&url, directory.path(), "listens on");
    assert!(alone.contains("the database can't be reached; the books follow when it can"), "{alone}");
    assert!(alone.contains("listens on"), "{alone}");
}

#[test]
fn a_url_that_cannot_be_read_is_refused_with_one_that_can() {
    let Err(problem) = PostgresStore::new("postgres://quotad@db:notaport/quotad") else { panic!("taken") };
    let text = problem.to_string();
    assert!(text.starts_with("database_url: ") && text.contains("postgres://quotad:PASSWORD@"), "{text}");
}
