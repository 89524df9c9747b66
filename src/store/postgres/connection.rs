//! Statements, values and rows as Postgres takes them.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use sqlx::{
    Arguments as _, AssertSqlSafe, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
};
use tokio::time::timeout;

use super::{
    STATEMENT_TIMEOUT,
    cell::{self, Column, Parameter},
};
use crate::{
    domain::{money::Nanos, time::Timestamp},
    store::{
        StoreError,
        connection::{Connection, Dialect, Steps, Unfinished},
        tables::{self, Kind, Merge, Table},
        value::{How, Row, Rows, Sql, Value},
    },
};

static DIALECT: Dialect = Dialect {
    lock: " FOR UPDATE",
    clock: Some("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"),
    now: "clock_timestamp()",
    lease_is_free: "released OR renewed_at < clock_timestamp() - interval '# seconds'",
    find_text: "strpos",
    minute: "floor(extract(epoch FROM occurred_at) / 60)::bigint",
    late: "time - occurred_at > interval '25 hours'",
    money_sum: "trunc(coalesce(sum(#), 0))::bigint, (coalesce(sum(#), 0) % 1 * 1000000000)::bigint",
    wrong_charge: "SELECT min(entry) FROM ledger_entries, jsonb_array_elements(limits) AS charge
         WHERE organization_id = $1 AND corrects_entry IS NULL AND (charge ->> 'amount')::numeric <>
            1000000000 * CASE charge ->> 'unit' WHEN 'usd' THEN cost WHEN 'credits' THEN credits END",
    charge_sums: "SELECT (charge ->> 'limit_no')::bigint, (charge ->> 'window_start')::bigint,
                trunc(sum((charge ->> 'amount')::numeric) / 1000000000)::bigint,
                (sum((charge ->> 'amount')::numeric) % 1000000000)::bigint
         FROM ledger_entries, jsonb_array_elements(limits) AS charge WHERE organization_id = $1 GROUP BY 1, 2",
};

/// When a network swallows what is sent, nobody else says so: longer than the database lets any statement run.
const NO_ANSWER: Duration = Duration::from_secs(STATEMENT_TIMEOUT.as_secs() + 10);
/// Of a session that may take its time: what is longer is no work on any books.
const NO_ANSWER_TO_PATIENT: Duration = Duration::from_hours(24);
/// Bytes of a COPY that are sent at a time.
const CHUNK: usize = 256 << 10;
/// What a binary COPY begins with: its signature, no flags, no extension; and what it ends with.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: [u8; 2] = [0xff, 0xff];
const DAY: i64 = 86_400_000_000;

pub(super) struct PgSession {
    connection: Unfinished<Postgres>,
    no_answer: Duration,
}

async fn answered<T>(
    within: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>> + Send,
) -> Result<T, StoreError> {
    match timeout(within, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreError::Unavailable(format!("no answer for {} seconds", within.as_secs()))),
    }
}

impl PgSession {
    pub(super) fn new(connection: Unfinished<Postgres>) -> Self {
        Self { connection, no_answer: NO_ANSWER }
    }

    /// A statement that has neither values nor rows.
    pub(super) async fn run(&mut self, statement: &'static str) -> Result<(), StoreError> {
        answered(self.no_answer, sqlx::raw_sql(statement).execute(&mut *self.connection)).await.map(drop)
    }

    async fn copy(&mut self, table: &Table, steps: &mut Steps<'_>) -> Result<(), StoreError> {
        let names = names(table.columns.iter().map(|column| column.name));
        let statement = format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", table.name);
        let width = table.columns.len();
        let count = u16::try_from(width).unwrap_or_default().to_be_bytes();
        let mut copy = answered(self.no_answer, self.connection.copy_in_raw(&statement)).await?;
        let mut buffer = Vec::with_capacity(CHUNK + CHUNK / 4);
        buffer.extend(COPY_HEADER);
        for rows in steps {
            for row in rows?.cells.chunks(width) {
                buffer.extend(count);
                for value in row {
                    cell::put(value, &mut buffer);
                }
                if buffer.len() >= CHUNK {
                    answered(self.no_answer, copy.send(&buffer[..])).await?;
                    buffer.clear();
                }
            }
        }
        buffer.extend(COPY_TRAILER);
        answered(self.no_answer, copy.send(&buffer[..])).await?;
        answered(self.no_answer, copy.finish()).await.map(drop)
    }

    /// Any number of rows by one and the same statement: each column is an array. Costs the database more than a COPY, but sends
    /// everything at once: a COPY's last packet may wait 40 ms for the one before it to be confirmed, because sqlx 0.9.0 leaves
    /// Nagle's algorithm on.
    async fn unnest(&mut self, rows: &Rows<'_>) -> Result<(), StoreError> {
        let mut arguments = PgArguments::default();
        let width = rows.width();
        for (at, column) in written(rows.table, rows.how).enumerate() {
            add(&mut arguments, Column { kind: column.kind, cells: &rows.cells, at, width })?;
        }
        let query = sqlx::query_with(AssertSqlSafe(statement(rows.table, rows.how)), arguments);
        answered(self.no_answer, query.execute(&mut *self.connection)).await.map(drop)
    }
}

