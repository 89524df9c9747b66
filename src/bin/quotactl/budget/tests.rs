use clap::Parser as _;
use quotad::api::proto::Quota;

use super::*;
use crate::cli::{Cli, RemoteCommand};

fn set(line: &str) -> (Place, Wanted) {
    let line = format!("quotactl budget set --org acme {line}");
    match RemoteCommand::of(&line) {
        RemoteCommand::Budget(BudgetCommand::Set { whose, org, wanted, .. }) => (whose.place(org), *wanted),
        other => panic!("{other:?}"),
    }
}

fn apply(line: &str, policy: &mut Policy) {
    set(line).1.apply(policy);
}

fn budget(id: &str, kind: PeriodKind, max: &str) -> Budget {
    let period = Some(Period { kind: kind.into(), ..Period::default() });
    Budget { id: id.into(), unit: Unit::Usd.into(), max: max.into(), period, ..Budget::default() }
}

#[test]
fn a_budget_of_the_same_kind_goes_on_under_its_id() {
    let mut before = budget("cap", PeriodKind::OneTime, "50");
    before.soft = "40".into();
    let mut policy = Policy { budgets: vec![before.clone()], ..Policy::default() };
    apply("ada --one-time 80", &mut policy);
    assert_eq!(policy.budgets, [Budget { max: "80".into(), ..before }]);
}

#[test]
fn another_kind_takes_the_place_of_the_one_before_and_unlimited_of_all() {
    let mut policy = Policy { budgets: vec![budget("cap", PeriodKind::OneTime, "50")], ..Policy::default() };
    apply("ada --daily 5 --monthly 80 --zone Europe/Berlin", &mut policy);
    let found: Vec<_> = policy.budgets.iter().map(|budget| (budget.id.as_str(), budget.max.as_str())).collect();
    assert_eq!(found, [("daily", "5"), ("monthly", "80")]);
    assert!(policy.budgets.iter().all(|budget| budget.period.as_ref().unwrap().time_zone == "Europe/Berlin"));
    apply("ada --unlimited", &mut policy);
    assert!(policy.budgets.is_empty());
}

#[test]
fn quotas_and_budgets_of_another_purpose_are_kept() {
    let warning = Budget { max: String::new(), soft: "9".into(), ..budget("daily", PeriodKind::Daily, "") };
    let narrow = Budget { models: vec!["large".into()], ..budget("large", PeriodKind::Daily, "3") };
    let quotas = vec![Quota { id: "rpm".into(), ..Quota::default() }];
    let mut policy = Policy { budgets: vec![warning.clone(), narrow.clone()], quotas: quotas.clone() };
    apply("ada --daily 5", &mut policy);
    let [first, second, third] = &policy.budgets[..] else { panic!("{policy:?}") };
    assert_eq!((first, second), (&warning, &narrow));
    assert_eq!((third.id.as_str(), third.max.as_str()), ("daily-2", "5"));
    assert_eq!(policy.quotas, quotas);
}

#[test]
fn a_budget_in_credits_is_another_one() {
    let mut policy = Policy { budgets: vec![budget("cap", PeriodKind::Daily, "5")], ..Policy::default() };
    apply("ada --daily 50 --unit credits", &mut policy);
    assert_eq!((policy.budgets.len(), policy.budgets[0].id.as_str()), (1, "daily"));
    assert_eq!(policy.budgets[0].unit(), Unit::Credits);
}

#[test]
fn it_is_a_members_an_invitations_or_each_of_a_teams() {
    let (place, _) = set("ada --team research --daily 5");
    assert_eq!(
        (place.member.as_deref(), place.team.as_deref(), place.each_member),
        (Some("ada"), Some("research"), false)
    );
    let (place, _) = set("--each-of research --daily 5");
    assert_eq!((place.member, place.team.as_deref(), place.each_member), (None, Some("research"), true));
    assert_eq!(set("--invitation i --unlimited").0.invitation.as_deref(), Some("i"));
    for bad in ["ada", "--daily 5", "ada --unlimited --daily 5", "ada --invitation i --daily 5", "ada --daily much"] {
        let line = format!("quotactl budget set --org acme {bad}");
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
    }
}
