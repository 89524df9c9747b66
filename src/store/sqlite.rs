//! The books in a SQLite file.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    StoreError,
    connection::{Connection, Database, Unfinished},
};
use connection::SqliteSession;

mod connection;

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
        // The ends of all indexes stay in memory, and are copied into the file by some seconds' worth. What a statement may have to undo
        // stays in memory, too: else its pages go through a file.
        let writing = options
            .clone()
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "16384")
            .pragma("temp_store", "memory");
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(writing).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers })
    }
}

async fn begin(pool: &SqlitePool, statement: &'static str) -> Result<Box<dyn Connection>, StoreError> {
    let mut connection = Unfinished::new(pool.acquire().await?);
    sqlx::query(statement).execute(&mut *connection).await?;
    Ok(Box::new(SqliteSession(connection)))
}

#[async_trait]
impl Database for SqliteStore {
    async fn view(&self) -> Result<Box<dyn Connection>, StoreError> {
        begin(&self.readers, "BEGIN").await
    }

    async fn begin(&self) -> Result<Box<dyn Connection>, StoreError> {
        begin(&self.writer, "BEGIN IMMEDIATE").await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Row as _, sqlite::SqliteRow};

    use super::*;

    const HOLD: &str =
        "SELECT organization_id, epoch, sequence, request_id, key_id, model, holder, state, admit_time, expire_time,
        held_usd, held_credits, held_tokens, held_requests, reason, hex(reserved), hex(settled) FROM reservations";

    async fn hold(pool: &SqlitePool) -> Vec<String> {
        let row: SqliteRow = sqlx::query(HOLD).fetch_one(pool).await.unwrap();
        (0..row.len()).map(|at| row.try_get_unchecked::<Option<String>, _>(at).unwrap().unwrap_or_default()).collect()
    }

    #[tokio::test]
    async fn holds_are_kept_when_their_table_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(place.path().join("books.db")).create_if_missing(true);
        let before = SqlitePool::connect_with(options).await.unwrap();
        MIGRATIONS.run_to(1, &before).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO organizations VALUES ('acme', 'Acme', 'team', NULL, 0, 'off', 'release', 0, 0, 1, 1);
             INSERT INTO reservations VALUES ('acme', 1, 2, 'r-3', 'key', 'model', 'h', 'released', 4, 5, 6, 7, 8, 9, 'why', x'0A', x'0B')",
        )
        .execute(&before)
        .await
        .unwrap();
        let was = hold(&before).await;
        assert_eq!(was[..8], ["acme", "1", "2", "r-3", "key", "model", "h", "released"]);
        before.close().await;

        let store = SqliteStore::open(place.path()).await.unwrap();
        assert_eq!(hold(&store.readers).await, was);
        let indexes = "SELECT name FROM sqlite_schema WHERE tbl_name = 'reservations' AND type = 'index' AND sql IS NOT NULL ORDER BY 1";
        let indexes: Vec<String> = sqlx::query_scalar(indexes).fetch_all(&store.readers).await.unwrap();
        assert_eq!(indexes, ["reservations_by_request", "reservations_ended"]);
    }
}
