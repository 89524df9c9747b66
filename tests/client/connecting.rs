//! Pools and sockets: connections that are taken in turns, opened late, and made again.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use quotad::client::{Connection, Pool, is_transient};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use crate::{
    fake::Fake,
    messages::{reserve, reserved, usd},
};

/// Serves on a Unix socket until told to stop; answers when the socket is free again.
fn serve_at(fake: &Arc<Fake>, path: &Path) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let incoming = UnixListenerStream::new(UnixListener::bind(path).unwrap());
    let router = Server::builder().add_service(fake.service());
    let (stop, stopped) = oneshot::channel::<()>();
    let path = path.to_owned();
    let serving = tokio::spawn(async move {
        let until = async { drop(stopped.await) };
        router.serve_with_incoming_shutdown(incoming, until).await.unwrap();
        std::fs::remove_file(path).unwrap();
    });
    (stop, serving)
}

async fn ask(pool: &Pool, id: &str) -> Result<String, tonic::Status> {
    let answer = pool.quota().reserve(reserve("k1", id, usd("1"))).await?;
    Ok(reserved(answer.into_inner()).unwrap().reservation_id)
}

#[tokio::test]
async fn connections_of_a_pool_are_taken_in_turns() {
    let fake = Fake::new([]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Server::builder().add_service(fake.service()).serve_with_incoming(TcpListenerStream::new(listener)));
    let pool = Pool::open(&endpoint, "token", 3).await.unwrap();
    for no in 0..12 {
        ask(&pool.clone(), &format!("r{no}")).await.unwrap();
    }
    let mut calls = BTreeMap::new();
    for peer in fake.peers() {
        *calls.entry(peer.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(calls.into_values().collect::<Vec<_>>(), [4, 4, 4]);
}

#[tokio::test]
async fn a_server_is_reached_over_its_unix_socket() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new([]));
    let path = folder.path().join("quotad.sock");
    let _serving = serve_at(&fake, &path);
    for scheme in ["unix:", "unix://"] {
        let connection = Connection::open(&format!("{scheme}{}", path.display()), "token").await.unwrap();
        for connection in [connection.another().await.unwrap(), connection] {
            assert_eq!(ask(&connection.into(), "r").await.unwrap(), "of r");
        }
    }
}

#[tokio::test]
async fn a_lazy_pool_finds_a_server_that_starts_later_and_one_that_restarts() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::new([]));
    let path = folder.path().join("quotad.sock");
    let pool = Pool::lazy(&format!("unix:{}", path.display()), "token", 2).unwrap();
    for _ in 0..2 {
        let error = ask(&pool, "early").await.unwrap_err();
        assert!(is_transient(&error), "{error:?}");
    }
    for id in ["first", "second"] {
        let (stop, serving) = serve_at(&fake, &path);
        for _ in 0..4 {
            assert_eq!(ask(&pool, id).await.unwrap(), format!("of {id}"));
        }
        stop.send(()).unwrap();
        serving.await.unwrap();
    }
}
