//! `quotactl policy`: one place of the path, its budgets and quotas.
//!
//! The API sets a policy as a whole, so that adding, changing and removing read it first; of two people who do that at the
//! same instant the later one is told to try again.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use prost_types::{Duration, Timestamp};
use quotad::api::proto::{Budget, BudgetAlerts, DayOfWeek, Period, PeriodKind, Policy, Quota, Unit};
use serde_json::json;

use crate::{
    arguments::{decimal, one_of},
    confirm::Consent,
    context::Context,
    failure::Failure,
    format::{amount, parse_instant, parse_span, thousands},
    limits::{self, limits_json, period},
    names::name,
    output::{Output, number, table, text},
    place::{Found, NamedPlace, Place},
    policy_file,
};

mod change;

pub(crate) use change::Changed;
use change::{BudgetChanges, QuotaChanges};

const EXAMPLES: &str = "\
Examples:
  quotactl policy get --org acme --team research
  quotactl policy add-budget monthly --org acme --member ada --unit usd --max 100 --soft 80 --period monthly
  quotactl policy update-budget monthly --org acme --member ada --max 150
  quotactl policy add-budget week --org acme --organization --period weekly --week-start sunday --zone Europe/Berlin --max 500
  quotactl policy add-budget burst --org acme --team research --member ada --unit credits --max 5 --period every:6h
  quotactl policy add-budget monthly --org acme --team research --max 500 --soft 400 --alert 50% --alert-to ops@example.org
  quotactl policy add-budget monthly --org acme --team research --each-member --max 20
  quotactl policy add-quota rpm --org acme --key ada-laptop --rpm 600
  quotactl policy update-quota rpm --org acme --key ada-laptop --rpm 900
  quotactl policy remove rpm --org acme --key ada-laptop
  quotactl policy set --org acme --organization --file policy.toml
  quotactl policy add-budget most --org acme --ceiling --max 5000 --period monthly

