//! Books behind a pooler that stands before the database.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use quotad::{
    clock::Stopwatch,
    store::{Store as _, StoreError, postgres::PostgresStore},
};
use tempfile::TempDir;

use crate::{
    place::{CLUSTER, LEASE},
    script::Script,
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Pooler {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Pooler {
    fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(path("users"), "\"quotad\" \"\"\n").unwrap();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            CLUSTER.port,
            path("users").display(),
        );
        fs::write(path("settings"), settings).unwrap();
        let mut command = Command::new("pgbouncer");
        // It doesn't run as root, but becomes somebody else.
        if let Some(account) = CLUSTER.account() {
            command.args(["-u", account]);
            for name in ["", "users", "settings"] {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        command.arg("-q").arg(directory.path().join("settings")).env("PATH", path);
        let process = command.stdin(Stdio::null()).spawn().expect("pgbouncer, which tests/run.sh installs");
        let waited = Stopwatch::start();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(waited.elapsed() < PATIENCE, "the pooler doesn't listen");
            std::thread::yield_now();
        }
        Self { process, port, _directory: directory }
    }

    fn store(&self) -> PostgresStore {
        let direct = CLUSTER.database();
        let pooled = direct.replace(&format!(":{}", CLUSTER.port), &format!(":{}", self.port));
        assert_ne!(direct, pooled);
        PostgresStore::new(&pooled).unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// P15: the cause is said, and is no damage.
#[tokio::test]
async fn a_pooler_that_takes_connections_apart_is_refused_with_the_way_out() {
    let pooler = Pooler::start("transaction");
    let Err(StoreError::Unfit(why)) = pooler.store().status().await else { panic!("it was taken") };
    assert!(why.contains("pool_mode = session"), "{why}");
}

/// P15: a pooler's own settings are enough.
#[tokio::test]
async fn books_are_written_through_a_pooler_of_sessions() {
    let pooler = Pooler::start("session");
    let store = pooler.store();
    store.take_lease(LEASE, "here", None).await.unwrap();
    let records = Script::busy().records;
    let last = records.last().unwrap().position;
    assert_eq!(store.project(LEASE, &records).await.unwrap(), last);
    assert_eq!(store.status().await.unwrap().position, last);
}
