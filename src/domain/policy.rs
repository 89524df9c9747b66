//! Limits as they are set: budgets, quotas, and the policy that holds both.

use serde::{Deserialize, Serialize};

use super::{
    alert::{BudgetAlerts, Threshold},
    error::Invalid,
    id::{KeyId, LimitId, MemberId, RuleId, TeamId},
    money::Nanos,
    period::Period,
};

pub use super::model::{MAX_MODELS, Models};

/// Most limits in one policy.
pub const MAX_LIMITS: usize = 32;
/// Most alert thresholds of one budget besides its caps, and most people that it tells.
pub const MAX_THRESHOLDS: usize = 10;
pub const MAX_RECIPIENTS: usize = 20;

/// One place of the path that carries a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    Key(KeyId),
    Membership(TeamId, MemberId),
    Member(MemberId),
    Team(TeamId),
    Organization,
    /// What a key used under a rule.
    Rule(RuleId, KeyId),
    Allocation(AllocationPlace),
    /// The operator's limits on the organization, beside its own.
    Ceiling,
}

/// Whose allocation of credits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AllocationPlace {
    /// The organization's credits per cycle.
    Organization,
    /// The pool that the members without an allocation of their own share.
    Pool(TeamId),
    Member(TeamId, MemberId),
}

/// The kinds of places at which something can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    Key,
    Membership,
    Member,
    Team,
    Organization,
    Wallet,
    Rule,
    Allocation,
    Ceiling,
}

impl Scope {
    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Membership => "membership",
            Self::Member => "member",
            Self::Team => "team",
            Self::Organization => "organization",
            Self::Wallet => "wallet",
            Self::Rule => "rule",
            Self::Allocation => "allocation",
            Self::Ceiling => "ceiling",
        }
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unit {
    Usd,
    Credits,
    RequestsPerMinute,
    TokensPerMinute,
    InFlight,
}

impl Unit {
    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Credits => "credits",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::InFlight => "in_flight",
        }
    }

    pub fn is_budget(self) -> bool {
        matches!(self, Self::Usd | Self::Credits)
    }
}

/// A cap on USD or credits over a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub id: LimitId,
    pub unit: BudgetUnit,
    /// Hard: nothing is admitted beyond it.
    pub max: Option<Nanos>,
    /// Warns, never refuses.
    pub soft: Option<Nanos>,
    pub period: Period,
    pub models: Models,
    pub alerts: Option<Box<BudgetAlerts>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetUnit {
    Usd,
    Credits,
}

/// A cap on the rate of requests or tokens, or on requests in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub id: LimitId,
    pub unit: QuotaUnit,
    pub max: u64,
    pub models: Models,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaUnit {
    RequestsPerMinute,
    TokensPerMinute,
    InFlight,
}

impl From<BudgetUnit> for Unit {
    fn from(unit: BudgetUnit) -> Self {
        match unit {
            BudgetUnit::Usd => Self::Usd,
            BudgetUnit::Credits => Self::Credits,
        }
    }
}

impl From<QuotaUnit> for Unit {
    fn from(unit: QuotaUnit) -> Self {
        match unit {
            QuotaUnit::RequestsPerMinute => Self::RequestsPerMinute,
            QuotaUnit::TokensPerMinute => Self::TokensPerMinute,
            QuotaUnit::InFlight => Self::InFlight,
        }
    }
}

/// A budget or a quota, as the engine keeps them in one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    Budget(Budget),
    Quota(Quota),
}

impl Limit {
    /// How much it takes in a list: as much for itself as for each model that it names.
    pub fn weight(&self) -> usize {
        1 + self.models().patterns().len()
    }

    pub fn id(&self) -> &LimitId {
        match self {
            Self::Budget(budget) => &budget.id,
            Self::Quota(quota) => &quota.id,
        }
    }

    pub fn unit(&self) -> Unit {
        match self {
            Self::Budget(budget) => budget.unit.into(),
            Self::Quota(quota) => quota.unit.into(),
        }
    }

    pub fn models(&self) -> &Models {
        match self {
            Self::Budget(budget) => &budget.models,
            Self::Quota(quota) => &quota.models,
        }
    }

    /// The hard cap in the unit's own smallest step: nano-units, requests or tokens.
    pub fn max(&self) -> Option<i64> {
        match self {
            Self::Budget(budget) => budget.max.map(Nanos::get),
            Self::Quota(quota) => Some(i64::try_from(quota.max).unwrap_or(i64::MAX)),
        }
    }

