//! What every database does for the books, and the few words in which they differ.

use std::ops::{Deref, DerefMut};

use async_trait::async_trait;
use sqlx::pool::PoolConnection;

use super::{
    StoreError,
    tables::{Kind, Table},
    value::{Row, Rows, Sql},
};
use crate::domain::time::Timestamp;

/// A database that the books can be in.
#[async_trait]
pub(super) trait Database: Send + Sync + 'static {
    /// Reads the books as they are at one moment, for who browses them.
    async fn view(&self) -> Result<Box<dyn Connection>, StoreError>;

    /// Reads a few rows that somebody's money waits for, or that the server itself needs. Never waits for who browses.
    async fn lookup(&self) -> Result<Box<dyn Connection>, StoreError>;

    /// A transaction, of which nothing stays unless it is committed.
    async fn begin(&self) -> Result<Box<dyn Connection>, StoreError>;

    /// Lets what is written go on at the beginning of the database's log, where readers that overlap have kept it from that.
    async fn reuse_log(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self);
}

/// A connection within one transaction.
#[async_trait]
pub(super) trait Connection: Send {
    fn dialect(&self) -> &'static Dialect;

    /// How many rows it touched.
    async fn execute(&mut self, sql: Sql<'_>) -> Result<u64, StoreError>;

    /// All rows, their cells by `kinds`.
    async fn fetch(&mut self, sql: Sql<'_>, kinds: &[Kind]) -> Result<Vec<Row>, StoreError>;

    /// Any number of rows, in as few statements as can be.
    async fn write(&mut self, rows: &Rows<'_>) -> Result<(), StoreError>;

    /// Many new rows of one table, by steps: each is made while those before it are on their way.
    async fn insert(&mut self, table: &'static Table, steps: &mut Steps<'_>) -> Result<(), StoreError>;

    /// Makes room for entries of these times, where a database keeps them by months.
    async fn make_room(&mut self, _times: &[Timestamp]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whatever comes in this transaction takes as long as it takes: all of a ledger is read.
    async fn be_patient(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What is wrong with the file that this reads, where it is one.
    async fn file_damage(&mut self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// Rows of one table, made when they are needed.
pub(super) type Steps<'r> = dyn Iterator<Item = Result<Rows<'r>, StoreError>> + Send + 'r;

/// A connection with a transaction that was begun on it. Unless it comes to its end the connection is closed: one that a full
/// disk or a lost network broke off leaves it in doubt.
pub(super) struct Unfinished<D: sqlx::Database> {
    connection: PoolConnection<D>,
    finished: bool,
}

impl<D: sqlx::Database> Unfinished<D> {
    pub(super) fn new(connection: PoolConnection<D>) -> Self {
        Self { connection, finished: false }
    }

    /// Once the transaction has ended, the connection can be used again.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl<D: sqlx::Database> Drop for Unfinished<D> {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.close_on_drop();
        }
    }
}

impl<D: sqlx::Database> Deref for Unfinished<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        &self.connection
    }
}

impl<D: sqlx::Database> DerefMut for Unfinished<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        &mut self.connection
    }
}

/// SQL that isn't the same everywhere.
#[derive(Debug)]
pub(super) struct Dialect {
    /// After a SELECT: locks the rows until the end of the transaction.
    pub lock: &'static str,
    /// The database's clock in microseconds, where that isn't this machine's.
    pub clock: Option<&'static str>,
    /// Of `writer_lease.renewed_at`, by the database's clock.
    pub now: &'static str,
    /// Whether the lease of `writer_lease` is free for others; null where there is none. `#` is how many seconds it lasts.
    pub lease_is_free: &'static str,
    /// The function that tells where in its first text its second one begins, from 1 on; 0 where it doesn't.
    pub find_text: &'static str,
    /// The minute of `occurred_at`, counted from the Unix epoch.
    pub minute: &'static str,
    /// Whether an entry was booked more than 25 hours after what it books was used: the condition of an index, word by word.
    pub late: &'static str,
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
