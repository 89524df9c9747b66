//! What people are told without asking: soft budgets, used-up limits, low wallets, failed payments, requests and invitations.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{
    contact::WebhookSecret,
    id::{Actor, AlertId},
    money::Nanos,
    time::Timestamp,
};

/// When a budget tells of itself, and whom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BudgetAlerts {
    /// Besides the soft cap and the hard one.
    pub thresholds: Vec<Threshold>,
    /// E-mail addresses; the organization's own recipients if empty.
    pub recipients: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Threshold {
    Amount(Nanos),
    /// Of the hard cap, 1 to 100.
    Percent(u8),
}

impl Threshold {
    /// In nano-units; `None` for a share of no cap.
    pub fn amount(self, max: Option<i64>) -> Option<i64> {
        match self {
            Self::Amount(amount) => Some(amount.get()),
            Self::Percent(percent) => {
                let share = i128::from(max?) * i128::from(percent);
                // Rounded up, so that it isn't told early.
                i64::try_from((share + 99).div_euclid(100)).ok()
            }
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => write!(f, "{amount}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Whom an organization's alerts go to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AlertSettings {
    /// E-mail addresses; the owners, admins and finance admins if empty.
    pub recipients: Vec<String>,
    pub webhook: Option<Webhook>,
    /// Alerts when the balance falls below it.
    pub low_balance: Option<Nanos>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub url: String,
    pub secret: WebhookSecret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AlertKind {
    SoftBudget,
    BudgetReached,
    WalletLow,
    TopUpFailed,
    AutoTopUpDisabled,
    CreditRequested,
    CreditDecided,
    Invitation,
    SignupCreditsMissing,
    Test,
}

impl AlertKind {
    pub const ALL: [Self; 10] = [
        Self::SoftBudget,
        Self::BudgetReached,
        Self::WalletLow,
        Self::TopUpFailed,
        Self::AutoTopUpDisabled,
        Self::CreditRequested,
        Self::CreditDecided,
        Self::Invitation,
        Self::SignupCreditsMissing,
        Self::Test,
    ];

    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftBudget => "soft_budget",
            Self::BudgetReached => "budget_reached",
            Self::WalletLow => "wallet_low",
            Self::TopUpFailed => "top_up_failed",
            Self::AutoTopUpDisabled => "auto_top_up_disabled",
            Self::CreditRequested => "credit_requested",
            Self::CreditDecided => "credit_decided",
            Self::Invitation => "invitation",
            Self::SignupCreditsMissing => "signup_credits_missing",
            Self::Test => "test",
        }
    }
}

/// Something to tell people, once per cause and period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub id: AlertId,
    pub kind: AlertKind,
    /// One line.
    pub subject: String,
    /// What it is about, as label and value.
    pub facts: Vec<(SmolStr, String)>,
    pub recipients: Vec<String>,
    pub mail: Delivery,
    pub webhook: Delivery,
    pub create_time: Timestamp,
    pub acknowledged: Option<(Actor, Timestamp)>,
}

/// Why a mail waits that nothing is wrong with.
pub const MAIL_WAITS: &str = "waits: so many mails went out within an hour as may";
/// Stands for a mail server's words where they aren't told.
pub const MAIL_FAILED: &str = "the mail couldn't be delivered; the operator is told why";

/// What became of it on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// The channel isn't asked for.
    None,
    Pending {
        attempts: u32,
        /// Not before.
        next: Timestamp,
        /// Why the last attempt failed.
        problem: String,
        /// Those that it hasn't reached yet; of mail alone.
        left: Vec<String>,
    },
    Delivered(Timestamp),
    /// Given up.
    Failed(String),
    /// There is no way to deliver it: no recipient, or no mail server configured.
    Undeliverable(String),
}

impl Delivery {
    pub fn due(now: Timestamp, left: Vec<String>) -> Self {
        Self::Pending { attempts: 0, next: now, problem: String::new(), left }
    }

    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Returns the same as an organization may know it: a mail server's words are for the operator.
    #[must_use]
    pub fn told(self) -> Self {
        match self {
            Self::Failed(_) => Self::Failed(String::from(MAIL_FAILED)),
            Self::Pending { attempts, next, problem, left } if !problem.is_empty() && problem != MAIL_WAITS => {
                Self::Pending { attempts, next, problem: String::from(MAIL_FAILED), left }
            }
            other => other,
        }
    }
}

/// The state of an alert over its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AlertState {
    Pending,
    Delivered,
    Failed,
    Undeliverable,
}

impl AlertState {
    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Undeliverable => "undeliverable",
        }
    }
}

impl Alert {
    /// Delivered where one channel delivered it; pending while one still may.
    pub fn state(&self) -> AlertState {
        let channels = [&self.mail, &self.webhook];
        let any = |of: fn(&Delivery) -> bool| channels.into_iter().any(of);
        if any(|channel| matches!(channel, Delivery::Delivered(_))) {
            AlertState::Delivered
        } else if any(Delivery::is_pending) {
            AlertState::Pending
        } else if any(|channel| matches!(channel, Delivery::Failed(_))) {
            AlertState::Failed
        } else {
            AlertState::Undeliverable
        }
    }

    /// When the next attempt is due on any channel.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        let next = |channel: &Delivery| match channel {
            Delivery::Pending { next, .. } => Some(*next),
            _ => None,
        };
        [next(&self.mail), next(&self.webhook)].into_iter().flatten().min()
    }
}
