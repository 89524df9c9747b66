//! How long an uninvolved organization waits, by turns in quiet and beside an attack, and whether the machine was calm enough to tell.

use std::{fs, thread, time::Duration};

use quotad::{
    api::proto::{
        CommitRequest, Payer, ReservationRef, ReserveRequest, Usage, payer::Payer as By, reservation_ref::Reservation,
        reserve_response::Decision,
    },
    client::Connection,
    clock::Stopwatch,
};

use crate::{
    calm::calmly,
    server::MODEL,
    world::{NEIGHBOUR_KEY, World, slice},
};

/// Slices of each kind, by turns.
const ROUNDS: usize = 3;
/// Runs before it is believed that an attack stalls the neighbor.
const RUNS: usize = 3;
/// A core's share that other processes may take before latencies say nothing of the server.
const CALM: f64 = 0.25;

#[derive(Debug, Default)]
struct Latencies {
    reserve: Vec<Duration>,
    commit: Vec<Duration>,
}

/// The neighbor's latencies in one run.
#[derive(Debug)]
pub(crate) struct Measured {
    quiet: Latencies,
    beside: Latencies,
    /// Cores that neither the server nor this test used, but others.
    others: f64,
}

/// A debug build of the server computes many times as long as what is promised for: it shows memory and counts, latencies are
/// judged where `QUOTAD_ABUSE_BINARY` names a release build.
fn is_judged() -> bool {
    std::env::var_os("QUOTAD_ABUSE_BINARY").is_some()
}

/// So many of 100 are at most so long.
fn of_100(many: usize, of: &[Duration]) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * many / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Runs `attack` anew in every second slice and the neighbor in all; the attack is dropped when its slice ends, and fails the
/// test if it fails. A run in which the neighbor was stalled is made again: an attack stalls it each time, a hiccup of the machine
/// once.
pub(crate) async fn beside<F>(world: &World, attack: impl Fn() -> F) -> Measured
where
    F: Future<Output = ()>,
{
    let mut runs = 0;
    loop {
        let mut run = Run::start(world);
        for _ in 0..ROUNDS {
            run.quiet(slice()).await;
            run.attacked(slice(), attack()).await;
        }
        let measured = run.end();
        runs += 1;
        if runs == RUNS || measured.is_undisturbed() {
            return measured;
        }
    }
}

/// Slices of one run, in any order.
pub(crate) struct Run<'a> {
    world: &'a World,
    measured: Measured,
    began: Stopwatch,
    /// Processor time at the beginning: of the whole machine, and of the server and this test.
    busy: Duration,
    ours: Duration,
}

impl<'a> Run<'a> {
    /// The attackers stand back behind server and neighbor, which elsewhere they would share no processor with.
    pub(crate) fn start(world: &'a World) -> Self {
        rustix::process::nice(10).unwrap();
        let measured = Measured { quiet: Latencies::default(), beside: Latencies::default(), others: 0.0 };
        Self { world, measured, began: Stopwatch::start(), busy: machine_time(), ours: own_time(world) }
    }

    pub(crate) async fn quiet(&mut self, length: Duration) {
        self.measured.quiet.extend(neighbour(self.world, length).await);
    }

    /// Answers how long 9 of 10 Reserves and Commits of this slice took at most: it may be too short to tell more.
    pub(crate) async fn attacked(&mut self, length: Duration, attack: impl Future<Output = ()>) -> [Duration; 2] {
        tokio::pin! {
            let attack = attack;
            let neighbour = neighbour(self.world, length);
        }
        let beside = tokio::select! {
            measured = &mut neighbour => measured,
            // An attack that has nothing left to do leaves its traces.
            () = &mut attack => neighbour.await,
        };
        let most = [of_100(90, &beside.reserve), of_100(90, &beside.commit)];
        self.measured.beside.extend(beside);
        most
    }

    pub(crate) fn end(mut self) -> Measured {
        let ours = own_time(self.world).saturating_sub(self.ours);
        let others = machine_time().saturating_sub(self.busy).saturating_sub(ours);
        self.measured.others = others.as_secs_f64() / self.began.elapsed().as_secs_f64();
        self.measured
    }
}

impl Latencies {
    fn extend(&mut self, other: Self) {
        self.reserve.extend(other.reserve);
        self.commit.extend(other.commit);
    }
}

impl Measured {
    /// Fails where the neighbor was stalled: its Reserve beyond max(10 ms, 5 × quiet), its Commit beyond max(50 ms, 5 ×). On a
    /// machine that is busy with other things, or by a debug build, the figures are only told.
    #[track_caller]
    pub(crate) fn assert_undisturbed(&self, attack: &str) {
        let Self { quiet, beside, others } = self;
        assert!(!quiet.reserve.is_empty() && !beside.reserve.is_empty(), "{attack}: the neighbor was never answered");
        println!("{} calls of the neighbor, others took {others:.2} of a core", beside.reserve.len());
        self.assert_bounded(attack, [of_100(99, &beside.reserve), of_100(99, &beside.commit)]);
    }

