//! A policy changed in part, and what stays of it. Whether something that was counted is lost, the server says.

use clap::Args;
use prost_types::Timestamp;
use quotad::{
    api::proto::{Budget, BudgetAlerts, DayOfWeek, Period, PeriodKind, Policy, Quota, Unit},
    client::Connection,
};

use super::{DAYS, QuotaMax, parse_period};
use crate::{
    arguments::{decimal, one_of},
    failure::Failure,
    format::{amount, parse_instant, thousands},
    limits::period,
    names::name,
    place::{Found, Place},
};

/// What to change of a budget; what isn't given stays.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct BudgetChanges {
    /// Hard cap: nothing is admitted beyond it
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    max: Option<String>,
    /// Removes the hard cap: the budget only warns
    #[arg(long, conflicts_with = "max")]
    no_max: bool,
    /// Soft cap: warns, never refuses
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    soft: Option<String>,
    /// Removes the soft cap
    #[arg(long, conflicts_with = "soft")]
    no_soft: bool,
    /// Binds only these models, in place of those before; repeatable
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Binds all models
    #[arg(long, conflicts_with = "models")]
    all_models: bool,
    /// Alerts at these amounts or shares, in place of those before; repeatable
    #[arg(long = "alert", value_name = "AMOUNT|PERCENT")]
    thresholds: Vec<String>,
    /// Alerts at the caps only
    #[arg(long, conflicts_with = "thresholds")]
    no_alert: bool,
    /// Who is alerted, in place of those before; repeatable
    #[arg(long = "alert-to", value_name = "EMAIL")]
    recipients: Vec<String>,
    /// The organization's recipients are alerted
    #[arg(long, conflicts_with = "recipients")]
    no_alert_to: bool,
    #[command(flatten)]
    restarting: Restarting,
}

/// What a budget can only be given by beginning to count again.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Only with --restart-spending")]
struct Restarting {
    /// Lets it count from zero, which another unit or period does where something is counted
    #[arg(long)]
    restart_spending: bool,
    /// What it counts
    #[arg(long, value_parser = one_of::<Unit>(&["usd", "credits"]))]
    unit: Option<Unit>,
    /// monthly, weekly, daily, one-time, or every:SPAN such as every:6h
    #[arg(long, value_parser = parse_period)]
    period: Option<Period>,
    /// IANA zone of a calendar period
    #[arg(long)]
    zone: Option<String>,
    /// First day of a weekly period
    #[arg(long, value_name = "DAY", value_parser = one_of::<DayOfWeek>(&DAYS))]
    week_start: Option<DayOfWeek>,
    /// Where an every:SPAN period starts counting
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    anchor: Option<Timestamp>,
}

/// What to change of a quota; what isn't given stays.
#[derive(Debug, Args)]
pub(crate) struct QuotaChanges {
    #[command(flatten)]
    max: ChangedMax,
    /// Binds only these models, in place of those before; repeatable
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Binds all models
    #[arg(long, conflicts_with = "models")]
    all_models: bool,
    /// Lets it count from zero, which another unit does
    #[arg(long)]
    restart_spending: bool,
}

#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
struct ChangedMax {
    /// Requests in any 60 seconds
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Input and output tokens in any 60 seconds
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Requests open at one time
    #[arg(long, value_name = "N")]
    in_flight: Option<u64>,
    /// As many of the unit that it counts
    #[arg(long, value_name = "N")]
    max: Option<u64>,
}

impl BudgetChanges {
    fn apply(self, budget: &mut Budget) {
        let Self { max, no_max, soft, no_soft, models, all_models, .. } = self;
        change(&mut budget.max, max, no_max);
        change(&mut budget.soft, soft, no_soft);
        change_list(&mut budget.models, models, all_models);
        let mut alerts = budget.alerts.take().unwrap_or_default();
        change_list(&mut alerts.thresholds, self.thresholds, self.no_alert);
        change_list(&mut alerts.recipients, self.recipients, self.no_alert_to);
        budget.alerts = Some(alerts).filter(|alerts| *alerts != BudgetAlerts::default());
        let Restarting { restart_spending: _, unit, period, zone, week_start, anchor } = self.restarting;
        budget.unit = unit.map_or(budget.unit, Into::into);
        let before = budget.period.take().unwrap_or_default();
        let mut after = match period {
            // Another kind keeps of the period before what it can have too.
            Some(given) => Period { time_zone: before.time_zone, week_start: before.week_start, ..given },
            None => before,
        };
        after.time_zone = zone.unwrap_or(after.time_zone);
        after.week_start = week_start.map_or(after.week_start, Into::into);
        after.anchor = anchor.or(after.anchor);
        budget.period = Some(fitting(after));
    }
}

