//! The books in a Postgres database.
//!
//! It may be out of reach at any time, also when the server starts: nothing is connected before it is needed, and the tables are
//! brought up to date on the first connection that succeeds.

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, Postgres},
};
use tokio::{sync::OnceCell, time::timeout};

use super::{
    StoreError,
    connection::{Connection, Database, Unfinished},
};
use crate::domain::error::Invalid;
use connection::PgSession;

mod cell;
mod connection;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

const NAME: &str = "quotad";
/// For a connection, whether new or one that is in use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After it the database gives a statement up, unless the session was told to be patient.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// `server_version_num` of the oldest that can keep rows of partitions from being changed.
const OLDEST: i32 = 130_000;
/// One projects, another keeps states, and the lease is renewed all the same.
const WRITERS: u32 = 3;
const READERS: u32 = 6;
/// For what money waits for: a few rows each.
const LOOKUPS: u32 = 3;
const VIEW: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A database of its own, or a schema of its own by the URL's `options=-c search_path=…`.
pub struct PostgresStore {
    options: PgConnectOptions,
    writers: PgPool,
    readers: PgPool,
    lookups: PgPool,
    prepared: OnceCell<()>,
}

impl PostgresStore {
    /// Doesn't connect yet.
    ///
    /// # Errors
    /// [`Invalid`] when the URL can't be read.
    pub fn new(url: &str) -> Result<Self, Invalid> {
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            let example = "give one such as postgres://quotad:PASSWORD@db.example.org:5432/quotad?sslmode=verify-full";
            Invalid::new("database_url", format!("can't be read ({error}): {example}"))
        })?;
        let options = if options.get_application_name().is_none() { options.application_name(NAME) } else { options };
        let limits = [
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ];
        let options = options.options(limits.map(|(name, limit)| (name, limit.as_millis().to_string())));
        let pool = |most| PgPoolOptions::new().max_connections(most).acquire_timeout(CONNECT_TIMEOUT);
        let writers = pool(WRITERS).connect_lazy_with(options.clone());
        let readers = pool(READERS).connect_lazy_with(options.clone());
        let lookups = pool(LOOKUPS).connect_lazy_with(options.clone());
        Ok(Self { options, writers, readers, lookups, prepared: OnceCell::new() })
    }

    /// A connection to tables that are as this program knows them.
    async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, StoreError> {
        self.prepared.get_or_try_init(|| prepare(&self.options)).await?;
        Ok(pool.acquire().await?)
    }

    async fn begin(&self, pool: &PgPool, statement: &'static str) -> Result<Box<dyn Connection>, StoreError> {
        let mut session = PgSession::new(Unfinished::new(self.acquire(pool).await?));
        session.run(statement).await?;
        Ok(Box::new(session))
    }
}

#[async_trait]
impl Database for PostgresStore {
    async fn view(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.begin(&self.readers, VIEW).await
    }

    async fn lookup(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.begin(&self.lookups, VIEW).await
    }

    async fn begin(&self) -> Result<Box<dyn Connection>, StoreError> {
        // What follows the lock must see what was written while it was waited for.
        self.begin(&self.writers, "BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.lookups.close().await;
        self.writers.close().await;
    }
}

/// Makes the tables, or brings them up to date.
async fn prepare(options: &PgConnectOptions) -> Result<(), StoreError> {
    let connected = timeout(CONNECT_TIMEOUT, options.connect()).await;
    let no_answer = |_| StoreError::Unavailable(format!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs()));
    let mut connection: PgConnection = connected.map_err(no_answer)??;
    let (version, encoding): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')")
            .fetch_one(&mut connection)
            .await?;
    if version < OLDEST {
        let problem = format!("Postgres {} is too old: use version {} or later", version / 10_000, OLDEST / 10_000);
        return Err(StoreError::Damaged(problem));
    }
    if encoding != "UTF8" {
        let problem = format!("the database keeps text as {encoding}: make one with ENCODING 'UTF8'");
        return Err(StoreError::Damaged(problem));
    }
    // A new version of the tables takes as long as it takes.
    sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    Ok(connection.close().await?)
}
