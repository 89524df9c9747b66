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
    server::MODEL,
    world::{NEIGHBOUR_KEY, World, slice},
};

/// Slices of each kind, by turns.
const ROUNDS: usize = 3;
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

/// 99 of 100 are at most so long.
fn p99(of: &[Duration]) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * 99 / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Runs `attack` anew in every second slice and the neighbor in all; the attack is dropped when its slice ends, and fails the
/// test if it fails.
pub(crate) async fn beside<F>(world: &World, attack: impl Fn() -> F) -> Measured
where
    F: Future<Output = ()>,
{
    let mut measured = Measured { quiet: Latencies::default(), beside: Latencies::default(), others: 0.0 };
    let (began, busy, ours) = (Stopwatch::start(), machine_time(), own_time(world));
    for _ in 0..ROUNDS {
        let quiet = neighbour(world).await;
        measured.quiet.extend(quiet);
        tokio::pin! {
            let attack = attack();
            let neighbour = neighbour(world);
        }
        let beside = tokio::select! {
            measured = &mut neighbour => measured,
            // An attack that has nothing left to do leaves its traces.
            () = &mut attack => neighbour.await,
        };
        measured.beside.extend(beside);
    }
    let others = machine_time().saturating_sub(busy).saturating_sub(own_time(world).saturating_sub(ours));
    measured.others = others.as_secs_f64() / began.elapsed().as_secs_f64();
    measured
}

impl Latencies {
    fn extend(&mut self, other: Self) {
        self.reserve.extend(other.reserve);
        self.commit.extend(other.commit);
    }
}

impl Measured {
    /// Fails where the neighbor was stalled: its Reserve beyond max(10 ms, 5 × quiet), its Commit beyond max(50 ms, 5 ×). On a
    /// machine that is busy with other things the figures are only told.
    #[track_caller]
    pub(crate) fn assert_undisturbed(&self, attack: &str) {
        let Self { quiet, beside, others } = self;
        let (reserve, commit) = (p99(&beside.reserve), p99(&beside.commit));
        let (quiet_reserve, quiet_commit) = (p99(&quiet.reserve), p99(&quiet.commit));
        println!(
            "{attack}: neighbor's Reserve p99 {reserve:?} (quiet {quiet_reserve:?}), Commit p99 {commit:?} (quiet {quiet_commit:?}), \
             {} calls beside it, others took {others:.2} of a core",
            beside.reserve.len()
        );
        assert!(!quiet.reserve.is_empty() && !beside.reserve.is_empty(), "{attack}: the neighbor was never answered");
        if *others > CALM {
            return;
        }
        let bound = |least, quiet| Duration::from_millis(least).max(quiet * 5);
        assert!(reserve <= bound(10, quiet_reserve), "{attack}: the neighbor's Reserve takes {reserve:?}");
        assert!(commit <= bound(50, quiet_commit), "{attack}: the neighbor's Commit takes {commit:?}");
    }
}

/// One slice of the neighbor's work, on a thread of its own: what the attack's callers compute doesn't count as waiting.
async fn neighbour(world: &World) -> Latencies {
    let (endpoint, token) = (world.server.endpoint.clone(), world.service_token.clone());
    let (tell, told) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Nobody listens where the test has failed meanwhile.
        let _ = tell.send(runtime.block_on(work(&endpoint, &token)));
    });
    told.await.expect("the neighbor is answered")
}

async fn work(endpoint: &str, token: &str) -> Latencies {
    let connection = Connection::open(endpoint, token).await.unwrap();
    let began = Stopwatch::start();
    let mut latencies = Latencies::default();
    let mut quota = connection.quota();
    while began.elapsed() < slice() {
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
