//! Policies: budgets, quotas and their periods, in and out.

use crate::{
    api::{
        convert::{
            limits::{period_out, unit_out},
            recipients_in, required,
            time::{span_in, timestamp_in},
            usage::nanos_out,
        },
        proto,
    },
    domain::{
        alert::{BudgetAlerts, Threshold},
        error::Invalid,
        id::LimitId,
        model::{ModelPattern, Models},
        money::Nanos,
        period::{Period, Zone},
        policy::{Budget, BudgetUnit, Limit, Policy, Quota, QuotaUnit},
        price::PriceBook,
    },
};

#[cfg(test)]
mod tests;

/// # Errors
/// [`Invalid`] for the field below `field` that is wrong.
pub(in crate::api) fn policy_in(field: &str, policy: Option<proto::Policy>) -> Result<Policy, Invalid> {
    let proto::Policy { budgets, quotas } = policy.unwrap_or_default();
    let mut limits = Vec::with_capacity(budgets.len() + quotas.len());
    for (i, budget) in budgets.into_iter().enumerate() {
        limits.push(Limit::Budget(budget_in(&format!("{field}.budgets[{i}]"), budget)?));
    }
    for (i, quota) in quotas.into_iter().enumerate() {
        limits.push(Limit::Quota(quota_in(&format!("{field}.quotas[{i}]"), quota)?));
    }
    Policy::checked(limits).map_err(|invalid| Invalid { field: field.to_owned(), ..invalid })
}

fn budget_in(field: &str, budget: proto::Budget) -> Result<Budget, Invalid> {
    let proto::Budget { id, unit, max, soft, period, models, alerts, unmatched_models: _ } = budget;
    let at = |name: &str| format!("{field}.{name}");
    let amount = |name: &str, text: &str| match text {
        "" => Ok(None),
        text => Nanos::parse(&at(name), text).map(Some),
    };
    let (max, soft) = (amount("max", &max)?, amount("soft", &soft)?);
    if max.is_none() && soft.is_none() {
        return Err(Invalid::new(field, "has neither max nor soft; a budget needs one of them"));
    }
    Ok(Budget {
        id: LimitId::parse(&at("id"), &id)?,
        unit: match proto::Unit::try_from(unit) {
            Ok(proto::Unit::Usd) => BudgetUnit::Usd,
            Ok(proto::Unit::Credits) => BudgetUnit::Credits,
            _ => return Err(unknown(&at("unit"), unit, "UNIT_USD or UNIT_CREDITS")),
        },
        max,
        soft,
        period: period_in(&at("period"), required(&at("period"), period)?)?,
        models: models_in(&at("models"), &models)?,
        alerts: alerts.map(|alerts| alerts_in(&at("alerts"), alerts)).transpose()?.map(Box::new),
    })
}

fn alerts_in(field: &str, alerts: proto::BudgetAlerts) -> Result<BudgetAlerts, Invalid> {
    let proto::BudgetAlerts { thresholds, recipients } = alerts;
    let threshold = |(i, text): (usize, String)| {
        let field = format!("{field}.thresholds[{i}]");
        match text.strip_suffix('%') {
            Some(percent) => {
                let wrong = || Invalid::new(field, format!("{text:?} isn't a share such as \"80%\", 1% to 100%"));
                percent.parse().map(Threshold::Percent).map_err(|_| wrong())
            }
            None => Nanos::parse(&field, &text).map(Threshold::Amount),
        }
    };
    let recipients = recipients_in(&format!("{field}.recipients"), &recipients)?;
    let thresholds = thresholds.into_iter().enumerate().map(threshold).collect::<Result<_, _>>()?;
    Ok(BudgetAlerts { thresholds, recipients })
}

fn alerts_out(alerts: &BudgetAlerts) -> proto::BudgetAlerts {
    let BudgetAlerts { thresholds, recipients } = alerts;
    let thresholds = thresholds.iter().map(ToString::to_string).collect();
    proto::BudgetAlerts { thresholds, recipients: recipients.clone() }
}

fn quota_in(field: &str, quota: proto::Quota) -> Result<Quota, Invalid> {
    let proto::Quota { id, unit, max, models, unmatched_models: _ } = quota;
    let at = |name: &str| format!("{field}.{name}");
    Ok(Quota {
        id: LimitId::parse(&at("id"), &id)?,
        unit: match proto::Unit::try_from(unit) {
            Ok(proto::Unit::RequestsPerMinute) => QuotaUnit::RequestsPerMinute,
            Ok(proto::Unit::TokensPerMinute) => QuotaUnit::TokensPerMinute,
            Ok(proto::Unit::InFlight) => QuotaUnit::InFlight,
            _ => {
                let choices = "UNIT_REQUESTS_PER_MINUTE, UNIT_TOKENS_PER_MINUTE or UNIT_IN_FLIGHT";
                return Err(unknown(&at("unit"), unit, choices));
            }
        },
        max,
        models: models_in(&at("models"), &models)?,
    })
}

fn unknown(field: &str, value: i32, choices: &str) -> Invalid {
    Invalid::new(field, format!("{value} is none of {choices}"))
}

