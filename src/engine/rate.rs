//! Sliding rate counters: how much was admitted in the last 60 seconds, never less than the truth.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::domain::time::Timestamp;

/// A bucket of second `s` may hold admissions up to `s + 1`: it has left every 60 s span that ends now only when
/// `now ≥ s + 61`. So 61 buckets count, which rounds towards refusal.
const LEAVES_AFTER: i64 = 61;

/// Amounts by the second of their admission, oldest first. Seconds without any take no memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rate {
    buckets: VecDeque<(i64, i64)>,
    /// Sum of the buckets.
    total: i64,
}

impl Rate {
    /// What counts at `now`.
    pub fn count(&self, now: Timestamp) -> i64 {
        let gone = self.buckets.iter().take_while(|(second, _)| has_left(*second, now));
        self.total - gone.map(|(_, amount)| amount).sum::<i64>()
    }

    /// What would count at `now` after [`Self::add`].
    pub fn count_after(&self, admitted: Timestamp, delta: i64, now: Timestamp) -> i64 {
        let inside = !has_left(admitted.seconds(), now);
        self.count(now).saturating_add(if inside { delta } else { delta.max(0) })
    }

    /// Changes what was admitted at `admitted` by `delta`. Once that second has slid out a surplus counts at `now`, and
    /// there is nothing left to give back from.
    pub fn add(&mut self, admitted: Timestamp, delta: i64, now: Timestamp) {
        self.forget(now);
        let inside = !has_left(admitted.seconds(), now);
        if delta == 0 || (delta < 0 && !inside) {
            return;
        }
        let second = if inside { admitted.seconds() } else { now.seconds() };
        // Nearly always the last one, or one of the last.
        let later = self.buckets.iter().rev().take_while(|(s, _)| *s >= second).count();
        let at = self.buckets.len() - later;
        match self.buckets.get_mut(at) {
            Some((s, amount)) if *s == second => {
                let changed = amount.saturating_add(delta).max(0);
                self.total += changed - *amount;
                *amount = changed;
            }
            _ if delta > 0 => {
                self.buckets.insert(at, (second, delta));
                self.total += delta;
            }
            _ => {}
        }
    }

    /// Returns true where what was admitted then counts no more.
    pub fn has_left(admitted: Timestamp, now: Timestamp) -> bool {
        has_left(admitted.seconds(), now)
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((second, amount)) = self.buckets.front().copied() {
            if !has_left(second, now) {
                return;
            }
            self.total -= amount;
            self.buckets.pop_front();
        }
        self.buckets.shrink_to(4);
    }

    /// Returns the first instant from `from` on at which `need` more fits under `max`, which must not be used up even for nothing, if
    /// nothing else is admitted; `None` when it never will. `ends` are the holds that run out, the earliest first: the instant, the
    /// second of the admission, and what is given back.
    pub fn first_fit(
        &self,
        from: Timestamp,
        need: i64,
        max: i64,
        ends: impl Iterator<Item = (Timestamp, i64, i64)>,
    ) -> Option<Timestamp> {
        let room = max.checked_sub(need.max(1)).filter(|room| *room >= 0)?;
        let mut buckets: SmallVec<[(i64, i64); 8]> = self.buckets.iter().copied().collect();
        let (mut left, mut gone) = (self.total, 0);
        let mut ends = ends.peekable();
        let mut at = from;
        loop {
            while let Some((_, amount)) = buckets.get(gone).filter(|(second, _)| has_left(*second, at)) {
                left -= amount;
                gone += 1;
            }
            while let Some((_, second, back)) = ends.next_if(|(end, ..)| *end <= at) {
                if let Ok(bucket) = buckets.binary_search_by_key(&second, |(second, _)| *second)
                    && bucket >= gone
                {
                    let back = back.min(buckets[bucket].1);
                    buckets[bucket].1 -= back;
                    left -= back;
                }
            }
            if left <= room {
                return Some(at);
            }
            let slide = buckets.get(gone).map(|(second, _)| Timestamp::from_seconds(second + LEAVES_AFTER));
            at = slide.into_iter().chain(ends.peek().map(|(end, ..)| *end)).min()?;
        }
    }
}

fn has_left(second: i64, now: Timestamp) -> bool {
    now.seconds() >= second.saturating_add(LEAVES_AFTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::Span;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + millis * 1000)
    }

    #[test]
    fn usage_slides_out_after_a_minute_and_not_before() {
        let mut rate = Rate::default();
        rate.add(at(500), 5, at(500));
        assert_eq!(rate.count(at(60_500)), 5, "exactly 60 s later it still counts");
        assert_eq!(rate.count(at(60_999)), 5);
        assert_eq!(rate.count(at(61_000)), 0);
    }

    #[test]
    fn a_correction_changes_its_own_bucket_and_a_late_surplus_counts_now() {
        let mut rate = Rate::default();
        rate.add(at(0), 100, at(0));
        rate.add(at(0), -40, at(10_000));
        assert_eq!(rate.count(at(10_000)), 60);
        rate.add(at(0), -60, at(70_000));
        assert_eq!(rate.count(at(70_000)), 0, "nothing is left to give back from");
        rate.add(at(0), 30, at(70_000));
        assert_eq!(rate.count(at(130_000)), 30, "the surplus counts from its commit");
        assert_eq!(rate.count(at(131_000)), 0);
    }

    proptest! {
        /// Admit whatever the counter allows, at random instants: no span of 60 s, wherever it starts, holds more.
        #[test]
        fn never_more_than_max_in_any_60_seconds(steps in prop::collection::vec((0..5_000i64, 1..4i64), 1..300), max in 4..20i64) {
            let (mut rate, mut now, mut admitted) = (Rate::default(), 0, Vec::<(i64, i64)>::new());
            for (step, need) in steps {
                now += step;
                if rate.count(at(now)) + need <= max {
                    rate.add(at(now), need, at(now));
                    admitted.push((now, need));
                } else {
                    let fit = rate.first_fit(at(now), need, max, std::iter::empty()).unwrap();
                    prop_assert!(fit > at(now));
                    prop_assert!(rate.count(fit) + need <= max, "granted then");
                    prop_assert!(rate.count(fit - Span::micros(1)) + need > max, "and no sooner");
                }
            }
            for (start, _) in &admitted {
                let span = admitted.iter().filter(|(t, _)| start <= t && *t < start + 60_000);
                prop_assert!(span.map(|(_, n)| n).sum::<i64>() <= max);
            }
        }
    }
}
