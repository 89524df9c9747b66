//! The one connection that writes the journal, and the folding of SQLite's log into its file.
//!
//! SQLite folds by itself in the append that makes the log long: that one, and whoever waits behind it, would wait until some
//! megabytes are copied and synced. Here a second connection copies them while appends go on, and appends wait only for what came
//! meanwhile, so that the log can begin anew. A fold that fails loses nothing: the log stays until one succeeds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

/// Pages of the log at which it is folded, as SQLite has it.
const LONG: u64 = 1000;
const PAGE: u64 = 4096;
/// Pages that any write has beside what it writes.
const PAGES_A_WRITE: u64 = 2;

pub(super) struct Log {
    /// Only ever one writes. `None` after a failed write, until the next one opens the file anew.
    pub(super) writer: Mutex<Option<SqliteConnection>>,
    /// Held while the log is folded. `None` until the first time, and after a failed one.
    folder: Arc<Mutex<Option<SqliteConnection>>>,
    options: SqliteConnectOptions,
    /// Pages that were written since it was folded, roughly.
    pages: AtomicU64,
}

impl Log {
    /// # Errors
    /// When the file can't be opened.
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let options = options.pragma("wal_autocheckpoint", "0");
        let writer = Mutex::new(Some(options.connect().await?));
        Ok(Self { writer, folder: Arc::default(), options, pages: AtomicU64::new(0) })
    }

    /// Writes about so many bytes, by the one connection that may: who waits for it comes next, where SQLite's own lock would let
    /// who is quickest have it, and refuse who waited for some seconds.
    pub(super) async fn write<T>(
        self: &Arc<Self>,
        bytes: usize,
        write: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut writer = self.writer.lock().await;
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        match write(&mut connection).await {
            Ok(written) => {
                *writer = Some(connection);
                self.note_written(bytes as u64 / PAGE + PAGES_A_WRITE);
                Ok(written)
            }
            Err(error) => {
                // The next one opens the file anew: what a failed write left in this connection is gone with it.
                let _ = connection.close().await;
                Err(error)
            }
        }
    }

    fn note_written(self: &Arc<Self>, pages: u64) {
        if self.pages.fetch_add(pages, Relaxed) + pages < LONG {
            return;
        }
        // Else it is being folded.
        if let Ok(mut folder) = Arc::clone(&self.folder).try_lock_owned() {
            let log = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = log.fold(&mut folder).await {
                    tracing::warn!(%error, "the journal's log can't be folded into its file; trying again");
                }
                log.pages.store(0, Relaxed);
            });
        }
    }

    async fn fold(&self, folder: &mut Option<SqliteConnection>) -> Result<(), sqlx::Error> {
        let mut connection = match folder.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        let copy = || sqlx::query("PRAGMA wal_checkpoint(PASSIVE)");
        copy().execute(&mut connection).await?;
        // Only what came since is left: a log that has been copied whole is begun anew by the next write.
        let _nobody_writes = self.writer.lock().await;
        copy().execute(&mut connection).await?;
        *folder = Some(connection);
        Ok(())
    }

    /// Lets go of the file. The log stays where it can't be folded; the next start does that.
    pub(super) async fn close(&self) {
        for connection in [&*self.folder, &self.writer] {
            if let Some(connection) = connection.lock().await.take() {
                let _ = connection.close().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::durable;

    async fn pragma(connection: &mut Option<SqliteConnection>, name: &'static str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA {name}"));
        sqlx::query_scalar(sql).fetch_one(connection.as_mut().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_long_log_is_folded_beside_the_writes_and_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let log = Arc::new(Log::open(durable(&path)).await.unwrap());
        log.write(0, async |connection| sqlx::query("CREATE TABLE t (body)").execute(connection).await).await.unwrap();
        assert_eq!(pragma(&mut *log.writer.lock().await, "wal_autocheckpoint").await, 0, "no write folds by itself");
        let length = |of: &str| std::fs::metadata(directory.path().join(of)).unwrap().len();
        for _ in 0..10 {
            for _ in 0..LONG / 10 {
                let insert = sqlx::query("INSERT INTO t VALUES (zeroblob(40000))");
                log.write(40_000, async |connection| insert.execute(connection).await).await.unwrap();
            }
            // Whatever is being folded has been when this is free.
            drop(log.folder.lock().await);
        }
        assert!(length("journal.db") > 9 * LONG * PAGE, "what was written stands in the file");
        assert!(length("journal.db-wal") < 4 * LONG * PAGE, "{}", length("journal.db-wal"));
        log.close().await;
        assert!(!directory.path().join("journal.db-wal").exists(), "nobody has it open any more");
    }
}
