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
        "quotactl policy add-budget b --org a --unit credits --max 100 --soft 80 --period weekly --zone Europe/Berlin \
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
    assert_eq!(budget("quotactl policy add-budget b --org a --soft 5").max, "");
    assert!(Cli::try_parse_from("quotactl policy add-budget b --org a".split(' ')).is_err());
}

#[test]
fn a_quota_takes_its_unit_from_the_flag() {
    let units = [("--rpm", Unit::RequestsPerMinute), ("--tpm", Unit::TokensPerMinute), ("--in-flight", Unit::InFlight)];
    for (flag, unit) in units {
        let quota = quota(&format!("quotactl policy add-quota q --org a {flag} 7"));
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

#[test]
fn adding_replaces_the_limit_of_the_same_id_and_keeps_the_others() {
    let mut policy = Policy::default();
    for (id, max) in [("a", 1), ("b", 2), ("a", 3)] {
        add_quota(&mut policy, Quota { id: id.into(), max, ..Quota::default() });
    }
    add_budget(&mut policy, Budget { id: "b".into(), ..Budget::default() });
    let quotas: Vec<_> = policy.quotas.iter().map(|quota| (quota.id.as_str(), quota.max)).collect();
    assert_eq!(quotas, [("a", 3)]);
    assert_eq!(policy.budgets.len(), 1);
}

#[test]
fn removing_what_is_not_there_names_what_is() {
    let mut policy = Policy::default();
    add_quota(&mut policy, Quota { id: "rpm".into(), ..Quota::default() });
    let error = remove(&mut policy, "tpm").unwrap_err().to_string();
    assert!(error.contains("\"tpm\"") && error.contains("rpm"), "{error}");
    remove(&mut policy, "rpm").unwrap();
    assert!(policy.quotas.is_empty());
}
