//! A policy as a file: TOML or JSON with the API's field names. What `policy get --json` prints, `policy set` reads.

use std::path::Path;

use quotad::api::proto::{Budget, BudgetAlerts, DayOfWeek, Period, PeriodKind, Policy, Quota};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    failure::Failure,
    format::{instant, parse_instant, parse_span, span},
    names::{self, Named},
    settings,
};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PolicyFile {
    budgets: Vec<BudgetFile>,
    quotas: Vec<QuotaFile>,
    /// How the limits stand, as `policy get --json` adds it.
    #[serde(skip_serializing)]
    limits: IgnoredAny,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetFile {
    id: String,
    unit: String,
    #[serde(default)]
    max: Amount,
    #[serde(default)]
    soft: Amount,
    period: PeriodFile,
    #[serde(default)]
    models: Vec<String>,
    /// Said by the server, and ignored where it is read back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unmatched_models: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alerts: Option<AlertsFile>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertsFile {
    #[serde(default)]
    thresholds: Vec<Amount>,
    #[serde(default)]
    recipients: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaFile {
    id: String,
    unit: String,
    max: u64,
    #[serde(default)]
    models: Vec<String>,
    /// Said by the server, and ignored where it is read back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unmatched_models: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodFile {
    kind: String,
    #[serde(default)]
    time_zone: String,
    #[serde(default)]
    week_start: String,
    #[serde(default)]
    interval: Option<String>,
    #[serde(default)]
    anchor: Option<String>,
}

/// A decimal string, or a whole number for convenience; never a float, which couldn't be exact.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an amount is a decimal in quotes, such as \"12.50\", or a whole number")]
enum Amount {
    Text(String),
    Whole(u64),
}

impl Default for Amount {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Text(text) => text,
            Amount::Whole(number) => number.to_string(),
        }
    }
}

/// Reads a policy from a `.json` file, or TOML under any other name.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let text = settings::read(path, "policy file")?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    parse(&text, is_json).map_err(|problem| Failure::file("policy file", path, problem))
}

fn parse(text: &str, is_json: bool) -> Result<Policy, String> {
    let file: PolicyFile = if is_json {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(text).map_err(|error| error.to_string())?
    };
    let budgets = file.budgets.into_iter().enumerate().map(|(i, budget)| budget.into_proto(&format!("budgets[{i}]")));
    let quotas = file.quotas.into_iter().enumerate().map(|(i, quota)| quota.into_proto(&format!("quotas[{i}]")));
    Ok(Policy { budgets: budgets.collect::<Result<_, _>>()?, quotas: quotas.collect::<Result<_, _>>()? })
}

fn enumerated<E: Named + Into<i32>>(field: &str, text: &str) -> Result<i32, String> {
    names::parse::<E>(text).map(Into::into).ok_or_else(|| format!("{field}: {text:?} is unknown"))
}

impl BudgetFile {
    fn into_proto(self, field: &str) -> Result<Budget, String> {
        Ok(Budget {
            unit: enumerated::<quotad::api::proto::Unit>(&format!("{field}.unit"), &self.unit)?,
            period: Some(self.period.into_proto(&format!("{field}.period"))?),
            id: self.id,
            max: self.max.into(),
            soft: self.soft.into(),
            models: self.models,
            unmatched_models: Vec::new(),
            alerts: self.alerts.map(|alerts| BudgetAlerts {
                thresholds: alerts.thresholds.into_iter().map(Into::into).collect(),
                recipients: alerts.recipients,
            }),
        })
    }
}

impl QuotaFile {
    fn into_proto(self, field: &str) -> Result<Quota, String> {
        let unit = enumerated::<quotad::api::proto::Unit>(&format!("{field}.unit"), &self.unit)?;
        Ok(Quota { id: self.id, unit, max: self.max, models: self.models, ..Quota::default() })
    }
}

impl PeriodFile {
    fn into_proto(self, field: &str) -> Result<Period, String> {
        let week_start = match self.week_start.as_str() {
            "" => 0,
            day => enumerated::<DayOfWeek>(&format!("{field}.week_start"), day)?,
        };
        let interval = self.interval.as_deref().map(parse_span).transpose();
        let anchor = self.anchor.as_deref().map(parse_instant).transpose();
        Ok(Period {
            kind: enumerated::<PeriodKind>(&format!("{field}.kind"), &self.kind)?,
            time_zone: self.time_zone,
            week_start,
            interval: interval.map_err(|problem| format!("{field}.interval: {problem}"))?,
            anchor: anchor.map_err(|problem| format!("{field}.anchor: {problem}"))?,
        })
    }
}

