//! Asking again: a deadline for each attempt and one over all, and pauses that grow and differ.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::is_transient;
use crate::clock::Stopwatch;

/// How a call is repeated while its errors are transient. Repeat only what is idempotent: with the same request id or
/// reservation, which every operation of the data plane has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// For one attempt. Without it a server that hangs holds a caller until the overall deadline, and nothing is tried again.
    pub attempt: Duration,
    /// From the first attempt to the last answer, pauses included. The first attempt has its whole time, whatever this is.
    pub overall: Duration,
    /// At most this long before the second attempt; twice as long before each that follows.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Retry {
    /// Somebody waits for the answer: a quarter of a second each, one second in all.
    pub const WAITED_FOR: Self = Self {
        attempt: Duration::from_millis(250),
        overall: Duration::from_secs(1),
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(200),
    };
    /// The work is done and must be booked: 5 seconds each, 15 in all.
    pub const WORK_IS_DONE: Self = Self {
        attempt: Duration::from_secs(5),
        overall: Duration::from_secs(15),
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_secs(2),
    };

    /// Calls until there is an answer, an error that lasts, or no time left for another attempt. Pauses follow from `seed`:
    /// give each caller another, or all come back at once.
    ///
    /// # Errors
    /// The last error; `DEADLINE_EXCEEDED` where the last attempt wasn't answered in its time.
    pub async fn run<T, F>(&self, seed: u64, mut call: impl FnMut() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let begun = Stopwatch::start();
        let mut backoff = self.backoff(seed);
        let mut time = self.attempt;
        loop {
            let status = match timeout(time, call()).await {
                Ok(Err(status)) if is_transient(&status) => status,
                Ok(answer) => return answer,
                Err(_) => Status::deadline_exceeded(format!("no answer within {time:?}")),
            };
            let pause = backoff.pause();
            if begun.elapsed() + pause >= self.overall {
                return Err(status);
            }
            sleep(pause).await;
            time = self.attempt.min(self.overall.saturating_sub(begun.elapsed()));
        }
    }

    pub(super) fn backoff(&self, seed: u64) -> Backoff {
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Backoff { next: self.first_pause, longest: self.longest_pause, rng }
    }
}

/// Pauses between half of what is due and all of it, so that callers that failed together don't come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
    rng: Xoshiro256PlusPlus,
}

impl Backoff {
    pub(super) fn pause(&mut self) -> Duration {
        let due = self.next.min(self.longest);
        self.next = due.saturating_mul(2);
        due.mul_f64(self.rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests;
