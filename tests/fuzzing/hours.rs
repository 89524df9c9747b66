//! Hours of access rules and windows of budgets, in any zone at any time: read, written, evaluated, and when they change next.
//!
//! The input is an instant (8 bytes), the weekdays (a bit each), the name of a zone, a line break, and the hours.

use quotad::domain::{
    period::Period,
    rule::{DailyHours, Hours, Weekdays},
    time::{Span, Timestamp},
    zone::Zone,
};

/// Of the years 1 to 9999, in seconds.
const EVER: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
/// Of the years 2016 to 2100: in which servers run, and in which no zone turns its clock back over a midnight.
const OURS: std::ops::Range<i64> = 1_451_606_400..4_102_444_800;
/// Instants between now and the next opening at which it is looked whether it was open.
const LOOKS: i64 = 16;

pub(crate) fn check(bytes: &[u8]) {
    let Some((instant, rest)) = bytes.split_first_chunk::<8>() else { return };
    let Some((&days, rest)) = rest.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (zone, hours) = text.split_once('\n').unwrap_or((text, "00:00-24:00"));
    let Ok(zone) = Zone::parse("zone", zone) else { return };
    assert_eq!(Zone::parse("zone", &zone.to_string()), Ok(zone));
    let number = i64::from_le_bytes(*instant);
    for range in [EVER, OURS] {
        let seconds = range.start + number.rem_euclid(range.end - range.start);
        let at = Timestamp::from_micros(seconds * 1_000_000 + number.rem_euclid(1_000_000));
        check_periods(zone, days, at, range == OURS);
        if let Ok(daily) = DailyHours::parse("hours", hours) {
            assert_eq!(DailyHours::parse("hours", &daily.to_string()), Ok(daily));
            check_hours(zone, days, daily, at, range == OURS);
        }
    }
}

fn check_periods(zone: Zone, days: u8, at: Timestamp, ours: bool) {
    let every = Period::Every { seconds: 60 + u32::from(days) * 977, anchor: i64::from(days) * 13 };
    let calendar = [Period::Daily { zone }, Period::Weekly { zone, start: days % 7 }, Period::Monthly { zone }, every];
    for period in calendar {
        let window = period.window_at(at);
        if !ours {
            continue;
        }
        assert!(window.contains(at), "{period:?} at {at:?}: {window:?}");
        assert_eq!(period.window_at(window.start), window, "{period:?} begins");
        let next = period.window_at(window.end);
        assert_eq!(next.start, window.end, "{period:?} goes on");
        assert!(next.end > next.start);
    }
}

fn check_hours(zone: Zone, days: u8, daily: DailyHours, at: Timestamp, ours: bool) {
    let list: Vec<u8> = (0..7).filter(|day| days & (1 << day) != 0).collect();
    let Ok(weekdays) = Weekdays::checked("days", &list) else { return };
    assert!(weekdays.days().eq(list) && !weekdays.to_string().is_empty());
    let hours = Hours { enabled: true, weekdays, daily };
    let open = hours.is_open(zone, at);
    let opens = hours.opens_after(zone, at);
    if open || !ours {
        return;
    }
    let opens = opens.expect("closed hours open again");
    assert!(opens > at && hours.is_open(zone, opens), "{hours:?} in {zone} at {at:?} open at {opens:?}");
    // Clocks may skip them once.
    assert!(opens - at <= Span::seconds(15 * 86_400), "{hours:?} in {zone} at {at:?} open only at {opens:?}");
    let wait = (opens - at).as_micros();
    let looks = (1..LOOKS).map(|look| at + Span::micros(wait / LOOKS * look)).chain([opens - Span::micros(1)]);
    for look in looks.filter(|look| *look > at) {
        assert!(!hours.is_open(zone, look), "{hours:?} in {zone} at {at:?} open at {look:?}, said {opens:?}");
    }
}
