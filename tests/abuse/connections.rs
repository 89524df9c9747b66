//! Connections that ask for nothing: they take no place of others, no processor time, and no time at the end.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use quotad::{api::proto::ListOrganizationsRequest, client::Connection, clock::Stopwatch};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    calm::calmly,
    neighbour::{beside, processor_time},
    server::{Server, serving},
    wire::{Wire, dial},
    world::World,
};

async fn silent(endpoint: &str, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(dial(endpoint).await);
    }
    connections
}

/// How many of these the server has closed.
async fn closed(connections: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for connection in connections {
        // A server that takes a connection says its settings only after the client's preface.
        let read = tokio::time::timeout(Duration::from_millis(1), connection.read(&mut [0])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    closed
}

async fn organizations(endpoint: &str, data_dir: &Path) -> usize {
    let token = std::fs::read_to_string(data_dir.join("operator.token")).unwrap();
    let connection = Connection::open(endpoint, &token).await.unwrap();
    let listed = connection.organizations().list_organizations(ListOrganizationsRequest::default()).await.unwrap();
    listed.into_inner().organizations.len()
}

/// A server that may open so many files at most, what it says in the file given.
fn with_descriptors(limit: usize, data_dir: &Path, says: &Path, flags: &[&str]) -> Server {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(env!("CARGO_BIN_EXE_quotad"));
    let mut command = serving(command, data_dir, "127.0.0.1:0");
    command.args(flags).stderr(Stdio::from(File::create(says).unwrap()));
    let data_dir = data_dir.to_owned();
    calmly(move || Server::spawn(command, &data_dir))
}

#[tokio::test]
async fn beyond_a_peers_share_connections_are_closed_and_what_is_open_goes_on() {
    let world = World::start(&["--max-connections-per-peer=60"]).await;
    let measured = beside(&world, async || {
        let _open = silent(&world.server.endpoint, 50).await;
        std::future::pending::<()>().await;
    })
    .await;
    measured.assert_undisturbed("silent connections");
    let mut more = silent(&world.server.endpoint, 100).await;
    let mut refused = 0;
    while refused < 40 {
        refused += closed(&mut more).await;
    }
    assert!(world.descriptors() < 200, "{}", world.descriptors());
    drop(more);
    // Their places are free again as soon as the server has seen them go.
    while closed(&mut silent(&world.server.endpoint, 1).await).await > 0 {}
}

#[tokio::test]
async fn more_silent_connections_than_descriptors_leave_files_theirs_and_cost_no_processor_time() {
    const LIMIT: usize = 400;
    let home = tempfile::tempdir().unwrap();
    let (data_dir, says) = (home.path().join("data"), home.path().join("says"));
    let flags = ["--max-connections-per-peer=0"];
    let server = with_descriptors(LIMIT, &data_dir, &says, &flags);
    let token = std::fs::read_to_string(data_dir.join("operator.token")).unwrap();
    let first = Connection::open(&server.endpoint, &token).await.unwrap();
    let silent_ones = silent(&server.endpoint, LIMIT + 50).await;
    let (before, watch) = (processor_time(server.pid()), Stopwatch::start());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = processor_time(server.pid()).saturating_sub(before);
    let passed = watch.elapsed();
    assert!(spent * 5 < passed * 2, "{spent:?} of {passed:?}");
    let listed = first.organizations().list_organizations(ListOrganizationsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().organizations.len(), 0, "what is open is served, from files too");
    let said = std::fs::read_to_string(&says).unwrap();
    assert_eq!(said.matches("the limit of open files allows fewer connections").count(), 1, "{said}");
    assert_eq!(said.matches("connections are closed as they come").count(), 1, "{said}");
    drop(silent_ones);
    while std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() > LIMIT / 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(organizations(&server.endpoint, &data_dir).await, 0);
}

/// Lets a server have no descriptor beyond so many from now on, whatever its own limit says of connections.
fn limit_descriptors(server: &Server, limit: u64) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum: maximum.map(|most| most.min(1000)) })
        .unwrap();
}

#[tokio::test]
async fn where_the_system_gives_no_descriptors_what_is_open_is_served_and_nothing_spins() {
    let home = tempfile::tempdir().unwrap();
    let (data_dir, says) = (home.path().join("data"), home.path().join("says"));
    let server = with_descriptors(1000, &data_dir, &says, &[]);
    let token = std::fs::read_to_string(data_dir.join("operator.token")).unwrap();
    let first = Connection::open(&server.endpoint, &token).await.unwrap();
    let list = async || first.organizations().list_organizations(ListOrganizationsRequest::default()).await.map(drop);
    list().await.unwrap();
    limit_descriptors(&server, 3);
    // The system takes them into its queue, the server none of them.
    let waiting = silent(&server.endpoint, 20).await;
    let said = || std::fs::read_to_string(&says).unwrap();
    while !said().contains("no connection can be taken") {
        list().await.unwrap();
    }
    let (before, watch) = (processor_time(server.pid()), Stopwatch::start());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = processor_time(server.pid()).saturating_sub(before);
    let passed = watch.elapsed();
    assert!(spent * 5 < passed * 2, "{spent:?} of {passed:?}");
    list().await.unwrap();
    assert_eq!(said().matches("no connection can be taken").count(), 1, "{}", said());
    limit_descriptors(&server, 1000);
    assert_eq!(organizations(&server.endpoint, &data_dir).await, 0, "who waited is let in");
    drop(waiting);
}

#[tokio::test]
async fn silent_connections_and_half_sent_prefaces_do_not_hold_up_the_end() {
    let home = tempfile::tempdir().unwrap();
    let (data_dir, says) = (home.path().join("data"), home.path().join("says"));
    let server = with_descriptors(1000, &data_dir, &says, &[]);
    let _silent = silent(&server.endpoint, 20).await;
    let mut half = silent(&server.endpoint, 20).await;
    for half in &mut half {
        half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    }
    let mut greeted = Vec::new();
    for _ in 0..20 {
        greeted.push(Wire::open(&server.endpoint, None).await);
    }
    assert_eq!(server.terminate().await.code(), Some(0));
    let said = std::fs::read_to_string(&says).unwrap();
    assert!(!said.contains("cut off"), "{said}");
}
