use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    changes: Changes,
}

fn apply(line: &str, rule: &mut Rule) -> Result<Vec<&'static str>, Failure> {
    let line = Line::try_parse_from(std::iter::once("rule").chain(line.split_whitespace())).unwrap();
    line.fields.apply(line.changes, rule)
}

fn office() -> Rule {
    let mut rule = Rule { enabled: true, ..Rule::default() };
    apply("--cap 50 --period daily --weekdays mon-fri --hours 08:00-20:00 --zone UTC+8", &mut rule).unwrap();
    rule
}

fn days(text: &str) -> Result<String, String> {
    let weekdays = text.parse::<Weekdays>()?.0.into_iter().map(Into::into).collect();
    Ok(shown_days(&AccessHours { weekdays, ..AccessHours::default() }))
}

#[test]
fn weekdays_are_ranges_and_single_days() {
    for (given, shown) in [
        ("mon-fri", "mon-fri"),
        ("mon,wed,fri", "mon,wed,fri"),
        ("Sat-Sun", "sat,sun"),
        ("fri-mon", "mon,fri-sun"),
        ("sunday", "sun"),
        ("mon-sun", "mon-sun"),
        ("wednesday-thursday, mon", "mon,wed,thu"),
    ] {
        assert_eq!(days(given).unwrap(), shown, "{given}");
    }
    for bad in ["", "mon-", "funday", "mon-fri,wed", "mon,mon", "1-5"] {
        assert!(days(bad).is_err(), "{bad:?}");
    }
    assert_eq!(days("mon-fri,wed").unwrap_err(), "wed is there twice");
}

#[test]
fn a_rule_is_what_its_flags_say() {
    let rule = office();
    let cap = rule.cap.unwrap();
    assert_eq!((cap.enabled, cap.max_credits.as_str(), cap.period()), (true, "50", PeriodKind::Daily));
    let hours = rule.hours.unwrap();
    assert_eq!((hours.enabled, hours.hours.as_str(), hours.weekdays.len()), (true, "08:00-20:00", 5));
    assert_eq!(rule.time_zone, "UTC+8");
}

#[test]
fn hours_without_weekdays_are_every_day_and_weekdays_without_hours_all_day() {
    let mut rule = Rule::default();
    apply("--hours 22:00-06:00", &mut rule).unwrap();
    assert_eq!(rule.hours.unwrap().weekdays, [1, 2, 3, 4, 5, 6, 7]);
    let mut rule = Rule::default();
    apply("--weekdays sat", &mut rule).unwrap();
    assert_eq!(rule.hours.unwrap().hours, "00:00-24:00");
}

#[test]
fn what_is_not_given_stays() {
    let mut rule = office();
    assert_eq!(apply("--cap 80", &mut rule).unwrap(), ["cap"]);
    assert_eq!(rule.cap.as_ref().map(|cap| (cap.max_credits.as_str(), cap.period())), Some(("80", PeriodKind::Daily)));
    assert_eq!(apply("--hours-off --disable", &mut rule).unwrap(), ["enabled", "hours"]);
    let hours = rule.hours.clone().unwrap();
    assert_eq!((hours.enabled, hours.hours.as_str(), rule.enabled), (false, "08:00-20:00", false));
    assert_eq!(apply("--hours-on --enable --no-cap", &mut rule).unwrap(), ["enabled", "cap", "hours"]);
    assert!(rule.hours.as_ref().unwrap().enabled && rule.enabled && rule.cap.is_none());
    assert_eq!(apply("--no-hours", &mut rule).unwrap(), ["hours"]);
    assert!(rule.hours.is_none());
    assert!(apply("", &mut rule).unwrap().is_empty());
}

#[test]
fn what_is_not_there_is_not_switched() {
    for (line, flag) in
        [("--cap 50", "--period"), ("--cap-off", "--cap"), ("--hours-off", "--hours"), ("--period daily", "--cap")]
    {
        let problem = apply(line, &mut Rule::default()).unwrap_err().to_string();
        assert!(problem.contains(flag), "{line}: {problem}");
    }
}
