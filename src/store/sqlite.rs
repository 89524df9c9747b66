//! The books in a SQLite file.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{
    Connection as _, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Audit, Change, ChangeQuery, Entry, EntryQuery, Grouping, ReservationKey, Store, StoreError, StoreStatus,
    StoredReservation, Totals, batch::Batch,
};
use crate::domain::{
    event::{Record, Stream},
    id::{OrganizationId, RequestId},
    lease::Lease,
    snapshot::{Snapshot, SnapshotMark},
};

mod audit;
mod change;
mod find;
mod lease;
mod list;
mod project;
mod project_finance;
mod project_ledger;
mod project_state;
mod states;

#[cfg(test)]
mod tests;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// `books.db` in the data directory.
pub struct SqliteStore {
    /// One connection: the projector's.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's primary result codes: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match (code.map(|code| code & 0xff), &error) {
            (Some(5 | 6 | 8 | 10 | 13 | 14), _) | (_, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// First byte of a detail: how the rest is encoded.
const VERSION: u8 = 2;

fn encode<T: serde::Serialize>(detail: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(detail, vec![VERSION]).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, detail)) => {
            postcard::from_bytes(detail).map_err(|error| StoreError::Damaged(format!("{what}: {error}")))
        }
        version => Err(StoreError::Damaged(format!("{what}: version {:?} isn't known", version.map(|(v, _)| v)))),
    }
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
        MIGRATIONS.run(&writer).await.map_err(|error| StoreError::Damaged(error.to_string()))?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers })
    }
}

/// One transaction: what is new of the records, and the position that they end at.
async fn project(connection: &mut SqliteConnection, records: &[Record]) -> Result<u64, StoreError> {
    let reached: i64 = sqlx::query_scalar("SELECT position FROM projector").fetch_one(&mut *connection).await?;
    let reached = reached.unsigned_abs();
    let new = &records[records.partition_point(|record| record.position <= reached)..];
    let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(reached) };
    if first.position != reached + 1 {
        let problem = format!("position {} can't follow position {reached} of the books", first.position);
        return Err(StoreError::Damaged(problem));
    }
    project::write(connection, &Batch::of(new)).await?;
    project::prune(connection, last.time).await?;
    states::keep_events(connection, new).await?;
    sqlx::query("UPDATE projector SET position = ?").bind(last.position.cast_signed()).execute(connection).await?;
    Ok(last.position)
}

impl SqliteStore {
    /// Writes in one transaction, by `lease` where one is needed.
    async fn write<T: Send>(
        &self,
        lease: Option<Lease>,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut connection = self.writer.acquire().await?;
        let written = in_transaction(&mut connection, lease, work).await;
        if written.is_err() {
            // A transaction that a full disk broke off leaves its connection in doubt.
            let _ = connection.close().await;
        }
        written
    }
}

async fn in_transaction<T>(
    connection: &mut SqliteConnection,
    lease: Option<Lease>,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(lease) = lease {
        lease::check(&mut transaction, lease).await?;
    }
    let done = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}

#[async_trait]
impl Store for SqliteStore {
    async fn status(&self) -> Result<StoreStatus, StoreError> {
        lease::status(&self.readers).await
    }

    async fn take_lease(&self, lease: Lease, holder: &str, former: Option<Lease>) -> Result<(), StoreError> {
        self.write(None, async |connection| lease::take(connection, lease, holder, former).await).await
    }

    async fn renew_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.write(None, async |connection| lease::touch(connection, lease, false).await).await
    }

    async fn release_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.write(None, async |connection| lease::touch(connection, lease, true).await).await
    }

    async fn project(&self, lease: Lease, records: &[Record]) -> Result<u64, StoreError> {
        self.write(Some(lease), async |connection| project(connection, records).await).await
    }

    async fn save_states(&self, lease: Lease, states: &[Snapshot]) -> Result<(), StoreError> {
        self.write(Some(lease), async |connection| states::save(connection, states).await).await
    }

    async fn list_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, StoreError> {
        states::list(&self.readers, after, limit).await
    }

    async fn load_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        states::load(&self.readers, after, limit).await
    }

    async fn read_events(&self, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError> {
        states::read_events(&self.readers, from, at_least).await
    }

    async fn trim_events(&self, lease: Lease, position: u64) -> Result<(), StoreError> {
        self.write(Some(lease), async |connection| states::trim_events(connection, position).await).await
    }

    async fn find_reservation(
        &self,
        organization: &OrganizationId,
        by: ReservationKey<'_>,
    ) -> Result<Option<StoredReservation>, StoreError> {
        find::reservation(&self.readers, organization, by).await
    }

    async fn find_entry(
        &self,
        organization: &OrganizationId,
        request: &RequestId,
    ) -> Result<Option<Entry>, StoreError> {
        find::entry(&self.readers, organization, request).await
    }

    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError> {
        find::numbered(&self.readers, organization, entry).await
    }

    async fn usage(&self, query: &EntryQuery, by: Grouping, limit: u32) -> Result<Vec<(String, Totals)>, StoreError> {
        list::usage(&self.readers, query, by, limit).await
    }

    async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        change::list(&self.readers, query, before, limit).await
    }

    async fn list_entries(
        &self,
        query: &EntryQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        list::entries(&self.readers, query, before, limit).await
    }

    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError> {
        list::total(&self.readers, query).await
    }

    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError> {
        audit::audit(&self.readers, organization).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
