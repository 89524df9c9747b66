//! Periods and their windows: when a budget's usage starts over.

use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    error::Invalid,
    time::{Span, Timestamp},
};

/// A time zone by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Zone {
    pub const UTC: Self = Self(Tz::UTC);

    /// # Errors
    /// [`Invalid`] for `field` when no such zone is known. An empty name means UTC.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Ok(Self::UTC);
        }
        if name.len() > 64 {
            return Err(Invalid::new(field, "is too long for the name of a time zone"));
        }
        Tz::from_str(name).map(Self).map_err(|_| {
            Invalid::new(field, format!("{name:?} is no IANA time zone; give one such as \"Europe/Berlin\""))
        })
    }

    pub fn name(self) -> &'static str {
        self.0.name()
    }

    fn date_of(self, at: Timestamp) -> NaiveDate {
        self.0.from_utc_datetime(&utc(at).naive_utc()).date_naive()
    }

    /// The first instant of a date here. Where clocks skip midnight it is the end of the gap; where midnight comes twice, the
    /// first.
    fn start_of(self, date: NaiveDate) -> Timestamp {
        const STEP: TimeDelta = TimeDelta::minutes(1);
        let mut local: NaiveDateTime = date.into();
        // The longest gap ever was a whole day (Samoa, 2011).
        for _ in 0..=2 * 24 * 60 {
            if let Some(instant) = self.0.from_local_datetime(&local).earliest() {
                return Timestamp::from_micros(instant.timestamp_micros());
            }
            local = local.checked_add_signed(STEP).unwrap_or(NaiveDateTime::MAX);
        }
        Timestamp::from_micros(local.and_utc().timestamp_micros())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse("zone", &name).map_err(de::Error::custom)
    }
}

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
}

/// One concrete interval of a period: `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
        }
    }

    fn calendar(
        zone: Zone,
        at: Timestamp,
        first_day: impl Fn(NaiveDate) -> NaiveDate,
        next: impl Fn(NaiveDate) -> NaiveDate,
    ) -> Window {
        let first = first_day(zone.date_of(at));
        Window { start: zone.start_of(first), end: zone.start_of(next(first)) }
    }

    pub fn resets(&self) -> bool {
        !matches!(self, Self::OneTime)
    }
}

fn plus_days(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

fn utc(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.micros()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests;
