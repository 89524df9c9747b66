//! The service with its writer, projector, snapshots and recovery, on a simulated clock, disk and database, in runs that follow
//! from a seed alone: power losses, failed syncs, full disks, a database that comes and goes, lost answers, clocks set, disks
//! lost, rivals. What was acknowledged must be in memory and in the books, once, whatever happened.
//!
//! `QUOTAD_SIM_SEEDS` is how many seeds are run, `QUOTAD_SIM_SEED` the only one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "sim/answers.rs"]
mod answers;
#[path = "sim/books.rs"]
mod books;
#[path = "sim/chance.rs"]
mod chance;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/history.rs"]
mod history;
#[path = "sim/life.rs"]
mod life;
#[path = "sim/operation.rs"]
mod operation;
#[path = "sim/place.rs"]
mod place;
#[path = "sim/promises.rs"]
mod promises;
#[path = "sim/time.rs"]
mod time;
#[path = "sim/trouble.rs"]
mod trouble;
#[path = "sim/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    env,
    panic::{catch_unwind, resume_unwind},
};

/// Some seconds' worth.
const SEEDS: u64 = 1500;

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} isn't a number")))
}

#[test]
fn what_was_acknowledged_is_kept_once_whatever_breaks() {
    let seeds = match number("QUOTAD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUOTAD_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (mut ends, mut records, mut promises) = (BTreeMap::new(), 0, 0);
    for seed in seeds.clone() {
        let summary = catch_unwind(|| world::run(seed)).unwrap_or_else(|why| {
            eprintln!("repeat it with: QUOTAD_SIM_SEED={seed} cargo test --test sim what_was -- --nocapture");
            resume_unwind(why);
        });
        records += summary.records;
        promises += summary.promises;
        for end in summary.ends {
            *ends.entry(format!("{end:?}")).or_insert(0_u64) += 1;
        }
    }
    println!(
        "{} seeds, {records} records, {promises} acknowledgements to keep, lives: {ends:?}",
        seeds.end - seeds.start
    );
}

#[test]
fn a_seed_always_runs_the_same() {
    for seed in 0..20 {
        assert_eq!(world::run(seed), world::run(seed), "seed {seed}");
    }
}
