//! `quotactl policy`: one place of the path, its budgets and quotas.
//!
//! The API sets a policy as a whole, so that adding and removing read it first; of two people who do that at the same
//! instant the later one is told to try again.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use prost_types::{Duration, Timestamp};
use quotad::api::proto::{Budget, BudgetAlerts, DayOfWeek, Period, PeriodKind, Policy, Quota, Unit};
use serde_json::json;

use crate::{
    arguments::{decimal, one_of},
    context::Context,
    failure::Failure,
    format::{amount, parse_instant, parse_span, thousands},
    limits::{limits_json, period},
    names::name,
    output::{Output, number, table, tabulated, text},
    place::{Found, Place},
    policy_file,
};

const EXAMPLES: &str = "\
Examples:
  quotactl policy get --org acme --team research
  quotactl policy add-budget monthly --org acme --member ada --unit usd --max 100 --soft 80 --period monthly
  quotactl policy add-budget week --org acme --period weekly --week-start sunday --zone Europe/Berlin --max 500
  quotactl policy add-budget burst --org acme --team research --member ada --unit credits --max 5 --period every:6h
  quotactl policy add-budget monthly --org acme --team research --max 500 --soft 400 --alert 50% --alert-to ops@example.org
  quotactl policy add-budget monthly --org acme --team research --each-member --max 20
  quotactl policy add-quota rpm --org acme --key ada-laptop --rpm 600
  quotactl policy remove rpm --org acme --key ada-laptop
  quotactl policy set --org acme --file policy.toml

