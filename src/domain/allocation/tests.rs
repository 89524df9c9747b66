use chrono::DateTime;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
}

#[test]
fn a_calendar_month_that_is_reset_ends_with_the_month() {
    let berlin = Zone::parse("zone", "Europe/Berlin").unwrap();
    let reset = Cadence::CalendarMonth.cycle_from(at("2026-03-20T15:00:00Z"), berlin);
    assert_eq!(reset.end, at("2026-03-31T22:00:00Z"));
    let next = Cadence::CalendarMonth.cycle_at(at("2026-04-10T00:00:00Z"), reset, berlin);
    assert_eq!(next, Window { start: reset.end, end: at("2026-04-30T22:00:00Z") });
}

#[test]
fn a_fixed_cycle_counts_from_its_reset() {
    let reset = Cadence::Hours6.cycle_from(at("2026-03-20T15:07:00Z"), Zone::UTC);
    assert_eq!(reset.end, at("2026-03-20T21:07:00Z"));
    let later = Cadence::Hours6.cycle_at(at("2026-03-22T00:00:00Z"), reset, Zone::UTC);
    assert_eq!(later, Window { start: at("2026-03-21T21:07:00Z"), end: at("2026-03-22T03:07:00Z") });
}

fn cadence() -> impl Strategy<Value = Cadence> {
    prop::sample::select(Cadence::ALL.to_vec())
}

fn zone() -> impl Strategy<Value = Zone> {
    prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()).prop_map(Zone::Named)
}

proptest! {
    #[test]
    fn cycles_follow_each_other_without_gap_or_overlap(
        start in 1_700_000_000i64..2_000_000_000,
        cadence in cadence(),
        zone in zone(),
        steps in prop::collection::vec(0i64..40 * 86_400, 1..40),
    ) {
        let mut cycle = cadence.cycle_from(Timestamp::from_seconds(start), zone);
        let mut one_by_one = cycle;
        for step in steps {
            let now = cycle.end + Span::seconds(step);
            let next = cadence.cycle_at(now, cycle, zone);
            prop_assert!(next.contains(now) && next.start >= cycle.end && next.start < next.end);
            // Whoever looks at every end comes to the same cycle.
            while !one_by_one.contains(now) {
                let following = cadence.cycle_at(one_by_one.end, one_by_one, zone);
                prop_assert_eq!(following.start, one_by_one.end, "neither gap nor overlap");
                one_by_one = following;
            }
            prop_assert_eq!(next, one_by_one);
            cycle = next;
        }
    }
}

/// Ten years of every calendar period and cadence in every zone that there is.
#[test]
fn windows_of_all_zones_tile_ten_years() {
    use super::super::period::Period;
    let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
    for tz in chrono_tz::TZ_VARIANTS {
        let zone = Zone::Named(tz);
        for period in [Period::Daily { zone }, Period::Weekly { zone, start: 2 }, Period::Monthly { zone }] {
            let mut window = period.window_at(begin);
            assert!(window.contains(begin), "{tz} {period:?}");
            while window.end < end {
                let next = period.window_at(window.end);
                assert_eq!(next.start, window.end, "{tz} {period:?}: a gap or an overlap");
                assert_eq!(period.window_at(next.end - Span::micros(1)), next, "{tz} {period:?}");
                window = next;
            }
        }
    }
}
