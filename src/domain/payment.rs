//! Money that comes in: payment methods, orders to top up, automatic top-up, and corrections of the ledger.

use serde::{Deserialize, Serialize};

use super::{
    event::EntryKind,
    id::{Actor, MemberId, MethodId, OrderId, RequestId},
    money::Nanos,
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
    /// Why it failed, in the provider's words.
    pub failure: String,
    /// The provider took the order: it isn't sent again.
    pub placed: bool,
    /// The ledger entry that credited it.
    pub entry: Option<u64>,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderSource {
    /// Settled at once: the operator has the money.
    Operator,
    Member,
    /// The wallet ran low.
    Automatic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Keeps the wallet from running dry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoTopUp {
    pub enabled: bool,
    /// Fires when balance − held falls below it.
    pub threshold: Nanos,
    pub amount: Nanos,
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

/// An entry that puts another one right. The other stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    pub entry: u64,
    /// Refund, Adjustment or Reversal.
    pub kind: EntryKind,
    pub request: RequestId,
    pub fingerprint: u64,
    /// What it does to the balance.
    pub amount: Nanos,
    /// Of the wallet, after this entry.
    pub balance: Nanos,
    /// The entry that it corrects.
    pub corrects: u64,
    pub reason: String,
}
