//! Numbers, amounts, instants and spans as people read them, and instants and spans as JSON has them.

use chrono::{DateTime, SecondsFormat, Utc};
use prost_types::{Duration, Timestamp};
use serde_json::Value;

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: impl Into<i128>) -> String {
    amount(&number.into().to_string())
}

/// A decimal string with its thousands separated; what is no number stays as it is.
pub(crate) fn amount(decimal: &str) -> String {
    let (sign, rest) = decimal.strip_prefix('-').map_or(("", decimal), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return decimal.to_owned();
    }
    let mut text = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// RFC 3339 in UTC; empty when unset.
pub(crate) fn instant(timestamp: Option<&Timestamp>) -> String {
    let Some(timestamp) = timestamp else { return String::new() };
    let nanos = u32::try_from(timestamp.nanos).unwrap_or(0);
    match DateTime::<Utc>::from_timestamp(timestamp.seconds, nanos) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{}s after 1970", timestamp.seconds),
    }
}

pub(crate) fn instant_json(timestamp: Option<&Timestamp>) -> Value {
    timestamp.map_or(Value::Null, |_| instant(timestamp).into())
}

/// Reads RFC 3339.
pub(crate) fn parse_instant(text: &str) -> Result<Timestamp, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("{error}; give RFC 3339 such as 2026-12-31T00:00:00Z"))?;
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    Ok(Timestamp { seconds: time.timestamp(), nanos })
}

/// Reads a span such as `90s`, `5m`, `2h` or `7d`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span; give one such as 90s, 5m, 2h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let count: i64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(wrong)?;
    let seconds = match unit {
        's' => Some(count),
        'm' => count.checked_mul(60),
        'h' => count.checked_mul(3600),
        'd' => count.checked_mul(86_400),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration { seconds, nanos: 0 }),
        _ => Err(wrong()),
    }
}

/// A span in the largest unit that divides it, as [`parse_span`] reads it; parts of a second as a decimal.
pub(crate) fn span(duration: &Duration) -> String {
    let seconds = duration.seconds;
    if duration.nanos != 0 {
        let nanos = format!("{:09}", duration.nanos.unsigned_abs());
        return format!("{seconds}.{}s", nanos.trim_end_matches('0'));
    }
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        _ if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        _ if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// A latency of some microseconds: `870 µs`, `1.2 ms`, `3.4 s`.
pub(crate) fn latency(micros: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = (micros + unit / 20) / (unit / 10);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{} ms", tenths(1000)),
        _ => format!("{} s", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_separated_in_thousands() {
        for (given, shown) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-1234567.125", "-1,234,567.125"),
            ("0.000000001", "0.000000001"),
            ("", ""),
            ("n/a", "n/a"),
        ] {
            assert_eq!(amount(given), shown);
        }
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn instants_are_rfc_3339_both_ways() {
        let time = parse_instant("2026-12-31T01:00:00.250+01:00").unwrap();
        assert_eq!(instant(Some(&time)), "2026-12-31T00:00:00.250Z");
        assert_eq!(instant_json(None), Value::Null);
        assert!(parse_instant("tomorrow").unwrap_err().contains("2026-12-31T00:00:00Z"));
    }

    #[test]
    fn spans_are_read_back_as_they_are_shown() {
        for text in ["90s", "5m", "2h", "7d", "1s"] {
            assert_eq!(span(&parse_span(text).unwrap()), text);
        }
        for bad in ["", "s", "5", "-5s", "0s", "5y", "1.5h", "9223372036854775807d", "5µ"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
        assert_eq!(span(&Duration { seconds: 1, nanos: 250_000_000 }), "1.25s");
    }

    #[test]
    fn latencies_take_the_unit_that_fits() {
        for (micros, shown) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1000, "1.0 ms"),
            (1250, "1.3 ms"),
            (999_999, "1000.0 ms"),
            (3_449_000, "3.4 s"),
        ] {
            assert_eq!(latency(micros), shown);
        }
    }
}
