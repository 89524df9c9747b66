//! The books in a SQLite file.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{
    Connection as _, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Audit, Change, ChangeQuery, Entry, EntryQuery, Grouping, ReservationKey, Store, StoreError, StoredReservation,
    Totals,
    project::project,
    query::{audit, change, find, list},
};
use crate::domain::{
    event::Record,
    id::{OrganizationId, RequestId},
};
use connection::SqliteSession;

mod connection;

#[cfg(test)]
mod tests;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// `books.db` in the data directory.
pub struct SqliteStore {
    /// One connection: the projector's.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens or makes the file and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be opened, is damaged, or was written by a later version.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(directory.join("books.db"))
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // The journal is trimmed behind the books, so what they have must survive a loss of power.
            .synchronous(SqliteSynchronous::Full);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers })
    }

    #[cfg(test)]
    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn position(&self) -> Result<u64, StoreError> {
        let position: i64 = sqlx::query_scalar("SELECT position FROM projector").fetch_one(&self.readers).await?;
        Ok(position.unsigned_abs())
    }

    async fn project(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let projected = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            project(&mut SqliteSession(&mut transaction), records).await?;
            Ok(transaction.commit().await?)
        };
        let projected: Result<(), StoreError> = projected.await;
        if projected.is_err() {
            // A transaction that a full disk broke off leaves its connection in doubt.
            let _ = connection.close().await;
        }
        projected
    }

    async fn find_reservation(
        &self,
        organization: &OrganizationId,
        by: ReservationKey<'_>,
    ) -> Result<Option<StoredReservation>, StoreError> {
        find::reservation(&mut SqliteSession(&mut *self.readers.acquire().await?), organization, by).await
    }

    async fn find_entry(
        &self,
        organization: &OrganizationId,
        request: &RequestId,
    ) -> Result<Option<Entry>, StoreError> {
        find::entry(&mut SqliteSession(&mut *self.readers.acquire().await?), organization, request).await
    }

    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError> {
        find::numbered(&mut SqliteSession(&mut *self.readers.acquire().await?), organization, entry).await
    }

    async fn usage(&self, query: &EntryQuery, by: Grouping, limit: u32) -> Result<Vec<(String, Totals)>, StoreError> {
        list::usage(&mut SqliteSession(&mut *self.readers.acquire().await?), query, by, limit).await
    }

    async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        change::list(&mut SqliteSession(&mut *self.readers.acquire().await?), query, before, limit).await
    }

    async fn list_entries(
        &self,
        query: &EntryQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        list::entries(&mut SqliteSession(&mut *self.readers.acquire().await?), query, before, limit).await
    }

    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError> {
        list::total(&mut SqliteSession(&mut *self.readers.acquire().await?), query).await
    }

    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError> {
        // One transaction sees one state of the books.
        let mut transaction = self.readers.begin().await?;
        audit::audit(&mut SqliteSession(&mut transaction), organization).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