impl From<&Policy> for PolicyFile {
    fn from(policy: &Policy) -> Self {
        let unit = names::name::<quotad::api::proto::Unit>;
        let budgets = policy.budgets.iter().map(|budget| BudgetFile {
            id: budget.id.clone(),
            unit: unit(budget.unit),
            max: Amount::Text(budget.max.clone()),
            soft: Amount::Text(budget.soft.clone()),
            period: PeriodFile::from(&budget.period.clone().unwrap_or_default()),
            models: budget.models.clone(),
            unmatched_models: budget.unmatched_models.clone(),
            alerts: budget.alerts.as_ref().map(|alerts| AlertsFile {
                thresholds: alerts.thresholds.iter().cloned().map(Amount::Text).collect(),
                recipients: alerts.recipients.clone(),
            }),
        });
        let quotas = policy.quotas.iter().map(|quota| QuotaFile {
            id: quota.id.clone(),
            unit: unit(quota.unit),
            max: quota.max,
            models: quota.models.clone(),
            unmatched_models: quota.unmatched_models.clone(),
        });
        Self { budgets: budgets.collect(), quotas: quotas.collect(), limits: IgnoredAny }
    }
}

impl From<&Period> for PeriodFile {
    fn from(period: &Period) -> Self {
        Self {
            kind: names::name::<PeriodKind>(period.kind),
            time_zone: period.time_zone.clone(),
            week_start: names::name::<DayOfWeek>(period.week_start),
            interval: period.interval.as_ref().map(span),
            anchor: period.anchor.as_ref().map(|anchor| instant(Some(anchor))),
        }
    }
}

/// The policy as JSON, null when there is none.
pub(crate) fn json(policy: Option<&Policy>) -> serde_json::Value {
    policy.map_or(serde_json::Value::Null, |policy| serde_json::json!(PolicyFile::from(policy)))
}

#[cfg(test)]
mod tests {
    use quotad::api::proto::Unit;

    use super::*;

    const TOML: &str = r#"
        [[budgets]]
        id = "monthly"
        unit = "usd"
        max = 100
        soft = "80.50"
        period = { kind = "weekly", time_zone = "Europe/Berlin", week_start = "sunday" }
        alerts = { thresholds = ["50%", 90], recipients = ["ops@example.org"] }

        [[budgets]]
        id = "sprint"
        unit = "credits"
        period = { kind = "every", interval = "6h", anchor = "2026-01-01T00:00:00Z" }
        models = ["small"]

        [[quotas]]
        id = "rpm"
        unit = "requests_per_minute"
        max = 600
    "#;

    #[test]
    fn toml_becomes_the_policy_that_it_says() {
        let policy = parse(TOML, false).unwrap();
        let [monthly, sprint] = &policy.budgets[..] else { panic!("{policy:?}") };
        assert_eq!((monthly.max.as_str(), monthly.soft.as_str()), ("100", "80.50"));
        assert_eq!(monthly.period.as_ref().unwrap().week_start(), DayOfWeek::Sunday);
        let alerts = monthly.alerts.as_ref().unwrap();
        assert_eq!(
            (&alerts.thresholds[..], &alerts.recipients[..]),
            (&["50%".to_owned(), "90".into()][..], &["ops@example.org".to_owned()][..])
        );
        assert_eq!((sprint.unit(), sprint.max.as_str()), (Unit::Credits, ""));
        assert_eq!(sprint.period.as_ref().unwrap().interval.unwrap().seconds, 21_600);
        assert_eq!((policy.quotas[0].unit(), policy.quotas[0].max), (Unit::RequestsPerMinute, 600));
    }

    #[test]
    fn what_get_prints_is_what_set_reads() {
        let policy = parse(TOML, false).unwrap();
        let mut printed = json(Some(&policy));
        printed["budgets"][1]["unmatched_models"] = serde_json::json!(["small"]);
        printed["limits"] = serde_json::json!([{ "limit_id": "monthly", "spent": "3" }]);
        assert_eq!(parse(&printed.to_string(), true).unwrap(), policy);
    }

    #[test]
    fn a_wrong_file_says_which_field() {
        for (text, named) in [
            ("budget = []", "budget"),
            ("[[quotas]]\nid = \"q\"\nunit = \"rpm\"\nmax = 1", "quotas[0].unit: \"rpm\""),
            ("[[budgets]]\nid = \"b\"\nunit = \"usd\"\nmax = 1.5\nperiod = { kind = \"daily\" }", "decimal in quotes"),
            ("[[budgets]]\nid = \"b\"\nunit = \"usd\"\nperiod = { kind = \"yearly\" }", "budgets[0].period.kind"),
            ("[[quotas]]\nid = \"q\"\nunit = \"in_flight\"\nmax = -1", "max"),
        ] {
            let problem = parse(text, false).unwrap_err();
            assert!(problem.contains(named), "{text}: {problem}");
        }
        assert!(parse("{\"quotas\": [{}]}", true).unwrap_err().contains("id"));
    }
}
