//! The journal in a SQLite file: one row a batch, each with a checksum, written through to disk.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use self::log::Log;
use super::{AppendError, Extent, Journal, JournalError, wal};
use crate::{
    domain::{
        event::Record,
        lease::{JournalId, StoreId},
    },
    packed::{self, Packer},
};

mod log;
#[cfg(test)]
mod tests;

const TABLES: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS batches (
        first INTEGER PRIMARY KEY, last INTEGER NOT NULL, checksum BLOB NOT NULL, body BLOB NOT NULL
     ) STRICT",
    // What was trimmed, so that batches missing behind it are noticed.
    "CREATE TABLE IF NOT EXISTS trimmed (id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL) STRICT",
    "INSERT OR IGNORE INTO trimmed (id, position) VALUES (1, 0)",
    "CREATE TABLE IF NOT EXISTS identity (id INTEGER PRIMARY KEY CHECK (id = 1), journal BLOB NOT NULL, books BLOB) STRICT",
    "INSERT OR IGNORE INTO identity (id, journal) VALUES (1, randomblob(16))",
];
/// The last position; one that is empty ends where it was trimmed.
const LAST: &str = "SELECT coalesce((SELECT max(last) FROM batches), (SELECT position FROM trimmed))";
/// Up to where it was trimmed.
pub const TRIMMED: &str = "SELECT position FROM trimmed";
/// Batches to delete at once: an append waits no longer than for that.
const TRIM_AT_ONCE: i64 = 8;

/// `journal.db` in the data directory.
pub struct SqliteJournal {
    file: String,
    id: JournalId,
    log: Log,
    readers: SqlitePool,
    end: Mutex<End>,
}

struct End {
    /// Last position on disk, as far as the writer knows.
    last: u64,
    packer: Packer,
}

/// Connections to a file that is written through to disk before a write returns.
pub(super) fn durable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

/// Connections to a journal; none of them copies the log by itself.
fn options(path: &Path) -> SqliteConnectOptions {
    durable(path).pragma("wal_autocheckpoint", "0")
}

/// What SQLite says of a file that can't be read as one of ours.
pub(super) fn failed(file: &str, error: &sqlx::Error) -> JournalError {
    match code(error) {
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(11 | 26) => JournalError::Damaged(format!("{file}: {error}")),
        _ => JournalError::Io(format!("{file}: {error}")),
    }
}

/// Refuses a file that was cut or whose pages don't hang together.
pub(super) async fn check_structure(connection: &mut SqliteConnection, file: &str) -> Result<(), JournalError> {
    let problems: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_all(connection)
        .await
        .map_err(|error| failed(file, &error))?;
    match problems.first().map(String::as_str) {
        Some("ok") | None => Ok(()),
        Some(problem) => Err(JournalError::Damaged(format!("{file}: {problem}"))),
    }
}

/// Refuses a file that was cut, and a write-ahead log of which SQLite would silently drop more than the unfinished tail.
fn check_log(path: &Path) -> Result<(), JournalError> {
    let log = &log::path_of(path);
    let unreadable = |error| JournalError::Io(format!("{}: {error}", log.display()));
    let missing = wal::missing_bytes(path, log).map_err(unreadable)?;
    if missing > 0 {
        return Err(JournalError::Damaged(format!("{}: was cut, {missing} bytes are missing", path.display())));
    }
    match wal::check(log).map_err(unreadable)? {
        None => Ok(()),
        Some(wal::Loss { frame, frames }) => Err(JournalError::Damaged(format!(
            "{}: frame {frame} of {frames} doesn't match its checksum, and acknowledged batches lie behind it",
            log.display()
        ))),
    }
}

/// SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    Some(extended_code(error)? & 0xff)
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

