//! Writes a batch of records: the same statements in every database.

use std::collections::BTreeSet;

use super::{
    LIST, StoreError,
    batch::Batch,
    connection::Connection,
    rows::{self, Heads},
    states,
    tables::{self, Kind},
    value::{Rows, Sql, Value},
};
use crate::domain::{
    event::Record,
    time::{Span, Timestamp},
};

/// Places or rules to look up at a time. SQLite searches the list of a statement's parameters for each of them, and a place has
/// five.
const LOOK_UPS: usize = 100;
/// How long ended holds are kept: twice as long as they can be asked for.
const KEEP_ENDED: Span = Span::seconds(2 * 86_400);

/// Within a transaction that is committed if and only if this succeeds, of books that have `reached` a position: writes what is
/// new of the records, and the position that they end at, which it answers. What was written by an earlier attempt, though
/// its answer was lost, is left out.
///
/// # Errors
/// [`StoreError::Damaged`] when the records don't follow what is there.
pub(super) async fn project(
    connection: &mut dyn Connection,
    reached: u64,
    records: &[Record],
) -> Result<u64, StoreError> {
    let new = &records[records.partition_point(|record| record.position <= reached)..];
    let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(reached) };
    if first.position != reached + 1 {
        let problem = format!("position {} can't follow position {reached} of the books", first.position);
        return Err(StoreError::Damaged(problem));
    }
    write(connection, &Batch::of(new), new).await?;
    connection.execute(pruning(last.time)).await?;
    let mut sql = Sql::new("UPDATE projector SET position = ");
    sql.bind(Value::count(last.position));
    connection.execute(sql).await?;
    Ok(last.position)
}

async fn write(connection: &mut dyn Connection, batch: &Batch<'_>, records: &[Record]) -> Result<(), StoreError> {
    let heads = moved_heads(connection, batch).await?;
    retire_limits(connection, batch).await?;
    let times: Vec<_> = batch.entries.iter().map(|entry| entry.record.time).collect();
    connection.make_room(&times).await?;
    for rows in rows::states(batch)?.iter().filter(|rows| !rows.is_empty()) {
        connection.write(rows).await?;
    }
    if !batch.entries.is_empty() {
        connection.insert(&tables::LEDGER_ENTRIES, &mut rows::entries(batch)).await?;
    }
    for rows in [rows::money_ids(batch), states::events(records)?] {
        if !rows.is_empty() {
            connection.write(&rows).await?;
        }
    }
    if !heads.is_empty() {
        connection.write(&heads).await?;
    }
    follow_rules(connection, batch).await
}

/// Makes all rows of a batch that begins the books, as [`project`] does, and writes none: what projecting costs beside the
/// database, for those who measure it. Answers how many cells they have.
///
/// # Errors
/// [`StoreError::Damaged`] when the entries don't begin their ledgers or an event can't be encoded.
pub fn prepare_rows(records: &[Record]) -> Result<usize, StoreError> {
    let batch = Batch::of(records);
    let heads = rows::heads(&batch, &mut Heads::new())?;
    let mut cells = heads.cells.len() + rows::states(&batch)?.iter().map(|rows| rows.cells.len()).sum::<usize>();
    for rows in rows::entries(&batch).chain([Ok(rows::money_ids(&batch)), states::events(records)]) {
        cells += rows?.cells.len();
    }
    Ok(cells)
}

/// Checks the entries against the ledgers' heads, so that no entry is ever missing or there twice.
async fn moved_heads<'b>(connection: &mut dyn Connection, batch: &'b Batch<'_>) -> Result<Rows<'b>, StoreError> {
    let organizations: BTreeSet<&'b str> = batch.entries.iter().map(|entry| entry.organization.as_str()).collect();
    let mut heads = Heads::with_capacity(organizations.len());
    let list: Vec<_> = organizations.iter().copied().collect();
    for chunk in list.chunks(LIST) {
        let mut sql = Sql::new("SELECT organization_id, entry, balance FROM ledger_heads WHERE organization_id IN ");
        sql.bind_list(chunk.iter().copied().map(Value::text));
        for mut row in connection.fetch(sql, &[Kind::Text, Kind::Int, Kind::Nanos]).await? {
            if let Some(organization) = organizations.get(row.text(0)?.as_str()) {
                heads.insert(organization, (row.count(1)?, row.nanos(2)?));
            }
        }
    }
    rows::heads(batch, &mut heads)
}

/// A new policy replaces the limits of its place: none of those that are there is active, unless it is set again.
async fn retire_limits(connection: &mut dyn Connection, batch: &Batch<'_>) -> Result<(), StoreError> {
    let places: Vec<_> = batch.policies.keys().collect();
    for chunk in places.chunks(LOOK_UPS) {
        let keys = chunk.iter().map(|(organization, place)| rows::place_key(organization, place));
        connection.execute(retirement(keys)).await?;
    }
    Ok(())
}

/// Place by place: SQLite reads from left to right what is joined so, where with a list of places it would compare every limit
/// there is.
pub(super) fn retirement<'b>(places: impl Iterator<Item = [Value<'b>; 5]>) -> Sql<'b> {
    let mut sql = Sql::new(
        "UPDATE limits SET active = FALSE WHERE active AND (organization_id, limit_no) IN (
            SELECT limits.organization_id, limits.limit_no FROM (",
    );
    sql.bind_values(places).push(
        ") AS place CROSS JOIN limits WHERE limits.active
                AND limits.organization_id = place.column1 AND limits.scope = place.column2
                AND coalesce(limits.key_id, '') = place.column3 AND coalesce(limits.team_id, '') = place.column4
                AND coalesce(limits.member_id, '') = place.column5)",
    );
    sql
}

/// What is counted under a rule has the rule's cap, and ends with the rule or its period.
async fn follow_rules(connection: &mut dyn Connection, batch: &Batch<'_>) -> Result<(), StoreError> {
    let rules: Vec<_> = batch.rules.keys().collect();
    for chunk in rules.chunks(LOOK_UPS) {
        let keys =
            chunk.iter().map(|(organization, rule)| [Value::text(organization.as_str()), Value::text(rule.as_str())]);
        connection.execute(following(keys)).await?;
    }
    Ok(())
}

/// In the order of [`retirement`].
pub(super) fn following<'b>(rules: impl Iterator<Item = [Value<'b>; 2]>) -> Sql<'b> {
    let mut sql = Sql::new(
        "UPDATE limits SET max = CASE WHEN rules.cap_enabled AND rules.enabled THEN rules.cap_max END,
            active = NOT rules.deleted AND (rules.cap_period IS NULL
                OR (limits.period IS NOT DISTINCT FROM rules.cap_period
                    AND limits.period_time_zone IS NOT DISTINCT FROM rules.time_zone))
         FROM rules WHERE limits.active AND rules.organization_id = limits.organization_id
            AND rules.rule_id = limits.rule_id AND (limits.organization_id, limits.limit_no) IN (
            SELECT limits.organization_id, limits.limit_no FROM (",
    );
    sql.bind_values(rules).push(
        ") AS moved CROSS JOIN limits WHERE limits.active
                AND limits.organization_id = moved.column1 AND limits.rule_id = moved.column2)",
    );
    sql
}

/// Drops ended holds that nobody can ask for any more.
pub(super) fn pruning<'b>(now: Timestamp) -> Sql<'b> {
    let mut sql =
        Sql::new("DELETE FROM reservations WHERE state IN ('released', 'expired', 'committed') AND admit_time < ");
    sql.bind(Value::Time(now - KEEP_ENDED));
    sql
}
