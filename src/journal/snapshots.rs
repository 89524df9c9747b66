//! Snapshots in a SQLite file of their own, so that saving them never holds up the journal's writer.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, Connection as _, QueryBuilder, Row, SqliteConnection, SqlitePool,
    sqlite::{SqlitePoolOptions, SqliteRow},
};

use super::{
    JournalError, Snapshots,
    sqlite::{check_structure, durable, failed},
};
use crate::domain::{
    event::Stream,
    snapshot::{Snapshot, SnapshotMark},
};

/// `snapshots.db` in the data directory.
pub struct SqliteSnapshots {
    file: String,
    pool: SqlitePool,
}

fn checksum(snapshot: &Snapshot) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(snapshot.stream.key().as_bytes());
    hasher.update(&snapshot.sequence.to_le_bytes()).update(&snapshot.position.to_le_bytes());
    *hasher.update(&snapshot.state).finalize().as_bytes()
}

const WHOLE: &str = "stream, sequence, position, checksum, state";
const MARK: &str = "stream, sequence, position";
/// Rows a statement: each statement is a way to SQLite's thread and back, which takes longer than a small row.
const ROWS: usize = 128;

/// Those of the streams in a JSON array.
fn find() -> String {
    format!("SELECT {WHOLE} FROM snapshots WHERE stream IN (SELECT value FROM json_each(?))")
}

/// The first snapshots, or those behind a stream: looked up, so that a page costs the same however many came before it.
fn page(columns: &str, is_behind: bool) -> String {
    let behind = if is_behind { "WHERE stream > ?1" } else { "" };
    format!("SELECT {columns} FROM snapshots {behind} ORDER BY stream LIMIT ?2")
}

impl SqliteSnapshots {
    /// # Errors
    /// [`JournalError`] when the file can't be opened or is damaged.
    pub async fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join("snapshots.db");
        let file = path.display().to_string();
        let failed = |error| failed(&file, &error);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(durable(&path)).await.map_err(failed)?;
        check_structure(&mut *pool.acquire().await.map_err(failed)?, &file).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS snapshots (
                stream TEXT PRIMARY KEY, sequence INTEGER NOT NULL, position INTEGER NOT NULL,
                checksum BLOB NOT NULL, state BLOB NOT NULL
            ) STRICT",
        )
        .execute(&pool)
        .await
        .map_err(failed)?;
        Ok(Self { file, pool })
    }

    async fn page(&self, columns: &str, after: Option<&Stream>, limit: usize) -> Result<Vec<SqliteRow>, JournalError> {
        let rows = sqlx::query(AssertSqlSafe(page(columns, after.is_some())))
            .bind(after.map(Stream::key))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await;
        rows.map_err(|error| failed(&self.file, &error))
    }

    /// A row of [`WHOLE`].
    fn verified(&self, row: &SqliteRow) -> Result<Snapshot, JournalError> {
        let failed = |error| failed(&self.file, &error);
        let stream = Stream::from_key(row.try_get(0).map_err(failed)?);
        let (sequence, position): (i64, i64) = (row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?);
        let stored: Vec<u8> = row.try_get(3).map_err(failed)?;
        let state = row.try_get(4).map_err(failed)?;
        let (sequence, position) = (sequence.unsigned_abs(), position.unsigned_abs());
        let snapshot = Snapshot { stream, sequence, position, state };
        if checksum(&snapshot)[..] == stored[..] {
            return Ok(snapshot);
        }
        let name = snapshot.stream.key();
        Err(JournalError::Damaged(format!("{}: the snapshot of {name:?} doesn't match its checksum", self.file)))
    }
}

