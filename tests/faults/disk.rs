//! A disk that takes no more: a small file system of its own, filled up, or a limit on the size of files that stands for it.
//! And a journal that has grown to its limit, because the books stand still.

use std::{
    env,
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use quotad::{client::reason, clock::Stopwatch};
use sqlx::Connection as _;
use tonic::Code;

use crate::{
    acknowledged::Acknowledged,
    check::{check, verify},
    load::Load,
    moments::{Moments, rounds},
    server::Server,
    world::{Books, World},
};

enum Disk {
    /// Full while this file is there.
    FileSystem(PathBuf),
    /// Files of the server can't grow beyond a size, and it hears of it as of a full disk.
    FileSize,
}

impl Disk {
    fn fill(&self, server: &Server) {
        match self {
            Self::FileSystem(filler) => {
                let mut file = File::create(filler).unwrap();
                let full = std::iter::repeat_with(|| file.write_all(&[0; 4096])).find_map(Result::err).unwrap();
                assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
            }
            Self::FileSize => limit(server, "65536:"),
        }
    }

    fn free(&self, server: &Server) {
        match self {
            Self::FileSystem(filler) => std::fs::remove_file(filler).unwrap(),
            Self::FileSize => limit(server, "unlimited:"),
        }
    }
}

fn limit(server: &Server, soft: &str) {
    let set = Command::new("prlimit").args([&format!("--pid={}", server.pid()), &format!("--fsize={soft}")]).status();
    assert!(set.unwrap().success());
}

/// Everybody hears that the journal can't be written, or that the books can't, and nothing else.
fn assert_only_full(known: &Acknowledged) {
    for ((method, why), count) in &known.failures {
        assert!(["JOURNAL_FAILED", "STORE_UNAVAILABLE"].contains(&why.as_str()), "{method}: {why}, {count} times");
    }
}

/// Fills the disk again and again under load; the same server serves on each time.
async fn survives_a_full_disk(mut world: World, server: Server, disk: Disk) {
    let times = rounds(2);
    let mut moments = Moments::new("disk");
    let known = world.seed(&server).await;
    let mut load = Load::start(&world, known).await;
    for _ in 0..times {
        load.answered(moments.number(50..300)).await;
        let settling = ["Commit", "Release", "Charge"];
        let before = load.known(|known| known.failed(&settling));
        disk.fill(&server);
        while load.known(|known| known.failed(&settling)) == before {
            load.failed(1).await;
        }
        // Nothing is decided that can't be recorded.
        let refused = load.try_reserve().await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::Unavailable, Some("JOURNAL_FAILED")));
        load.known(assert_only_full);
        disk.free(&server);
        load.answered(100).await;
    }
    let known = load.finish().await;
    assert_only_full(&known);
    let operator = server.operator().await;
    let figures = check(&operator, &operator.with_token(&world.service_token).unwrap(), known.clone()).await;
    println!("{times} times a full disk: {figures}");
    drop(operator);
    server.kill();
    let server = world.start();
    let operator = server.operator().await;
    check(&operator, &operator.with_token(&world.service_token).unwrap(), known).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn files_that_cannot_grow_make_it_unavailable_until_they_can() {
    let world = World::empty(&Books::Sqlite, &[]);
    // Ignored, the signal leaves the write to fail.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_quotad")]);
    let server = world.start_with(world.serving(command));
    survives_a_full_disk(world, server, Disk::FileSize).await;
}

/// Of a machine with much else to do.
const PATIENCE: Duration = Duration::from_mins(1);
const MOUNTS: &str = "QUOTAD_FAULT_MOUNTS";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_full_file_system_makes_it_unavailable_until_there_is_space() {
    if env::var_os(MOUNTS).is_none() {
        return within_own_mounts("disk::a_full_file_system_makes_it_unavailable_until_there_is_space");
    }
    let home = tempfile::tempdir().unwrap();
    let disk = home.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    assert!(mount(&disk).success());
    let world = World::within(home, disk.join("data"), &Books::Sqlite, &[]);
    let server = world.start();
    survives_a_full_disk(world, server, Disk::FileSystem(disk.join("filler"))).await;
}

fn mount(at: &Path) -> std::process::ExitStatus {
    Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "quotad-test"]).arg(at).status().unwrap()
}

/// Runs a test of this program where it may mount, and what it mounts is gone with it: as root, or as one's own root.
fn within_own_mounts(test: &str) {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.arg(if is_root { "-m" } else { "-rm" });
        unshare
    };
    let probe = tempfile::tempdir().unwrap();
    let probed = unshare().args(["mount", "-t", "tmpfs", "quotad-test"]).arg(probe.path()).output().unwrap();
    if !probed.status.success() {
        // Not silently: files that can't grow, the test above, stand for it then.
        eprintln!("no file system can be mounted here: {}", String::from_utf8_lossy(&probed.stderr));
        return;
    }
    let mut again = unshare();
    again.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(MOUNTS, "1");
    let ran = tokio::task::block_in_place(|| again.output()).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_journal_at_its_limit_holds_nothing_new_and_settles_on_until_the_books_follow() {
    // Room is made when the books follow, not only when the next snapshots are due.
    let flags = ["--journal-max-bytes", "1048576", "--snapshot-interval-seconds", "3600"];
    let (world, server, known) = World::seeded(&Books::Sqlite, &flags).await;
    verify(&server.operator().await).await;
    let mut load = Load::start(&world, known).await;
    let held = load.hold().await;
    let mut books = world.books().await;
    let standstill = books.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let is_full = |known: &Acknowledged| known.failures.contains_key(&("Reserve", "JOURNAL_FULL".to_owned()));
    while !load.known(is_full) {
        load.failed(1).await;
    }
    let before = load.known(|known| known.failed(&["Commit", "Release"]));
    load.settle(held).await;
    assert_eq!(load.known(|known| known.failed(&["Commit", "Release"])), before, "what is held is settled");
    standstill.rollback().await.unwrap();
    let followed = Stopwatch::start();
    while load.try_reserve().await.is_err() {
        assert!(followed.elapsed() < PATIENCE, "still full: {}", world.log());
    }
    load.answered(500).await;
    let known = load.finish().await;
    assert!(!known.failures.contains_key(&("Extend", "JOURNAL_FULL".to_owned())), "running work goes on");
    for ((method, why), count) in &known.failures {
        assert!(["JOURNAL_FULL", "STORE_UNAVAILABLE"].contains(&why.as_str()), "{method}: {why}, {count} times");
    }
    assert_eq!(known.failed(&["Commit", "Release", "Charge"]), 0, "{:?}", known.failures);
    let operator = server.operator().await;
    let figures = check(&operator, &operator.with_token(&world.service_token).unwrap(), known).await;
    println!("a journal at its limit: {figures}");
    let log = world.log();
    assert!(log.contains("the journal is full"), "{log}");
}
