//! The one connection that writes the journal, and when SQLite's log is copied into its file (a checkpoint).
//!
//! SQLite would do that by itself, in the commit that makes the log long, and tell nobody of a copy that failed. Of a failed sync
//! it must be known: a copy that ends before the log's end, because somebody still reads there, counts as done and isn't synced
//! until a later one reaches the end. Once that sync has failed, the log alone has those pages for sure, and nothing may ever let
//! SQLite take it for copied: no later copy, and no last connection that closes in order.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use super::{AppendError, append_error};

/// Pages of the log at which it is copied, as SQLite has it.
const LONG: u64 = 1000;
const PAGE: u64 = 4096;
/// Pages that any write has beside what it writes, about.
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
}

impl Log {
    /// # Errors
    /// When the file can't be opened.
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let connection = options.connect().await?;
        let path = options.get_filename();
        let left = std::fs::metadata(path_of(path)).map_or(0, |log| log.len() / PAGE);
        let file = path.display().to_string();
        Ok(Self { writing: Mutex::new(Writing { connection: Some(connection), pages: left }), file, options })
    }

    /// Writes about so many bytes by the one connection that may: who waits for it comes next, where SQLite's own lock would let
    /// who is quickest have it, and refuse who waited for some seconds.
    pub(super) async fn write<T>(
        &self,
        bytes: usize,
        write: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut writing = self.writing.lock().await;
        let mut connection = match writing.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        match write(&mut connection).await {
            Ok(written) => {
                writing.connection = Some(connection);
                writing.pages += bytes as u64 / PAGE + PAGES_A_WRITE;
                Ok(written)
            }
            Err(error) => {
                // The next one opens the file anew: what a failed write left in this connection is gone with it.
                let _ = connection.close().await;
                Err(error)
            }
        }
    }

    /// Copies the log into the file, once it is long.
    ///
    /// # Errors
    /// [`AppendError`]. Nothing is lost by any, as long as the process ends after a fatal one.
    pub(super) async fn copy(&self) -> Result<(), AppendError> {
        let mut writing = self.writing.lock().await;
        if writing.pages < LONG {
            return Ok(());
        }
        let Some(mut connection) = writing.connection.take() else { return Ok(()) };
        let copied: Result<(i64, i64, i64), _> =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut connection).await;
        let error = match copied {
            Ok((_busy, length, copied)) => {
                writing.connection = Some(connection);
                writing.pages = pages_left(length, copied);
                return Ok(());
            }
            Err(error) => append_error(&self.file, &error),
        };
        match error {
            AppendError::Retry(_) => {
                writing.connection = Some(connection);
                writing.pages = 0;
            }
            // Never closed, so that no other is the last one: that would copy what is left, and delete the log.
            AppendError::Fatal(_) => std::mem::forget(connection),
        }
        Err(error)
    }

    /// Lets go of the file. The log stays where it can't be copied; the next start does that.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.writing.lock().await.connection.take() {
            let _ = connection.close().await;
        }
    }
}

/// The log of a file.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Of how many pages to think as not copied, after so many of `length` were. Where readers kept it from being copied whole, or kept
/// one that was from beginning anew, each write tries again, so that it begins anew as soon as nobody reads.
fn pages_left(length: i64, copied: i64) -> u64 {
    let is_done = copied == length && length.unsigned_abs() < 2 * LONG;
    if is_done { 0 } else { LONG }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::sqlite::options;

    struct Written {
        log: Log,
        directory: tempfile::TempDir,
    }

    impl Written {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let log = Log::open(options(&directory.path().join("journal.db"))).await.unwrap();
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
        let log = Log::open(options(&crashed.path().join("journal.db"))).await.unwrap();
        let next = Written { log, directory: crashed };
        next.ten_pages().await;
        next.log.copy().await.unwrap();
        assert!(next.pages("journal.db") > LONG);
    }
}
