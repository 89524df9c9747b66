//! Periods and their windows: when a budget's usage starts over.

use chrono::{Datelike, Days, Months, NaiveDate, Weekday};
use serde::{Deserialize, Serialize};

use super::time::{Span, Timestamp};
pub use super::zone::Zone;

/// How a budget's usage restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Period {
    /// Never resets; freezes when used up.
    OneTime,
    Daily {
        zone: Zone,
    },
    Weekly {
        zone: Zone,
        /// Days from Monday: 0 to 6.
        start: u8,
    },
    Monthly {
        zone: Zone,
    },
    /// Whole seconds from an anchor.
    Every {
        seconds: u32,
        anchor: i64,
    },
    /// The organization's running cycle: of credit allocations alone, never set by a caller. Every new cycle sets it anew.
    Cycle(Window),
}

/// One concrete interval of a period: `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Window {
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Period {
    /// Shortest and longest EVERY period.
    pub const EVERY: std::ops::RangeInclusive<i64> = 60..=366 * 86_400;

    /// The window that `at` falls into.
    pub fn window_at(&self, at: Timestamp) -> Window {
        match *self {
            Self::OneTime => Window { start: Timestamp::EPOCH, end: Timestamp::NEVER },
            Self::Daily { zone } => Self::calendar(zone, at, |date| date, |date| plus_days(date, 1)),
            Self::Weekly { zone, start } => {
                let first = Weekday::try_from(start).unwrap_or(Weekday::Mon);
                Self::calendar(zone, at, |date| date.week(first).first_day(), |date| plus_days(date, 7))
            }
            Self::Monthly { zone } => Self::calendar(
                zone,
                at,
                |date| date.with_day(1).unwrap_or(date),
                |date| date.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX),
            ),
            Self::Every { seconds, anchor } => {
                let length = i64::from(seconds.max(1));
                let start = at.seconds() - (at.seconds() - anchor).rem_euclid(length);
                let start = Timestamp::from_seconds(start);
                Window { start, end: start + Span::seconds(length) }
            }
            Self::Cycle(window) if at < window.start => Window { start: Timestamp::EPOCH, end: window.start },
            Self::Cycle(window) => window,
        }
    }

    fn calendar(
        zone: Zone,
        at: Timestamp,
        first_day: impl Fn(NaiveDate) -> NaiveDate,
        next: impl Fn(NaiveDate) -> NaiveDate,
    ) -> Window {
        let first = first_day(zone.date_of(at));
        Window { start: zone.start_of_day(first), end: zone.start_of_day(next(first)) }
    }

    pub fn resets(&self) -> bool {
        !matches!(self, Self::OneTime)
    }
}

fn plus_days(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

#[cfg(test)]
mod tests;
