use chrono::DateTime;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
}

fn zone(name: &str) -> Zone {
    Zone::parse("zone", name).unwrap()
}

fn hours(days: &[u8], daily: &str) -> Hours {
    let weekdays = Weekdays::checked("weekdays", days).unwrap();
    Hours { enabled: true, weekdays, daily: DailyHours::parse("hours", daily).unwrap() }
}

fn rule(cap: Option<Cap>, hours: Option<Hours>, zone_name: &str) -> Rule {
    Rule {
        id: RuleId::trusted("r"),
        name: String::new(),
        description: String::new(),
        enabled: true,
        zone: zone(zone_name),
        cap,
        hours,
        deleted: false,
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    }
}

const WORKDAYS: [u8; 5] = [0, 1, 2, 3, 4];

#[test]
fn hours_that_are_none_are_refused() {
    for bad in [
        "25:00-08:00",
        "08:00-08:00",
        "8:00-20:00",
        "08:00",
        "24:00-08:00",
        "08:00-00:00",
        "08:60-09:00",
        "08:00-24:01",
        "",
    ] {
        assert!(DailyHours::parse("hours", bad).is_err(), "{bad}");
    }
    for good in ["08:00-20:00", "22:00-06:00", "00:00-24:00", "22:30-24:00"] {
        assert_eq!(DailyHours::parse("hours", good).unwrap().to_string(), good);
    }
}

#[test]
fn weekdays_stand_once_and_at_least_one_does() {
    for bad in [&[][..], &[1, 1], &[7], &[200]] {
        assert!(Weekdays::checked("weekdays", bad).is_err(), "{bad:?}");
    }
    let shown = |days: &[u8]| Weekdays::checked("weekdays", days).unwrap().to_string();
    assert_eq!(shown(&WORKDAYS), "Monday to Friday");
    assert_eq!(shown(&[6, 0, 2]), "Monday, Wednesday and Sunday");
    assert_eq!(shown(&[5, 6]), "Saturday and Sunday");
    assert_eq!(shown(&[0, 1, 2, 3, 4, 5, 6]), "Every day");
    assert_eq!(shown(&[3]), "Thursday");
}

#[test]
fn hours_across_midnight_belong_to_the_day_they_began_on() {
    let night = hours(&[4], "22:00-06:00");
    let open = |text| night.is_open(Zone::UTC, at(text));
    assert!(!open("2026-03-06T21:59:59Z"));
    assert!(open("2026-03-06T22:00:00Z"));
    assert!(open("2026-03-07T05:59:59Z"), "Saturday's early hours are Friday's");
    assert!(!open("2026-03-07T06:00:00Z"));
    assert!(!open("2026-03-06T03:00:00Z"), "Friday's early hours are Thursday's");
    assert!(!open("2026-03-07T23:00:00Z"));
}

#[test]
fn hours_follow_the_wall_clock_over_daylight_saving() {
    let office = hours(&[0, 1, 2, 3, 4, 5, 6], "08:00-20:00");
    let berlin = zone("Europe/Berlin");
    assert!(!office.is_open(berlin, at("2026-03-28T06:59:59Z")));
    assert!(office.is_open(berlin, at("2026-03-28T07:00:00Z")));
    assert!(!office.is_open(berlin, at("2026-03-29T05:59:59Z")));
    assert!(office.is_open(berlin, at("2026-03-29T06:00:00Z")), "an hour earlier from that day on");
    let fixed = zone("UTC+1");
    assert!(!office.is_open(fixed, at("2026-03-29T06:00:00Z")));
}

