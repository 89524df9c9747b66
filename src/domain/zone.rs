//! Time zones: IANA names, and fixed distances from UTC.

use std::{fmt, str::FromStr};

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, Offset as _, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{error::Invalid, time::Timestamp};

/// The farthest that a fixed zone may be from UTC, in minutes: what any place on earth uses.
const MAX_OFFSET: i32 = 14 * 60;

/// A time zone by its IANA name, or as `UTC+8` and `UTC-03:30`: always as far from UTC, whatever the season.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    Named(Tz),
    /// Minutes east of UTC.
    Fixed(i32),
}

impl Zone {
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// # Errors
    /// [`Invalid`] for `field` when no such zone is known. An empty name means UTC.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Ok(Self::UTC);
        }
        if name.len() > 64 {
            return Err(Invalid::new(field, "is too long for the name of a time zone"));
        }
        if let Some(minutes) = fixed(name) {
            return Ok(if minutes == 0 { Self::UTC } else { Self::Fixed(minutes) });
        }
        Tz::from_str(name).map(Self::Named).map_err(|_| {
            let problem =
                format!("{name:?} is no time zone; give an IANA name such as \"Europe/Berlin\", or \"UTC+8\"");
            Invalid::new(field, problem)
        })
    }

    /// The wall clock here.
    pub fn local(self, at: Timestamp) -> NaiveDateTime {
        let utc = utc(at).naive_utc();
        match self {
            Self::Named(zone) => zone.from_utc_datetime(&utc).naive_local(),
            Self::Fixed(minutes) => utc + TimeDelta::minutes(minutes.into()),
        }
    }

    /// How far the wall clock here is ahead of UTC, in seconds.
    pub fn offset(self, at: Timestamp) -> i32 {
        match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&utc(at).naive_utc()).fix().local_minus_utc(),
            Self::Fixed(minutes) => minutes * 60,
        }
    }

    /// The instants at which the wall clock here shows `local`: none in the gap of a spring, two in the fold of an autumn.
    pub fn instants(self, local: NaiveDateTime) -> (Option<Timestamp>, Option<Timestamp>) {
        fn of<Z: TimeZone>(found: MappedLocalTime<DateTime<Z>>) -> (Option<Timestamp>, Option<Timestamp>) {
            let stamp = |instant: DateTime<Z>| Timestamp::from_micros(instant.timestamp_micros());
            match found {
                MappedLocalTime::None => (None, None),
                MappedLocalTime::Single(one) => (Some(stamp(one)), None),
                MappedLocalTime::Ambiguous(first, second) => (Some(stamp(first)), Some(stamp(second))),
            }
        }
        match self {
            Self::Named(zone) => of(zone.from_local_datetime(&local)),
            Self::Fixed(minutes) => match FixedOffset::east_opt(minutes * 60) {
                Some(offset) => of(offset.from_local_datetime(&local)),
                None => (None, None),
            },
        }
    }

    pub(super) fn date_of(self, at: Timestamp) -> NaiveDate {
        self.local(at).date()
    }

    /// The first instant of a date here.
    pub(super) fn start_of_day(self, date: NaiveDate) -> Timestamp {
        self.first_instant(date.into())
    }

    /// The first instant at which the wall clock here shows `local` or, where clocks skip it, a later time; where it comes
    /// twice, the first.
    pub fn first_instant(self, mut local: NaiveDateTime) -> Timestamp {
        const STEP: TimeDelta = TimeDelta::minutes(1);
        // The longest gap ever was a whole day (Samoa, 2011).
        for _ in 0..=2 * 24 * 60 {
            if let (Some(instant), _) = self.instants(local) {
                return instant;
            }
            local = local.checked_add_signed(STEP).unwrap_or(NaiveDateTime::MAX);
        }
        Timestamp::from_micros(local.and_utc().timestamp_micros())
    }
}

/// Reads `UTC+8`, `UTC+08` and `UTC-03:30` as minutes east.
fn fixed(name: &str) -> Option<i32> {
    let rest = name.strip_prefix("UTC").or_else(|| name.strip_prefix("GMT"))?;
    let (sign, rest) = match rest.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-" | "\u{2212}", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        (digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<i32>().ok())?
    };
    let (hours, minutes) = (number(hours, 1..=2)?, number(minutes, 2..=2)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MAX_OFFSET).then_some(sign * total)
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Fixed(minutes) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                write!(f, "UTC{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
            }
        }
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse("zone", &name).map_err(de::Error::custom)
    }
}

fn utc(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.micros()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_from_utc_is_a_zone_and_reads_back_as_it_was_written() {
        for (given, shown) in
            [("UTC+8", "UTC+08:00"), ("UTC+08:00", "UTC+08:00"), ("UTC-03:30", "UTC-03:30"), ("UTC+14", "UTC+14:00")]
        {
            let zone = Zone::parse("zone", given).unwrap();
            assert_eq!(zone.to_string(), shown);
            assert_eq!(Zone::parse("zone", shown).unwrap(), zone);
        }
        assert_eq!(Zone::parse("zone", "UTC+0").unwrap(), Zone::UTC);
        let noon = Timestamp::from_seconds(1_772_452_800);
        assert_eq!(Zone::parse("zone", "UTC+8").unwrap().local(noon).to_string(), "2026-03-02 20:00:00");
    }

    #[test]
    fn what_is_no_zone_is_refused_with_the_value() {
        for bad in ["Mars/Base", "UTC+15", "UTC+1:5", "UTC+8:60", "UTC+", "UTC+-8", "UTC8", "UTC+123", "europe berlin"]
        {
            let invalid = Zone::parse("zone", bad).unwrap_err();
            assert!(invalid.problem.contains(bad), "{bad}: {invalid}");
        }
    }
}
