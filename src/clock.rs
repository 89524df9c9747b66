//! The only code that reads the time.
//!
//! Time as everybody else sees it never runs backwards, neither when the wall clock is set back nor over a restart, and
//! never leaps: it is the wall clock at start, carried on by the monotonic clock and slewed towards the wall clock.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;

use crate::domain::time::{Span, Timestamp};

#[cfg(test)]
mod tests;

/// Of the time that passes at most 1/20 is added or left out to approach the wall clock.
const SLEW_DIVISOR: i64 = 20;
/// How often the wall clock is looked at, if anybody asks for the time.
const STEER_INTERVAL: Span = Span::SECOND;
/// Further apart than this the wall clock, or this machine, is wrong.
const DIVERGED: Span = Span::seconds(5 * 60);

pub trait Clock: Send + Sync + 'static {
    /// Never less than any answer before, whichever thread asked. Cheap and without a lock.
    fn now(&self) -> Timestamp;

    /// The wall clock that this one follows, whatever it says; `None` where it follows none.
    fn wall(&self) -> Option<Timestamp> {
        None
    }
}

/// The time of a running server.
#[derive(Debug)]
pub struct SystemClock<R = MachineReadings> {
    readings: R,
    slew: ArcSwap<Slew>,
    /// The latest answer. A thread that read the monotonic clock before a new slew was set could otherwise answer less.
    last: AtomicI64,
    steering: AtomicBool,
    diverged: AtomicBool,
}

impl SystemClock {
    /// Begins at the wall clock's time, or at `at_least`, the last journalled time, if that is later.
    pub fn start(at_least: Timestamp) -> Self {
        Self::with_readings(MachineReadings::start(), at_least)
    }
}

impl<R: Readings> SystemClock<R> {
    /// Like [`Self::start`], from other readings than the machine's.
    pub fn with_readings(readings: R, at_least: Timestamp) -> Self {
        let slew = Slew::start(readings.elapsed(), readings.wall(), at_least);
        let clock = Self {
            readings,
            last: AtomicI64::new(slew.time.micros()),
            diverged: AtomicBool::new(false),
            steering: AtomicBool::new(false),
            slew: ArcSwap::from_pointee(slew),
        };
        clock.report(slew.behind);
        clock
    }

    /// How far the wall clock is ahead of this one; negative where it is behind.
    pub fn drift(&self) -> Span {
        self.readings.wall() - self.now()
    }

    /// Whether the two were more than five minutes apart when last compared.
    pub fn diverged(&self) -> bool {
        self.diverged.load(Ordering::Relaxed)
    }

    /// One thread steers; the others go on with the slew there is.
    #[cold]
    fn steer(&self, slew: &Slew, elapsed: Span) {
        if self.steering.swap(true, Ordering::Acquire) {
            return;
        }
        // Another thread may have steered since `slew` was read: never let an older one replace a newer.
        if self.slew.load().elapsed == slew.elapsed {
            let next = slew.steer(elapsed, self.readings.wall());
            self.report(next.behind);
            self.slew.store(next.into());
        }
        self.steering.store(false, Ordering::Release);
    }

    /// Warns once for as long as the clocks stay apart.
    fn report(&self, behind: Span) {
        let diverged = Span::micros(behind.as_micros().saturating_abs()) > DIVERGED;
        let before = self.diverged.swap(diverged, Ordering::Relaxed);
        let seconds = behind.as_micros() / Span::SECOND.as_micros();
        match (before, diverged) {
            (false, true) => tracing::warn!(
                wall_clock_ahead_seconds = seconds,
                "the wall clock and the server's time are more than five minutes apart; check this machine's clock"
            ),
            (true, false) => tracing::info!(wall_clock_ahead_seconds = seconds, "the wall clock fits again"),
            _ => {}
        }
    }
}

impl<R: Readings> Clock for SystemClock<R> {
    fn now(&self) -> Timestamp {
        let elapsed = self.readings.elapsed();
        let slew = self.slew.load();
        let now = slew.at(elapsed).micros();
        if elapsed.as_micros() - slew.elapsed.as_micros() >= STEER_INTERVAL.as_micros() {
            self.steer(&slew, elapsed);
        }
        let last = self.last.load(Ordering::Relaxed);
        // Within one microsecond many ask: most of them needn't write.
        let now = if last >= now { last } else { now.max(self.last.fetch_max(now, Ordering::Relaxed)) };
        Timestamp::from_micros(now)
    }

    fn wall(&self) -> Option<Timestamp> {
        Some(self.readings.wall())
    }
}

/// What a clock's time is made of.
pub trait Readings: Send + Sync + 'static {
    /// The machine's idea of the time; may be set to anything at any moment.
    fn wall(&self) -> Timestamp;

    /// Since some fixed moment; never decreases.
    fn elapsed(&self) -> Span;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct MachineReadings {
    start: Instant,
}

impl MachineReadings {
    #[allow(clippy::disallowed_methods, reason = "here the time is read for everybody")]
    fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Readings for MachineReadings {
    #[allow(clippy::disallowed_methods, reason = "here the time is read for everybody")]
    fn wall(&self) -> Timestamp {
        let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => span(after),
            Err(before) => Span::micros(-span(before.duration()).as_micros()),
        };
        Timestamp::EPOCH + wall
    }

    fn elapsed(&self) -> Span {
        span(self.start.elapsed())
    }
}

fn span(duration: Duration) -> Span {
    Span::micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// How time passes from one look at the wall clock to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slew {
    /// The monotonic reading at which this slew began.
    elapsed: Span,
    /// The time then.
    time: Timestamp,
    /// How far behind the wall clock that was; negative: ahead.
    behind: Span,
}

impl Slew {
    fn start(elapsed: Span, wall: Timestamp, at_least: Timestamp) -> Self {
        let time = wall.max(at_least);
        Self { elapsed, time, behind: wall - time }
    }

    fn at(&self, elapsed: Span) -> Timestamp {
        let passed = elapsed.as_micros().saturating_sub(self.elapsed.as_micros()).max(0);
        let most = passed / SLEW_DIVISOR;
        self.time + Span::micros(passed + self.behind.as_micros().clamp(-most, most))
    }

    /// Goes on from where this slew has got, towards where the wall clock now is.
    fn steer(&self, elapsed: Span, wall: Timestamp) -> Self {
        let time = self.at(elapsed);
        Self { elapsed, time, behind: wall - time }
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.micros()))
    }

    /// Ignored if earlier than the clock's time.
    pub fn set(&self, now: Timestamp) {
        self.0.fetch_max(now.micros(), Ordering::SeqCst);
    }

    pub fn advance(&self, by: Span) {
        self.0.fetch_add(by.as_micros().max(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Measures how long something takes, by the runtime's clock, which simulations set. No quota and nothing that is booked may be
/// decided by it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "here the time is read for everybody")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