The place is --key, --member, --team, --team with --member (that member in that team) or with --each-member, \
--invitation, --organization, or --ceiling: what the operator allows the organization at most, set by the operator alone. \
A policy file has the arrays `budgets` and `quotas` that `policy get --json` shows, as TOML or JSON.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PolicyCommand {
    /// Shows the limits of a place as they stand; the organization's if none is named
    Get {
        #[command(flatten)]
        place: Place,
    },
    /// Replaces the whole policy of a place by a file's; asks first where a limit isn't in it any more
    Set {
        #[command(flatten)]
        place: NamedPlace,
        /// The policy, as .json or .toml
        #[arg(long)]
        file: PathBuf,
        /// Lets limits count from zero whose unit or period the file changes
        #[arg(long)]
        restart_spending: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Adds a budget; refused where the place has a limit of that id
    AddBudget {
        /// The limit's id, unique in its policy
        id: String,
        #[command(flatten)]
        place: NamedPlace,
        #[command(flatten)]
        budget: BudgetArgs,
        /// Lets it count from zero where a limit of this id counted another unit or period before
        #[arg(long)]
        restart_spending: bool,
    },
    /// Changes what is given of a budget; what is spent stays
    UpdateBudget {
        /// The limit's id
        id: String,
        #[command(flatten)]
        place: NamedPlace,
        #[command(flatten)]
        changes: Box<BudgetChanges>,
    },
    /// Adds a quota; refused where the place has a limit of that id
    AddQuota {
        /// The limit's id, unique in its policy
        id: String,
        #[command(flatten)]
        place: NamedPlace,
        #[command(flatten)]
        quota: QuotaArgs,
        /// Lets it count from zero where a limit of this id counted another unit or period before
        #[arg(long)]
        restart_spending: bool,
    },
    /// Changes what is given of a quota
    UpdateQuota {
        /// The limit's id
        id: String,
        #[command(flatten)]
        place: NamedPlace,
        #[command(flatten)]
        changes: QuotaChanges,
    },
    /// Removes a budget or quota; set again within its period, it goes on counting
    Remove {
        /// The limit's id
        id: String,
        #[command(flatten)]
        place: NamedPlace,
        #[command(flatten)]
        consent: Consent,
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
    /// Where an every:SPAN period starts counting
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    anchor: Option<Timestamp>,
    /// Binds only this model, or those that a pattern such as `claude-opus-*` means; repeatable; all if none is given
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
            ..Budget::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    max: QuotaMax,
    /// Binds only this model, or those that a pattern such as `claude-opus-*` means; repeatable; all if none is given
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

impl QuotaMax {
    fn given(&self) -> Option<(Unit, u64)> {
        let of = |unit| move |max| (unit, max);
        self.rpm
            .map(of(Unit::RequestsPerMinute))
            .or(self.tpm.map(of(Unit::TokensPerMinute)))
            .or(self.in_flight.map(of(Unit::InFlight)))
    }
}

impl QuotaArgs {
    fn quota(self, id: String) -> Quota {
        let (unit, max) = self.max.given().unwrap_or_default();
        Quota { id, unit: unit.into(), max, models: self.models, ..Quota::default() }
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
        let (server, out) = (&context.server, context.out);
        let (place, changed) = match self {
            Self::Get { place } => return show(out, &place.read(server).await?),
            Self::Set { place: NamedPlace { place }, file, restart_spending, consent } => {
                let policy = policy_file::read(&file)?;
                let found = place.read(server).await?;
                let changed = Changed::to(&place, found, policy, restart_spending);
                if let Some(question) = changed.removes()
                    && !consent.given(out, async || Ok(question)).await?
                {
                    return Ok(());
                }
                (place, changed)
            }
            Self::AddBudget { id, place: NamedPlace { place }, budget, restart_spending } => {
                let mut changed = Changed::of(&place, server).await?.adding(&id, |policy, id| {
                    policy.budgets.push(budget.budget(id));
                })?;
                changed.restart = restart_spending;
                (place, changed)
            }
            Self::AddQuota { id, place: NamedPlace { place }, quota, restart_spending } => {
                let mut changed =
                    Changed::of(&place, server).await?.adding(&id, |policy, id| policy.quotas.push(quota.quota(id)))?;
                changed.restart = restart_spending;
                (place, changed)
            }
            Self::UpdateBudget { id, place: NamedPlace { place }, changes } => {
                let changed = Changed::of(&place, server).await?.updating_budget(&id, *changes)?;
                (place, changed)
            }
            Self::UpdateQuota { id, place: NamedPlace { place }, changes } => {
                let changed = Changed::of(&place, server).await?.updating_quota(&id, changes)?;
                (place, changed)
            }
            Self::Remove { id, place: NamedPlace { place }, consent } => {
                let changed = Changed::of(&place, server).await?.removing(&id)?;
                if let Some(question) = changed.removes()
                    && !consent.given(out, async || Ok(question)).await?
                {
                    return Ok(());
                }
                (place, changed)
            }
        };
        place.write(server, changed.policy, &changed.found, changed.restart).await?;
        show(out, &place.read(server).await?)
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
        out.text(&planned(&found.policy))?;
    } else {
        out.text(&limits::shown(&found.limits))?;
    }
    match unmatched(&found.policy) {
        lines if lines.is_empty() => Ok(()),
        lines => out.text(&format!("\n{lines}")),
    }
}

/// Returns what of the policy binds nothing but requests that state their cost, a line each limit.
fn unmatched(policy: &Policy) -> String {
    let budgets = policy.budgets.iter().map(|budget| (&budget.id, &budget.unmatched_models));
    let quotas = policy.quotas.iter().map(|quota| (&quota.id, &quota.unmatched_models));
    let said = budgets.chain(quotas).filter(|(_, models)| !models.is_empty());
    let lines = said.map(|(id, models)| format!("{id}: no model with a price is {}", models.join(", nor ")));
    lines.collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
mod tests;
