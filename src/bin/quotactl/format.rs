//! Numbers, amounts, instants and spans as people read them, and instants and spans as JSON has them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use prost_types::{Duration, Timestamp};
use quotad::{
    clock::{Clock as _, SystemClock},
    domain,
};
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

/// Reads an instant as people write it: `2026-12-31`, `2026-12-31T08:00`, RFC 3339, `now`, or from now `-1h30m` and `+7d`.
/// What has no zone is in UTC.
pub(crate) fn parse_instant(text: &str) -> Result<Timestamp, String> {
    let now = || SystemClock::start(domain::time::Timestamp::EPOCH).now().seconds();
    if text == "now" {
        return Ok(Timestamp { seconds: now(), nanos: 0 });
    }
    for (sign, forward) in [('-', false), ('+', true)] {
        if let Some(span) = text.strip_prefix(sign) {
            let Duration { seconds, .. } = parse_span(span)?;
            let seconds = if forward { now().saturating_add(seconds) } else { now().saturating_sub(seconds) };
            return Ok(Timestamp { seconds, nanos: 0 });
        }
    }
    let time = zoned(text).or_else(|| Some(local(text)?.and_utc()));
    let time = time.ok_or_else(|| {
        format!("{text:?} is no time; give 2026-12-31, 2026-12-31T08:00 (UTC), 2026-12-31T08:00:00+01:00, -1h or now")
    })?;
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    Ok(Timestamp { seconds: time.timestamp(), nanos })
}

fn zoned(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok();
    time.or_else(|| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M%#z").ok()).map(|time| time.to_utc())
}

fn local(text: &str) -> Option<NaiveDateTime> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_time(NaiveTime::MIN));
    }
    let forms = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f"];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
}

/// Reads a span such as `90s`, `1h30m` or `7d`: days, hours, minutes and seconds, the larger first.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span; give one such as 90s, 5m, 1h30m or 7d");
    let (mut rest, mut seconds) = (text, 0_i64);
    for (unit, length) in [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
        let Some((count, after)) = rest.split_once(unit) else { continue };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let part = count.parse::<i64>().ok().and_then(|count| count.checked_mul(length));
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    if rest.is_empty() && seconds > 0 { Ok(Duration { seconds, nanos: 0 }) } else { Err(wrong()) }
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
        assert!(parse_instant("tomorrow").unwrap_err().contains("2026-12-31T08:00"));
    }

    #[test]
    fn instants_are_read_as_people_write_them() {
        for (text, shown) in [
            ("2026-12-31", "2026-12-31T00:00:00Z"),
            ("2026-12-31T08:00", "2026-12-31T08:00:00Z"),
            ("2026-12-31 08:00:30", "2026-12-31T08:00:30Z"),
            ("2026-12-31T08:00Z", "2026-12-31T08:00:00Z"),
            ("2026-12-31T08:00+01:00", "2026-12-31T07:00:00Z"),
        ] {
            assert_eq!(instant(Some(&parse_instant(text).unwrap())), shown, "{text}");
        }
        let at = |text: &str| parse_instant(text).unwrap().seconds;
        let before = at("now");
        let (hour_ago, week_hence) = (at("-1h30m"), at("+7d"));
        let after = at("now");
        assert!((before - 5400..=after - 5400).contains(&hour_ago), "{hour_ago}");
        assert!((before + 604_800..=after + 604_800).contains(&week_hence), "{week_hence}");
        for bad in ["", "2026-13-01", "2026-12-31T25:00", "-", "-1y", "1h"] {
            assert!(parse_instant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_read_back_as_they_are_shown() {
        for text in ["90s", "5m", "2h", "7d", "1s"] {
            assert_eq!(span(&parse_span(text).unwrap()), text);
        }
        assert_eq!(parse_span("1h30m").unwrap().seconds, 5400);
        assert_eq!(parse_span("1d2h3m4s").unwrap().seconds, 93_784);
        for bad in ["", "s", "5", "-5s", "0s", "5y", "1.5h", "9223372036854775807d", "5µ", "30m1h", "1h1h", "1h 30m"] {
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
