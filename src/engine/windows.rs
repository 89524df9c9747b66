//! Budget counters: what was spent and is held, by window.

use std::cell::Cell;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::domain::{
    money::Nanos,
    period::{Period, Window},
    time::Timestamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    pub spent: Nanos,
    pub held: Nanos,
}

/// The latest window that anything was counted in, and older ones while something is held in them.
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

    /// Changes the window that starts at `start`. One that is gone stays gone: nothing can be admitted into it any more, and
    /// the books keep its sum.
    pub fn add(&mut self, start: Timestamp, spent: Nanos, held: Nanos) {
        let at = self.counted.partition_point(|(s, _)| *s < start);
        let known = self.counted.get(at).is_some_and(|(s, _)| *s == start);
        if !known {
            if at < self.counted.len() && !held.is_positive() {
                return;
            }
            self.counted.insert(at, (start, Counted::default()));
        }
        let Some((_, counted)) = self.counted.get_mut(at) else { return };
        counted.spent += spent;
        counted.held += held;
        let latest = self.counted.last().map(|(start, _)| *start);
        self.counted.retain(|(start, counted)| Some(*start) == latest || counted.held != Nanos::ZERO);
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

    #[test]
    fn an_older_window_is_kept_while_something_is_held_in_it() {
        let mut windows = Windows::default();
        windows.add(at(0), Nanos::ZERO, Nanos::new(5));
        windows.add(at(60), Nanos::new(3), Nanos::ZERO);
        assert_eq!(windows.at(at(0)).held, Nanos::new(5));
        windows.add(at(0), Nanos::new(4), Nanos::new(-5));
        assert_eq!(windows.iter().collect::<Vec<_>>(), [(at(60), Counted { spent: Nanos::new(3), held: Nanos::ZERO })]);
        windows.add(at(0), Nanos::new(4), Nanos::ZERO);
        assert_eq!(windows.at(at(0)), Counted::default(), "a window that is gone stays gone");
    }
}
