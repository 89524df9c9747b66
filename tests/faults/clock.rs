//! The machine's clock set back and forth by hours while the server runs and between its lives, by `libfaketime`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use quotad::{
    api::proto::{CheckRequest, Grant, ReleaseRequest, ReservationState, ReserveRequest, Usage, reserve_response},
    client::Connection,
    clock::Stopwatch,
    domain::money::Nanos,
};

use crate::{
    acknowledged::Acknowledged,
    check::{check, verify},
    control::REFUND,
    database::books,
    load::Load,
    moments::{Moments, rounds},
    quota::{by_id, payer},
    seed::{DAILY, MINUTE, MODEL, ORGANIZATIONS, key},
    server::{Server, refused},
    world::{Books, World},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that sees the wall clock as far off as a file says; monotonic time stays what it is.
struct Clocked {
    world: World,
    preload: String,
}

/// Where the tool has its library: the server runs with that alone, so that it can be killed by itself.
fn library() -> String {
    let output = Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let output = output.expect("faketime isn't here: install the package `faketime`");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Clocked {
    fn offset_file(&self) -> PathBuf {
        self.world.home().join("offset")
    }

    /// In one step: the server reads the file whenever it reads the time.
    fn set(&self, hours: i64) {
        let next = self.world.home().join("next-offset");
        fs::write(&next, format!("{hours:+}h\n")).unwrap();
        fs::rename(next, self.offset_file()).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = self.world.serving(Command::new(env!("CARGO_BIN_EXE_quotad")));
        command.env("LD_PRELOAD", &self.preload).env("FAKETIME_TIMESTAMP_FILE", self.offset_file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }

    fn start(&self) -> Server {
        self.world.start_with(self.command())
    }

    /// What it says instead of starting.
    fn refused(&self) -> String {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let (status, said) = refused(command);
        assert!(!status.success(), "{said}");
        said
    }

    /// As somebody starts it who knows that the clock is right, though it is far from what was journalled.
    fn start_accepting(&self) -> Server {
        let said = self.refused();
        assert!(said.contains("--accept-clock"), "{said}");
        let mut command = self.command();
        command.arg("--accept-clock");
        self.world.start_with(command)
    }
}

/// What the budgets of the watched key show: the end of the window they are in, and what is spent in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    ends: i64,
    spent: Nanos,
}

impl Window {
    /// Returns true where it can come after `last`: nothing is spent less, but for the one refund that may be under way.
    fn follows(&self, last: &Self) -> bool {
        let given_back = Nanos::parse("refund", REFUND).unwrap();
        self.ends > last.ends || (self.ends == last.ends && self.spent + given_back >= last.spent)
    }
}

/// A key that the load charges, with a window that ends every minute and one that ends at midnight.
fn watched() -> String {
    key(ORGANIZATIONS[0], 1)
}

async fn windows(gateway: &Connection) -> [Window; 2] {
    let request = CheckRequest {
        payer: payer(&watched()),
        model: MODEL.into(),
        usage: Some(Usage { input_tokens: 1, ..Usage::default() }),
        ..CheckRequest::default()
    };
    let limits = gateway.quota().check(request).await.unwrap().into_inner().limits;
    [MINUTE, DAILY].map(|id| {
        let of_key = |scope_id: &str| scope_id == watched();
        let limit = limits.iter().find(|limit| limit.limit_id == id && of_key(&limit.scope_id)).unwrap();
        Window { ends: limit.reset_time.unwrap().seconds, spent: Nanos::parse("spent", &limit.spent).unwrap() }
    })
}

fn reservation(seconds: i64) -> ReserveRequest {
    ReserveRequest {
        payer: payer(&watched()),
        model: MODEL.into(),
        usage: Some(Usage { input_tokens: 10, ..Usage::default() }),
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..ReserveRequest::default()
    }
}

async fn granted(gateway: &Connection, request: ReserveRequest) -> Grant {
    match gateway.quota().reserve(request).await.unwrap().into_inner().decision.unwrap() {
        reserve_response::Decision::Granted(grant) => grant,
        reserve_response::Decision::Denied(denial) => panic!("{denial:?}"),
    }
}

/// How a reservation stands, made if there is none yet.
async fn hold(gateway: &Connection, request_id: &str, seconds: i64) -> ReservationState {
    granted(gateway, ReserveRequest { request_id: request_id.into(), ..reservation(seconds) }).await.state()
}

/// A second's reservation ends, within what a slow machine needs.
async fn expires(gateway: &Connection, request_id: &str) {
    let asked = Stopwatch::start();
    while hold(gateway, request_id, 1).await != ReservationState::Expired {
        assert!(asked.elapsed() < PATIENCE, "{request_id} lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The server's time in microseconds: what it adds the time to live to.
async fn time(gateway: &Connection) -> i64 {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let request = ReserveRequest { request_id: format!("time-{}", ASKED.fetch_add(1, SeqCst)), ..reservation(60) };
    let grant = granted(gateway, request).await;
    let release = ReleaseRequest { reservation: by_id(&grant.reservation_id), reason: String::new() };
    gateway.quota().release(release).await.unwrap();
    let expires = grant.expire_time.unwrap();
    (expires.seconds - 60) * 1_000_000 + i64::from(expires.nanos) / 1000
}

/// Looks for a while: windows only ever follow each other, what is spent in one is never less than it was, and time passes as it
/// really does.
async fn observe(gateway: &Connection, last: &mut [Window; 2], how_long: Duration) {
    let asked = Stopwatch::start();
    let first = time(gateway).await;
    let began = Stopwatch::start();
    let (mut before, mut at_least) = (first, Duration::ZERO);
    while began.elapsed() < how_long {
        let now = windows(gateway).await;
        for (now, last) in now.iter().zip(last.iter()) {
            assert!(now.follows(last), "{last:?} was followed by {now:?}");
        }
        *last = now;
        at_least = began.elapsed();
        let now = time(gateway).await;
        assert!(now >= before, "{before} was followed by {now}");
        before = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let passed = f64::from(i32::try_from(before - first).unwrap()) / 1e6;
    // The server's time was read at some moment of each of the two calls, however long they took.
    let (at_least, at_most) = (at_least.as_secs_f64(), asked.elapsed().as_secs_f64());
    let really = at_least * 0.95 - 0.1..at_most * 1.05 + 0.1;
    assert!(really.contains(&passed), "{passed} s passed in {at_least} to {at_most} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_clock_that_leaps_by_hours_resets_no_window_twice_and_keeps_no_reservation_alive() {
    let steps = rounds(3);
    let mut moments = Moments::new("clock");
    let mut clocked = Clocked { world: World::empty(&Books::Sqlite, &[]), preload: library() };
    clocked.set(0);
    let server = clocked.start();
    let known = clocked.world.seed(&server).await;
    let operator = server.operator().await;
    let gateway = operator.with_token(&clocked.world.service_token).unwrap();
    let mut load = Load::start(&clocked.world, known).await;
    assert_eq!(hold(&gateway, "hour", 3600).await, ReservationState::Open);
    let mut last = windows(&gateway).await;
    for step in 0..steps {
        // Back and forth in turn, never by less than two hours.
        let hours = i64::try_from(moments.number(2..40)).unwrap() * if step % 2 == 0 { -1 } else { 1 };
        let short = format!("second-{step}");
        hold(&gateway, &short, 1).await;
        clocked.set(hours);
        observe(&gateway, &mut last, Duration::from_millis(1200)).await;
        expires(&gateway, &short).await;
        assert_eq!(hold(&gateway, "hour", 3600).await, ReservationState::Open, "{hours} hours off");
        load.answered(1).await;
    }
    let known = load.finish().await;
    verify(&operator).await;
    // Started with a clock that is hours behind, it goes on from where it was.
    assert_eq!(server.terminate().await.code(), Some(0));
    clocked.set(24 * 365 * 11);
    let said = clocked.refused();
    assert!(said.contains("days ahead of the last journalled time"), "{said}");
    clocked.set(-5);
    let server = clocked.start_accepting();
    let gateway = server.operator().await.with_token(&clocked.world.service_token).unwrap();
    let mut load = Load::start(&clocked.world, known).await;
    observe(&gateway, &mut last, Duration::from_millis(1200)).await;
    hold(&gateway, "behind", 1).await;
    expires(&gateway, "behind").await;
    assert_eq!(hold(&gateway, "hour", 3600).await, ReservationState::Open);
    load.answered(100).await;
    let mut known = load.finish().await;
    // Too old to be answered, beyond the leap.
    known.repeats.clear();
    leaps_ahead_once(clocked, server, last, known).await;
    println!("{steps} steps of the clock while running, 3 between lives");
}

async fn restarted(clocked: &Clocked, server: Server) -> Server {
    assert_eq!(server.terminate().await.code(), Some(0));
    clocked.start()
}

/// A clock that was 30 hours ahead at a start has begun the next day; put right, the day isn't begun again.
async fn leaps_ahead_once(clocked: Clocked, server: Server, last: [Window; 2], known: Acknowledged) {
    clocked.set(30);
    let server = restarted(&clocked, server).await;
    let gateway = server.operator().await.with_token(&clocked.world.service_token).unwrap();
    let ahead = windows(&gateway).await;
    assert!(ahead[1].ends > last[1].ends && ahead[1].spent == Nanos::ZERO, "{last:?} was followed by {ahead:?}");
    assert_eq!(hold(&gateway, "hour", 3600).await, ReservationState::Expired);
    let mut load = Load::start(&clocked.world, known).await;
    load.answered(300).await;
    let known = load.finish().await;
    let mut last = windows(&gateway).await;
    assert!(last[1].spent > Nanos::ZERO);
    clocked.set(0);
    assert_eq!(server.terminate().await.code(), Some(0));
    let server = clocked.start_accepting();
    let operator = server.operator().await;
    let gateway = operator.with_token(&clocked.world.service_token).unwrap();
    let now = windows(&gateway).await;
    assert_eq!(now[1], last[1], "the day is begun once");
    observe(&gateway, &mut last, Duration::from_millis(500)).await;
    let figures = check(&operator, &gateway, known).await;
    println!("clock: {figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_hours_from_the_databases_is_refused_before_anything_was_journalled() {
    let clocked = Clocked { world: World::empty(&books(), &[]), preload: library() };
    for hours in [-2, 2] {
        clocked.set(hours);
        let said = clocked.refused();
        assert!(said.contains("and the database's clock") && said.contains("--accept-clock"), "{said}");
    }
    clocked.set(0);
    assert_eq!(clocked.start().terminate().await.code(), Some(0));
    clocked.set(2);
    assert_eq!(clocked.start_accepting().terminate().await.code(), Some(0));
}
