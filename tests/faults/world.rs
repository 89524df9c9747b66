//! A server on a port that it keeps over its lives, so that callers find the next one by themselves.

use std::{
    fmt,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use quotad::client::Connection;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::{
    acknowledged::Acknowledged,
    seed::seed,
    server::{Server, serving},
};

/// Where the books are.
#[derive(Debug, Clone)]
pub(crate) enum Books {
    /// In a file of the data directory.
    Sqlite,
    /// In the database of this URL.
    Postgres(String),
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

pub(crate) struct World {
    home: TempDir,
    pub(crate) data_dir: PathBuf,
    listen: String,
    flags: Vec<String>,
    pub(crate) service_token: String,
}

/// Below the ports that the kernel gives to connections: a caller that tries a free one of those may connect to itself.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 20_000;
    let spread = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap();
    loop {
        let port = FIRST + (spread + NEXT.fetch_add(1, Relaxed)) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const INTERVAL: &str = "--snapshot-interval-seconds";

impl World {
    /// Nothing is in it yet.
    pub(crate) fn empty(books: &Books, flags: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("data");
        Self::within(home, data_dir, books, flags)
    }

    /// With a data directory that is somewhere else than at home.
    pub(crate) fn within(home: TempDir, data_dir: PathBuf, books: &Books, flags: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        // Often, so that snapshots and trimming are struck too.
        let often = if flags.contains(&INTERVAL) { &[][..] } else { &[INTERVAL, "1"] };
        let mut flags: Vec<String> = often.iter().chain(flags).map(ToString::to_string).collect();
        if let Books::Postgres(url) = books {
            flags.extend([String::from("--database-url"), url.clone()]);
        }
        Self { home, data_dir, listen, flags, service_token: String::new() }
    }

    /// With two organizations in it, and a server running.
    pub(crate) async fn seeded(books: &Books, flags: &[&str]) -> (Self, Server, Acknowledged) {
        let mut world = Self::empty(books, flags);
        let server = world.start();
        let acknowledged = world.seed(&server).await;
        (world, server, acknowledged)
    }

    pub(crate) async fn seed(&mut self, server: &Server) -> Acknowledged {
        let (service_token, acknowledged) = seed(&server.operator().await).await;
        self.service_token = service_token;
        acknowledged
    }

    pub(crate) fn command(&self) -> Command {
        self.serving(Command::new(env!("CARGO_BIN_EXE_quotad")))
    }

    /// What `command`, which ends as the server, has to be told. What the server says goes to the log.
    pub(crate) fn serving(&self, command: Command) -> Command {
        let mut command = serving(command, &self.data_dir, &self.listen);
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        command.args(&self.flags).stderr(Stdio::from(log));
        command
    }

    pub(crate) fn start(&self) -> Server {
        self.start_with(self.command())
    }

    pub(crate) fn start_with(&self, command: Command) -> Server {
        // Waits for the greeting; callers go on meanwhile.
        tokio::task::block_in_place(|| Server::spawn(command, &self.data_dir))
    }

    fn log_file(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// What all its servers have said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The books of the data directory: in a transaction on them, nobody else writes them until it ends.
    pub(crate) async fn books(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.data_dir.join("books.db"));
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    pub(crate) async fn operator(&self) -> Connection {
        let token = fs::read_to_string(self.data_dir.join("operator.token")).unwrap();
        Connection::open(&format!("http://{}", self.listen), &token).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the servers said:\n{}", self.log());
        }
    }
}
