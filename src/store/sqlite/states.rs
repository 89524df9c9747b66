//! What a server that has lost its disk is rebuilt from: a state of every stream, and the records since the oldest of them.

use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{StoreError, decode, encode};
use crate::{
    domain::{
        event::{Record, Stream},
        snapshot::{Snapshot, SnapshotMark},
    },
    store::STATE_PART,
};

pub(super) async fn save(connection: &mut SqliteConnection, states: &[Snapshot]) -> Result<(), StoreError> {
    for Snapshot { stream, sequence, position, state } in states {
        sqlx::query("DELETE FROM stream_states WHERE stream = ?").bind(stream.key()).execute(&mut *connection).await?;
        // An empty state is a part too.
        let parts = state.chunks(STATE_PART).chain(state.is_empty().then_some(&[][..]));
        for (part, bytes) in (0_i64..).zip(parts) {
            sqlx::query("INSERT INTO stream_states (stream, part, sequence, position, state) VALUES (?, ?, ?, ?, ?)")
                .bind(stream.key())
                .bind(part)
                .bind(sequence.cast_signed())
                .bind(position.cast_signed())
                .bind(bytes)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn list(
    pool: &SqlitePool,
    after: Option<&Stream>,
    limit: usize,
) -> Result<Vec<SnapshotMark>, StoreError> {
    let rows = sqlx::query(
        "SELECT stream, sequence, position FROM stream_states
         WHERE part = 0 AND (?1 IS NULL OR stream > ?1) ORDER BY stream LIMIT ?2",
    )
    .bind(after.map(Stream::key))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let mark = |row: &sqlx::sqlite::SqliteRow| {
        let (sequence, position): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let stream = Stream::from_key(row.try_get(0)?);
        Ok(SnapshotMark { stream, sequence: sequence.unsigned_abs(), position: position.unsigned_abs() })
    };
    rows.iter().map(mark).collect()
}

pub(super) async fn load(pool: &SqlitePool, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
    // One view of the table: its parts belong together.
    let mut transaction = pool.begin().await?;
    let rows = sqlx::query(
        "SELECT stream, sequence, position, state FROM stream_states
         WHERE stream IN (SELECT stream FROM stream_states
                          WHERE part = 0 AND (?1 IS NULL OR stream > ?1) ORDER BY stream LIMIT ?2)
         ORDER BY stream, part",
    )
    .bind(after.map(Stream::key))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut *transaction)
    .await?;
    let mut states: Vec<Snapshot> = Vec::new();
    for row in rows {
        let (key, part): (&str, &[u8]) = (row.try_get(0)?, row.try_get(3)?);
        if let Some(last) = states.last_mut().filter(|last| last.stream.key() == key) {
            last.state.extend_from_slice(part);
            continue;
        }
        let (sequence, position): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        states.push(Snapshot {
            stream: Stream::from_key(key),
            sequence: sequence.unsigned_abs(),
            position: position.unsigned_abs(),
            state: part.to_vec(),
        });
    }
    Ok(states)
}

/// Keeps records as they were journalled.
pub(super) async fn keep_events(connection: &mut SqliteConnection, records: &[Record]) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    sqlx::query("INSERT INTO recent_events (first, last, records) VALUES (?, ?, ?)")
        .bind(first.position.cast_signed())
        .bind(last.position.cast_signed())
        .bind(encode(&records)?)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn read_events(pool: &SqlitePool, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = from;
    while records.len() < at_least {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT last, records FROM recent_events WHERE last >= ? ORDER BY first LIMIT 1")
                .bind(next.cast_signed())
                .fetch_optional(pool)
                .await?;
        let Some((last, body)) = row else { break };
        let batch: Vec<Record> = decode("recent events", &body)?;
        records.extend(batch.into_iter().filter(|record| record.position >= from));
        next = last.unsigned_abs() + 1;
    }
    Ok(records)
}

pub(super) async fn trim_events(connection: &mut SqliteConnection, position: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM recent_events WHERE last <= ?").bind(position.cast_signed()).execute(connection).await?;
    Ok(())
}
