//! Counts what operations came to and how long they took. Only what ended after the warm-up is measured; everything is
//! counted, so that the counts can be held against the server's books.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

use super::{mix::Kind, outcome::Outcome};
use crate::failure::Failure;

/// Longer operations count as this long, in µs.
const LONGEST: u64 = 3_600_000_000;
/// Callers share this many places to record at: few enough for memory, enough not to wait for each other.
const SHARDS: usize = 8;

/// What became of one kind of operation.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) done: u64,
    pub(super) denied: u64,
    pub(super) failed: u64,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) => self.done += 1,
            Outcome::Denied(_) => self.denied += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.done += other.done;
        self.denied += other.denied;
        self.failed += other.failed;
    }
}

/// Errors of one kind. Their messages may all differ, so that one has to stand for them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) count: u64,
    pub(super) example: String,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of each kind, in the order of [`Kind::ALL`]: µs that those took that were done.
    pub(super) done: [Histogram<u64>; 6],
    /// µs until a denial.
    pub(super) denied: Histogram<u64>,
    /// µs until an error.
    pub(super) failed: Histogram<u64>,
    pub(super) counts: [Counts; 6],
    pub(super) denials: BTreeMap<(Kind, i32), u64>,
    pub(super) errors: BTreeMap<(Kind, String), Errors>,
    /// When the last one ended, since the start.
    pub(super) last: Duration,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let done = [histogram()?, histogram()?, histogram()?, histogram()?, histogram()?, histogram()?];
        Ok(Self {
            done,
            denied: histogram()?,
            failed: histogram()?,
            counts: [Counts::default(); 6],
            denials: BTreeMap::new(),
            errors: BTreeMap::new(),
            last: Duration::ZERO,
        })
    }

    fn add(&mut self, kind: Kind, took: u64, ended: Duration, outcome: &Outcome) {
        self.counts[kind as usize].add(outcome);
        self.last = self.last.max(ended);
        match outcome {
            Outcome::Done(_) => self.done[kind as usize].saturating_record(took),
            Outcome::Denied(code) => {
                self.denied.saturating_record(took);
                *self.denials.entry((kind, *code)).or_default() += 1;
            }
            Outcome::Failed(fault) => {
                self.failed.saturating_record(took);
                let errors = self.errors.entry((kind, fault.kind.clone())).or_default();
                errors.count += 1;
                if errors.count == 1 {
                    errors.example.clone_from(&fault.message);
                }
            }
        }
    }

    fn merge(&mut self, other: &Self) -> Result<(), Failure> {
        let pairs = self.done.iter_mut().zip(&other.done);
        for (own, other) in pairs.chain([(&mut self.denied, &other.denied), (&mut self.failed, &other.failed)]) {
            own.add(other).map_err(|error| Failure::other(format!("histogram: {error}")))?;
        }
        self.counts.iter_mut().zip(other.counts).for_each(|(own, other)| own.merge(other));
        for (key, count) in &other.denials {
            *self.denials.entry(*key).or_default() += count;
        }
        for (key, errors) in &other.errors {
            let own = self.errors.entry(key.clone()).or_insert_with(|| Errors { count: 0, ..errors.clone() });
            own.count += errors.count;
        }
        self.last = self.last.max(other.last);
        Ok(())
    }

    /// Over all kinds.
    pub(super) fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.counts.into_iter().for_each(|counts| total.merge(counts));
        total
    }
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| Failure::other(format!("histogram: {error}")))
}

/// A short while of a run, by the time at which operations ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// When it ended, since the start.
    pub(super) at: Duration,
    /// How long it was.
    pub(super) span: Duration,
    pub(super) counts: Counts,
    /// µs, of what was done.
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Sample {
    pub(super) fn per_second(&self, count: u64) -> u64 {
        rate(count, self.span)
    }
}

/// A second, rounded down.
pub(super) fn rate(count: u64, span: Duration) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000_000 / span.as_nanos().max(1)).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct Shard {
    measured: Tally,
    all: [Counts; 6],
    recent: Histogram<u64>,
    recent_counts: Counts,
}

#[derive(Debug)]
pub(super) struct Recorder {
    warm_up: Duration,
    shards: Vec<Mutex<Shard>>,
    under_way: AtomicI64,
}

