//! The things that requests are charged to, as they are set. Their policies stand beside them, per [`Place`].
//!
//! [`Place`]: super::policy::Place

use serde::{Deserialize, Serialize};

use super::{
    access::Role,
    bounds::OwnBounds,
    id::{KeyId, MemberId, Model, OrganizationId, RuleId, TeamId},
    money::Factor,
    policy::{Models, Policy},
    price::ListPrice,
    time::Timestamp,
};

/// Whether the organization's balance binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WalletMode {
    /// Usage is paid from the balance and refused without it.
    #[default]
    Enforced,
    /// The wallet takes no part: usage is booked, the balance isn't touched.
    Off,
}

/// What an expired reservation pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ExpiryPolicy {
    /// The progress that Extend reported.
    #[default]
    Release,
    /// All that was held, or the reported progress where that is more.
    ChargeHeld,
}

/// Whether an organization is one person's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AccountKind {
    #[default]
    Team,
    /// One member, its owner; no member budgets.
    Personal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    pub kind: AccountKind,
    /// The rule of keys that have none of their own.
    pub default_rule: Option<RuleId>,
    pub credit_factor: Factor,
    pub wallet_mode: WalletMode,
    pub expiry_policy: ExpiryPolicy,
    pub disabled: bool,
    /// By the operator, whatever the organization itself says of `disabled`.
    pub suspended: bool,
    pub deleted: bool,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
    /// The operator's alone; the server's bounds hold where `None`.
    pub bounds: Option<Box<OwnBounds>>,
}

impl Organization {
    /// Whether nothing may run.
    pub fn is_inactive(&self) -> bool {
        self.disabled || self.suspended || self.deleted
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub id: TeamId,
    pub name: String,
    /// The limits of each membership that has none of its own.
    pub member_policy: Policy,
    pub disabled: bool,
    pub deleted: bool,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub disabled: bool,
    pub deleted: bool,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

/// This member in this team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub team: TeamId,
    pub member: MemberId,
    /// Its limits are its own, not the team's `member_policy`.
    pub overrides: bool,
    pub deleted: bool,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub id: KeyId,
    pub member: MemberId,
    pub team: TeamId,
    pub name: String,
    pub secret_prefix: String,
    pub disabled: bool,
    pub deleted: bool,
    /// Refused from this instant on.
    pub expire_time: Option<Timestamp>,
    pub models: Models,
    /// `None` inherits the organization's default.
    pub rule: Option<RuleId>,
    /// Until when the secret before this one is taken too, after a rotation.
    pub previous_until: Option<Timestamp>,
    pub managed: Managed,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

/// The fields of a key in which somebody else than its member restricts it: only managers change those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Managed {
    pub disabled: bool,
    pub expire_time: bool,
    pub models: bool,
}

impl Managed {
    /// Each field of a new key that restricts it.
    pub fn restrictions(key: &Key) -> Self {
        Self {
            disabled: key.disabled,
            expire_time: key.expire_time.is_some(),
            models: !key.models.patterns().is_empty(),
        }
    }

    /// As the API names them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [(self.disabled, "disabled"), (self.expire_time, "expire_time"), (self.models, "models")];
        all.into_iter().filter_map(|(is_managed, name)| is_managed.then_some(name))
    }
}

/// A price in the price book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceEntry {
    pub model: Model,
    pub price: ListPrice,
    pub update_time: Timestamp,
}