impl SqliteJournal {
    /// Opens or makes the file and looks at its structure; its batches are verified as they are read.
    ///
    /// # Errors
    /// [`JournalError`] when it can't be opened or is damaged.
    pub async fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join("journal.db");
        let file = path.display().to_string();
        let failed = |error| failed(&file, &error);
        check_log(&path)?;
        let options = options(&path);
        let mut writer = options.connect().await.map_err(failed)?;
        check_structure(&mut writer, &file).await?;
        for table in TABLES {
            sqlx::query(table).execute(&mut writer).await.map_err(failed)?;
        }
        let log = Log::new(writer, options.clone());
        let readers = SqlitePoolOptions::new().max_connections(2).connect_with(options).await.map_err(failed)?;
        let last: i64 = sqlx::query_scalar(LAST).fetch_one(&readers).await.map_err(failed)?;
        let end = Mutex::new(End { last: last.unsigned_abs(), packer: Packer::default() });
        let id: Vec<u8> =
            sqlx::query_scalar("SELECT journal FROM identity").fetch_one(&readers).await.map_err(failed)?;
        let id = JournalId::from_slice(&id)
            .ok_or_else(|| JournalError::Damaged(format!("{file}: its identity has {} bytes, not 16", id.len())))?;
        Ok(Self { file, id, log, readers, end })
    }

    async fn insert(
        connection: &mut SqliteConnection,
        (first, last): (u64, u64),
        body: Vec<u8>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO batches (first, last, checksum, body) VALUES (?, ?, ?, ?)")
            .bind(first.cast_signed())
            .bind(last.cast_signed())
            .bind(&checksum(first, last, &body)[..])
            .bind(body)
            .execute(connection)
            .await?;
        Ok(())
    }

    fn damaged(&self, problem: impl std::fmt::Display) -> JournalError {
        JournalError::Damaged(format!("{}: {problem}", self.file))
    }

    /// The records of one row, verified.
    fn decode(&self, row: &sqlx::sqlite::SqliteRow, expected: u64) -> Result<Vec<Record>, JournalError> {
        let read = |error: sqlx::Error| self.damaged(error);
        let (first, last): (i64, i64) = (row.try_get(0).map_err(read)?, row.try_get(1).map_err(read)?);
        let (stored, body): (&[u8], &[u8]) = (row.try_get(2).map_err(read)?, row.try_get(3).map_err(read)?);
        let (first, last) = (first.unsigned_abs(), last.unsigned_abs());
        if first != expected {
            return Err(self.damaged(format!("position {expected} is missing; the next batch begins at {first}")));
        }
        if checksum(first, last, body) != stored {
            return Err(self.damaged(format!("the batch of positions {first} to {last} doesn't match its checksum")));
        }
        let records = packed::unpack(body)
            .map_err(|problem| self.damaged(format!("the batch of positions {first} to {last} {problem}")))?;
        let gapless = (first..=last).eq(records.iter().map(|record| record.position));
        if gapless { Ok(records) } else { Err(self.damaged(format!("the batch at position {first} has gaps"))) }
    }
}

