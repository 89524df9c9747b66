//! The books in a Postgres database.
//!
//! It may be out of reach at any time, also when the server starts: nothing is connected before it is needed, and the tables are
//! brought up to date on the first connection that succeeds.

use std::{str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, Postgres},
};
use tokio::{sync::OnceCell, time::timeout};

use super::{
    StoreError,
    connection::{Connection, Database, Unfinished},
    error::POOLED,
    query::search::fold_some,
};
use crate::domain::error::Invalid;
use connection::PgSession;

mod cell;
mod connection;
mod url;

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

/// Whether the URL can be told apart into its login and the rest.
pub(super) fn is_sound(url: &str) -> bool {
    url::check(url).is_ok()
}

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
    /// [`Invalid`] when the URL can't be read; it repeats nothing of it.
    pub fn new(url: &str) -> Result<Self, Invalid> {
        let unread = |problem: String| {
            let example = "give one such as postgres://quotad:PASSWORD@db.example.org:5432/quotad?sslmode=verify-full";
            Invalid::new("database_url", format!("{problem}: {example}"))
        };
        url::check(url).map_err(unread)?;
        // The library's own error may hold any part of the URL.
        let options = PgConnectOptions::from_str(url).map_err(|_| unread(String::from("can't be read")))?;
        let options = if options.get_application_name().is_none() { options.application_name(NAME) } else { options };
        let limits = [
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ];
        // Set by a statement and not when connecting: poolers refuse parameters that they don't know. So they do the digits of
        // floats, of which the books have none.
        let options = options.extra_float_digits(None);
        let limits = limits.map(|(name, limit)| format!("SET {name} = {}", limit.as_millis())).join("; ");
        let limits: Arc<str> = limits.into();
        let pool = |most| {
            let limits = Arc::clone(&limits);
            PgPoolOptions::new().max_connections(most).acquire_timeout(CONNECT_TIMEOUT).after_connect(
                move |connection, _| {
                    let limits = Arc::clone(&limits);
                    Box::pin(async move {
                        let limits = AssertSqlSafe(limits.to_string());
                        sqlx::raw_sql(limits).execute(connection).await.map(drop)
                    })
                },
            )
        };
        let writers = pool(WRITERS).connect_lazy_with(options.clone());
        let readers = pool(READERS).connect_lazy_with(options.clone());
        let lookups = pool(LOOKUPS).connect_lazy_with(options.clone());
        Ok(Self { options, writers, readers, lookups, prepared: OnceCell::new() })
    }

    /// A connection to tables that are as this program knows them.
    async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, StoreError> {
        let prepare = async || {
            prepare(&self.options).await?;
            self.fold().await
        };
        self.prepared.get_or_try_init(prepare).await?;
        Ok(pool.acquire().await?)
    }

    /// Folds what older servers wrote.
    async fn fold(&self) -> Result<(), StoreError> {
        loop {
            let mut session = Box::new(PgSession::new(Unfinished::new(self.writers.acquire().await?)));
            session.run("BEGIN").await?;
            let folded = fold_some(&mut *session).await?;
            session.commit().await?;
            if folded == 0 {
                return Ok(());
            }
        }
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

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connected = timeout(CONNECT_TIMEOUT, options.connect()).await;
    let no_answer = |_| StoreError::Unavailable(format!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs()));
    Ok(connected.map_err(no_answer)??)
}

/// Refuses a pooler that would run a statement that another connection prepared under the same name: a setting of one
/// connection must not be seen, or lost, by the other.
async fn check_session(options: &PgConnectOptions) -> Result<(), StoreError> {
    async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<Option<String>, StoreError> {
        let row = timeout(CONNECT_TIMEOUT, sqlx::raw_sql(statement).fetch_one(connection)).await;
        let no_answer = |_| StoreError::Unavailable(format!("no answer for {} seconds", CONNECT_TIMEOUT.as_secs()));
        Ok(row.map_err(no_answer)??.try_get(0)?)
    }
    let (mut one, mut other) = (connect(options).await?, connect(options).await?);
    run(&mut one, "SELECT set_config('quotad.session', 'one', false)").await?;
    run(&mut other, "SELECT set_config('quotad.session', 'other', false)").await?;
    let kept = run(&mut one, "SELECT current_setting('quotad.session', true)").await?;
    one.close().await?;
    other.close().await?;
    if kept.as_deref() == Some("one") { Ok(()) } else { Err(StoreError::Unfit(POOLED.to_owned())) }
}

/// Makes the tables, or brings them up to date.
async fn prepare(options: &PgConnectOptions) -> Result<(), StoreError> {
    check_session(options).await?;
    let mut connection = connect(options).await?;
    let (version, encoding): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')")
            .fetch_one(&mut connection)
            .await?;
    if version < OLDEST {
        let problem = format!("Postgres {} is too old: use version {} or later", version / 10_000, OLDEST / 10_000);
        return Err(StoreError::Unfit(problem));
    }
    if encoding != "UTF8" {
        let problem = format!("the database keeps text as {encoding}: make one with ENCODING 'UTF8'");
        return Err(StoreError::Unfit(problem));
    }
    // A new version of the tables takes as long as it takes.
    let patient = format!("SET statement_timeout = 0; SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    sqlx::raw_sql(AssertSqlSafe(patient)).execute(&mut connection).await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    Ok(connection.close().await?)
}
