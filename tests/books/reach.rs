//! A database that comes and goes.

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

#[test]
fn a_url_that_cannot_be_read_is_refused_with_one_that_can() {
    let Err(problem) = PostgresStore::new("postgres://quotad@db:notaport/quotad") else { panic!("taken") };
    let text = problem.to_string();
    assert!(text.starts_with("database_url: ") && text.contains("postgres://quotad:PASSWORD@"), "{text}");
}
