use super::*;

pub(super) mod authority;

#[test]
fn delays_double_from_half_a_minute_to_an_hour() {
    let seconds: Vec<_> = (0..10).map(|failed| retry_delay(failed).unwrap()).collect();
    let expected = [0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600].map(Span::seconds);
    assert_eq!(seconds, expected);
}

#[test]
fn retries_end_after_about_a_day() {
    let delays: Vec<_> = (1..).map_while(retry_delay).collect();
    let total: i64 = delays.iter().map(|delay| delay.as_micros()).sum();
    let hour = Span::HOUR.as_micros();
    assert!((24 * hour..25 * hour).contains(&total), "{total}");
    assert_eq!(retry_delay(u32::MAX), None);
}
