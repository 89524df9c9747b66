//! The audit log, read with what was before.

use crate::{
    domain::time::Timestamp,
    store::{
        Change, ChangeQuery, StoreError,
        connection::Connection,
        tables::Kind::{Int, Json, Text, Time},
        value::{Row, Sql, Value},
    },
};

/// Changes that one look reads at most.
const LOOK: i64 = 10_000;

/// One look at those before position `before`: what of them matches, and where the next look begins, if there can be more.
pub(in crate::store) async fn list(
    connection: &mut dyn Connection,
    query: &ChangeQuery,
    before: Option<u64>,
    limit: u32,
) -> Result<(Vec<Change>, Option<u64>), StoreError> {
    let ChangeQuery { organization, kind, id, actor, start, end } = query;
    // Those of one entity are few, and an index finds them.
    let oldest = if id.is_some() { None } else { oldest(connection, query, before).await? };
    let mut sql = Sql::new(
        "SELECT position, sequence, time, actor, kind, entity_id, after,
            (SELECT earlier.after FROM audit_log AS earlier
             WHERE earlier.organization_id = audit_log.organization_id AND earlier.kind = audit_log.kind
               AND earlier.entity_id = audit_log.entity_id AND earlier.position < audit_log.position
             ORDER BY earlier.position DESC LIMIT 1)
         FROM audit_log WHERE organization_id = ",
    );
    sql.bind(Value::text(organization.as_str()));
    for (condition, value) in [(" AND kind = ", kind), (" AND entity_id = ", id), (" AND actor = ", actor)] {
        if let Some(value) = value {
            sql.push(condition).bind(Value::text(value));
        }
    }
    push_span(&mut sql, "time", *start, *end);
    push_before(&mut sql, before);
    if let Some(oldest) = oldest {
        sql.push(" AND position >= ").bind(Value::count(oldest));
    }
    sql.push(" ORDER BY position DESC LIMIT ").bind(Value::Int(i64::from(limit)));
    let rows = connection.fetch(sql, &[Int, Int, Time, Text, Text, Text, Json, Json]).await?;
    // Times of two streams stand there, so that they don't tell whether what is older still matches.
    Ok((rows.into_iter().map(change).collect::<Result<_, _>>()?, oldest))
}

/// Position of the oldest change that a look reads; `None` where it reaches the first.
async fn oldest(
    connection: &mut dyn Connection,
    query: &ChangeQuery,
    before: Option<u64>,
) -> Result<Option<u64>, StoreError> {
    let mut sql = Sql::new("SELECT position FROM audit_log WHERE organization_id = ");
    sql.bind(Value::text(query.organization.as_str()));
    push_before(&mut sql, before);
    sql.push(" ORDER BY position DESC LIMIT 1 OFFSET ").bind(Value::Int(LOOK - 1));
    let row = connection.fetch(sql, &[Int]).await?.into_iter().next();
    row.map(|mut row| row.count(0)).transpose()
}

fn push_before(sql: &mut Sql<'_>, before: Option<u64>) {
    if let Some(before) = before {
        sql.push(" AND position < ").bind(Value::count(before));
    }
}

fn change(mut row: Row) -> Result<Change, StoreError> {
    Ok(Change {
        position: row.count(0)?,
        sequence: row.count(1)?,
        time: row.time(2)?,
        actor: row.text(3)?,
        kind: row.text(4)?,
        id: row.text(5)?,
        after: row.json(6)?,
        before: row.opt_json(7)?,
    })
}

/// Adds that a column is from `start` on, before `end`.
pub(super) fn push_span(sql: &mut Sql<'_>, column: &str, start: Option<Timestamp>, end: Option<Timestamp>) {
    for (comparison, instant) in [(" >= ", start), (" < ", end)] {
        if let Some(instant) = instant {
            sql.push(" AND ").push(column).push(comparison).bind(Value::Time(instant));
        }
    }
}
