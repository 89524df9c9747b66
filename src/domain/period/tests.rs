use chrono::DateTime;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
}

fn window(period: Period, text: &str) -> (Timestamp, Timestamp) {
    let window = period.window_at(at(text));
    (window.start, window.end)
}

fn zone(name: &str) -> Zone {
    Zone::parse("zone", name).unwrap()
}

#[test]
fn months_end_on_their_last_day_also_in_leap_years() {
    let utc = Period::Monthly { zone: Zone::UTC };
    assert_eq!(window(utc, "2028-02-29T23:59:59Z"), (at("2028-02-01T00:00:00Z"), at("2028-03-01T00:00:00Z")));
    assert_eq!(window(utc, "2027-02-28T23:59:59Z"), (at("2027-02-01T00:00:00Z"), at("2027-03-01T00:00:00Z")));
    assert_eq!(window(utc, "2026-12-31T23:59:59Z"), (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z")));
    assert_eq!(window(utc, "2027-01-01T00:00:00Z"), (at("2027-01-01T00:00:00Z"), at("2027-02-01T00:00:00Z")));
    let tokyo = Period::Monthly { zone: zone("Asia/Tokyo") };
    assert_eq!(window(tokyo, "2026-10-31T15:00:00Z"), (at("2026-10-31T15:00:00Z"), at("2026-11-30T15:00:00Z")));
}

#[test]
fn the_day_that_springs_forward_has_23_hours_and_the_one_that_falls_back_25() {
    let new_york = Period::Daily { zone: zone("America/New_York") };
    assert_eq!(window(new_york, "2026-03-08T12:00:00Z"), (at("2026-03-08T05:00:00Z"), at("2026-03-09T04:00:00Z")));
    assert_eq!(window(new_york, "2026-11-01T12:00:00Z"), (at("2026-11-01T04:00:00Z"), at("2026-11-02T05:00:00Z")));
    let berlin = Period::Daily { zone: zone("Europe/Berlin") };
    assert_eq!(window(berlin, "2026-03-29T12:00:00Z"), (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z")));
    assert_eq!(window(berlin, "2026-10-25T12:00:00Z"), (at("2026-10-24T22:00:00Z"), at("2026-10-25T23:00:00Z")));
    let tokyo = Period::Daily { zone: zone("Asia/Tokyo") };
    assert_eq!(window(tokyo, "2026-03-29T15:00:00Z"), (at("2026-03-29T15:00:00Z"), at("2026-03-30T15:00:00Z")));
}

#[test]
fn weeks_start_on_the_day_that_was_set() {
    let monday = Period::Weekly { zone: Zone::UTC, start: 0 };
    // 2026-11-21 is a Saturday.
    assert_eq!(window(monday, "2026-11-21T10:00:00Z"), (at("2026-11-16T00:00:00Z"), at("2026-11-23T00:00:00Z")));
    let sunday = Period::Weekly { zone: zone("America/New_York"), start: 6 };
    assert_eq!(window(sunday, "2026-11-21T10:00:00Z"), (at("2026-11-15T05:00:00Z"), at("2026-11-22T05:00:00Z")));
    let across = Period::Weekly { zone: zone("Europe/Berlin"), start: 0 };
    assert_eq!(window(across, "2026-10-25T12:00:00Z"), (at("2026-10-18T22:00:00Z"), at("2026-10-25T23:00:00Z")));
}

#[test]
fn a_midnight_that_clocks_skip_starts_when_the_gap_ends() {
    let cairo = Period::Daily { zone: zone("Africa/Cairo") };
    // On 2026-04-24 Cairo's clocks go from 00:00 to 01:00.
    assert_eq!(window(cairo, "2026-04-24T12:00:00Z").0, at("2026-04-23T22:00:00Z"));
    let apia = Period::Daily { zone: zone("Pacific/Apia") };
    // Samoa had no 30 December 2011.
    assert_eq!(window(apia, "2011-12-30T09:00:00Z"), (at("2011-12-29T10:00:00Z"), at("2011-12-30T10:00:00Z")));
    assert_eq!(window(apia, "2011-12-30T10:00:00Z").0, at("2011-12-30T10:00:00Z"));
}

#[test]
fn every_counts_from_its_anchor_also_before_it() {
    let hourly = Period::Every { seconds: 3600, anchor: 1800 };
    assert_eq!(hourly.window_at(Timestamp::from_seconds(1800)).start, Timestamp::from_seconds(1800));
    assert_eq!(hourly.window_at(Timestamp::from_seconds(1799)).start, Timestamp::from_seconds(-1800));
}

#[test]
fn one_time_never_ends() {
    assert!(Period::OneTime.window_at(at("2026-11-21T00:00:00Z")).end.is_never());
}

#[test]
fn unknown_zones_are_refused() {
    for bad in ["Mars/Olympus", "berlin!", &"x".repeat(100)] {
        assert!(Zone::parse("time_zone", bad).is_err(), "{bad}");
    }
    assert_eq!(Zone::parse("time_zone", "").unwrap(), Zone::UTC);
}

fn any_period() -> impl Strategy<Value = Period> {
    let zones = prop::sample::select(vec![
        "UTC",
        "America/New_York",
        "Europe/Berlin",
        "Asia/Tokyo",
        "Africa/Cairo",
        "Australia/Lord_Howe",
    ]);
    zones.prop_flat_map(|name| {
        let zone = zone(name);
        prop_oneof![
            Just(Period::Daily { zone }),
            (0..7u8).prop_map(move |start| Period::Weekly { zone, start }),
            Just(Period::Monthly { zone }),
            (60..1_000_000u32, -1_000_000..1_000_000i64)
                .prop_map(|(seconds, anchor)| Period::Every { seconds, anchor }),
        ]
    })
}

proptest! {
    #[test]
    fn windows_hold_their_instant_and_meet_without_gap_or_overlap(period in any_period(), seconds in 1_700_000_000..2_000_000_000i64) {
        let now = Timestamp::from_seconds(seconds);
        let window = period.window_at(now);
        prop_assert!(window.contains(now));
        prop_assert_eq!(period.window_at(window.end).start, window.end);
        prop_assert_eq!(period.window_at(window.end - Span::micros(1)), window);
    }
}
