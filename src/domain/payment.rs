//! Money that comes in: payment methods, orders to top up, automatic top-up, and corrections of the ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    allocation::Drawn,
    event::{EntryKind, Labels, LimitNo},
    id::{Actor, KeyId, MemberId, MethodId, Model, OrderId, RequestId, TeamId},
    money::Nanos,
    policy::Unit,
    time::Timestamp,
};

/// How one member pays. Only the provider's token for it is kept, and only that member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentMethod {
    pub id: MethodId,
    pub member: MemberId,
    /// Such as `Visa …4242`.
    pub label: String,
    /// The provider's own name for it: no card number.
    pub token: String,
    pub deleted: bool,
    pub create_time: Timestamp,
}

/// What holds for orders of members. The operator's own are exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderTerms {
    /// A payment provider charges what is ordered, so that each order needs a payment method.
    pub by_provider: bool,
    /// Most of one order.
    pub amount: Nanos,
    /// Orders of one member that may be pending.
    pub pending: u32,
}

impl Default for OrderTerms {
    fn default() -> Self {
        Self { by_provider: false, amount: Nanos::units(10_000), pending: 10 }
    }
}

/// Whether a text holds what may be the number of a payment card: 13 to 19 digits with spaces and dashes between them, the first
/// from 2 to 6, that pass the check by Luhn. A number begins and ends where a run of digits does.
pub fn holds_card_number(text: &str) -> bool {
    let is_between = |c: char| c.is_whitespace() || matches!(c, '-' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}');
    let other = |c: char| !c.is_ascii_digit() && !is_between(c);
    text.split(other).any(|part| {
        let runs: Vec<&str> = part.split(is_between).filter(|run| !run.is_empty()).collect();
        (0..runs.len()).any(|first| begins_card_number(&runs[first..]))
    })
}

fn begins_card_number(runs: &[&str]) -> bool {
    let mut digits = String::new();
    for run in runs {
        digits.push_str(run);
        if digits.len() > 19 {
            return false;
        }
        if digits.len() >= 13 && matches!(digits.as_bytes()[0], b'2'..=b'6') && passes_luhn(&digits) {
            return true;
        }
    }
    false
}

fn passes_luhn(digits: &str) -> bool {
    let weigh = |(i, digit): (usize, u8)| {
        let digit = u32::from(digit - b'0');
        if i % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
    };
    digits.bytes().rev().enumerate().map(weigh).sum::<u32>().is_multiple_of(10)
}

/// An order to pay an amount into the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpOrder {
    pub id: OrderId,
    /// Unique for ever; also what the provider tells repeats by.
    pub request: RequestId,
    pub fingerprint: u64,
    pub amount: Nanos,
    pub source: OrderSource,
    pub method: Option<MethodId>,
    pub actor: Actor,
    pub reason: String,
    pub state: OrderState,
    /// The provider's name for the payment, once it has told.
    pub reference: String,
    /// Why it failed or was reversed, in the provider's words.
    pub failure: String,
    /// The provider took the order: it isn't sent again.
    pub placed: bool,
    /// The ledger entry that credited it.
    pub entry: Option<u64>,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

impl TopUpOrder {
    /// Why it failed or was reversed, as everybody may know it: a provider's words are for whoever pays, and for the operator.
    pub fn told_failure(&self) -> &str {
        let is_somebodys = self.method.is_some() || self.source == OrderSource::Member;
        if is_somebodys { told_reason(&self.failure) } else { &self.failure }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderSource {
    /// Settled at once: the operator has the money.
    Operator,
    Member,
    /// The wallet ran low.
    Automatic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderState {
    Pending,
    Settled,
    Failed,
    Reversed,
}

impl OrderState {
    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Reversed => "reversed",
        }
    }
}

/// What a provider says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentOutcome {
    Settled,
    /// May succeed later: no funds at present, the bank out of reach.
    SoftDeclined,
    /// Won't succeed: the card was stolen or has expired.
    HardDeclined,
    /// Settled before, and taken back.
    Reversed,
}

/// Without a monthly cap one automatic order is at most so many times the amount.
const MOST_AMOUNTS: i64 = 10;

/// Keeps the wallet from running dry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoTopUp {
    pub enabled: bool,
    /// Fires when balance − held falls below it.
    pub threshold: Nanos,
    /// Least of one order.
    pub amount: Nanos,
    /// Orders up to this balance; `None` up to the threshold.
    pub target: Option<Nanos>,
    pub method: Option<MethodId>,
    /// Most that a calendar month (UTC) may order.
    pub monthly_cap: Option<Nanos>,
    /// Soft declines in a row.
    pub declines: u8,
    /// Orders nothing before this instant: after a soft decline.
    pub pause_until: Option<Timestamp>,
    /// Why it switched itself off.
    pub disabled_reason: String,
    pub update_time: Timestamp,
}

