//! The books in a SQLite file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::{
    Sqlite, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{sync::RwLock, time::timeout};

use super::{
    StoreError,
    connection::{Connection, Database, Unfinished},
    query::search::fold_some,
};
use crate::clock::Stopwatch;
use connection::SqliteSession;

mod connection;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections for who browses.
const READERS: u32 = 4;
/// For what money waits for: a few rows each.
const LOOKUPS: u32 = 2;
/// Bytes of the write-ahead log at which readers are held off, so that it is used again from its beginning. SQLite does so by itself
/// at half of it, in any moment without readers.
const LONGEST_LOG: u64 = 128 << 20;
/// How long readers are held off for those that have begun to end. A verification reads for longer: the log is used again after it.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Between two times that readers are held off: what is written waits meanwhile, too.
const BETWEEN_WAITS: Duration = Duration::from_secs(2);

/// `books.db` in the data directory.
pub struct SqliteStore {
    /// One connection: the projector's.
    writer: SqlitePool,
    readers: SqlitePool,
    lookups: SqlitePool,
    /// Held by who browses, together, or alone by who lets the log be used again.
    browsing: Arc<RwLock<()>>,
    log: PathBuf,
    longest_log: u64,
    /// Since readers were held off; `None` before the first time.
    held_off: Mutex<Option<Stopwatch>>,
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
            .pragma("journal_size_limit", LONGEST_LOG.to_string())
            .pragma("temp_store", "memory");
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(writing).await?;
        MIGRATIONS.run(&writer).await?;
        let options = options.read_only(true);
        let lookups = SqlitePoolOptions::new().max_connections(LOOKUPS).connect_with(options.clone()).await?;
        // Each on a thread that inherits the priority of the one that first browses.
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options);
        let log = directory.join("books.db-wal");
        let (browsing, held_off) = (Arc::default(), Mutex::default());
        let store = Self { writer, readers, lookups, browsing, log, longest_log: LONGEST_LOG, held_off };
        // What older servers wrote.
        loop {
            let mut session = Database::begin(&store).await?;
            let folded = fold_some(&mut *session).await?;
            session.commit().await?;
            if folded == 0 {
                return Ok(store);
            }
        }
    }
}

async fn begin(pool: &SqlitePool, statement: &'static str) -> Result<Unfinished<Sqlite>, StoreError> {
    let mut connection = Unfinished::new(pool.acquire().await?);
    sqlx::query(statement).execute(&mut *connection).await?;
    Ok(connection)
}

#[async_trait]
impl Database for SqliteStore {
    async fn view(&self) -> Result<Box<dyn Connection>, StoreError> {
        let mut connection = Unfinished::new(self.readers.acquire().await?);
        // After a connection is there: who waits for one keeps nobody off.
        let browsing = Arc::clone(&self.browsing).read_owned().await;
        sqlx::query("BEGIN").execute(&mut *connection).await?;
        Ok(Box::new(SqliteSession::new(connection, Some(browsing))))
    }

