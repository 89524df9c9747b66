//! A throwaway Postgres of the tests' own: a cluster in a temporary directory, started, stopped and killed as they like.
//!
//! A helper process ends it and removes its directory when the tests end, however they end.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

const USER: &str = "quotad";

pub(crate) struct Cluster {
    directory: PathBuf,
    binaries: PathBuf,
    /// To become, where the tests run as root: Postgres won't.
    account: Option<String>,
    pub(crate) port: u16,
    databases: AtomicU32,
    keeper: Child,
}

#[allow(dead_code, reason = "each test binary uses some of it")]
impl Cluster {
    /// Starts one whose settings are Postgres's own, but for `settings` such as `fsync=off`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("quotad-pg-").tempdir().unwrap().keep();
        let account = account();
        if let Some(account) = &account {
            chown(&directory, Some(id(account, "-u")), Some(id(account, "-g"))).unwrap();
        }
        // Its standard input ends with this process.
        let script = r#"read -r _; pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
            for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$0/data/postmaster.pid" ] && sleep 0.1; done; rm -rf "$0""#;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", script]).arg(&directory).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A signal for the tests isn't for it.
        std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
        let keeper = keeper.spawn().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { directory, binaries: binaries(), account, port, databases: AtomicU32::new(0), keeper };
        cluster.make(settings);
        cluster.resume();
        cluster
    }

    /// Which account it runs as, where the tests run as root.
    pub(crate) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    fn make(&self, settings: &[&str]) {
        let data = self.data();
        let arguments =
            ["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", "-D", data.to_str().unwrap()];
        check(&self.run("initdb", &arguments));
        let own = [
            String::from("listen_addresses = '127.0.0.1'"),
            format!("port = {}", self.port),
            format!("unix_socket_directories = '{}'", self.directory.display()),
        ];
        let default = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        let settings = settings.iter().map(|setting| (*setting).to_owned());
        let configuration = [default].into_iter().chain(own).chain(settings).collect::<Vec<_>>().join("\n") + "\n";
        fs::write(data.join("postgresql.conf"), configuration).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = self.binaries.join(program);
        let mut command = match &self.account {
            None => Command::new(program),
            Some(account) => {
                let mut command = Command::new("setpriv");
                let (user, group) = (format!("--reuid={account}"), format!("--regid={}", id(account, "-g")));
                command.args([&user, &group, "--clear-groups"]).arg(program);
                command
            }
        };
        let log = fs::File::create(self.directory.join("output")).unwrap();
        // A pipe would be kept open by the server that it starts.
        let status = command.args(arguments).current_dir(&self.directory).env("LC_ALL", "C").stdin(Stdio::null());
        let status = status.stdout(log.try_clone().unwrap()).stderr(log).status();
        let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Output { status, stdout: fs::read(self.directory.join("output")).unwrap(), stderr: Vec::new() }
    }

    fn control(&self, arguments: &[&str]) {
        let (data, log) = (self.data(), self.directory.join("log"));
        let common = ["-D", data.to_str().unwrap(), "-l", log.to_str().unwrap(), "-w", "-t", "60", "-s"];
        check(&self.run("pg_ctl", &[&common, arguments].concat()));
    }

    /// Starts it again. Waits until it answers.
    pub(crate) fn resume(&self) {
        self.control(&["start"]);
    }

    /// Ends it: `fast` cuts connections off, `immediate` is like a crash.
    pub(crate) fn stop(&self, mode: &str) {
        self.control(&["stop", "-m", mode]);
    }

    /// A new, empty database, by its URL.
    pub(crate) fn database(&self) -> String {
        let name = format!("books_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let (socket, port) = (self.directory.to_str().unwrap(), self.port.to_string());
        check(&self.run("createdb", &["-h", socket, "-p", &port, "-U", USER, &name]));
        self.url(&name)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same by the socket of the file system.
    pub(crate) fn socket_url(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost:{}/{database}?host={}", self.port, self.directory.display())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn check(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stdout));
}

/// Where the server's programs are: Debian keeps them out of the path.
fn binaries() -> PathBuf {
    let with = |directory: &Path| directory.join("initdb").exists() && directory.join("pg_ctl").exists();
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = configured.into_iter().chain(versions.into_iter().rev()).chain(std::env::split_paths(&path));
    all.find(|directory| with(directory))
        .unwrap_or_else(|| panic!("Postgres isn't installed: install its server, Debian's package `postgresql`"))
}

/// An account that isn't root, if this is root.
fn account() -> Option<String> {
    if id("", "-u") != 0 {
        return None;
    }
    let known =
        ["postgres", "nobody"].into_iter().find(|name| Command::new("id").arg(name).output().unwrap().status.success());
    Some(known.expect("an account to run Postgres as").to_owned())
}

fn id(account: &str, which: &str) -> u32 {
    let mut command = Command::new("id");
    command.arg(which);
    if !account.is_empty() {
        command.arg(account);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
    text.trim().parse().unwrap()
}
