use super::*;
use crate::domain::{decision::Retry, period::Zone};

fn budget(spent: i64) -> LimitState {
    LimitState {
        scope: Scope::Team,
        scope_id: "t1".into(),
        limit: Some(LimitId::trusted("b1")),
        unit: Unit::Usd,
        period: Some(Period::Weekly { zone: Zone::UTC, start: 6 }),
        max: Some(10_000_000_000),
        soft: None,
        spent,
        held: 1_000_000_000,
        reset_time: Some(Timestamp::NEVER),
        binding: true,
    }
}

#[test]
fn budgets_are_decimals_and_quotas_counts() {
    let state = limit_state(&budget(9_500_000_000));
    assert_eq!((state.max.as_str(), state.soft.as_str(), state.spent.as_str()), ("10", "", "9.5"));
    assert_eq!((state.held.as_str(), state.remaining.as_str()), ("1", "-0.5"));
    assert_eq!(state.reset_time, None);
    let period = state.period.unwrap();
    assert_eq!((period.kind(), period.week_start()), (proto::PeriodKind::Weekly, proto::DayOfWeek::Sunday));
    let quota = LimitState { unit: Unit::TokensPerMinute, max: Some(1000), spent: 400, held: 0, ..budget(0) };
    let quota = limit_state(&quota);
    assert_eq!((quota.max.as_str(), quota.remaining.as_str()), ("1000", "600"));
}

#[test]
fn a_denial_says_which_limit_how_far_and_how_long() {
    let state = Violation { code: DenialCode::KeyDisabled, at: Violated::State(Scope::Key, "k1".into()) };
    let limit = Violation {
        code: DenialCode::BudgetExceeded,
        at: Violated::Limit { state: budget(9_500_000_000), asked: 250_000_000 },
    };
    let retry = Retry { after: Span::seconds(90), may_be_sooner: true, at_least: false };
    let denial = denial_out(Denial { retry: Some(retry), ..Denial::of(vec![state, limit]) });
    assert_eq!((denial.code(), denial.http_status), (proto::DenialCode::KeyDisabled, 401));
    assert_eq!(denial.message, "Invalid API key");
    assert_eq!((denial.retry_after.unwrap().seconds, denial.may_be_sooner, denial.at_least), (90, true, false));
    let [state, limit] = &denial.violations[..] else { panic!("{:?}", denial.violations) };
    let place = state.limit.as_ref().unwrap();
    assert_eq!((place.scope(), place.scope_id.as_str()), (proto::Scope::Key, "k1"));
    assert_eq!((state.message.as_str(), state.asked.as_str()), ("Invalid API key: key k1", ""));
    assert_eq!((limit.code(), limit.asked.as_str()), (proto::DenialCode::BudgetExceeded, "0.25"));
    assert_eq!(limit.message, "Budget exceeded: team t1, limit b1 (usd): max 10, spent 9.5, held 1, asked 0.25");
}

#[test]
fn periods_keep_all_that_they_are_made_of() {
    let every = period_out(&Period::Every { seconds: 3600, anchor: -60 });
    assert_eq!(every.kind(), proto::PeriodKind::Every);
    assert_eq!((every.interval.unwrap().seconds, every.anchor.unwrap().seconds), (3600, -60));
    let zone = Zone::parse("zone", "Europe/Berlin").unwrap();
    let daily = period_out(&Period::Daily { zone });
    assert_eq!((daily.kind(), daily.time_zone.as_str()), (proto::PeriodKind::Daily, "Europe/Berlin"));
    assert_eq!(period_out(&Period::OneTime).time_zone, "");
}
