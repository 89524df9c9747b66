//! The one source of chance of a run: whatever happens by chance follows from its seed.

use std::sync::{Arc, Mutex};

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

#[derive(Debug, Clone)]
pub(crate) struct Chance(Arc<Mutex<Xoshiro256PlusPlus>>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed))))
    }

    /// From 0 to `end`, which isn't 0, exclusive.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..end)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Never for 0.
    pub(crate) fn one_in(&self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}
