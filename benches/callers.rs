//! Many callers at once: how far one organization goes under its lock, and whether many go as far as the cores do.
//!
//! `service` is the whole of a Reserve but gRPC: look-up, lock, decision, journal queue, sealed id. `locked` is what happens
//! under the lock alone: Reserve, Commit and their place in the journal's queue. Threads beyond the cores show what waiting costs.
//! Beside the threads runs one that takes what is journalled, and keeps nothing.
//!
//! Prints first what all callers together get out of the service. divan's items are decisions, too, but those of one thread.

#[allow(dead_code, reason = "shared with other benches and with tests")]
#[path = "fixture/organization.rs"]
mod organization;
#[allow(dead_code, clippy::expect_used, clippy::panic, reason = "shared with other benches and with tests")]
#[path = "fixture/serving.rs"]
mod serving;

use std::{
    cell::Cell as StdCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use divan::{Bencher, black_box, counter::ItemsCount};
use mimalloc::MiMalloc;
use organization::{Account, Beside, RICH, START};
use quotad::{
    clock::{Stopwatch, SystemClock},
    domain::{
        operation::{Payer, Reserve},
        price::PriceBook,
    },
    engine::{
        directory::{Cell, Inner},
        turn::Turn,
    },
    journal::writer::Writer,
};
use serving::{Population, Serving, rich};

/// As in the server.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const THREADS: [usize; 4] = [1, 2, 4, 8];
const MANY: usize = 64;
/// Decisions of a sample: enough for the threads to meet, few enough for the holds to fit in memory.
const SAMPLE: u32 = 2000;

fn main() {
    // Otherwise it is only tried whether everything runs.
    if std::env::args().any(|argument| argument == "--bench") {
        curve();
    }
    divan::main();
}

/// The best of some rounds: what else runs on the machine only takes away.
fn curve() {
    println!("decisions/s of all callers together");
    for (name, organizations) in [("one organization", 1), ("many organizations", MANY)] {
        for callers in THREADS {
            let rates = (0..5).map(|_| decisions_a_second(organizations, callers));
            println!("{name:18} {callers} callers {:>9.0}", rates.fold(0.0, f64::max));
        }
    }
}

fn decisions_a_second(organizations: usize, callers: usize) -> f64 {
    const DECISIONS: u32 = 200_000;
    let (serving, payers) = served(organizations);
    let of_each = DECISIONS as usize / callers;
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                for _ in 0..of_each {
                    drop(black_box(serving.reserve(&payers[mine() % organizations], next_request())));
                }
            });
        }
    });
    f64::from(DECISIONS) / watch.elapsed().as_secs_f64()
}

fn served(organizations: usize) -> (Serving, Vec<Payer>) {
    let population = Population { organizations, ..Population::default() };
    let serving = Serving::start(&population, Arc::new(SystemClock::start(START)));
    (serving, (0..organizations).map(rich).collect())
}

thread_local! {
    static MINE: StdCell<usize> = const { StdCell::new(usize::MAX) };
}

/// A number of the thread's own, so that threads don't meet where organizations don't.
fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed));
        }
        mine.get()
    })
}

/// Unique in the process, and made without the threads meeting.
fn next_request() -> Reserve {
    thread_local! {
        static COUNT: StdCell<u64> = const { StdCell::new(0) };
    }
    let count = COUNT.get() + 1;
    COUNT.set(count);
    organization::request((mine() as u64) << 40 | count)
}

fn service(bencher: Bencher<'_, '_>, organizations: usize) {
    let (serving, payers) = served(organizations);
    bencher
        .counter(ItemsCount::new(1_u32))
        .with_inputs(next_request)
        .bench_values(|request| serving.reserve(&payers[mine() % organizations], request));
}

#[divan::bench(threads = THREADS, sample_count = 100, sample_size = SAMPLE)]
fn service_one_organization(bencher: Bencher<'_, '_>) {
    service(bencher, 1);
}

#[divan::bench(threads = THREADS, sample_count = 100, sample_size = SAMPLE)]
fn service_many_organizations(bencher: Bencher<'_, '_>) {
    service(bencher, MANY);
}

/// Two decisions, and what they leave to the journal.
fn reserve_and_commit(cell: &Cell, writer: &Writer, prices: &PriceBook, request: &Reserve) {
    let fingerprint = request.fingerprint(RICH);
    let locked = |act: &mut dyn FnMut(&mut Turn<'_>)| {
        let mut guard = cell.lock();
        let Inner { state, position, .. } = &mut *guard;
        let mut turn = Turn::new(state, organization::context(prices, START));
        act(&mut turn);
        *position = writer.push(turn.finish().records);
    };
    let mut held = None;
    locked(&mut |turn| held = turn.reserve(RICH, request, fingerprint).ok().and_then(Result::ok));
    let commit = organization::commit();
    locked(&mut |turn| {
        let charged = held.as_ref().map(|granted| turn.commit(granted.reservation, &commit, fingerprint));
        debug_assert!(matches!(charged, Some(Ok(_))), "everything fits");
        black_box(&charged);
    });
    if request.request.as_str().ends_with("00") {
        let state = &mut cell.lock().state;
        let stored = state.sequence;
        while state.forget(START, 1000, stored) > 0 {}
    }
}

fn locked(bencher: Bencher<'_, '_>, organizations: usize) {
    let serving = Serving::start(&Population::default(), Arc::new(SystemClock::start(START)));
    let writer = &serving.writer;
    let account = |no| Account::new(&format!("org-{no}"), Beside::default());
    let cells: Vec<Cell> = (0..organizations).map(|no| Cell::new(account(no).state, 0)).collect();
    let mut prices = PriceBook::default();
    prices.set(organization::price());
    bencher
        .counter(ItemsCount::new(2_u32))
        .with_inputs(next_request)
        .bench_values(|request| reserve_and_commit(&cells[mine() % organizations], writer, &prices, &request));
}

#[divan::bench(threads = THREADS, sample_count = 100, sample_size = SAMPLE)]
fn locked_one_organization(bencher: Bencher<'_, '_>) {
    locked(bencher, 1);
}

#[divan::bench(threads = THREADS, sample_count = 100, sample_size = SAMPLE)]
fn locked_many_organizations(bencher: Bencher<'_, '_>) {
    locked(bencher, MANY);
}