impl AutoTopUp {
    /// The balance that an order fills the wallet up to.
    pub fn target(&self) -> Nanos {
        self.target.unwrap_or(self.threshold).max(self.threshold)
    }

    /// What an order comes to at this balance: what is missing, at least the amount, and at most what the month's cap leaves or,
    /// without a cap, ten times the amount.
    pub fn size_of_order(&self, balance: Nanos, ordered: Nanos) -> Nanos {
        let most = match self.monthly_cap {
            Some(cap) => (cap - ordered).at_least_zero(),
            None => Nanos::new(self.amount.get().saturating_mul(MOST_AMOUNTS)),
        };
        (self.target() - balance).max(self.amount).min(most)
    }

    /// The first field by which this charges more than `before` did, or sooner.
    pub fn enlarges(&self, before: &Self) -> Option<&'static str> {
        let caps = |cap: Option<Nanos>| cap.unwrap_or(Nanos::MAX);
        let fields = [
            ("enabled", self.enabled && !before.enabled),
            ("threshold_usd", self.threshold > before.threshold),
            ("amount_usd", self.amount > before.amount),
            ("target_usd", self.target() > before.target()),
            ("monthly_cap_usd", caps(self.monthly_cap) > caps(before.monthly_cap)),
        ];
        fields.into_iter().find(|(_, is_larger)| *is_larger).map(|(field, _)| field)
    }

    /// Why it switched itself off, as everybody may know it.
    pub fn told_reason(&self) -> &str {
        if self.method.is_some() { told_reason(&self.disabled_reason) } else { &self.disabled_reason }
    }
}

// Why nobody is charged any more, in this server's own words. They say nothing of a card, and are told to everybody.
pub const ORGANIZATION_DELETED: &str = "the organization was deleted";
pub const METHOD_MISSING: &str = "no payment method was named, which the payment provider needs";
pub const METHOD_DELETED: &str = "the payment method was deleted";
pub const OWNER_INACTIVE: &str = "the payment method's owner is no active member any more";
pub const OWNER_DEMOTED: &str = "the payment method's owner is neither owner nor admin any more";

/// Stands for a provider's words where they aren't told.
pub const WITHHELD: &str = "the payment failed; only the payment method's owner is told why";

fn told_reason(reason: &str) -> &str {
    match reason {
        "" | ORGANIZATION_DELETED | METHOD_MISSING | METHOD_DELETED | OWNER_INACTIVE | OWNER_DEMOTED => reason,
        _ => WITHHELD,
    }
}

/// An entry that puts another one right. The other stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    pub entry: u64,
    /// Refund, Adjustment or Reversal.
    pub kind: EntryKind,
    pub request: RequestId,
    pub fingerprint: u64,
    /// What it gives back of what the entry came to; negative where it takes.
    pub amount: Nanos,
    /// What of that the operator's ceiling follows: less where it wasn't the operator's word.
    pub of_ceiling: Nanos,
    /// What it does to the balance: the amount, or nothing where the entry left the balance alone.
    pub wallet: Nanos,
    /// Of the wallet, after this entry.
    pub balance: Nanos,
    /// The entry that it corrects.
    pub corrects: u64,
    pub reason: String,
    /// `None` where money that came in is corrected.
    pub usage: Option<Box<CorrectedUsage>>,
}

/// Whose usage a correction puts right, as the corrected entry says, and what it changes beside the balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectedUsage {
    pub occurred_at: Timestamp,
    pub key: KeyId,
    pub member: MemberId,
    pub team: TeamId,
    pub model: Model,
    pub labels: Labels,
    /// Negative where it gives back.
    pub cost: Nanos,
    pub credits: Nanos,
    pub limits: Arc<[CorrectedLimit]>,
    /// Change of what the team's pool of credits bears.
    pub drawn: Drawn,
}

/// What a correction adds to a budget, in a window that the corrected entry counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectedLimit {
    pub limit: LimitNo,
    pub unit: Unit,
    pub window: Timestamp,
    /// Negative where it gives back.
    pub amount: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_found_wherever_they_stand() {
        let numbers = [
            "4242424242424242",
            "my card 4242 4242 4242 4242, 12/27",
            "4242-4242-4242-4242 12",
            "3782 822463 10005",
            "No.5555555555554444!",
            "2223 0031 2200 3222",
            "4222222222222",
            "6011 0009 9013 9424 and 7",
            "4242\u{a0}4242\u{2013}4242 4242",
            "12 4242424242424242",
        ];
        for text in numbers {
            assert!(holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_no_card_numbers() {
        let others = [
            "",
            "Visa …4242",
            "4242424242424241",
            "424242424242",
            "1234567812345670",
            "7992739871300000000",
            "42424242424242424242",
            "4242 4242 4242 x 4242",
            "+49 30 901820",
        ];
        for text in others {
            assert!(!holds_card_number(text), "{text}");
        }
    }
}