#[async_trait]
impl Connection for PgSession {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    async fn execute(&mut self, sql: Sql<'_>) -> Result<u64, StoreError> {
        let query = sqlx::query_with(AssertSqlSafe(sql.text), arguments(&sql.values)?);
        Ok(answered(self.no_answer, query.execute(&mut *self.connection)).await?.rows_affected())
    }

    async fn fetch(&mut self, sql: Sql<'_>, kinds: &[Kind]) -> Result<Vec<Row>, StoreError> {
        let query = sqlx::query_with(AssertSqlSafe(sql.text), arguments(&sql.values)?);
        let rows = answered(self.no_answer, query.fetch_all(&mut *self.connection)).await?;
        rows.iter().map(|row| read(row, kinds)).collect()
    }

    async fn write(&mut self, rows: &Rows<'_>) -> Result<(), StoreError> {
        self.unnest(rows).await
    }

    async fn insert(&mut self, table: &'static Table, steps: &mut Steps<'_>) -> Result<(), StoreError> {
        self.copy(table, steps).await
    }

    async fn make_room(&mut self, times: &[Timestamp]) -> Result<(), StoreError> {
        let days: BTreeSet<i64> = times.iter().map(|time| time.micros().div_euclid(DAY)).collect();
        let days: Vec<_> = days.into_iter().map(|day| Value::Time(Timestamp::from_micros(day * DAY))).collect();
        if days.is_empty() {
            return Ok(());
        }
        let mut arguments = PgArguments::default();
        add(&mut arguments, Column { kind: Kind::Time, cells: &days, at: 0, width: 1 })?;
        let query = sqlx::query_with("SELECT make_ledger_months($1)", arguments);
        answered(self.no_answer, query.execute(&mut *self.connection)).await.map(drop)
    }

    async fn be_patient(&mut self) -> Result<(), StoreError> {
        self.run("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0").await?;
        self.no_answer = NO_ANSWER_TO_PATIENT;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.run("COMMIT").await?;
        self.connection.finish();
        Ok(())
    }
}

fn add<'a, T>(arguments: &mut PgArguments, value: T) -> Result<(), StoreError>
where
    T: sqlx::Encode<'a, Postgres> + sqlx::Type<Postgres>,
{
    arguments.add(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn arguments(values: &[Value<'_>]) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
    for value in values {
        add(&mut arguments, Parameter(value))?;
    }
    Ok(arguments)
}

fn read(row: &PgRow, kinds: &[Kind]) -> Result<Row, StoreError> {
    let cell = |(at, kind): (usize, &Kind)| cell::get(at, *kind, &row.try_get_raw(at)?);
    kinds.iter().enumerate().map(cell).collect::<Result<_, _>>().map(Row)
}

fn names(columns: impl Iterator<Item = &'static str>) -> String {
    columns.collect::<Vec<_>>().join(", ")
}

/// The columns whose cells come with the rows.
fn written(table: &Table, how: How) -> impl Iterator<Item = &'static tables::Column> {
    table.columns.iter().filter(move |column| how != How::Delete || column.merge == Merge::Key)
}

/// Its parameters are the columns, each an array.
fn statement(table: &Table, how: How) -> String {
    let name = table.name;
    let (all, keys) = (names(written(table, how).map(|column| column.name)), names(table.keys().map(|key| key.name)));
    let arrays = (1..=written(table, how).count()).map(|no| format!("${no}")).collect::<Vec<_>>().join(", ");
    let new = format!("SELECT * FROM unnest({arrays}) AS new ({all})");
    match how {
        How::Insert => format!("INSERT INTO {name} ({all}) {new}"),
        How::Merge => format!("INSERT INTO {name} ({all}) {new} ON CONFLICT ({keys}) DO UPDATE SET {}", merged(table)),
        How::Patch => {
            let set = table.columns.iter().filter(|column| column.merge == Merge::Replace);
            let set = set.map(|column| format!("{0} = coalesce(new.{0}, {name}.{0})", column.name));
            let at = table.keys().map(|key| format!("{name}.{0} = new.{0}", key.name));
            let (set, at) = (set.collect::<Vec<_>>().join(", "), at.collect::<Vec<_>>().join(" AND "));
            format!("UPDATE {name} SET {set} FROM ({new}) AS new WHERE {at}")
        }
        How::Delete => format!("DELETE FROM {name} WHERE ({keys}) IN ({new})"),
    }
}

fn merged(table: &Table) -> String {
    let most = Nanos::MAX.shown();
    let set = table.columns.iter().filter_map(|tables::Column { name, merge, .. }| match merge {
        Merge::Key | Merge::Keep => None,
        Merge::Replace => Some(format!("{name} = excluded.{name}")),
        Merge::Add => {
            Some(format!("{name} = greatest(-{most}, least({most}, {0}.{name} + excluded.{name}))", table.name))
        }
    });
    set.collect::<Vec<_>>().join(", ")
}