The place is --key, --member, --team, --team with --member (that member in that team) or with --each-member, \
--invitation, or without any of them the organization. A policy file has the arrays `budgets` and `quotas` that `policy get --json` shows, as TOML or JSON.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PolicyCommand {
    /// Shows the limits of a place as they stand
    Get {
        #[command(flatten)]
        place: Place,
    },
    /// Replaces the whole policy of a place by a file's
    Set {
        #[command(flatten)]
        place: Place,
        /// The policy, as .json or .toml
        #[arg(long)]
        file: PathBuf,
    },
    /// Adds a budget, or replaces the one of the same id: its usage stays unless the period changes
    AddBudget {
        /// The limit's id, unique in its policy
        id: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        budget: BudgetArgs,
    },
    /// Adds a quota, or replaces the one of the same id
    AddQuota {
        /// The limit's id, unique in its policy
        id: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// Removes a budget or quota
    Remove {
        /// The limit's id, unique in its policy
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// What it counts
    #[arg(long, default_value = "usd", value_parser = one_of::<Unit>(&["usd", "credits"]))]
    unit: Unit,
    /// Hard cap: nothing is admitted beyond it
    #[arg(long, value_name = "AMOUNT", value_parser = decimal, required_unless_present = "soft")]
    max: Option<String>,
    /// Soft cap: warns, never refuses
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    soft: Option<String>,
    /// monthly, weekly, daily, one-time, or every:SPAN such as every:6h
    #[arg(long, default_value = "monthly", value_parser = parse_period)]
    period: Period,
    /// IANA zone of a calendar period; UTC if left out
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
    /// First day of a weekly period; Monday if left out
    #[arg(long, value_name = "DAY", value_parser = one_of::<DayOfWeek>(&DAYS))]
    week_start: Option<DayOfWeek>,
    /// Where an every:SPAN period starts counting, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    anchor: Option<Timestamp>,
    /// Binds only this model, repeatable; all if none is given
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Also alerts at this amount, or share of the hard cap such as 80%; repeatable
    #[arg(long = "alert", value_name = "AMOUNT|PERCENT")]
    thresholds: Vec<String>,
    /// Who is alerted, repeatable; the organization's recipients if none is given
    #[arg(long = "alert-to", value_name = "EMAIL")]
    recipients: Vec<String>,
}

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl BudgetArgs {
    fn budget(self, id: String) -> Budget {
        let alerts = BudgetAlerts { thresholds: self.thresholds, recipients: self.recipients };
        Budget {
            alerts: Some(alerts).filter(|alerts| *alerts != BudgetAlerts::default()),
            id,
            unit: self.unit.into(),
            max: self.max.unwrap_or_default(),
            soft: self.soft.unwrap_or_default(),
            period: Some(Period {
                time_zone: self.zone,
                week_start: self.week_start.unwrap_or_default().into(),
                anchor: self.anchor,
                ..self.period
            }),
            models: self.models,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    max: QuotaMax,
    /// Binds only this model, repeatable; all if none is given
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct QuotaMax {
    /// Requests in any 60 seconds
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Input and output tokens in any 60 seconds
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Requests open at one time
    #[arg(long, value_name = "N")]
    in_flight: Option<u64>,
}

impl QuotaArgs {
    fn quota(self, id: String) -> Quota {
        let (unit, max) = match (self.max.rpm, self.max.tpm, self.max.in_flight) {
            (Some(rpm), ..) => (Unit::RequestsPerMinute, rpm),
            (_, Some(tpm), _) => (Unit::TokensPerMinute, tpm),
            (.., in_flight) => (Unit::InFlight, in_flight.unwrap_or_default()),
        };
        Quota { id, unit: unit.into(), max, models: self.models }
    }
}

/// Reads `monthly` or `every:6h`.
fn parse_period(text: &str) -> Result<Period, String> {
    let of = |kind: PeriodKind, interval: Option<Duration>| Period { kind: kind.into(), interval, ..Period::default() };
    match text {
        "one-time" => Ok(of(PeriodKind::OneTime, None)),
        "daily" => Ok(of(PeriodKind::Daily, None)),
        "weekly" => Ok(of(PeriodKind::Weekly, None)),
        "monthly" => Ok(of(PeriodKind::Monthly, None)),
        _ => match text.strip_prefix("every:") {
            Some(span) => Ok(of(PeriodKind::Every, Some(parse_span(span)?))),
            None => Err("give monthly, weekly, daily, one-time, or every:SPAN such as every:6h".to_owned()),
        },
    }
}

impl PolicyCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let server = &context.server;
        let (place, found, policy) = match self {
            Self::Get { place } => return show(context.out, &place.read(server).await?),
            Self::Set { place, file } => {
                let policy = policy_file::read(&file)?;
                // A file is the whole truth: whatever was there before.
                (place, Found::default(), policy)
            }
            Self::AddBudget { id, place, budget } => {
                let found = place.read(server).await?;
                let mut policy = found.policy.clone();
                add_budget(&mut policy, budget.budget(id));
                (place, found, policy)
            }
            Self::AddQuota { id, place, quota } => {
                let found = place.read(server).await?;
                let mut policy = found.policy.clone();
                add_quota(&mut policy, quota.quota(id));
                (place, found, policy)
            }
            Self::Remove { id, place } => {
                let found = place.read(server).await?;
                let mut policy = found.policy.clone();
                remove(&mut policy, &id)?;
                (place, found, policy)
            }
        };
        place.write(server, policy, &found).await?;
        show(context.out, &place.read(server).await?)
    }
}

/// The limits as they stand, or as they will for what is nobody's yet.
pub(crate) fn show(out: Output, found: &Found) -> Result<(), Failure> {
    if out.is_json() {
        let mut value = policy_file::json(Some(&found.policy));
        value["limits"] = json!(limits_json(&found.limits));
        return out.value(&value);
    }
    if found.limits.is_empty() && found.policy != Policy::default() {
        return out.text(&planned(&found.policy));
    }
    out.text(&tabulated(&found.limits))
}

fn planned(policy: &Policy) -> String {
    let budgets = policy.budgets.iter().map(|budget| {
        let every = budget.period.as_ref().map(period).unwrap_or_default();
        vec![budget.id.clone(), name::<Unit>(budget.unit), every, amount(&budget.max), amount(&budget.soft)]
    });
    let quotas = policy.quotas.iter().map(|quota| {
        vec![quota.id.clone(), name::<Unit>(quota.unit), String::new(), thousands(quota.max), String::new()]
    });
    table(&[text("limit"), text("unit"), text("period"), number("max"), number("soft")], budgets.chain(quotas))
}

/// In the place of the one of the same id, else at the end.
fn add_budget(policy: &mut Policy, budget: Budget) {
    policy.quotas.retain(|other| other.id != budget.id);
    match policy.budgets.iter_mut().find(|other| other.id == budget.id) {
        Some(other) => *other = budget,
        None => policy.budgets.push(budget),
    }
}

fn add_quota(policy: &mut Policy, quota: Quota) {
    policy.budgets.retain(|other| other.id != quota.id);
    match policy.quotas.iter_mut().find(|other| other.id == quota.id) {
        Some(other) => *other = quota,
        None => policy.quotas.push(quota),
    }
}

fn remove(policy: &mut Policy, id: &str) -> Result<(), Failure> {
    let ids = |policy: &Policy| -> Vec<String> {
        let budgets = policy.budgets.iter().map(|budget| budget.id.clone());
        budgets.chain(policy.quotas.iter().map(|quota| quota.id.clone())).collect()
    };
    let before = ids(policy);
    policy.budgets.retain(|budget| budget.id != id);
    policy.quotas.retain(|quota| quota.id != id);
    if ids(policy).len() < before.len() {
        return Ok(());
    }
    let there = if before.is_empty() { "it has no limits".to_owned() } else { format!("it has {}", before.join(", ")) };
    Err(Failure::other(format!("this place has no limit {id:?}; {there}")))
}

#[cfg(test)]
mod tests;