    pub fn soft(&self) -> Option<i64> {
        match self {
            Self::Budget(budget) => budget.soft.map(Nanos::get),
            Self::Quota(_) => None,
        }
    }

    pub fn period(&self) -> Option<Period> {
        match self {
            Self::Budget(budget) => Some(budget.period),
            Self::Quota(_) => None,
        }
    }

    /// True where `edited` goes on counting what `self` counted: same id, unit and period (zone and week start included).
    /// Changing `max`, `soft` or the models keeps the usage.
    pub fn is_continued_by(&self, edited: &Self) -> bool {
        self.id() == edited.id() && self.unit() == edited.unit() && self.period() == edited.period()
    }
}

/// The limits of one place of the path: budgets, then quotas, as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    pub limits: Vec<Limit>,
}

impl Policy {
    /// As [`Limit::weight`].
    pub fn weight(&self) -> usize {
        self.limits.iter().map(Limit::weight).sum()
    }

    /// # Errors
    /// [`Invalid`] when there are too many limits, an id stands twice, or a soft cap is above its hard one.
    pub fn checked(limits: Vec<Limit>) -> Result<Self, Invalid> {
        if limits.len() > MAX_LIMITS {
            let problem = format!("{} limits; a policy has at most {MAX_LIMITS}", limits.len());
            return Err(Invalid::new("policy", problem));
        }
        for (i, limit) in limits.iter().enumerate() {
            if limits[..i].iter().any(|other| other.id() == limit.id()) {
                return Err(Invalid::new("policy", format!("the id {} stands twice", limit.id())));
            }
            if let Limit::Budget(Budget { id, max, alerts: Some(alerts), .. }) = limit {
                check_alerts(id, *max, alerts)?;
            }
            let (Some(soft), Some(max)) = (limit.soft(), limit.max()) else { continue };
            if soft > max {
                let (soft, max) = (Nanos::new(soft), Nanos::new(max));
                let problem = format!("the soft cap {soft} of {} is above its hard cap {max}", limit.id());
                return Err(Invalid::new("policy", problem));
            }
        }
        Ok(Self { limits })
    }
}

impl Policy {
    /// The same, as a ceiling: what a credit is worth is the tenant's to say, so that the operator's limits don't count any.
    ///
    /// # Errors
    /// [`Invalid`] for the budget, below `field`, that caps credits.
    pub fn as_ceiling(self, field: &str) -> Result<Self, Invalid> {
        // Budgets come first, so that a limit's place is its place among them.
        match self.limits.iter().position(|limit| limit.unit() == Unit::Credits) {
            None => Ok(self),
            Some(i) => {
                let problem = "is UNIT_CREDITS; a ceiling caps USD or is a quota";
                Err(Invalid::new(format!("{field}.budgets[{i}].unit"), problem))
            }
        }
    }
}

fn check_alerts(id: &LimitId, max: Option<Nanos>, alerts: &BudgetAlerts) -> Result<(), Invalid> {
    let BudgetAlerts { thresholds, recipients } = alerts;
    let invalid = |problem: String| Err(Invalid::new("policy", format!("{id}: {problem}")));
    if thresholds.len() > MAX_THRESHOLDS {
        return invalid(format!("{} alert thresholds; at most {MAX_THRESHOLDS} can be set", thresholds.len()));
    }
    if recipients.len() > MAX_RECIPIENTS {
        return invalid(format!("{} alert recipients; at most {MAX_RECIPIENTS} can be named", recipients.len()));
    }
    for (i, threshold) in thresholds.iter().enumerate() {
        if thresholds[..i].contains(threshold) {
            return invalid(format!("the alert threshold {threshold} stands twice"));
        }
        match (threshold, max) {
            (Threshold::Percent(percent), _) if !(1..=100).contains(percent) => {
                return invalid(format!("an alert at {percent}% isn't from 1% to 100%"));
            }
            (Threshold::Percent(percent), None) => {
                return invalid(format!("an alert at {percent}% needs a hard cap that it is a share of"));
            }
            (Threshold::Amount(amount), Some(max)) if *amount > max => {
                return invalid(format!("the alert threshold {amount} is above its hard cap {max}"));
            }
            _ => {}
        }
    }
    Ok(())
}