    /// The same for the Reserves and Commits of a slice.
    #[track_caller]
    pub(crate) fn assert_bounded(&self, attack: &str, [reserve, commit]: [Duration; 2]) {
        let quiet = [of_100(99, &self.quiet.reserve), of_100(99, &self.quiet.commit)];
        println!(
            "{attack}: neighbor's Reserve {reserve:?} (quiet {:?}), Commit {commit:?} (quiet {:?})",
            quiet[0], quiet[1]
        );
        if self.is_told_only() {
            return;
        }
        let [most_reserve, most_commit] = self.bounds();
        assert!(reserve <= most_reserve, "{attack}: the neighbor's Reserve takes {reserve:?}");
        assert!(commit <= most_commit, "{attack}: the neighbor's Commit takes {commit:?}");
    }

    /// Returns true where latencies say nothing of the server as it is shipped.
    fn is_told_only(&self) -> bool {
        self.others > CALM || !is_judged()
    }

    fn bounds(&self) -> [Duration; 2] {
        let bound = |least, quiet: &[Duration]| Duration::from_millis(least).max(of_100(99, quiet) * 5);
        [bound(10, &self.quiet.reserve), bound(50, &self.quiet.commit)]
    }

    fn is_undisturbed(&self) -> bool {
        let [reserve, commit] = self.bounds();
        let is_bounded = of_100(99, &self.beside.reserve) <= reserve && of_100(99, &self.beside.commit) <= commit;
        self.is_told_only() || is_bounded
    }

    /// Fails where 99 of 100 of something else that was measured beside the attack took longer, on a calm machine.
    #[track_caller]
    pub(crate) fn assert_within(&self, what: &str, took: &[Duration], bound: Duration) {
        println!("{what}: p99 {:?} of {}", of_100(99, took), took.len());
        assert!(!took.is_empty(), "{what}: never done");
        assert!(self.others > CALM || of_100(99, took) <= bound, "{what} takes {:?}", of_100(99, took));
    }
}

/// One slice of the neighbor's work, on a thread of its own: what the attack's callers compute doesn't count as waiting.
async fn neighbour(world: &World, length: Duration) -> Latencies {
    let (endpoint, token) = (world.server.endpoint.clone(), world.service_token.clone());
    let (tell, told) = tokio::sync::oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Nobody listens where the test has failed meanwhile.
        let _ = tell.send(runtime.block_on(work(&endpoint, &token, length)));
    };
    calmly(|| drop(thread::spawn(work)));
    told.await.expect("the neighbor is answered")
}

async fn work(endpoint: &str, token: &str, length: Duration) -> Latencies {
    let connection = Connection::open(endpoint, token).await.unwrap();
    let began = Stopwatch::start();
    let mut latencies = Latencies::default();
    let mut quota = connection.quota();
    while began.elapsed() < length {
        let took = Stopwatch::start();
        let answer = quota.reserve(reserve()).await.unwrap().into_inner();
        latencies.reserve.push(took.elapsed());
        let Some(Decision::Granted(grant)) = answer.decision else { panic!("the neighbor can pay: {answer:?}") };
        let took = Stopwatch::start();
        let reservation = ReservationRef { reservation: Some(Reservation::ReservationId(grant.reservation_id)) };
        let usage = Some(Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() });
        quota.commit(CommitRequest { reservation: Some(reservation), usage, ..Default::default() }).await.unwrap();
        latencies.commit.push(took.elapsed());
    }
    latencies
}

fn reserve() -> ReserveRequest {
    ReserveRequest {
        payer: Some(Payer { payer: Some(By::KeyId(NEIGHBOUR_KEY.to_owned())) }),
        request_id: format!("n-{:x}", rand::random::<u128>()),
        model: MODEL.to_owned(),
        usage: Some(Usage { input_tokens: 10, output_tokens: 10, ..Usage::default() }),
        ..ReserveRequest::default()
    }
}

/// The kernel counts processor time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = [11, 12].map(|field| fields[field].parse::<u32>().unwrap()).iter().sum();
    TICK * ticks
}

fn own_time(world: &World) -> Duration {
    processor_time(std::process::id()) + processor_time(world.server.pid())
}

/// Processor time that the whole machine has spent on anything, stolen time included.
fn machine_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|field| field.parse().unwrap()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|field| ticks.get(*field)).sum();
    TICK * u32::try_from(busy % (1 << 32)).unwrap()
}