/// Over the positions too, so that a batch can't stand in another's place.
fn checksum(first: u64, last: u64, body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&first.to_le_bytes()).update(&last.to_le_bytes()).update(body);
    *hasher.finalize().as_bytes()
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(&self, batch: &[Record]) -> Result<(), AppendError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let mut end = self.end.lock().await;
        if first.position != end.last + 1 {
            let problem = format!("a batch at position {} can't follow position {}", first.position, end.last);
            return Err(AppendError::Fatal(problem));
        }
        let body = end.packer.pack(batch).map_err(|error| AppendError::Fatal(error.to_string()))?;
        let positions = (first.position, last.position);
        let inserted = self.log.write(body.len(), async |connection| Self::insert(connection, positions, body).await);
        inserted.await?;
        end.last = last.position;
        Ok(())
    }

    async fn checkpoint(&self) -> Result<(), AppendError> {
        self.log.copy().await
    }

    async fn read(&self, from: u64, at_least: usize) -> Result<Vec<Record>, JournalError> {
        let failed = |error| failed(&self.file, &error);
        let trimmed: i64 = sqlx::query_scalar(TRIMMED).fetch_one(&self.readers).await.map_err(failed)?;
        let mut next = from.max(trimmed.unsigned_abs() + 1);
        let mut records: Vec<Record> = Vec::new();
        // The first batch may begin before `next`, every other one begins there.
        let mut is_first = true;
        while records.len() < at_least {
            // A batch has thousands of records at most, so a few rows at a time are enough and bound the memory.
            let rows = sqlx::query(
                "SELECT first, last, checksum, body FROM batches
                 WHERE first >= coalesce((SELECT max(first) FROM batches WHERE first <= ?1), ?1) AND last >= ?1
                 ORDER BY first LIMIT 16",
            )
            .bind(next.cast_signed())
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let first = row.try_get::<i64, _>(0).map_err(|error| self.damaged(error))?.unsigned_abs();
                let batch = self.decode(row, if is_first { first.min(next) } else { next })?;
                is_first = false;
                next = batch.last().map_or(next, |record| record.position + 1);
                records.extend(batch.into_iter().filter(|record| record.position >= from));
                if records.len() >= at_least {
                    break;
                }
            }
        }
        Ok(records)
    }

    fn id(&self) -> JournalId {
        self.id
    }

    async fn books(&self) -> Result<Option<StoreId>, JournalError> {
        let books: Option<Vec<u8>> = sqlx::query_scalar("SELECT books FROM identity")
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failed(&self.file, &error))?;
        Ok(books.as_deref().and_then(StoreId::from_slice))
    }

    async fn set_books(&self, books: Option<StoreId>) -> Result<(), JournalError> {
        let books = books.as_ref().map(|books| &books.as_bytes()[..]);
        let set = sqlx::query("UPDATE identity SET books = ?1 WHERE books IS NOT ?1").bind(books);
        self.log.write(0, async |connection| set.execute(connection).await).await?;
        Ok(())
    }

    async fn begin_after(&self, position: u64) -> Result<(), JournalError> {
        let mut end = self.end.lock().await;
        let last = end.last;
        if last != 0 {
            return Err(self.damaged(format!("it ends at position {last} and can't begin anew after {position}")));
        }
        let set = sqlx::query("UPDATE trimmed SET position = ?").bind(position.cast_signed());
        self.log.write(0, async |connection| set.execute(connection).await).await?;
        end.last = position;
        Ok(())
    }

    async fn extent(&self) -> Result<Extent, JournalError> {
        let failed = |error| failed(&self.file, &error);
        let trimmed: i64 = sqlx::query_scalar(TRIMMED).fetch_one(&self.readers).await.map_err(failed)?;
        let last: i64 = sqlx::query_scalar(LAST).fetch_one(&self.readers).await.map_err(failed)?;
        let (trimmed, last) = (trimmed.unsigned_abs(), last.unsigned_abs());
        let end = if last > trimmed { self.read(last, 1).await? } else { Vec::new() };
        Ok(Extent { trimmed, last, epoch: end.last().map_or(0, |record| record.epoch) })
    }

    async fn size(&self) -> Result<u64, JournalError> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT (page_count - freelist_count) * page_size
             FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|error| failed(&self.file, &error))?;
        Ok(bytes.unsigned_abs())
    }

    async fn trim(&self, position: u64) -> Result<(), JournalError> {
        let mut more = true;
        while more {
            more = self.log.write(0, async |connection| trim_some(connection, position).await).await?;
            self.log.measure().await?;
            self.log.copy().await?;
        }
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.log.close().await;
    }
}

/// Deletes a few batches; false when none is left to delete.
async fn trim_some(connection: &mut SqliteConnection, position: u64) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // The last batch stays: the next one must be known to continue it.
    let gone: Vec<i64> = sqlx::query_scalar(
        "DELETE FROM batches WHERE first IN (
            SELECT first FROM batches WHERE last <= ?1 AND first < (SELECT max(first) FROM batches)
            ORDER BY first LIMIT ?2
         ) RETURNING last",
    )
    .bind(position.cast_signed())
    .bind(TRIM_AT_ONCE)
    .fetch_all(&mut *transaction)
    .await?;
    let Some(last) = gone.into_iter().max() else { return Ok(false) };
    sqlx::query("UPDATE trimmed SET position = ?").bind(last).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

fn append_error(file: &str, error: &sqlx::Error) -> AppendError {
    let why = format!("{file}: {error}");
    if may_be_retried(error) { AppendError::Retry(why) } else { AppendError::Fatal(why) }
}

/// Whether SQLite says for sure that nothing was written, or of a checkpoint, counted as copied: no room, no right, or a write
/// that failed before the commit. Of a failed sync that can't be known, because the pages may reach the disk later: the process
/// must recover from what is there. Of what else may fail (a read, memory) it isn't worth knowing.
fn may_be_retried(error: &sqlx::Error) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const IOERR_WRITE: i32 = 778;
    const IOERR_SHMSIZE: i32 = 4874;
    let extended = extended_code(error);
    matches!(extended, Some(IOERR_WRITE | IOERR_SHMSIZE))
        || matches!(code(error), Some(BUSY | LOCKED | READONLY | FULL | CANTOPEN))
}
