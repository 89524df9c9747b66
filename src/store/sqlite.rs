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
        // The ends of all indexes stay in memory, and are copied into the file by some seconds' worth.
        let writing = options.clone().pragma("cache_size", "-65536").pragma("wal_autocheckpoint", "16384");
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