async fn replace(connection: &mut SqliteConnection, snapshots: &[Snapshot]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for some in snapshots.chunks(ROWS) {
        let mut insert = QueryBuilder::new(format!("INSERT OR REPLACE INTO snapshots ({WHOLE}) "));
        insert.push_values(some, |mut row, snapshot| {
            row.push_bind(snapshot.stream.key())
                .push_bind(snapshot.sequence.cast_signed())
                .push_bind(snapshot.position.cast_signed())
                .push_bind(checksum(snapshot).to_vec())
                .push_bind(&snapshot.state);
        });
        // Only statements of full length come again.
        insert.build().persistent(some.len() == ROWS).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[async_trait]
impl Snapshots for SqliteSnapshots {
    async fn save(&self, snapshots: &[Snapshot]) -> Result<(), JournalError> {
        let failed = |error| failed(&self.file, &error);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let saved = replace(&mut connection, snapshots).await;
        if saved.is_err() {
            // A transaction that a full disk broke off leaves its connection in doubt.
            let _ = connection.close().await;
        }
        saved.map_err(failed)
    }

    async fn load(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, JournalError> {
        let rows = self.page(WHOLE, after, limit).await?;
        rows.iter().map(|row| self.verified(row)).collect()
    }

    async fn find(&self, streams: &[Stream]) -> Result<Vec<Snapshot>, JournalError> {
        let keys: serde_json::Value = streams.iter().map(Stream::key).collect();
        let rows = sqlx::query(AssertSqlSafe(find())).bind(keys.to_string()).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| failed(&self.file, &error))?;
        rows.iter().map(|row| self.verified(row)).collect()
    }

    async fn list(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, JournalError> {
        let rows = self.page(MARK, after, limit).await?;
        let mark = |row: &SqliteRow| {
            let (sequence, position): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
            let stream = Stream::from_key(row.try_get(0)?);
            Ok(SnapshotMark { stream, sequence: sequence.unsigned_abs(), position: position.unsigned_abs() })
        };
        rows.iter().map(mark).collect::<Result<_, _>>().map_err(|error| failed(&self.file, &error))
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(key: &str, sequence: u64) -> Snapshot {
        Snapshot { stream: Stream::from_key(key), sequence, position: sequence * 10, state: vec![1, 2, 3] }
    }

    #[tokio::test]
    async fn the_latest_of_each_stream_is_kept_and_paged_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = SqliteSnapshots::open(directory.path()).await.unwrap();
        snapshots.save(&[snapshot("b", 1), snapshot("", 2), snapshot("a", 3)]).await.unwrap();
        snapshots.save(&[snapshot("b", 4)]).await.unwrap();
        let first = snapshots.load(None, 2).await.unwrap();
        assert_eq!(first, [snapshot("", 2), snapshot("a", 3)]);
        assert_eq!(snapshots.load(Some(&first[1].stream), 2).await.unwrap(), [snapshot("b", 4)]);
    }

    #[tokio::test]
    async fn any_number_of_them_is_saved_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = SqliteSnapshots::open(directory.path()).await.unwrap();
        let many: Vec<_> = (0..=2 * ROWS).map(|no| snapshot(&format!("{no:03}"), 1)).collect();
        snapshots.save(&many).await.unwrap();
        assert_eq!(snapshots.load(None, usize::MAX).await.unwrap(), many);
    }

    #[tokio::test]
    async fn snapshots_are_looked_up_however_many_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = SqliteSnapshots::open(directory.path()).await.unwrap();
        for sql in [find(), page(MARK, true), page(WHOLE, true)] {
            let plan = sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            let plan: Vec<(i64, i64, i64, String)> = plan.fetch_all(&snapshots.pool).await.unwrap();
            let steps: Vec<_> = plan.iter().map(|(.., step)| step.as_str()).collect();
            assert!(steps.iter().any(|step| step.starts_with("SEARCH snapshots USING INDEX")), "{sql}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN snapshots")), "{sql}: {steps:?}");
        }
        snapshots.save(&["", "a", "b", "c"].map(|key| snapshot(key, 1))).await.unwrap();
        let found = snapshots.find(&["c", "unknown", ""].map(Stream::from_key)).await.unwrap();
        let mut found: Vec<_> = found.iter().map(|found| found.stream.key()).collect();
        found.sort_unstable();
        assert_eq!(found, ["", "c"]);
    }

    #[tokio::test]
    async fn a_flipped_bit_is_refused_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = SqliteSnapshots::open(directory.path()).await.unwrap();
        snapshots.save(&[snapshot("acme", 1)]).await.unwrap();
        sqlx::query("UPDATE snapshots SET state = x'010203FF'").execute(&snapshots.pool).await.unwrap();
        let error = snapshots.load(None, 10).await.unwrap_err().to_string();
        assert!(error.contains("acme") && error.contains("checksum"), "{error}");
    }
}