    async fn lookup(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(SqliteSession::new(begin(&self.lookups, "BEGIN").await?, None)))
    }

    async fn begin(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(SqliteSession::new(begin(&self.writer, "BEGIN IMMEDIATE").await?, None)))
    }

    async fn reuse_log(&self) -> Result<(), StoreError> {
        let length = fs::metadata(&self.log).map_or(0, |log| log.len());
        let is_recent = |since: &Option<Stopwatch>| since.as_ref().is_some_and(|since| since.elapsed() < BETWEEN_WAITS);
        if length <= self.longest_log || is_recent(&self.held_off.lock()) {
            return Ok(());
        }
        *self.held_off.lock() = Some(Stopwatch::start());
        // The next transaction begins at the log's beginning once all of it is in the file and nobody reads from it.
        let Ok(_alone) = timeout(LONGEST_WAIT, self.browsing.write()).await else { return Ok(()) };
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&self.writer).await?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.lookups.close().await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Row as _, sqlite::SqliteRow};
    use tempfile::TempDir;

    use super::*;
    use crate::store::{tables::Kind, value::Sql};

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

    /// All cells of a query's rows, those of a row joined.
    async fn told(pool: &SqlitePool, query: &'static str) -> Vec<String> {
        let rows: Vec<SqliteRow> = sqlx::query(query).fetch_all(pool).await.unwrap();
        let cells = |row: &SqliteRow| {
            let cell = |at| row.try_get_unchecked::<Option<String>, _>(at).unwrap().unwrap_or_default();
            (0..row.len()).map(cell).collect::<Vec<_>>().join(" ")
        };
        rows.iter().map(cells).collect()
    }

    /// Makes books as an older server left them, with these rows.
    async fn older_books(version: i64, rows: &'static str) -> TempDir {
        let place = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(place.path().join("books.db")).create_if_missing(true);
        let before = SqlitePool::connect_with(options).await.unwrap();
        MIGRATIONS.run_to(version, &before).await.unwrap();
        sqlx::raw_sql(rows).execute(&before).await.unwrap();
        before.close().await;
        place
    }

    /// Cases M6, M7 and P17: what older books hold is said as new ones say it.
    #[tokio::test]
    async fn what_was_json_and_in_other_spellings_is_said_by_columns_and_rows() {
        let place = older_books(
            4,
            r#"INSERT INTO organizations VALUES ('acme', 'Acme', 'team', NULL, 0, 'off', 'release', 0, 0, 1, 1, 0);
            INSERT INTO teams VALUES ('acme', 't', 'T', 0, 0, 1, 1);
            INSERT INTO members VALUES ('acme', 'm', 'M', '', 'basic', 0, 0, 1, 1);
            INSERT INTO memberships VALUES ('acme', 't', 'm', 0, 1, 1);
            INSERT INTO keys VALUES ('acme', 'k', 'm', 't', '', '', 0, 0, NULL, '["GPT", " gpt", "b"]', NULL, 1, 1);
            INSERT INTO prices VALUES ('GPT', 1, 2, 3, 4, 5, 10), ('gpt', 6, 7, 8, 9, 10, 5);
            INSERT INTO rules VALUES
                ('acme', 'r', '', '', 1, 'UTC', 1, 7, '{"Weekly":{"zone":"UTC","start":0}}', 0, NULL, NULL, 0, 1, 1);
            INSERT INTO alerts VALUES
                ('acme', 'a', 'k', 'pending', 's', '{"x":"1","y":"2"}', '["u@e.org","v@e.org"]', 1, NULL, NULL);
            INSERT INTO limits VALUES
                ('acme', 1, 'team', NULL, 't', NULL, NULL, 'l', 'usd', '"OneTime"', 1, NULL, NULL, '["A","b*"]', 1),
                ('acme', 2, 'team', NULL, 't', NULL, NULL, 'l', 'usd', '"Cycle"', 1, NULL, NULL, '[]', 1),
                ('acme', 3, 'team', NULL, 't', NULL, NULL, 'l', 'usd', '{"Daily":{"zone":"UTC+8"}}', 1, NULL, NULL, '[]', 1),
                ('acme', 4, 'team', NULL, 't', NULL, NULL, 'l', 'usd', '{"Weekly":{"zone":"UTC","start":6}}', 1, NULL, NULL, '[]', 1),
                ('acme', 5, 'team', NULL, 't', NULL, NULL, 'l', 'usd', '{"Every":{"seconds":900,"anchor":60}}', 1, NULL, NULL, '[]', 1),
                ('acme', 6, 'team', NULL, 't', NULL, NULL, 'l', 'in_flight', NULL, NULL, NULL, 1, '[]', 1);
            INSERT INTO budget_windows VALUES ('acme', 1, 2, 3)"#,
        )
        .await;
        let store = SqliteStore::open(place.path()).await.unwrap();
        let told = async |query| told(&store.readers, query).await;
        let periods = "SELECT period, period_time_zone, period_week_start, CAST(period_seconds AS TEXT), CAST(period_anchor AS TEXT)
            FROM limits ORDER BY limit_no";
        let expected =
            ["one_time    ", "cycle    ", "daily UTC+8   ", "weekly UTC sunday  ", "every   900 60000000", "    "];
        assert_eq!(told(periods).await, expected);
        assert_eq!(told("SELECT model FROM limit_models ORDER BY 1").await, ["a", "b*"]);
        assert_eq!(told("SELECT model FROM key_models ORDER BY 1").await, ["b", "gpt"]);
        assert_eq!(told("SELECT model, CAST(input_per_million AS TEXT) FROM prices").await, ["gpt 1"], "set last");
        assert_eq!(told("SELECT cap_period FROM rules").await, ["weekly"]);
        assert_eq!(told("SELECT name, value FROM alert_facts ORDER BY position").await, ["x 1", "y 2"]);
        assert_eq!(told("SELECT email FROM alert_recipients ORDER BY 1").await, ["u@e.org", "v@e.org"]);
        assert_eq!(told("SELECT CAST(spent AS TEXT) FROM budget_windows").await, ["3"]);
    }

    /// Case P18, for what older servers wrote.
    #[tokio::test]
    async fn what_is_searched_stands_in_older_books_too_in_the_order_of_creation() {
        let place = older_books(
            8,
            r#"INSERT INTO organizations VALUES ('acme', 'Acme', 'team', NULL, 0, 'off', 'release', 0, 0, 1, 1, 0);
            INSERT INTO teams VALUES ('acme', 'a', 'Straße', 0, 0, 1, 1), ('acme', 'b', 'B', 0, 1, 1, 1);
            INSERT INTO members VALUES ('acme', 'm', 'Åsa', 'A@x.de', 'basic', 0, 0, 1, 1);
            INSERT INTO audit_log VALUES
                (11, 'acme', 2, 1, 'x', 'team', 'b', '{}'), (12, 'acme', 3, 1, 'x', 'team', 'a', '{}'),
                (13, 'acme', 4, 1, 'x', 'team', 'b', '{}'), (14, 'acme', 5, 1, 'x', 'member', 'm', '{}'),
                (15, 'acme', 6, 7, 'x', 'invitation', 'i', '{"name":"Old","email":"i@x.de","state":"Pending"}'),
                (16, 'acme', 8, 9, 'x', 'invitation', 'i', '{"name":"İda","email":"i@x.de","state":{"Accepted":"m"}}'),
                (17, 'acme', 9, 9, 'x', 'invitation', 'j', '{"name":"","email":"j@x.de","state":"revoked"}')"#,
        )
        .await;
        let store = SqliteStore::open(place.path()).await.unwrap();
        let told = async |query| told(&store.readers, query).await;
        let teams = "SELECT team_id, CAST(create_sequence AS TEXT), search_text FROM teams ORDER BY team_id";
        assert_eq!(told(teams).await, ["a 3 strasse\na", "b 2 b\nb"]);
        assert_eq!(told("SELECT CAST(create_sequence AS TEXT), search_text FROM members").await, ["5 åsa\na@x.de\nm"]);
        let invitations = "SELECT invitation_id, state, CAST(create_sequence AS TEXT), CAST(create_time AS TEXT),
                CAST(update_time AS TEXT), search_text FROM invitations ORDER BY 1";
        let expected = ["i accepted 6 7 9 ida\ni@x.de\ni", "j revoked 9 9 9 \nj@x.de\nj"];
        assert_eq!(told(invitations).await, expected);
    }

    /// Reads over and over, so that two of these leave no moment without a reader.
    async fn browse(store: Arc<SqliteStore>) {
        loop {
            let mut session = store.view().await.unwrap();
            let count = Sql::new("SELECT count(*) FROM audit_log");
            session.fetch(count, &[Kind::Int]).await.unwrap();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            session.commit().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn readers_that_overlap_do_not_make_the_log_grow_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(place.path()).await.unwrap();
        store.longest_log = 1 << 20;
        let store = Arc::new(store);
        let readers: Vec<_> = (0..3).map(|_| tokio::spawn(browse(Arc::clone(&store)))).collect();
        let mut longest = 0;
        for no in 0..40 {
            let mut session = store.begin().await.unwrap();
            let mut sql = Sql::new("CREATE TABLE t");
            sql.push(["0", "1", "2", "3"][no % 4]).push(" AS SELECT randomblob(500000)");
            let mut drop = Sql::new("DROP TABLE IF EXISTS t");
            drop.push(["0", "1", "2", "3"][no % 4]);
            session.execute(drop).await.unwrap();
            session.execute(sql).await.unwrap();
            session.commit().await.unwrap();
            *store.held_off.lock() = None;
            store.reuse_log().await.unwrap();
            longest = longest.max(fs::metadata(&store.log).unwrap().len());
        }
        for reader in readers {
            assert!(!reader.is_finished(), "readers are answered all the while");
            reader.abort();
        }
        assert!(longest < 6 << 20, "of 20 MB that were written the log has {longest} bytes");
    }
}
