//! Instants and spans, in and out. Inside they are whole microseconds; what is finer is cut off.

use prost_types as wkt;

use crate::domain::{
    error::Invalid,
    time::{Span, Timestamp},
};

/// Of the years 1 to 9999, which is what a `Timestamp` may hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Of the 10,000 years that a `Duration` may hold.
const MAX_SPAN: i64 = 315_576_000_000;

pub(in crate::api) fn timestamp_out(at: Timestamp) -> wkt::Timestamp {
    let nanos = at.micros().rem_euclid(1_000_000) * 1000;
    wkt::Timestamp { seconds: at.seconds(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// # Errors
/// [`Invalid`] for `field` outside of the years 1 to 9999.
pub(in crate::api) fn timestamp_in(field: &str, at: &wkt::Timestamp) -> Result<Timestamp, Invalid> {
    let wkt::Timestamp { seconds, nanos } = *at;
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(Invalid::new(field, format!("{nanos} nanoseconds are not from 0 to 999999999")));
    }
    if !SECONDS.contains(&seconds) {
        return Err(Invalid::new(field, format!("{seconds} s from 1970 is not in the years 1 to 9999")));
    }
    Ok(Timestamp::from_micros(seconds * 1_000_000 + i64::from(nanos / 1000)))
}

/// Reads when a span of time begins and before when it ends; either may be left open.
///
/// # Errors
/// [`Invalid`] for one that holds nothing.
pub(in crate::api) fn range_in(
    start_time: Option<wkt::Timestamp>,
    end_time: Option<wkt::Timestamp>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Invalid> {
    let start = start_time.map(|at| timestamp_in("start_time", &at)).transpose()?;
    let end = end_time.map(|at| timestamp_in("end_time", &at)).transpose()?;
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(Invalid::new("end_time", "is not after start_time"));
    }
    Ok((start, end))
}

pub(in crate::api) fn span_out(span: Span) -> wkt::Duration {
    let micros = span.as_micros();
    let nanos = micros % 1_000_000 * 1000;
    wkt::Duration { seconds: micros / 1_000_000, nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// # Errors
/// [`Invalid`] for `field` when it is beyond 10,000 years or its two parts differ in sign.
pub(in crate::api) fn span_in(field: &str, span: &wkt::Duration) -> Result<Span, Invalid> {
    let wkt::Duration { seconds, nanos } = *span;
    let same_sign = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    if nanos.unsigned_abs() >= 1_000_000_000 || !same_sign {
        return Err(Invalid::new(field, format!("{seconds} s and {nanos} ns are no duration")));
    }
    if seconds.unsigned_abs() > MAX_SPAN.unsigned_abs() {
        return Err(Invalid::new(field, format!("{seconds} s is longer than 10,000 years")));
    }
    Ok(Span::micros(seconds * 1_000_000 + i64::from(nanos / 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_spans_come_back_as_they_were() {
        for micros in [0, 1_700_000_000_123_456, -1, -62_135_596_800_000_000] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(timestamp_in("t", &timestamp_out(at)), Ok(at));
            let span = Span::micros(micros);
            assert_eq!(span_in("s", &span_out(span)), Ok(span));
        }
    }

    #[test]
    fn instants_and_spans_that_cannot_be_are_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0), (253_402_300_800, 0)] {
            assert!(timestamp_in("t", &wkt::Timestamp { seconds, nanos }).is_err(), "{seconds} {nanos}");
        }
        for (seconds, nanos) in [(1, -1), (-1, 1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert!(span_in("s", &wkt::Duration { seconds, nanos }).is_err(), "{seconds} {nanos}");
        }
    }
}
