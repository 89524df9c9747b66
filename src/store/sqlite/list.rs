//! Pages and sums of the ledger.

use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, sqlite::SqliteRow};

use super::{StoreError, find::detail_of};
use crate::{
    domain::{event::EntryKind, money::Nanos, time::Timestamp},
    store::{Entry, EntryQuery, Grouping, Totals},
};

pub(super) fn entry_of(row: &SqliteRow) -> Result<Entry, StoreError> {
    let time = Timestamp::from_micros(row.try_get(0)?);
    let (actor, kind): (String, &str) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Entry { time, actor, detail: detail_of(kind, row.try_get(3)?)? })
}

/// The conditions of a query, after `SELECT … FROM ledger_entries`.
fn push_conditions(query: &mut QueryBuilder<Sqlite>, filter: &EntryQuery) {
    let EntryQuery { organization, key, member, team, model, kinds, start, end, as_of } = filter;
    query.push(" WHERE organization_id = ").push_bind(organization.to_string());
    let as_of = i64::try_from(*as_of).unwrap_or(i64::MAX);
    query.push(" AND entry <= ").push_bind(as_of);
    let texts = [
        (" AND key_id = ", key.as_ref().map(ToString::to_string)),
        (" AND member_id = ", member.as_ref().map(ToString::to_string)),
        (" AND team_id = ", team.as_ref().map(ToString::to_string)),
        (" AND model = ", model.as_ref().map(ToString::to_string)),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            query.push(condition).push_bind(value);
        }
    }
    for (condition, instant) in [(" AND time >= ", start), (" AND time < ", end)] {
        if let Some(instant) = instant {
            query.push(condition).push_bind(instant.micros());
        }
    }
    if !kinds.is_empty() {
        query.push(" AND kind IN (");
        let mut list = query.separated(", ");
        for kind in kinds.iter().copied().map(EntryKind::name) {
            list.push_bind(kind);
        }
        query.push(")");
    }
}

pub(super) async fn entries(
    pool: &SqlitePool,
    filter: &EntryQuery,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT time, actor, kind, detail FROM ledger_entries");
    push_conditions(&mut query, filter);
    if let Some(before) = before {
        query.push(" AND entry < ").push_bind(i64::try_from(before).unwrap_or(i64::MAX));
    }
    query.push(" ORDER BY entry DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(entry_of).collect()
}

/// Whole units and the rest apart: a sum of nano-units could pass the integers.
const SUMS: &str =
    "count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(requests), 0),
    coalesce(sum(cost / 1000000000), 0), coalesce(sum(cost % 1000000000), 0),
    coalesce(sum(credits / 1000000000), 0), coalesce(sum(credits % 1000000000), 0)";

/// [`SUMS`], from column `at` on.
fn totals_of(row: &SqliteRow, at: usize) -> Result<Totals, StoreError> {
    let entries: i64 = row.try_get(at)?;
    Ok(Totals {
        entries: entries.unsigned_abs(),
        input_tokens: row.try_get(at + 1)?,
        output_tokens: row.try_get(at + 2)?,
        requests: row.try_get(at + 3)?,
        cost: Nanos::units(row.try_get(at + 4)?) + Nanos::new(row.try_get(at + 5)?),
        credits: Nanos::units(row.try_get(at + 6)?) + Nanos::new(row.try_get(at + 7)?),
    })
}

pub(super) async fn total(pool: &SqlitePool, filter: &EntryQuery) -> Result<Totals, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(SUMS).push(" FROM ledger_entries");
    push_conditions(&mut query, filter);
    totals_of(&query.build().fetch_one(pool).await?, 0)
}

pub(super) async fn usage(
    pool: &SqlitePool,
    filter: &EntryQuery,
    by: Grouping,
    limit: u32,
) -> Result<Vec<(String, Totals)>, StoreError> {
    let (group, order) = match by {
        Grouping::Member => ("member_id", "sum(cost / 1000000.0) DESC, 1"),
        Grouping::Key => ("key_id", "sum(cost / 1000000.0) DESC, 1"),
        Grouping::Team => ("team_id", "sum(cost / 1000000.0) DESC, 1"),
        Grouping::Model => ("model", "sum(cost / 1000000.0) DESC, 1"),
        Grouping::Day => ("date(occurred_at / 1000000, 'unixepoch')", "1 DESC"),
    };
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(group).push(", ").push(SUMS).push(" FROM ledger_entries");
    push_conditions(&mut query, filter);
    // Money that came in is no usage.
    query.push(" AND key_id IS NOT NULL GROUP BY 1 ORDER BY ").push(order).push(" LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, totals_of(row, 1)?))).collect()
}
