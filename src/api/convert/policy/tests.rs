use super::*;

type Change = Box<dyn Fn(&mut proto::Budget)>;

fn period(kind: proto::PeriodKind) -> proto::Period {
    proto::Period { kind: kind.into(), ..proto::Period::default() }
}

fn budget() -> proto::Budget {
    proto::Budget {
        id: String::from("month"),
        unit: proto::Unit::Usd.into(),
        max: String::from("10.5"),
        soft: String::from("8"),
        period: Some(proto::Period {
            time_zone: String::from("Europe/Berlin"),
            week_start: proto::DayOfWeek::Sunday.into(),
            ..period(proto::PeriodKind::Weekly)
        }),
        alerts: Some(proto::BudgetAlerts {
            thresholds: vec![String::from("7.5"), String::from("80%")],
            recipients: vec![String::from("finance@example.org")],
        }),
        models: vec![String::from("llama")],
        ..proto::Budget::default()
    }
}

fn quota() -> proto::Quota {
    proto::Quota {
        id: String::from("rpm"),
        unit: proto::Unit::RequestsPerMinute.into(),
        max: 60,
        ..proto::Quota::default()
    }
}

fn refused(policy: proto::Policy) -> String {
    policy_in("team.policy", Some(policy)).unwrap_err().field
}

#[test]
fn a_policy_comes_back_as_it_was_set() {
    let every = proto::Budget {
        id: String::from("quarter"),
        period: Some(proto::Period {
            interval: Some(prost_types::Duration { seconds: 900, nanos: 0 }),
            anchor: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
            ..period(proto::PeriodKind::Every)
        }),
        ..budget()
    };
    let policy = proto::Policy { budgets: vec![budget(), every], quotas: vec![quota()] };
    let read = policy_in("policy", Some(policy.clone())).unwrap();
    assert_eq!(policy_out(&read.limits, None), policy);
}

#[test]
fn what_is_wrong_with_a_budget_is_named() {
    let set = |change: &dyn Fn(&mut proto::Budget)| {
        let mut budget = budget();
        change(&mut budget);
        refused(proto::Policy { budgets: vec![budget], quotas: Vec::new() })
    };
    let period_of = |change: &'static dyn Fn(&mut proto::Period)| -> Change {
        Box::new(move |budget| change(budget.period.as_mut().unwrap()))
    };
    let cases: Vec<(&str, Change)> = vec![
        ("id", Box::new(|budget| budget.id.clear())),
        ("unit", Box::new(|budget| budget.unit = 99)),
        ("unit", Box::new(|budget| budget.unit = proto::Unit::InFlight.into())),
        ("max", Box::new(|budget| budget.max = String::from("-1"))),
        ("max", Box::new(|budget| budget.max = String::from("NaN"))),
        ("soft", Box::new(|budget| budget.soft = String::from("0.0000000001"))),
        ("period", Box::new(|budget| budget.period = None)),
        ("period.kind", period_of(&|period| period.kind = 0)),
        ("period.kind", period_of(&|period| period.kind = 77)),
        ("period.time_zone", period_of(&|period| period.time_zone = String::from("Mars/Base"))),
        ("period.week_start", period_of(&|period| period.week_start = 9)),
        ("period.interval", period_of(&|period| period.interval = Some(prost_types::Duration::default()))),
        ("models[0]", Box::new(|budget| budget.models = vec![String::new()])),
        ("models", Box::new(|budget| budget.models = vec![String::from("a"), String::from("a")])),
    ];
    for (field, change) in cases {
        assert_eq!(set(&*change), format!("team.policy.budgets[0].{field}"));
    }
    let capless = proto::Budget { max: String::new(), soft: String::new(), ..budget() };
    assert_eq!(refused(proto::Policy { budgets: vec![capless], quotas: Vec::new() }), "team.policy.budgets[0]");
    let soft_above = proto::Budget { soft: String::from("11"), ..budget() };
    assert_eq!(refused(proto::Policy { budgets: vec![soft_above], quotas: Vec::new() }), "team.policy");
    assert_eq!(refused(proto::Policy { budgets: vec![budget(), budget()], quotas: Vec::new() }), "team.policy");
}

#[test]
fn intervals_outside_of_a_minute_to_a_year_are_refused() {
    for (seconds, nanos) in [(59, 0), (-60, 0), (60, 1), (366 * 86_400 + 1, 0), (i64::MAX, 0)] {
        let mut budget = budget();
        budget.period = Some(proto::Period {
            interval: Some(prost_types::Duration { seconds, nanos }),
            ..period(proto::PeriodKind::Every)
        });
        let field = refused(proto::Policy { budgets: vec![budget], quotas: Vec::new() });
        assert_eq!(field, "team.policy.budgets[0].period.interval", "{seconds} {nanos}");
    }
}

#[test]
fn what_is_wrong_with_a_quota_is_named() {
    let wrong_unit = proto::Quota { unit: proto::Unit::Usd.into(), ..quota() };
    assert_eq!(refused(proto::Policy { budgets: Vec::new(), quotas: vec![wrong_unit] }), "team.policy.quotas[0].unit");
    let wrong_id = proto::Quota { id: String::from("a b"), ..quota() };
    assert_eq!(
        refused(proto::Policy { budgets: Vec::new(), quotas: vec![quota(), wrong_id] }),
        "team.policy.quotas[1].id"
    );
}
