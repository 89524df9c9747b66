//! Pages and sums of the ledger.

use std::collections::HashMap;

use rust_decimal::Decimal;

use super::change::push_span;
use crate::{
    domain::{
        id::OrganizationId,
        money::Nanos,
        time::{Span, Timestamp},
        zone::Zone,
    },
    store::{
        Entry, EntryQuery, Grouping, StoreError, TimeBasis, Totals,
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

/// Entries booked longer than this after what they book was used are late: corrections of older entries, and what expired while
/// the server was down. They are few, and have an index. All others are settled within a day.
const LATE: Span = Span::seconds(25 * 3600);

/// The conditions of a query, after `SELECT … FROM ledger_entries`.
fn push_conditions<'a>(sql: &mut Sql<'a>, dialect: &Dialect, filter: &'a EntryQuery) {
    let EntryQuery { organization, key, member, team, model, kinds, basis, start, end, after, as_of, late_only } =
        filter;
    sql.push(" WHERE organization_id = ").bind(Value::text(organization.as_str()));
    sql.push(" AND entry > ").bind(Value::count(*after)).push(" AND entry <= ").bind(Value::count(*as_of));
    let texts = [
        (" AND key_id = ", key.as_ref().map(crate::domain::id::KeyId::as_str)),
        (" AND member_id = ", member.as_ref().map(crate::domain::id::MemberId::as_str)),
        (" AND team_id = ", team.as_ref().map(crate::domain::id::TeamId::as_str)),
        (" AND lower(trim(model)) = ", model.as_ref().map(crate::domain::id::Model::as_str)),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            sql.push(condition).bind(Value::text(value));
        }
    }
    match basis {
        TimeBasis::Booked => push_span(sql, "time", *start, *end),
        TimeBasis::Used => push_span(sql, "occurred_at", *start, *end),
    }
    if *late_only {
        sql.push(" AND ").push(dialect.late);
    }
    if !kinds.is_empty() {
        sql.push(" AND kind IN ").bind_list(kinds.iter().map(|kind| Value::text(kind.name())));
    }
}

/// Of the first entry of an organization from number `from` on: its number and when it was booked.
async fn first_from(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    from: u64,
) -> Result<Option<(u64, Timestamp)>, StoreError> {
    let mut sql = Sql::new("SELECT entry, time FROM ledger_entries WHERE organization_id = ");
    sql.bind(Value::text(organization.as_str())).push(" AND entry >= ").bind(Value::count(from));
    sql.push(" ORDER BY entry LIMIT 1");
    let row = connection.fetch(sql, &[Int, Time]).await?.into_iter().next();
    row.map(|mut row| Ok((row.count(0)?, row.time(1)?))).transpose()
}

pub(in crate::store) async fn narrow(
    connection: &mut dyn Connection,
    query: &EntryQuery,
) -> Result<EntryQuery, StoreError> {
    let mut query = query.clone();
    // Months may have been dropped.
    let first = first_from(connection, &query.organization, query.after.saturating_add(1)).await?;
    query.after = first.map_or(query.as_of, |(first, _)| first - 1).min(query.as_of);
    let end = match query.basis {
        TimeBasis::Booked => query.end,
        // What is booked after that is late.
        TimeBasis::Used => query.end.map(|end| end + LATE),
    };
    if let Some(end) = end {
        query.as_of = last_before(connection, &query, end).await?;
    }
    // Nothing is booked before it is used.
    if let Some(start) = query.start {
        query.after = last_before(connection, &query, start).await?;
    }
    Ok(query)
}

/// Number of the last entry booked before `time`: times follow the order of the numbers.
async fn last_before(connection: &mut dyn Connection, query: &EntryQuery, time: Timestamp) -> Result<u64, StoreError> {
    let (mut before, mut last) = (query.after, query.as_of);
    while before < last {
        let middle = before + (last - before).div_ceil(2);
        match first_from(connection, &query.organization, middle).await? {
            Some((entry, booked)) if booked < time => before = entry.min(last),
            Some(_) | None => last = middle - 1,
        }
    }
    Ok(before)
}

pub(in crate::store) async fn entries(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let mut sql = Sql::new(ENTRY);
    push_conditions(&mut sql, connection.dialect(), filter);
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
        cost: sum_of(row.int(at + 4)?, row.int(at + 5)?),
        credits: sum_of(row.int(at + 6)?, row.int(at + 7)?),
    })
}

/// Whole units, and nano-units beyond.
fn sum_of(units: i64, nanos: i64) -> Decimal {
    Decimal::from(units) + Nanos::new(nanos).to_decimal()
}

pub(in crate::store) async fn total(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
) -> Result<Totals, StoreError> {
    let mut sql = Sql::new(format!("SELECT {} FROM ledger_entries", sums(connection.dialect())));
    push_conditions(&mut sql, connection.dialect(), filter);
    let row = connection.fetch(sql, &SUM_KINDS).await?.into_iter().next();
    row.map_or(Ok(Totals::default()), |mut row| totals_of(&mut row, 0))
}

pub(in crate::store) async fn usage(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
    by: Grouping,
) -> Result<Vec<(String, Totals)>, StoreError> {
    let group = match by {
        Grouping::Member => "member_id",
        Grouping::Key => "key_id",
        Grouping::Team => "team_id",
        // Entries from before names were normal keep their spelling.
        Grouping::Model => "lower(trim(model))",
        Grouping::Day(zone) => return days(connection, filter, zone).await,
    };
    let rows = connection.fetch(grouped(connection.dialect(), filter, group), &group_kinds(Text)).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, totals_of(&mut row, 1)?))).collect()
}

fn grouped<'a>(dialect: &Dialect, filter: &'a EntryQuery, group: &str) -> Sql<'a> {
    let mut sql = Sql::new(format!("SELECT {group}, {} FROM ledger_entries", sums(dialect)));
    push_conditions(&mut sql, dialect, filter);
    // Money that came in is no usage.
    sql.push(" AND key_id IS NOT NULL GROUP BY 1");
    sql
}

fn group_kinds(group: Kind) -> [Kind; 9] {
    [group, Int, Int, Int, Int, Int, Int, Int, Int]
}

/// By days of a zone, which no database knows as this server does: it sums by minutes, at one of which each day begins.
async fn days(
    connection: &mut dyn Connection,
    filter: &EntryQuery,
    zone: Zone,
) -> Result<Vec<(String, Totals)>, StoreError> {
    const MINUTE: i64 = 60;
    let dialect = connection.dialect();
    let rows = connection.fetch(grouped(dialect, filter, dialect.minute), &group_kinds(Int)).await?;
    let mut days = HashMap::<_, Totals>::new();
    for mut row in rows {
        let minute = Timestamp::from_seconds(row.int(0)?.saturating_mul(MINUTE));
        let day = days.entry(zone.local(minute).date()).or_default();
        *day = day.plus(&totals_of(&mut row, 1)?);
    }
    Ok(days.into_iter().map(|(day, totals)| (day.to_string(), totals)).collect())
}
