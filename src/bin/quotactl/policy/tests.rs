use clap::Parser as _;

use super::*;
use crate::cli::{Cli, RemoteCommand};

fn parsed(line: &str) -> PolicyCommand {
    match RemoteCommand::of(line) {
        RemoteCommand::Policy(command) => command,
        other => panic!("{other:?}"),
    }
}

fn budget(line: &str) -> Budget {
    match parsed(line) {
        PolicyCommand::AddBudget { id, budget, .. } => budget.budget(id),
        other => panic!("{other:?}"),
    }
}

fn quota(line: &str) -> Quota {
    match parsed(line) {
        PolicyCommand::AddQuota { id, quota, .. } => quota.quota(id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_is_what_its_flags_say() {
    let budget = budget(
        "quotactl policy add-budget b --org a --organization --unit credits --max 100 --soft 80 --period weekly --zone Europe/Berlin \
         --week-start sunday --model m --model n",
    );
    let period = budget.period.clone().unwrap();
    assert_eq!((budget.id.as_str(), budget.unit()), ("b", Unit::Credits));
    assert_eq!((budget.max.as_str(), budget.soft.as_str()), ("100", "80"));
    assert_eq!((period.kind(), period.week_start()), (PeriodKind::Weekly, DayOfWeek::Sunday));
    assert_eq!((period.time_zone.as_str(), &budget.models[..]), ("Europe/Berlin", &["m".to_owned(), "n".into()][..]));
}

#[test]
fn a_budget_may_only_warn_and_has_a_cap_at_least() {
    assert_eq!(budget("quotactl policy add-budget b --org a --organization --soft 5").max, "");
    for bad in ["", "--organization", "--max 5", "--organization --member m --max 5"] {
        let line = format!("quotactl policy add-budget b --org a {bad}");
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
    }
}

#[test]
fn a_quota_takes_its_unit_from_the_flag() {
    let units = [("--rpm", Unit::RequestsPerMinute), ("--tpm", Unit::TokensPerMinute), ("--in-flight", Unit::InFlight)];
    for (flag, unit) in units {
        let quota = quota(&format!("quotactl policy add-quota q --org a --organization {flag} 7"));
        assert_eq!((quota.unit(), quota.max), (unit, 7));
    }
}

#[test]
fn periods_are_words_or_a_span() {
    assert_eq!(parse_period("one-time").unwrap().kind(), PeriodKind::OneTime);
    let every = parse_period("every:3600s").unwrap();
    assert_eq!((every.kind(), every.interval.unwrap().seconds), (PeriodKind::Every, 3600));
    for bad in ["", "yearly", "every", "every:", "every:0s", "every:-1h"] {
        assert!(parse_period(bad).is_err(), "{bad}");
    }
}
