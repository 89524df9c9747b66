//! The one connection that writes the journal, and when SQLite's log is copied into its file (a checkpoint).
//!
//! SQLite would do that by itself, in the commit that makes the log long, and tell nobody of a copy that failed. Of a failed sync
//! it must be known: a copy that ends before the log's end, because somebody still reads there, counts as done and isn't synced
//! until a later one reaches the end. Once that sync has failed, the log alone has those pages for sure. So nothing is written or
//! copied any more then, and the connection is never closed: the last one to close would copy what is left, and delete the log.

use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use super::{AppendError, append_error};

/// Pages of the log at which it is copied, as SQLite has it.
const LONG: u64 = 1000;
const PAGE: u64 = 4096;
/// Pages that an append has beside its body, about.
const PAGES_A_WRITE: u64 = 2;

/// `journal.db`, as it is written.
pub(super) struct Log {
    file: String,
    options: SqliteConnectOptions,
    pub(super) writing: Mutex<Writing>,
}

pub(super) struct Writing {
    /// Only ever one writes. `None` after a failed write, until the next one opens the file anew.
    pub(super) connection: Option<SqliteConnection>,
    /// Written to the log since it was copied, about.
    pages: u64,
    /// Why nothing may be written any more.
    lost: Option<String>,
}

impl Log {
    /// Goes on with a connection of these options.
    pub(super) fn new(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let path = options.get_filename();
        let pages = std::fs::metadata(path_of(path)).map_or(0, |log| log.len() / PAGE);
        let file = path.display().to_string();
        Self { file, writing: Mutex::new(Writing { connection: Some(connection), pages, lost: None }), options }
    }

    /// Writes about so many bytes by the one connection that may: who waits for it comes next, where SQLite's own lock would let
    /// who is quickest have it, and refuse who waited for some seconds.
    pub(super) async fn write<T>(
        &self,
        bytes: usize,
        write: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, AppendError> {
        let mut writing = self.writing.lock().await;
        writing.check()?;
        let mut connection = match writing.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(|error| append_error(&self.file, &error))?,
        };
        match write(&mut connection).await {
            Ok(written) => {
                writing.connection = Some(connection);
                writing.pages += bytes as u64 / PAGE + PAGES_A_WRITE;
                Ok(written)
            }
            Err(error) => {
                let error = writing.note(append_error(&self.file, &error));
                match error {
                    // The next one opens the file anew: what a failed write left in this connection is gone with it.
                    AppendError::Retry(_) => drop(connection.close().await),
                    AppendError::Fatal(_) => std::mem::forget(connection),
                }
                Err(error)
            }
        }
    }

    /// Looks how long the log is, after a write of which nobody could tell.
    pub(super) async fn measure(&self) -> Result<(), AppendError> {
        let mut writing = self.writing.lock().await;
        let Some(connection) = &mut writing.connection else { return Ok(()) };
        let measured = sqlx::query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(connection).await;
        let (_, length, copied): (i64, i64, i64) = measured.map_err(|error| append_error(&self.file, &error))?;
        writing.pages = (length - copied).unsigned_abs();
        Ok(())
    }

    /// Copies the log into the file, once it is long.
    pub(super) async fn copy(&self) -> Result<(), AppendError> {
        let mut writing = self.writing.lock().await;
        writing.check()?;
        if writing.pages < LONG {
            return Ok(());
        }
        let Some(connection) = writing.connection.take() else { return Ok(()) };
        // Not closed either if nobody waits for the outcome any more.
        let mut connection = ManuallyDrop::new(connection);
        let copied = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *connection).await;
        let (pages, outcome) = match copied {
            Ok(copied) => (pages_left(copied), Ok(())),
            Err(error) => (0, Err(writing.note(append_error(&self.file, &error)))),
        };
        if writing.lost.is_none() {
            writing.connection = Some(ManuallyDrop::into_inner(connection));
            writing.pages = pages;
        }
        outcome
    }

    /// Lets go of the file. The log stays where it can't be copied; the next start does that.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.writing.lock().await.connection.take() {
            let _ = connection.close().await;
        }
    }
}

impl Writing {
    fn check(&self) -> Result<(), AppendError> {
        self.lost.clone().map_or(Ok(()), |why| Err(AppendError::Fatal(why)))
    }

    fn note(&mut self, error: AppendError) -> AppendError {
        if let AppendError::Fatal(why) = &error {
            self.lost = Some(why.clone());
        }
        error
    }
}

