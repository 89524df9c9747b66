//! Deciding and applying in process: a path of five scopes with eight limits of every kind.
//!
//! Prints the percentiles of single operations first (a plain loop, a clock read around each), then divan's means.

#[allow(dead_code, reason = "shared with other benches and with tests")]
#[path = "fixture/organization.rs"]
mod organization;

use std::cell::{Cell, RefCell};

use divan::{Bencher, black_box, black_box_drop, counter::ItemsCount};
use mimalloc::MiMalloc;
use organization::{Account, Beside};
use quotad::clock::Stopwatch;

/// As in the server.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Most that one operation expires.
const EXPIRED_AT_ONCE: usize = 64;

fn main() {
    percentiles();
    divan::main();
}

fn account() -> Account {
    Account::new("acme", Beside::default())
}

/// Each operation on its own; includes the clock, some 25 ns.
fn percentiles() {
    const ROUNDS: usize = 300_000;
    let mut account = account();
    let (mut reserves, mut pairs, mut clock) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 10_000 {
        account.prepare();
        let start = Stopwatch::start();
        let (no, effects) = account.reserve();
        black_box_drop(effects);
        let granted = start.elapsed();
        black_box_drop(account.commit(no));
        let committed = start.elapsed();
        if round % 64 == 0 {
            account.tidy();
        }
        let start = Stopwatch::start();
        clock.push(start.elapsed());
        if round >= 10_000 {
            reserves.push(granted);
            pairs.push(committed);
        }
    }
    for (name, mut times) in [("clock alone", clock), ("decide + apply", reserves), ("reserve + commit", pairs)] {
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 1000];
        println!("{name:18} p50 {:?}  p99 {:?}  p99.9 {:?}", at(500), at(990), at(999));
    }
}

#[divan::bench(sample_count = 10_000)]
fn reserve(bencher: Bencher<'_, '_>) {
    let account = RefCell::new(account());
    let held = Cell::new(None);
    bencher
        .with_inputs(|| {
            let mut account = account.borrow_mut();
            if let Some(no) = held.take() {
                black_box(account.commit(no));
                account.tidy();
            }
            account.prepare();
        })
        .bench_local_values(|()| {
            let (no, effects) = account.borrow_mut().reserve();
            held.set(Some(no));
            effects
        });
}

/// A refusal that names the limit that fails.
#[divan::bench(sample_count = 10_000)]
fn be_refused(bencher: Bencher<'_, '_>) {
    let account = RefCell::new(account());
    bencher.with_inputs(|| account.borrow_mut().prepare()).bench_local_values(|()| account.borrow_mut().be_refused());
}

#[divan::bench(sample_count = 10_000)]
fn check(bencher: Bencher<'_, '_>) {
    let account = RefCell::new(account());
    bencher.with_inputs(|| account.borrow_mut().prepare()).bench_local_values(|()| account.borrow_mut().check());
}

#[divan::bench(sample_count = 10_000)]
fn commit(bencher: Bencher<'_, '_>) {
    let account = RefCell::new(account());
    bencher
        .with_inputs(|| {
            let mut account = account.borrow_mut();
            account.tidy();
            account.prepare();
            account.reserve().0
        })
        .bench_local_values(|no| account.borrow_mut().commit(no));
}

#[divan::bench(sample_count = 10_000)]
fn reserve_and_commit(bencher: Bencher<'_, '_>) {
    let account = RefCell::new(account());
    bencher
        .with_inputs(|| {
            let mut account = account.borrow_mut();
            account.tidy();
            account.prepare();
        })
        .bench_local_values(|()| {
            let mut account = account.borrow_mut();
            let (no, reserved) = account.reserve();
            (reserved, account.commit(no))
        });
}

/// As many as one operation takes on; divan's items are reservations.
#[divan::bench(sample_count = 1000, sample_size = 1)]
fn expire(bencher: Bencher<'_, '_>) {
    let account = RefCell::new(account());
    bencher
        .counter(ItemsCount::new(EXPIRED_AT_ONCE))
        .with_inputs(|| {
            let mut account = account.borrow_mut();
            account.tidy();
            for _ in 0..EXPIRED_AT_ONCE {
                account.prepare();
                black_box_drop(account.reserve());
            }
            account.wait_for_expiry();
        })
        .bench_local_values(|()| account.borrow_mut().expire());
}