#[test]
fn the_next_opening_skips_closed_days_and_what_clocks_skip() {
    let office = hours(&WORKDAYS, "08:00-20:00");
    let berlin = zone("Europe/Berlin");
    assert_eq!(office.opens_after(berlin, at("2026-03-27T20:00:00Z")), Some(at("2026-03-30T06:00:00Z")));
    let early = hours(&[6], "02:30-04:00");
    assert_eq!(
        early.opens_after(berlin, at("2026-03-29T00:00:00Z")),
        Some(at("2026-03-29T01:00:00Z")),
        "02:30 is skipped"
    );
    let skipped = hours(&[6], "02:10-02:50");
    for closed in ["2026-03-29T00:00:00Z", "2026-03-23T00:00:00Z"] {
        assert_eq!(skipped.opens_after(berlin, at(closed)), Some(at("2026-04-05T00:10:00Z")), "from {closed}");
    }
}

#[test]
fn hours_that_the_clock_is_turned_back_into_open_again() {
    let berlin = zone("Europe/Berlin");
    let early = hours(&[6], "01:00-02:30");
    assert!(!early.is_open(berlin, at("2026-10-25T00:45:00Z")), "02:45, the first time");
    assert_eq!(early.opens_after(berlin, at("2026-10-25T00:45:10Z")), Some(at("2026-10-25T01:00:00Z")));
    assert!(early.is_open(berlin, at("2026-10-25T01:29:59Z")), "02:29, the second time");
}

#[test]
fn a_preview_says_what_the_rule_does() {
    let cap = Cap { enabled: true, max: Nanos::units(50), period: CapPeriod::Daily };
    let both = rule(Some(cap), Some(hours(&WORKDAYS, "08:00-20:00")), "Asia/Shanghai");
    let said =
        "Up to 50.00 credits per day. Monday to Friday, 08:00–20:00 (Asia/Shanghai). Otherwise requests are blocked.";
    assert_eq!(both.preview(true), said);
    let open = rule(Some(Cap { enabled: false, ..cap }), None, "UTC");
    assert_eq!(open.preview(true), "No cap on credits. At any time.");
    let off = Rule { enabled: false, ..rule(Some(cap), None, "UTC") };
    let said = "Not applied while the rule is off: Up to 50.00 credits per day. At any time. Beyond that, requests are blocked.";
    assert_eq!(off.preview(true), said);
    let said = " Credits aren't tracked now (the organization's credit_factor is 0): the cap doesn't bind.";
    assert!(both.preview(false).ends_with(said));
    assert_eq!(open.preview(false), open.preview(true), "it caps none");
}

#[test]
fn the_answer_kept_for_a_minute_is_that_minutes() {
    let memo = OpenMemo::default();
    let office = hours(&WORKDAYS, "08:00-20:00");
    for (text, open) in [
        ("2026-03-06T07:59:59Z", false),
        ("2026-03-06T08:00:00Z", true),
        ("2026-03-06T08:00:59Z", true),
        ("2026-03-06T20:00:00Z", false),
    ] {
        assert_eq!(memo.is_open(&office, Zone::UTC, at(text)), open, "{text}");
    }
}

#[test]
fn the_next_opening_is_the_first_open_minute_in_every_zone() {
    // Around the days on which most zones change their clocks.
    let starts = ["2026-03-28T22:17:00Z", "2026-10-24T21:43:00Z", "2026-11-01T03:30:00Z", "2026-04-04T10:00:00Z"];
    let windows = [hours(&[6], "00:30-02:15"), hours(&[5, 6], "22:00-03:00"), hours(&[0], "02:00-02:30")];
    for tz in chrono_tz::TZ_VARIANTS {
        let zone = Zone::Named(tz);
        for (start, window) in starts.iter().map(|text| at(text)).flat_map(|at| windows.map(|window| (at, window))) {
            if window.is_open(zone, start) {
                continue;
            }
            let found = window.opens_after(zone, start).unwrap();
            assert!(window.is_open(zone, found), "{tz} {start:?} {window:?}");
            let mut minute = start + Span::seconds(60);
            while minute < found {
                assert!(!window.is_open(zone, minute), "{tz}: open at {minute:?}, before {found:?}");
                // Coarser far from the opening: the test is about clock changes, which are hours before it.
                minute = minute + Span::seconds(600);
            }
        }
    }
}
