//! What a server that has lost its disk is rebuilt from: a state of every stream, and the records since the oldest of them.

use super::{
    STATE_PART, StoreError,
    connection::Connection,
    tables::{
        self,
        Kind::{Bytes, Int, Text},
    },
    value::{How, Rows, Sql, Value},
};
use crate::{
    domain::{
        event::{Record, Stream},
        snapshot::{Snapshot, SnapshotMark},
    },
    packed,
};

pub(super) async fn save(connection: &mut dyn Connection, states: &[Snapshot]) -> Result<(), StoreError> {
    for chunk in states.chunks(super::LIST) {
        let mut sql = Sql::new("DELETE FROM stream_states WHERE stream IN ");
        sql.bind_list(chunk.iter().map(|state| Value::text(state.stream.key())));
        connection.execute(sql).await?;
    }
    let fresh = || Rows::new(&tables::STREAM_STATES, How::Insert);
    let (mut rows, mut bytes) = (fresh(), 0);
    for Snapshot { stream, sequence, position, state } in states {
        // An empty state is a part too.
        let parts = state.chunks(STATE_PART).chain(state.is_empty().then_some(&[][..]));
        for (no, part) in (0_u64..).zip(parts) {
            rows.push([
                Value::text(stream.key()),
                Value::count(no),
                Value::count(*sequence),
                Value::count(*position),
                Value::Bytes(part.into()),
            ]);
            bytes += part.len();
            if bytes >= STATE_PART {
                connection.write(&rows).await?;
                (rows, bytes) = (fresh(), 0);
            }
        }
    }
    if rows.is_empty() { Ok(()) } else { connection.write(&rows).await }
}

/// The first parts of states after `after`, up to `limit`.
fn push_page<'a>(sql: &mut Sql<'a>, after: Option<&'a Stream>, limit: usize) {
    sql.push(" FROM stream_states WHERE part = 0");
    if let Some(after) = after {
        sql.push(" AND stream > ").bind(Value::text(after.key()));
    }
    sql.push(" ORDER BY stream LIMIT ").bind(Value::count(limit as u64));
}

pub(super) async fn list(
    connection: &mut dyn Connection,
    after: Option<&Stream>,
    limit: usize,
) -> Result<Vec<SnapshotMark>, StoreError> {
    let mut sql = Sql::new("SELECT stream, sequence, position");
    push_page(&mut sql, after, limit);
    let mut marks = Vec::new();
    for mut row in connection.fetch(sql, &[Text, Int, Int]).await? {
        let stream = Stream::from_key(&row.text(0)?);
        marks.push(SnapshotMark { stream, sequence: row.count(1)?, position: row.count(2)? });
    }
    Ok(marks)
}

pub(super) async fn load(
    connection: &mut dyn Connection,
    after: Option<&Stream>,
    limit: usize,
) -> Result<Vec<Snapshot>, StoreError> {
    let mut sql =
        Sql::new("SELECT stream, sequence, position, state FROM stream_states WHERE stream IN (SELECT stream");
    push_page(&mut sql, after, limit);
    sql.push(") ORDER BY stream, part");
    let mut states: Vec<Snapshot> = Vec::new();
    for mut row in connection.fetch(sql, &[Text, Int, Int, Bytes]).await? {
        let (key, mut part) = (row.text(0)?, row.bytes(3)?);
        match states.last_mut().filter(|last| last.stream.key() == key) {
            Some(last) => last.state.append(&mut part),
            None => states.push(Snapshot {
                stream: Stream::from_key(&key),
                sequence: row.count(1)?,
                position: row.count(2)?,
                state: part,
            }),
        }
    }
    Ok(states)
}

/// Records as they were journalled, to keep.
pub(super) fn events(records: &[Record]) -> Result<Rows<'static>, StoreError> {
    let mut rows = Rows::new(&tables::RECENT_EVENTS, How::Insert);
    if let (Some(first), Some(last)) = (records.first(), records.last()) {
        let packed = packed::pack(records).map_err(|error| StoreError::Damaged(error.to_string()))?;
        rows.push([Value::count(first.position), Value::count(last.position), Value::bytes(packed)]);
    }
    Ok(rows)
}

pub(super) async fn read_events(
    connection: &mut dyn Connection,
    from: u64,
    at_least: usize,
) -> Result<Vec<Record>, StoreError> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = from;
    while records.len() < at_least {
        let mut sql = Sql::new("SELECT last, records FROM recent_events WHERE last >= ");
        sql.bind(Value::count(next)).push(" ORDER BY last LIMIT 1");
        let Some(mut row) = connection.fetch(sql, &[Int, Bytes]).await?.into_iter().next() else { break };
        let batch = packed::unpack(&row.bytes(1)?)
            .map_err(|error| StoreError::Damaged(format!("a batch of recent events {error}")))?;
        records.extend(batch.into_iter().filter(|record| record.position >= from));
        next = row.count(0)? + 1;
    }
    Ok(records)
}

pub(super) async fn trim_events(connection: &mut dyn Connection, position: u64) -> Result<(), StoreError> {
    let mut sql = Sql::new("DELETE FROM recent_events WHERE last <= ");
    sql.bind(Value::count(position));
    connection.execute(sql).await?;
    Ok(())
}