/// Without the fields that a period of its kind doesn't have.
fn fitting(mut period: Period) -> Period {
    let kind = period.kind();
    if matches!(kind, PeriodKind::OneTime | PeriodKind::Every) {
        period.time_zone.clear();
    }
    if kind != PeriodKind::Weekly {
        period.week_start = DayOfWeek::Unspecified.into();
    }
    period
}

fn change(field: &mut String, given: Option<String>, none: bool) {
    match given {
        Some(value) => *field = value,
        None if none => field.clear(),
        None => {}
    }
}

fn change_list(field: &mut Vec<String>, given: Vec<String>, none: bool) {
    if none || !given.is_empty() {
        *field = given;
    }
}

/// A place's policy before a change and after it.
#[derive(Debug)]
pub(crate) struct Changed {
    place: String,
    pub(crate) found: Found,
    pub(crate) policy: Policy,
    /// Whether what was counted may be lost.
    pub(crate) restart: bool,
}

impl Changed {
    pub(crate) async fn of(place: &Place, server: &Connection) -> Result<Self, Failure> {
        let found = place.read(server).await?;
        Ok(Self { place: place.name(), policy: found.policy.clone(), found, restart: false })
    }

    pub(crate) fn to(place: &Place, found: Found, policy: Policy, restart: bool) -> Self {
        Self { place: place.name(), found, policy, restart }
    }

    /// # Errors
    /// [`Failure`] where the place has a limit of that id.
    pub(crate) fn adding(mut self, id: &str, add: impl FnOnce(&mut Policy, String)) -> Result<Self, Failure> {
        let update = match (budget(&self.policy, id), quota(&self.policy, id)) {
            (None, None) => {
                add(&mut self.policy, id.to_owned());
                return Ok(self);
            }
            (Some(_), _) => "update-budget",
            (None, Some(_)) => "update-quota",
        };
        Err(Failure::other(format!(
            "{} has a limit {id} already: {}\n  change it with `quotactl policy {update} {id}`, or give another id",
            self.place,
            self.told(id),
        )))
    }

    /// # Errors
    /// [`Failure`] where there is no such budget or nothing to change.
    pub(crate) fn updating_budget(mut self, id: &str, changes: BudgetChanges) -> Result<Self, Failure> {
        self.restart = changes.restarting.restart_spending;
        let Some(budget) = self.policy.budgets.iter_mut().find(|budget| budget.id == id) else {
            return Err(self.missing(id, "budget", quota(&self.policy, id).map(|_| "update-quota")));
        };
        changes.apply(budget);
        self.finished("update-budget")
    }

    /// # Errors
    /// As [`Self::updating_budget`].
    pub(crate) fn updating_quota(mut self, id: &str, changes: QuotaChanges) -> Result<Self, Failure> {
        let Some(quota) = self.policy.quotas.iter_mut().find(|quota| quota.id == id) else {
            return Err(self.missing(id, "quota", budget(&self.policy, id).map(|_| "update-budget")));
        };
        let ChangedMax { rpm, tpm, in_flight, max } = changes.max;
        if let Some((unit, max)) = (QuotaMax { rpm, tpm, in_flight }).given() {
            (quota.unit, quota.max) = (unit.into(), max);
        }
        quota.max = max.unwrap_or(quota.max);
        change_list(&mut quota.models, changes.models, changes.all_models);
        self.restart = changes.restart_spending;
        self.finished("update-quota")
    }

    /// # Errors
    /// [`Failure`] where there is no such limit.
    pub(crate) fn removing(mut self, id: &str) -> Result<Self, Failure> {
        if budget(&self.policy, id).is_none() && quota(&self.policy, id).is_none() {
            return Err(self.missing(id, "limit", None));
        }
        self.policy.budgets.retain(|budget| budget.id != id);
        self.policy.quotas.retain(|quota| quota.id != id);
        Ok(self)
    }

    fn finished(self, command: &str) -> Result<Self, Failure> {
        if self.policy == self.found.policy {
            return Err(Failure::other(format!("nothing to change; see `quotactl policy {command} --help`")));
        }
        Ok(self)
    }

    /// What to ask where limits go, and with them what they counted.
    pub(crate) fn removes(&self) -> Option<String> {
        let gone = ids(&self.found.policy).filter(|id| !ids(&self.policy).any(|other| other == *id));
        let gone: Vec<_> = gone.map(|id| format!("{id} ({})", self.told(id))).collect();
        let (place, what) = (&self.place, gone.join(", "));
        (!gone.is_empty()).then(|| format!("{place} loses {what}. Remove?"))
    }

