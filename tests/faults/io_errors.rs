//! System calls on the journal, the books and the snapshots that fail as a broken disk makes them fail, by `strace`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use crate::{
    acknowledged::Acknowledged,
    caller::PATIENCE,
    check::check,
    load::Load,
    moments::{Moments, rounds},
    server::Server,
    world::{Books, World},
};

/// Calls of one kind on one file that fail, from the `first` of a thread on.
struct Fault {
    file: &'static str,
    calls: &'static str,
    error: &'static str,
    first: u64,
}

/// The real binary, with a tracer beside it that makes the calls fail.
fn traced(world: &World, fault: &Fault) -> Command {
    let Fault { file, calls, error, first } = fault;
    let mut command = Command::new("strace");
    // The tracer is the grandchild, so that the child is the server.
    command.args(["-D", "-f", "-qq", "-o"]).arg(trace(world)).arg("-P").arg(world.data_dir.join(file));
    command.arg("-e").arg(format!("trace={calls}"));
    command.arg("-e").arg(format!("inject={calls}:error={error}:when={first}+"));
    command.arg(env!("CARGO_BIN_EXE_quotad"));
    world.serving(command)
}

/// How a server ends that meets the fault, maybe before it has said that it serves.
async fn ended(world: &World, fault: &Fault) -> ExitStatus {
    let mut command = tokio::process::Command::from(traced(world, fault));
    let mut server = command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    tokio::time::timeout(PATIENCE, server.wait()).await.expect("it doesn't end").unwrap()
}

/// Ends the tracer, and with it the faults; the server goes on.
fn lift(server: &Server) {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap().trim();
    assert_ne!(tracer, "0", "nobody traces the server");
    assert!(Command::new("kill").args(["-KILL", tracer]).status().unwrap().success());
}

fn trace(world: &World) -> PathBuf {
    world.home().join("trace")
}

async fn checked(world: &World, server: &Server, known: Acknowledged, what: &str) {
    let operator = server.operator().await;
    let figures = check(&operator, &operator.with_token(&world.service_token).unwrap(), known).await;
    println!("{what}: {figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_failed_sync_of_the_journal_ends_the_server_and_the_next_one_recovers() {
    let mut moments = Moments::new("sync");
    let (world, mut server, mut known) = World::seeded(&Books::Sqlite, &[]).await;
    // Of the file itself, a sync is the end of a checkpoint.
    let mut faults = Vec::new();
    for _ in 0..rounds(2) {
        faults.extend([("journal.db-wal", moments.number(10..200)), ("journal.db", moments.number(1..3))]);
    }
    for (file, first) in faults {
        // Callers are there before, as the first write already may be what fails.
        let load = Load::start(&world, known).await;
        server.kill();
        let before = world.log().len();
        let ended = ended(&world, &Fault { file, calls: "fsync,fdatasync", error: "EIO", first }).await;
        assert!(!ended.success(), "{ended}");
        let log = &world.log()[before..];
        assert!(log.contains("the journal failed, so that it isn't known what is on disk"), "{log}");
        server = world.start();
        known = load.finish().await;
        checked(&world, &server, known.clone(), &format!("sync {first} of {file} failed")).await;
    }
}

/// Fails calls that nothing is lost by, and must not end the server.
async fn survives(faults: &[Fault]) {
    for fault in faults {
        // What is made at the first start is there.
        let (world, server, known) = World::seeded(&Books::Sqlite, &[]).await;
        server.kill();
        let server = world.start_with(traced(&world, fault));
        let mut load = Load::start(&world, known).await;
        while !fs::read_to_string(trace(&world)).unwrap().contains("INJECTED") {
            load.answered(20).await;
        }
        if fault.file == "journal.db-wal" {
            load.failed(20).await;
        } else {
            load.answered(200).await;
        }
        lift(&server);
        load.answered(200).await;
        let known = load.finish().await;
        checked(&world, &server, known.clone(), &format!("{} of {}: {}", fault.calls, fault.file, fault.error)).await;
        let expected = ["JOURNAL_FAILED", "STORE_UNAVAILABLE"];
        assert!(known.failures.keys().all(|(_, why)| expected.contains(&why.as_str())), "{:?}", known.failures);
        let told: &[&str] = match fault.file {
            "journal.db-wal" => &["the journal can't be written; trying again"],
            // Whichever wanted the copy.
            "journal.db" => &["the journal's log can't be copied into its file", "the journal can't be trimmed"],
            _ => &[""],
        };
        assert!(told.iter().any(|told| world.log().contains(told)), "{}", world.log());
        if fault.file == "journal.db" {
            assert!(!world.log().contains("snapshots can't be saved"), "they were: {}", world.log());
        }
        server.kill();
        let server = world.start();
        checked(&world, &server, known, "and once more after a kill").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn failed_writes_of_the_journal_are_made_again() {
    let mut moments = Moments::new("write");
    let mut fault = |error| Fault { file: "journal.db-wal", calls: "pwrite64", error, first: moments.number(100..500) };
    survives(&[fault("EIO"), fault("ENOSPC")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn errors_below_books_snapshots_and_checkpoints_delay_them_and_lose_nothing() {
    let mut moments = Moments::new("books");
    let mut fault = |file, calls, first| Fault { file, calls, error: "EIO", first: moments.number(first) };
    survives(&[
        fault("books.db-wal", "fsync,fdatasync", 5..30),
        fault("books.db-wal", "pwrite64", 50..200),
        fault("journal.db", "pwrite64", 1..200),
        fault("snapshots.db-wal", "fsync,fdatasync", 1..3),
    ])
    .await;
}