/// # Errors
/// [`Invalid`] for `field` when there are too many, one is no model's name and no pattern, or one stands twice.
pub(in crate::api) fn models_in(field: &str, models: &[String]) -> Result<Models, Invalid> {
    let names = models.iter().enumerate().map(|(i, model)| ModelPattern::parse(&format!("{field}[{i}]"), model));
    Models::checked(field, names.collect::<Result<_, _>>()?)
}

pub(in crate::api) fn models_out(models: &Models) -> Vec<String> {
    models.patterns().iter().map(ToString::to_string).collect()
}

fn period_in(field: &str, period: proto::Period) -> Result<Period, Invalid> {
    use proto::PeriodKind as Kind;
    let proto::Period { kind, time_zone, week_start, interval, anchor } = period;
    let at = |name: &str| format!("{field}.{name}");
    let choices = "PERIOD_KIND_ONE_TIME, _DAILY, _WEEKLY, _MONTHLY or _EVERY";
    let kind = match Kind::try_from(kind) {
        Ok(Kind::Unspecified | Kind::Cycle) | Err(_) => return Err(unknown(&at("kind"), kind, choices)),
        Ok(kind) => kind,
    };
    let foreign = [
        ("time_zone", !time_zone.is_empty(), matches!(kind, Kind::Daily | Kind::Weekly | Kind::Monthly)),
        ("week_start", week_start != 0, kind == Kind::Weekly),
        ("interval", interval.is_some(), kind == Kind::Every),
        ("anchor", anchor.is_some(), kind == Kind::Every),
    ];
    if let Some((name, ..)) = foreign.into_iter().find(|(_, is_set, belongs)| *is_set && !belongs) {
        return Err(Invalid::new(at(name), format!("doesn't belong to a period of {}", kind.as_str_name())));
    }
    let zone = || Zone::parse(&at("time_zone"), &time_zone);
    match kind {
        Kind::Unspecified | Kind::Cycle | Kind::OneTime => Ok(Period::OneTime),
        Kind::Daily => Ok(Period::Daily { zone: zone()? }),
        Kind::Weekly => Ok(Period::Weekly { zone: zone()?, start: week_start_in(&at("week_start"), week_start)? }),
        Kind::Monthly => Ok(Period::Monthly { zone: zone()? }),
        Kind::Every => {
            let interval = required(&at("interval"), interval)?;
            let seconds = span_in(&at("interval"), &interval)?.as_micros() / 1_000_000;
            let whole = interval.nanos == 0 && Period::EVERY.contains(&seconds);
            let wrong = || Invalid::new(at("interval"), "is not of whole seconds from 60 s to 366 days");
            let seconds = u32::try_from(seconds).ok().filter(|_| whole).ok_or_else(wrong)?;
            let anchor = anchor.map(|anchor| timestamp_in(&at("anchor"), &anchor)).transpose()?;
            Ok(Period::Every { seconds, anchor: anchor.unwrap_or_default().seconds() })
        }
    }
}

/// Days from Monday.
fn week_start_in(field: &str, day: i32) -> Result<u8, Invalid> {
    use proto::DayOfWeek as Day;
    match Day::try_from(day) {
        Ok(Day::Unspecified | Day::Monday) => Ok(0),
        Ok(Day::Tuesday) => Ok(1),
        Ok(Day::Wednesday) => Ok(2),
        Ok(Day::Thursday) => Ok(3),
        Ok(Day::Friday) => Ok(4),
        Ok(Day::Saturday) => Ok(5),
        Ok(Day::Sunday) => Ok(6),
        Err(_) => Err(unknown(field, day, "DAY_OF_WEEK_MONDAY to DAY_OF_WEEK_SUNDAY")),
    }
}

/// Returns the entries that match no priced model; none where the answer doesn't say it, for want of `prices`.
pub(in crate::api) fn unmatched_out(models: &Models, prices: Option<&PriceBook>) -> Vec<String> {
    prices.map_or_else(Vec::new, |prices| models.unmatched(prices).map(ToString::to_string).collect())
}

/// Whether it sets any limit.
pub(in crate::api) fn is_set(policy: Option<&proto::Policy>) -> bool {
    policy.is_some_and(|policy| *policy != proto::Policy::default())
}

/// With `prices`, each limit says which of its models have none.
pub(in crate::api) fn policy_out(limits: &[Limit], prices: Option<&PriceBook>) -> proto::Policy {
    let mut policy = proto::Policy::default();
    for limit in limits {
        match limit {
            Limit::Budget(Budget { id, unit: _, max, soft, period, models, alerts }) => {
                policy.budgets.push(proto::Budget {
                    id: id.to_string(),
                    unit: unit_out(limit.unit()).into(),
                    max: max.map_or_else(String::new, nanos_out),
                    soft: soft.map_or_else(String::new, nanos_out),
                    period: Some(period_out(period)),
                    models: models_out(models),
                    alerts: alerts.as_deref().map(alerts_out),
                    unmatched_models: unmatched_out(models, prices),
                });
            }
            Limit::Quota(Quota { id, unit: _, max, models }) => policy.quotas.push(proto::Quota {
                id: id.to_string(),
                unit: unit_out(limit.unit()).into(),
                max: *max,
                models: models_out(models),
                unmatched_models: unmatched_out(models, prices),
            }),
        }
    }
    policy
}
