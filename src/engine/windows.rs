//! Budget counters: what was spent and is held, by window.

use std::cell::Cell;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::domain::{
    money::Nanos,
    operation::MAX_AGE,
    period::{Period, Window},
    time::Timestamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    pub spent: Nanos,
    pub held: Nanos,
}

/// How many windows are kept for late settlements alone. Only periods below 23 minutes have more of them in a day; of those
/// the oldest is forgotten early.
const KEPT: usize = 64;

/// The latest window that anything was counted in, and older ones while something is held in them or may still be settled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Windows {
    /// By start, ascending.
    counted: SmallVec<[(Timestamp, Counted); 1]>,
    #[serde(skip)]
    memo: Memo,
}

/// The window last computed, because zone arithmetic costs more than the rest of a decision. No part of the state.
#[derive(Debug, Clone, Default)]
struct Memo(Cell<Option<Window>>);

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl Windows {
    /// The window of `period` at `now`. A counter's period never changes: with another one it begins anew.
    pub fn current(&self, period: &Period, now: Timestamp) -> Window {
        if let Period::Cycle(_) = period {
            // The one period that changes under its counter, and the one that costs nothing.
            return period.window_at(now);
        }
        match self.memo.0.get() {
            Some(window) if window.contains(now) => window,
            _ => {
                let window = period.window_at(now);
                self.memo.0.set(Some(window));
                window
            }
        }
    }

    pub fn at(&self, start: Timestamp) -> Counted {
        self.counted.iter().rev().find(|(s, _)| *s == start).map_or_else(Counted::default, |(_, counted)| *counted)
    }

    /// Returns the window that starts at `start`, unless it is gone or nothing was counted in it.
    pub fn find(&self, start: Timestamp) -> Option<Counted> {
        self.counted.iter().rev().find(|(s, _)| *s == start).map(|(_, counted)| *counted)
    }

    /// Changes the window that starts at `start`. One that is gone stays gone: nothing can be settled in it any more, and the
    /// books keep its sum.
    pub fn add(&mut self, start: Timestamp, spent: Nanos, held: Nanos, now: Timestamp) {
        let at = match self.counted.last() {
            Some((latest, _)) if *latest == start => self.counted.len() - 1,
            _ => self.counted.partition_point(|(s, _)| *s < start),
        };
        match self.counted.get_mut(at) {
            Some((s, counted)) if *s == start => {
                counted.spent += spent;
                counted.held += held;
            }
            _ => {
                self.counted.insert(at, (start, Counted { spent, held }));
                self.forget(now);
            }
        }
    }

    /// A window ended at the latest when the next one started; a day later nothing that was admitted in it can be settled.
    fn forget(&mut self, now: Timestamp) {
        let mut excess = self.counted.len().saturating_sub(KEPT);
        let mut at = 0;
        while at + 1 < self.counted.len() {
            let ended = self.counted[at + 1].0 <= now - MAX_AGE;
            let is_held = self.counted[at].1.held != Nanos::ZERO;
            if is_held || (!ended && excess == 0) {
                at += 1;
            } else {
                self.counted.remove(at);
                excess = excess.saturating_sub(1);
            }
        }
    }

    /// Every window that is counted, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, Counted)> + '_ {
        self.counted.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    const DAY: i64 = 86_400;

    fn starts(windows: &Windows) -> Vec<i64> {
        windows.iter().map(|(start, _)| start.seconds() / DAY).collect()
    }

    #[test]
    fn an_older_window_is_kept_while_something_is_held_in_it_or_may_be_settled() {
        let mut windows = Windows::default();
        windows.add(at(0), Nanos::ZERO, Nanos::new(5), at(0));
        windows.add(at(DAY), Nanos::new(3), Nanos::ZERO, at(DAY));
        windows.add(at(3 * DAY), Nanos::new(3), Nanos::ZERO, at(3 * DAY));
        assert_eq!(starts(&windows), [0, 1, 3], "the second may have ended just now");
        windows.add(at(5 * DAY), Nanos::new(3), Nanos::ZERO, at(5 * DAY));
        assert_eq!(starts(&windows), [0, 3, 5]);
        windows.add(at(0), Nanos::new(4), Nanos::new(-5), at(5 * DAY));
        assert_eq!(windows.at(at(0)).spent, Nanos::new(4));
        windows.add(at(6 * DAY), Nanos::new(1), Nanos::ZERO, at(6 * DAY));
        assert_eq!(starts(&windows), [5, 6]);
        windows.add(at(0), Nanos::new(4), Nanos::ZERO, at(6 * DAY));
        assert_eq!(windows.at(at(0)), Counted::default(), "a window that is gone stays gone");
    }

    #[test]
    fn short_windows_are_bounded_in_number() {
        let mut windows = Windows::default();
        for minute in 0..1000 {
            windows.add(at(minute * 60), Nanos::new(1), Nanos::ZERO, at(minute * 60));
        }
        assert_eq!((windows.iter().count(), KEPT), (64, 64));
        assert_eq!(windows.iter().next().unwrap().0, at((1000 - 64) * 60));
    }
}