/// The log of a file.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Of how many pages to think as not copied, after so many of `length` were. Where somebody else was copying, and where readers kept
/// the log from being copied whole or from beginning anew, each write tries again: it begins anew as soon as nobody reads.
fn pages_left((is_busy, length, copied): (bool, i64, i64)) -> u64 {
    let is_done = !is_busy && copied == length && length.unsigned_abs() < 2 * LONG;
    if is_done { 0 } else { LONG }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::sqlite::options;

    async fn open(directory: &Path) -> Log {
        let options = options(&directory.join("journal.db"));
        Log::new(options.connect().await.unwrap(), options)
    }

    struct Written {
        log: Log,
        directory: tempfile::TempDir,
    }

    impl Written {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let log = open(directory.path()).await;
            log.write(0, async |it| sqlx::query("CREATE TABLE t (body)").execute(it).await).await.unwrap();
            Self { log, directory }
        }

        /// Ten pages, a hundred times, each as the journal's writer does it.
        async fn thousand_pages(&self) {
            for _ in 0..100 {
                self.ten_pages().await;
                self.log.copy().await.unwrap();
            }
        }

        async fn ten_pages(&self) {
            let insert = sqlx::query("INSERT INTO t VALUES (zeroblob(40000))");
            self.log.write(40_000, async |it| insert.execute(it).await).await.unwrap();
        }

        fn pages(&self, of: &str) -> u64 {
            fs::metadata(self.directory.path().join(of)).unwrap().len() / PAGE
        }
    }

    #[tokio::test]
    async fn a_long_log_is_copied_when_asked_and_begins_anew() {
        let written = Written::new().await;
        for _ in 0..150 {
            written.ten_pages().await;
        }
        assert!(written.pages("journal.db") < 10, "no write copies by itself");
        for _ in 0..10 {
            written.thousand_pages().await;
        }
        assert!(written.pages("journal.db") > 10 * LONG);
        assert!(written.pages("journal.db-wal") < 2 * LONG, "{}", written.pages("journal.db-wal"));
    }

    #[tokio::test]
    async fn a_log_that_somebody_reads_begins_anew_when_nobody_does() {
        let written = Written::new().await;
        let mut reader = written.log.options.connect().await.unwrap();
        let mut reading = reader.begin().await.unwrap();
        sqlx::query("SELECT * FROM t").fetch_all(&mut *reading).await.unwrap();
        for _ in 0..3 {
            written.thousand_pages().await;
        }
        let long = written.pages("journal.db-wal");
        assert!(long > 3 * LONG && written.pages("journal.db") < 10, "who reads sees what was there");
        reading.rollback().await.unwrap();
        for _ in 0..3 {
            written.thousand_pages().await;
        }
        assert!(written.pages("journal.db-wal") < long + LONG / 10, "{}", written.pages("journal.db-wal"));
        assert!(written.pages("journal.db") > 5 * LONG);
    }

    /// A log that was copied whole begins anew with the next write only if nobody reads then.
    #[tokio::test]
    async fn a_log_that_somebody_always_reads_begins_anew_as_soon_as_nobody_does() {
        let written = Written::new().await;
        let mut reader = written.log.options.connect().await.unwrap();
        sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
        for _ in 0..250 {
            written.ten_pages().await;
            for turn in ["COMMIT", "BEGIN", "SELECT count(*) FROM t"] {
                sqlx::query(turn).execute(&mut reader).await.unwrap();
            }
            written.log.copy().await.unwrap();
        }
        let long = written.pages("journal.db-wal");
        assert!(long > 2 * LONG, "{long}");
        sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
        for _ in 0..90 {
            written.ten_pages().await;
            written.log.copy().await.unwrap();
        }
        assert!(written.pages("journal.db-wal") < long + LONG / 10, "{}", written.pages("journal.db-wal"));
    }

    #[tokio::test]
    async fn after_a_fatal_error_nothing_is_written_or_copied_and_nobody_closes_the_file() {
        let written = Written::new().await;
        let damaged = sqlx::Error::Protocol(String::from("what is on disk isn't known"));
        let lost = written.log.write(0, async |_| Err::<(), _>(damaged)).await;
        assert!(matches!(lost, Err(AppendError::Fatal(_))), "{lost:?}");
        let insert = sqlx::query("INSERT INTO t VALUES (1)");
        for again in
            [written.log.write(0, async |it| insert.execute(it).await.map(drop)).await, written.log.copy().await]
        {
            assert!(matches!(&again, Err(AppendError::Fatal(why)) if why.contains("isn't known")), "{again:?}");
        }
        written.log.close().await;
        assert!(written.pages("journal.db-wal") > 0, "it was copied and deleted by the last connection");
    }

    #[tokio::test]
    async fn a_log_that_a_crash_left_long_is_copied_after_the_first_write() {
        let written = Written::new().await;
        for _ in 0..150 {
            written.ten_pages().await;
        }
        let crashed = tempfile::tempdir().unwrap();
        for name in ["journal.db", "journal.db-wal"] {
            fs::copy(written.directory.path().join(name), crashed.path().join(name)).unwrap();
        }
        let next = Written { log: open(crashed.path()).await, directory: crashed };
        next.ten_pages().await;
        next.log.copy().await.unwrap();
        assert!(next.pages("journal.db") > LONG);
    }
}