impl Recorder {
    pub(super) fn new(warm_up: Duration) -> Result<Self, Failure> {
        let shard = || {
            let (all, recent_counts) = ([Counts::default(); 6], Counts::default());
            Ok(Mutex::new(Shard { measured: Tally::new()?, all, recent: histogram()?, recent_counts }))
        };
        let shards = (0..SHARDS).map(|_| shard()).collect::<Result<_, Failure>>()?;
        Ok(Self { warm_up, shards, under_way: AtomicI64::new(0) })
    }

    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Relaxed);
    }

    /// `begun` and `ended` since the start of the run.
    pub(super) fn end(&self, caller: usize, kind: Kind, begun: Duration, ended: Duration, outcome: &Outcome) {
        self.under_way.fetch_sub(1, Relaxed);
        let took = u64::try_from(ended.saturating_sub(begun).as_micros()).unwrap_or(LONGEST);
        let mut shard = self.shard(caller);
        shard.all[kind as usize].add(outcome);
        shard.recent_counts.add(outcome);
        if matches!(outcome, Outcome::Done(_)) {
            shard.recent.saturating_record(took);
        }
        // By its end: past saturation operations begin ever later than they were due, and the warm-up's would never be
        // through.
        if ended >= self.warm_up {
            shard.measured.add(kind, took, ended, outcome);
        }
    }

    /// What ended since the last sample, taken at `last`.
    pub(super) fn sample(&self, last: Duration, at: Duration) -> Result<Sample, Failure> {
        let (mut recent, mut counts) = (histogram()?, Counts::default());
        for index in 0..self.shards.len() {
            let mut shard = self.shard(index);
            recent.add(&shard.recent).map_err(|error| Failure::other(format!("histogram: {error}")))?;
            counts.merge(shard.recent_counts);
            shard.recent.reset();
            shard.recent_counts = Counts::default();
        }
        let (p50, p99) = (recent.value_at_quantile(0.5), recent.value_at_quantile(0.99));
        Ok(Sample { at, span: at.saturating_sub(last), counts, p50, p99, max: recent.max() })
    }

    pub(super) fn measured(&self) -> Result<Tally, Failure> {
        let mut sum = Tally::new()?;
        for index in 0..self.shards.len() {
            sum.merge(&self.shard(index).measured)?;
        }
        Ok(sum)
    }

    /// Everything since the start, by kind.
    pub(super) fn all(&self) -> [Counts; 6] {
        let mut sum = [Counts::default(); 6];
        for index in 0..self.shards.len() {
            sum.iter_mut().zip(self.shard(index).all).for_each(|(sum, counts)| sum.merge(counts));
        }
        sum
    }

    /// Operations begun whose end wasn't seen.
    pub(super) fn under_way(&self) -> u64 {
        u64::try_from(self.under_way.load(Relaxed)).unwrap_or(0)
    }

    fn shard(&self, caller: usize) -> MutexGuard<'_, Shard> {
        self.shards[caller % self.shards.len()].lock()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::outcome::Fault, *};

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn end(recorder: &Recorder, caller: usize, kind: Kind, begun: u64, ended: u64, outcome: &Outcome) {
        recorder.begin();
        recorder.end(caller, kind, ms(begun), ms(ended), outcome);
    }

    #[test]
    fn the_warm_up_is_counted_and_not_measured() {
        let recorder = Recorder::new(ms(1000)).unwrap();
        let done = Outcome::Done(None);
        end(&recorder, 0, Kind::Commit, 0, 900, &done);
        end(&recorder, 2, Kind::Commit, 999, 1002, &done);
        let measured = recorder.measured().unwrap();
        assert_eq!((measured.total().done, measured.last), (1, ms(1002)));
        assert_eq!(measured.done[Kind::Commit as usize].max(), 3001, "within the histogram's three digits");
        assert_eq!(recorder.all()[Kind::Commit as usize], Counts { done: 2, ..Counts::default() });
    }

    #[test]
    fn denials_and_errors_are_counted_apart_and_by_kind() {
        let recorder = Recorder::new(ms(0)).unwrap();
        let fault = |kind: &str| Outcome::Failed(Fault::new(kind, format!("{kind} happened")));
        for caller in 0..20 {
            end(&recorder, caller, Kind::Reserve, 0, 1, &Outcome::Denied(12));
            end(&recorder, caller, Kind::Extend, 0, 1, &Outcome::Denied(12));
            end(&recorder, caller, Kind::Reserve, 0, 2, &fault("UNAVAILABLE"));
        }
        end(&recorder, 3, Kind::Reserve, 0, 2, &fault("INTERNAL"));
        let measured = recorder.measured().unwrap();
        assert_eq!(measured.total(), Counts { done: 0, denied: 40, failed: 21 });
        assert_eq!(measured.denials, BTreeMap::from([((Kind::Reserve, 12), 20), ((Kind::Extend, 12), 20)]));
        let unavailable = &measured.errors[&(Kind::Reserve, "UNAVAILABLE".to_owned())];
        assert_eq!((unavailable.count, unavailable.example.as_str()), (20, "UNAVAILABLE happened"));
        assert_eq!((measured.denied.len(), measured.failed.len()), (40, 21));
        assert!(measured.done.iter().all(Histogram::is_empty), "no latency of a success");
    }

    #[test]
    fn a_sample_is_what_happened_since_the_last_one() {
        let recorder = Recorder::new(ms(0)).unwrap();
        for caller in 0..100 {
            end(&recorder, caller, Kind::Check, 0, if caller == 99 { 50 } else { 1 }, &Outcome::Done(None));
        }
        let sample = recorder.sample(ms(0), ms(500)).unwrap();
        assert_eq!((sample.counts.done, sample.per_second(sample.counts.done)), (100, 200));
        assert!(sample.p50 <= 1000 && sample.max >= 50_000, "{sample:?}");
        assert_eq!(recorder.sample(ms(500), ms(600)).unwrap().counts, Counts::default());
    }

    #[test]
    fn what_never_ended_is_known() {
        let recorder = Recorder::new(ms(0)).unwrap();
        recorder.begin();
        end(&recorder, 0, Kind::Check, 0, 1, &Outcome::Done(None));
        assert_eq!(recorder.under_way(), 1);
    }
}
