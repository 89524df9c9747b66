//! How long a test goes on, and the moments at which it strikes.

use std::{
    env,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

/// Rounds of a test: `short`, or what `QUOTAD_FAULT_ROUNDS` says.
pub(crate) fn rounds(short: u32) -> u32 {
    asked().unwrap_or(short)
}

/// How much more than usual is asked for.
pub(crate) fn is_long() -> bool {
    asked().is_some()
}

fn asked() -> Option<u32> {
    let rounds = env::var("QUOTAD_FAULT_ROUNDS").ok()?;
    Some(rounds.parse().unwrap_or_else(|error| panic!("QUOTAD_FAULT_ROUNDS={rounds}: {error}")))
}

/// Moments that look random and can be had again.
pub(crate) struct Moments(Xoshiro256PlusPlus);

impl Moments {
    pub(crate) fn new(test: &str) -> Self {
        static TESTS: AtomicU64 = AtomicU64::new(0);
        let seed = match env::var("QUOTAD_FAULT_SEED") {
            Ok(seed) => seed.parse().unwrap_or_else(|error| panic!("QUOTAD_FAULT_SEED={seed}: {error}")),
            Err(_) => getrandom::u64().unwrap().wrapping_add(TESTS.fetch_add(1, Relaxed)),
        };
        println!("{test}: QUOTAD_FAULT_SEED={seed}");
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub(crate) fn number(&mut self, range: Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    pub(crate) fn micros(&mut self, range: Range<u64>) -> Duration {
        Duration::from_micros(self.number(range))
    }
}