    fn missing(&self, id: &str, kind: &str, instead: Option<&str>) -> Failure {
        let there: Vec<_> = ids(&self.policy).collect();
        let there =
            if there.is_empty() { "it has no limits".to_owned() } else { format!("it has {}", there.join(", ")) };
        let instead = instead.map(|command| format!("\n  {id} is changed with `quotactl policy {command}`"));
        Failure::other(format!("{} has no {kind} {id:?}; {there}{}", self.place, instead.unwrap_or_default()))
    }

    /// `10 usd monthly, Europe/Berlin, soft 8; spent 0.0004`.
    fn told(&self, id: &str) -> String {
        let mut text = match (budget(&self.found.policy, id), quota(&self.found.policy, id)) {
            (Some(budget), _) => told(budget),
            (None, Some(quota)) => format!("{} {}", thousands(quota.max), name::<Unit>(quota.unit)),
            (None, None) => String::new(),
        };
        if let Some(limit) = self.found.limits.iter().find(|limit| limit.limit_id == id) {
            text = format!("{text}; spent {}", amount(&limit.spent));
        }
        text
    }
}

fn told(budget: &Budget) -> String {
    let every = budget.period.as_ref().map(period).unwrap_or_default();
    let caps = [("", &budget.max), ("soft ", &budget.soft)];
    let caps = caps.into_iter().filter(|(_, cap)| !cap.is_empty()).map(|(of, cap)| format!("{of}{}", amount(cap)));
    format!("{} {} {every}", caps.collect::<Vec<_>>().join(", "), name::<Unit>(budget.unit))
}

fn budget<'a>(policy: &'a Policy, id: &str) -> Option<&'a Budget> {
    policy.budgets.iter().find(|budget| budget.id == id)
}

fn quota<'a>(policy: &'a Policy, id: &str) -> Option<&'a Quota> {
    policy.quotas.iter().find(|quota| quota.id == id)
}

fn ids(policy: &Policy) -> impl Iterator<Item = &str> {
    policy.budgets.iter().map(|budget| &*budget.id).chain(policy.quotas.iter().map(|quota| &*quota.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(id: &str) -> Budget {
        let period =
            Period { kind: PeriodKind::Monthly.into(), time_zone: "Europe/Berlin".into(), ..Period::default() };
        Budget {
            id: id.into(),
            unit: Unit::Usd.into(),
            max: "10".into(),
            soft: "8".into(),
            period: Some(period),
            ..Budget::default()
        }
    }

    fn changed() -> Changed {
        let quotas =
            vec![Quota { id: "rpm".into(), unit: Unit::RequestsPerMinute.into(), max: 60, ..Quota::default() }];
        let policy = Policy { budgets: vec![budget("monthly")], quotas };
        let found = Found::new(Some(policy.clone()), Vec::new(), String::new());
        Changed { place: "member ada".into(), found, policy, restart: false }
    }

    #[test]
    fn only_what_is_given_of_a_budget_changes() {
        let changes = BudgetChanges { max: Some("20".into()), ..BudgetChanges::default() };
        let after = changed().updating_budget("monthly", changes).unwrap();
        assert_eq!(after.policy.budgets, [Budget { max: "20".into(), ..budget("monthly") }]);
        assert!(after.removes().is_none());
    }

    #[test]
    fn whether_spending_restarts_is_the_servers_to_say() {
        let zone = |restart_spending| BudgetChanges {
            restarting: Restarting { restart_spending, zone: Some("UTC".into()), ..Restarting::default() },
            ..BudgetChanges::default()
        };
        for said in [false, true] {
            assert_eq!(changed().updating_budget("monthly", zone(said)).unwrap().restart, said);
        }
    }

    #[test]
    fn an_id_that_is_taken_is_not_added() {
        for (id, command) in [("monthly", "update-budget"), ("rpm", "update-quota")] {
            let refused = changed().adding(id, |_, _| ()).unwrap_err().to_string();
            assert!(refused.contains(command) && refused.contains("member ada"), "{refused}");
        }
        assert!(changed().adding("day", |policy, id| policy.budgets.push(super::tests::budget(&id))).is_ok());
    }

    #[test]
    fn a_file_that_lacks_a_limit_is_asked_about() {
        let place = changed();
        let less = Policy { quotas: Vec::new(), ..place.policy.clone() };
        let question = Changed { policy: less, ..place }.removes().unwrap();
        assert!(question.contains("rpm (60 requests_per_minute)"), "{question}");
    }

    #[test]
    fn what_is_not_there_names_what_is() {
        let refused = changed().removing("tpm").unwrap_err().to_string();
        assert!(refused.contains("\"tpm\"") && refused.contains("monthly, rpm"), "{refused}");
        assert!(changed().removing("rpm").unwrap().policy.quotas.is_empty());
    }
}
