//! What every database does for the books, and the few words in which they differ.

use async_trait::async_trait;

use super::{
    StoreError,
    tables::Kind,
    value::{Row, Rows, Sql},
};

/// A connection within one transaction, or one that reads.
#[async_trait]
pub(super) trait Connection: Send {
    fn dialect(&self) -> &'static Dialect;

    /// How many rows it touched.
    async fn execute(&mut self, sql: Sql<'_>) -> Result<u64, StoreError>;

    /// All rows, their cells by `kinds`.
    async fn fetch(&mut self, sql: Sql<'_>, kinds: &[Kind]) -> Result<Vec<Row>, StoreError>;

    /// Any number of rows, in as few statements as can be.
    async fn write(&mut self, rows: &Rows<'_>) -> Result<(), StoreError>;
}

/// SQL that isn't the same everywhere.
#[derive(Debug)]
pub(super) struct Dialect {
    /// After a SELECT: locks the rows until the end of the transaction.
    pub lock: &'static str,
    /// The UTC day of `occurred_at`, as `2026-01-31`.
    pub day: &'static str,
    /// A sum of money, in whole units and the nano-units beyond: the whole could pass the integers. `#` is what is summed.
    pub money_sum: &'static str,
    /// First entry that charged a budget something else than it cost, of organization `$1`.
    pub wrong_charge: &'static str,
    /// Number of the limit, start of the window in microseconds, and as by [`Self::money_sum`] what the entries of
    /// organization `$1` charged to it.
    pub charge_sums: &'static str,
}

impl Dialect {
    pub(super) fn sum_of(&self, money: &str) -> String {
        self.money_sum.replace('#', money)
    }
}
