//! Pages and sums of the ledger.

use super::change::push_span;
use crate::{
    domain::money::Nanos,
    store::{
        Entry, EntryQuery, Grouping, StoreError, Totals,
        connection::{Connection, Dialect},
        detail,
        tables::Kind::{self, Bytes, Int, Text, Time},
        value::{Row, Sql, Value},
    },
};

/// Of the columns of an [`Entry`].
pub(super) const ENTRY: &str = "SELECT time, actor, kind, detail FROM ledger_entries";
pub(super) const ENTRY_KINDS: [Kind; 4] = [Time, Text, Text, Bytes];

pub(super) fn entry_of(mut row: Row) -> Result<Entry, StoreError> {
    let (time, actor, kind) = (row.time(0)?, row.text(1)?, row.text(2)?);
    Ok(Entry { time, actor, detail: detail::of_entry(&kind, &row.bytes(3)?)? })
}

/// The conditions of a query, after `SELECT … FROM ledger_entries`.
fn push_conditions<'a>(sql: &mut Sql<'a>, filter: &'a EntryQuery) {
    let EntryQuery { organization, key, member, team, model, kinds, start, end, as_of } = filter;
    sql.push(" WHERE organization_id = ").bind(Value::text(organization.as_str()));
    sql.push(" AND entry <= ").bind(Value::count(*as_of));
    let texts = [
        (" AND key_id = ", key.as_ref().map(crate::domain::id::KeyId::as_str)),
        (" AND member_id = ", member.as_ref().map(crate::domain::id::MemberId::as_str)),
        (" AND team_id = ", team.as_ref().map(crate::domain::id::TeamId::as_str)),
        (" AND model = ", model.as_ref().map(crate::domain::id::Model::as_str)),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            sql.push(condition).bind(Value::text(value));
        }
    }
    push_span(sql, *start, *end);
    if !kinds.is_empty() {
        sql.push(" AND kind IN ").bind_list(kinds.iter().map(|kind| Value::text(kind.name())));
    }
}

pub(in crate::store) async fn entries(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let mut sql = Sql::new(ENTRY);
    push_conditions(&mut sql, filter);
    if let Some(before) = before {
        sql.push(" AND entry < ").bind(Value::count(before));
    }
    sql.push(" ORDER BY entry DESC LIMIT ").bind(Value::Int(i64::from(limit)));
    connection.fetch(sql, &ENTRY_KINDS).await?.into_iter().map(entry_of).collect()
}

const SUM_KINDS: [Kind; 8] = [Int; 8];

fn sums(dialect: &Dialect) -> String {
    format!(
        "count(*), CAST(coalesce(sum(input_tokens), 0) AS BIGINT), CAST(coalesce(sum(output_tokens), 0) AS BIGINT),
         CAST(coalesce(sum(requests), 0) AS BIGINT), {}, {}",
        dialect.sum_of("cost"),
        dialect.sum_of("credits"),
    )
}

/// [`sums`], from column `at` on.
fn totals_of(row: &mut Row, at: usize) -> Result<Totals, StoreError> {
    Ok(Totals {
        entries: row.count(at)?,
        input_tokens: row.int(at + 1)?,
        output_tokens: row.int(at + 2)?,
        requests: row.int(at + 3)?,
        cost: Nanos::units(row.int(at + 4)?) + Nanos::new(row.int(at + 5)?),
        credits: Nanos::units(row.int(at + 6)?) + Nanos::new(row.int(at + 7)?),
    })
}

pub(in crate::store) async fn total(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
) -> Result<Totals, StoreError> {
    let mut sql = Sql::new(format!("SELECT {} FROM ledger_entries", sums(connection.dialect())));
    push_conditions(&mut sql, filter);
    let row = connection.fetch(sql, &SUM_KINDS).await?.into_iter().next();
    row.map_or(Ok(Totals::default()), |mut row| totals_of(&mut row, 0))
}

pub(in crate::store) async fn usage(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
    by: Grouping,
    limit: u32,
) -> Result<Vec<(String, Totals)>, StoreError> {
    // In floating point where a database's integers would overflow; equal ones by name.
    const LARGEST: &str = "sum(cost / 1000000.0) DESC, 1";
    let dialect = connection.dialect();
    let (group, order) = match by {
        Grouping::Member => ("member_id", LARGEST),
        Grouping::Key => ("key_id", LARGEST),
        Grouping::Team => ("team_id", LARGEST),
        Grouping::Model => ("model", LARGEST),
        Grouping::Day => (dialect.day, "1 DESC"),
    };
    let mut sql = Sql::new(format!("SELECT {group}, {} FROM ledger_entries", sums(dialect)));
    push_conditions(&mut sql, filter);
    // Money that came in is no usage.
    sql.push(" AND key_id IS NOT NULL GROUP BY 1 ORDER BY ").push(order);
    sql.push(" LIMIT ").bind(Value::Int(i64::from(limit)));
    let kinds = [Text, Int, Int, Int, Int, Int, Int, Int, Int];
    let rows = connection.fetch(sql, &kinds).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, totals_of(&mut row, 1)?))).collect()
}
