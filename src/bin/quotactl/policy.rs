//! `quotactl policy`: one place of the path, its budgets and quotas.
//!
//! The API sets a policy as a whole, so that adding and removing read it first; of two people who do that at the same
//! instant the later one wins.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use prost_types::{Duration, Timestamp};
use quotad::api::proto::{Budget, DayOfWeek, LimitState, Period, PeriodKind, Policy, Quota, Unit};
use serde_json::json;

use crate::{
    arguments::{decimal, one_of},
    context::Context,
    failure::Failure,
    format::{parse_instant, parse_span},
    limits::limits_json,
    output::{Output, tabulated},
    policy_file,
};

mod place;

use place::Place;

const EXAMPLES: &str = "\
Examples:
  quotactl policy get --org acme --team research
  quotactl policy add-budget monthly --org acme --member ada --unit usd --max 100 --soft 80 --period monthly
  quotactl policy add-budget week --org acme --period weekly --week-start sunday --zone Europe/Berlin --max 500
  quotactl policy add-budget burst --org acme --team research --member ada --unit credits --max 5 --period every:6h
  quotactl policy add-quota rpm --org acme --key ada-laptop --rpm 600
  quotactl policy remove rpm --org acme --key ada-laptop
  quotactl policy set --org acme --file policy.toml

The place is --key, --member, --team, --team with --member (that member in that team), or without any of them the \
organization. A policy file has the arrays `budgets` and `quotas` that `policy get --json` shows, as TOML or JSON.";

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
}

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl BudgetArgs {
    fn budget(self, id: String) -> Budget {
        Budget {
            alerts: None,
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
        let (place, policy) = match self {
            Self::Get { place } => {
                let (policy, limits) = place.read(&context.server).await?;
                return show(context.out, &policy, &limits);
            }
            Self::Set { place, file } => (place, policy_file::read(&file)?),
            Self::AddBudget { id, place, budget } => {
                let (mut policy, _) = place.read(&context.server).await?;
                add_budget(&mut policy, budget.budget(id));
                (place, policy)
            }
            Self::AddQuota { id, place, quota } => {
                let (mut policy, _) = place.read(&context.server).await?;
                add_quota(&mut policy, quota.quota(id));
                (place, policy)
            }
            Self::Remove { id, place } => {
                let (mut policy, _) = place.read(&context.server).await?;
                remove(&mut policy, &id)?;
                (place, policy)
            }
        };
        place.write(&context.server, policy).await?;
        let (policy, limits) = place.read(&context.server).await?;
        show(context.out, &policy, &limits)
    }
}

fn show(out: Output, policy: &Policy, limits: &[LimitState]) -> Result<(), Failure> {
    if out.is_json() {
        let mut value = policy_file::json(Some(policy));
        value["limits"] = json!(limits_json(limits));
        return out.value(&value);
    }
    out.text(&tabulated(limits))
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
