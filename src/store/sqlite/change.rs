//! The audit log: written with the rest, read with what was before.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};

use super::{StoreError, project::ROWS};
use crate::{
    domain::time::Timestamp,
    store::{Change, ChangeQuery, batch::Batch, change::ChangeRow},
};

pub(super) async fn write(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for chunk in batch.changes.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO audit_log (position, sequence, time, actor, kind, entity_id, after, organization_id) ",
        );
        query.push_values(chunk, |mut row, change| {
            let ChangeRow { record, organization, kind, id, after } = change;
            row.push_bind(record.position.cast_signed()).push_bind(record.sequence.cast_signed());
            row.push_bind(record.time.micros()).push_bind(record.actor.as_str().to_owned());
            row.push_bind(*kind).push_bind(id.clone()).push_bind(after.to_string());
            row.push_bind(organization.as_str().to_owned());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn list(
    pool: &SqlitePool,
    query: &ChangeQuery,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Change>, StoreError> {
    let ChangeQuery { organization, kind, id, actor, start, end } = query;
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT position, sequence, time, actor, kind, entity_id, after,
            (SELECT earlier.after FROM audit_log AS earlier
             WHERE earlier.organization_id = audit_log.organization_id AND earlier.kind = audit_log.kind
               AND earlier.entity_id = audit_log.entity_id AND earlier.position < audit_log.position
             ORDER BY earlier.position DESC LIMIT 1)
         FROM audit_log WHERE organization_id = ",
    );
    sql.push_bind(organization.as_str());
    for (condition, value) in [(" AND kind = ", kind), (" AND entity_id = ", id), (" AND actor = ", actor)] {
        if let Some(value) = value {
            sql.push(condition).push_bind(value.as_str());
        }
    }
    for (condition, instant) in [(" AND time >= ", start), (" AND time < ", end)] {
        if let Some(instant) = instant {
            sql.push(condition).push_bind(instant.micros());
        }
    }
    if let Some(before) = before {
        sql.push(" AND position < ").push_bind(i64::try_from(before).unwrap_or(i64::MAX));
    }
    sql.push(" ORDER BY position DESC LIMIT ").push_bind(i64::from(limit));
    let rows = sql.build().fetch_all(pool).await?;
    let change = |row: &sqlx::sqlite::SqliteRow| {
        let (position, sequence): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Change {
            position: position.unsigned_abs(),
            sequence: sequence.unsigned_abs(),
            time: Timestamp::from_micros(row.try_get(2)?),
            actor: row.try_get(3)?,
            kind: row.try_get(4)?,
            id: row.try_get(5)?,
            after: row.try_get(6)?,
            before: row.try_get(7)?,
        })
    };
    rows.iter().map(change).collect()
}
