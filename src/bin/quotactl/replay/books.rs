//! What the ledger adds up to, before and after.

use std::str::FromStr as _;

use quotad::api::proto::TransactionTotals;
use rust_decimal::Decimal;

use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Books {
    pub(super) entries: i128,
    /// USD.
    pub(super) cost: Decimal,
    pub(super) input: i128,
    pub(super) output: i128,
}

impl Books {
    pub(super) fn read(totals: &TransactionTotals) -> Result<Self, Failure> {
        let cost = match totals.cost_usd.as_str() {
            "" => Decimal::ZERO,
            text => Decimal::from_str(text)
                .map_err(|_| Failure::other(format!("the ledger's total {text:?} is no amount")))?,
        };
        Ok(Self {
            entries: totals.entries.into(),
            cost,
            input: totals.input_tokens.into(),
            output: totals.output_tokens.into(),
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            entries: self.entries - before.entries,
            cost: self.cost - before.cost,
            input: self.input - before.input,
            output: self.output - before.output,
        }
    }
}
