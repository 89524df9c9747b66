//! When the next operation is due: at once while the server keeps up (closed loop), or at its place in a schedule that
//! doesn't wait for the server (open loop).
//!
//! In an open loop an operation's latency counts from the moment at which it was to be sent. One that is sent late because
//! the server, or this program, was busy is as slow to its caller as one that is answered late.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use quotad::clock::Stopwatch;
use tokio::sync::Semaphore;

use crate::failure::Failure;

/// How often the schedule is looked at. Shorter sleeps cost more of the machine than they gain.
const TICK: Duration = Duration::from_micros(100);
/// The same while more is due than callers could take meanwhile: nothing is sent later for it.
const LONG_TICK: Duration = Duration::from_millis(2);
/// Callers take no more than so many times the rate.
const QUICKEST: u32 = 10;

/// Operations at equal distances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// A second.
    rate: NonZeroU64,
}

impl Schedule {
    pub(super) fn new(rate: NonZeroU64) -> Self {
        Self { rate }
    }

    /// When the `n`-th operation, from 0, is to be sent.
    pub(super) fn intended(self, n: u64) -> Duration {
        let nanos = (u128::from(n) * 1_000_000_000).div_ceil(u128::from(self.rate.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many operations are to be sent before `elapsed` has passed, or just then.
    pub(super) fn due(self, elapsed: Duration) -> u64 {
        let earlier = elapsed.as_nanos() * u128::from(self.rate.get()) / 1_000_000_000;
        u64::try_from(earlier).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// How long the schedule needn't be looked at while so many operations are due and not taken.
    fn tick(self, waiting: usize) -> Duration {
        if waiting as u64 > self.due(LONG_TICK * QUICKEST) { LONG_TICK } else { TICK }
    }

    /// How many are to be sent before `end`.
    fn before(self, end: Duration) -> u64 {
        end.checked_sub(Duration::from_nanos(1)).map_or(0, |last| self.due(last))
    }
}

/// Hands out the moments at which operations begin, until the end.
#[derive(Debug)]
pub(super) struct Pace {
    watch: Stopwatch,
    end: Duration,
    stopped: AtomicBool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    schedule: Schedule,
    /// Operations that are due and not taken.
    due: Semaphore,
    released: AtomicU64,
    taken: AtomicU64,
}

impl Pace {
    /// From now on for `length`.
    pub(super) fn start(length: Duration, rate: Option<NonZeroU64>) -> Result<Arc<Self>, Failure> {
        let open = rate.map(|rate| Open {
            schedule: Schedule::new(rate),
            due: Semaphore::new(0),
            released: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        });
        let is_open = open.is_some();
        let pace = Arc::new(Self { watch: Stopwatch::start(), end: length, stopped: AtomicBool::new(false), open });
        if is_open {
            let pacer = Arc::clone(&pace);
            // A thread, because the runtime's timer is exact to a millisecond only.
            let spawned = thread::Builder::new().name("pacer".to_owned()).spawn(move || pacer.release());
            spawned.map_err(|error| Failure::other(format!("the pacing thread can't be started: {error}")))?;
        }
        Ok(pace)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    pub(super) fn is_open_loop(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stopped.load(Relaxed) || self.elapsed() >= self.end
    }

    /// Ends it early.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        if let Some(open) = &self.open {
            open.due.close();
        }
    }

    /// Waits for an operation's turn: since when its latency counts. `None` at the end.
    pub(super) async fn next(&self) -> Option<Duration> {
        let Some(open) = &self.open else {
            let now = self.elapsed();
            return (now < self.end && !self.stopped.load(Relaxed)).then_some(now);
        };
        open.due.acquire().await.ok()?.forget();
        if self.has_ended() {
            return None;
        }
        Some(open.schedule.intended(open.taken.fetch_add(1, Relaxed)))
    }

    /// Operations that were due and never sent, because as many as may be were under way until the end.
    pub(super) fn unsent(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.released.load(Relaxed).saturating_sub(open.taken.load(Relaxed)))
    }

    /// Makes operations due as time goes by.
    fn release(&self) {
        let Some(open) = &self.open else { return };
        let all = open.schedule.before(self.end);
        let mut released = 0;
        while !self.has_ended() {
            let due = open.schedule.due(self.elapsed()).min(all);
            // The semaphore holds fewer permits than this only if nobody took any for years.
            open.due.add_permits(usize::try_from(due - released).unwrap_or(usize::MAX >> 4));
            open.released.store(due, Relaxed);
            released = due;
            let next = open.schedule.intended(due).min(self.end);
            let tick = open.schedule.tick(open.due.available_permits());
            thread::sleep(next.saturating_sub(self.elapsed()).max(tick));
        }
        open.due.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u64) -> Schedule {
        Schedule::new(NonZeroU64::new(rate).unwrap())
    }

    #[test]
    fn operations_keep_equal_distances() {
        let schedule = schedule(4000);
        assert_eq!(schedule.intended(0), Duration::ZERO);
        assert_eq!(schedule.intended(1), Duration::from_micros(250));
        assert_eq!(schedule.intended(4000 * 3600), Duration::from_hours(1));
    }

    #[test]
    fn an_operation_is_due_at_its_moment_and_not_before() {
        for rate in [1, 3, 7, 1000, 4001, 999_983, 10_000_000] {
            let schedule = schedule(rate);
            for n in [0, 1, 2, 99, 12_345, 10_000_019] {
                let intended = schedule.intended(n);
                assert_eq!(schedule.due(intended), n + 1, "{rate} {n}");
                let earlier = intended.checked_sub(Duration::from_nanos(1));
                assert_eq!(earlier.map_or(n, |earlier| schedule.due(earlier)), n, "{rate} {n}");
            }
        }
    }

    #[test]
    fn it_is_looked_at_less_often_only_while_callers_cannot_run_out_of_what_is_due() {
        assert_eq!([0, 1, 201].map(|waiting| schedule(10_000).tick(waiting)), [TICK; 3]);
        assert_eq!(schedule(10_000).tick(202), LONG_TICK);
    }

    #[test]
    fn a_second_of_a_rate_is_that_many_operations() {
        for rate in [1, 3, 4001, 999_983] {
            assert_eq!(schedule(rate).before(Duration::from_secs(1)), rate);
        }
        assert_eq!(schedule(5).before(Duration::ZERO), 0);
    }

    #[tokio::test]
    async fn an_open_loop_counts_from_the_intended_moment_however_late_it_is_taken() {
        let pace = Pace::start(Duration::from_hours(1), NonZeroU64::new(1000)).unwrap();
        assert_eq!(pace.next().await, Some(Duration::ZERO));
        // A server that is stuck for as long as ten operations take.
        while pace.unsent() < 10 {
            tokio::task::yield_now().await;
        }
        assert!(pace.elapsed() >= Duration::from_millis(10));
        assert_eq!(pace.next().await, Some(Duration::from_millis(1)));
        assert_eq!(pace.next().await, Some(Duration::from_millis(2)));
        pace.stop();
        assert_eq!(pace.next().await, None);
        assert!(pace.unsent() >= 8, "what was due and not sent is told");
    }

    #[tokio::test]
    async fn a_stopped_pace_ends_for_those_that_wait() {
        let pace = Pace::start(Duration::from_hours(1), NonZeroU64::new(1)).unwrap();
        assert!(pace.next().await.is_some());
        let waiting = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.next().await }
        });
        tokio::task::yield_now().await;
        pace.stop();
        assert_eq!(waiting.await.unwrap(), None);
        assert!(pace.has_ended());
    }
}
