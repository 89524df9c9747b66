//! Statements, values and rows as SQLite takes them.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future;
use sqlx::{
    Arguments as _, AssertSqlSafe, Row as _, Sqlite,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::sync::OwnedRwLockReadGuard;

use crate::{
    domain::{money::Nanos, time::Timestamp},
    store::{
        StoreError,
        connection::{Connection, Dialect, Steps, Unfinished},
        tables::{Kind, Merge, Table},
        value::{How, Row, Rows, Sql, Value},
    },
};

#[cfg(test)]
mod tests;

static DIALECT: Dialect = Dialect {
    // A writing transaction has the whole file to itself.
    lock: "",
    clock: None,
    now: "unixepoch()",
    lease_is_free: "released OR renewed_at < unixepoch() - #",
    find_text: "instr",
    minute: "occurred_at / 60000000",
    late: "time - occurred_at > 90000000000",
    money_sum: "coalesce(sum(# / 1000000000), 0), coalesce(sum(# % 1000000000), 0)",
    wrong_charge: "SELECT min(entry) FROM ledger_entries, json_each(ledger_entries.limits) AS charge
         WHERE organization_id = $1 AND corrects_entry IS NULL AND charge.value ->> 'amount' <>
            CASE charge.value ->> 'unit' WHEN 'usd' THEN cost WHEN 'credits' THEN credits END",
    charge_sums: "SELECT charge.value ->> 'limit_no' AS limit_no, charge.value ->> 'window_start' AS window_start,
                sum((charge.value ->> 'amount') / 1000000000), sum((charge.value ->> 'amount') % 1000000000)
         FROM ledger_entries, json_each(ledger_entries.limits) AS charge
         WHERE organization_id = $1 GROUP BY 1, 2",
};

/// Cells a statement: below SQLite's 32,766 variables.
const CELLS: usize = 14_000;

pub(super) struct SqliteSession {
    connection: Unfinished<Sqlite>,
    /// Until the transaction has ended.
    _browsing: Option<OwnedRwLockReadGuard<()>>,
}

impl SqliteSession {
    pub(super) fn new(connection: Unfinished<Sqlite>, browsing: Option<OwnedRwLockReadGuard<()>>) -> Self {
        Self { connection, _browsing: browsing }
    }
}

#[async_trait]
impl Connection for SqliteSession {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    async fn execute(&mut self, sql: Sql<'_>) -> Result<u64, StoreError> {
        let arguments = arguments(&sql.values, sql.values.len())?;
        Ok(sqlx::query_with(AssertSqlSafe(sql.text), arguments).execute(&mut *self.connection).await?.rows_affected())
    }

    async fn fetch(&mut self, sql: Sql<'_>, kinds: &[Kind]) -> Result<Vec<Row>, StoreError> {
        let arguments = arguments(&sql.values, sql.values.len())?;
        let rows = sqlx::query_with(AssertSqlSafe(sql.text), arguments).fetch_all(&mut *self.connection).await?;
        rows.iter().map(|row| read(row, kinds)).collect()
    }

    async fn write(&mut self, rows: &Rows<'_>) -> Result<(), StoreError> {
        let width = rows.width();
        let whole = CELLS / width * width;
        let mut statements = rows.cells.chunks(whole).map(|cells| {
            let text = statement(rows.table, rows.how, cells.len() / width);
            // Only statements of full length come again.
            let query =
                sqlx::query_with(AssertSqlSafe(text), arguments(cells, width)?).persistent(cells.len() == whole);
            Ok::<_, StoreError>(query)
        });
        let mut next = statements.next().transpose()?;
        while let Some(query) = next {
            // SQLite works in a thread of its own: the next statement is made meanwhile.
            let (executed, made) =
                future::join(query.execute(&mut *self.connection), async { statements.next().transpose() }).await;
            executed?;
            next = made?;
        }
        Ok(())
    }

    async fn insert(&mut self, _: &'static Table, steps: &mut Steps<'_>) -> Result<(), StoreError> {
        let mut next = steps.next().transpose()?;
        while let Some(rows) = next {
            let (written, made) = future::join(self.write(&rows), async { steps.next().transpose() }).await;
            written?;
            next = made?;
        }
        Ok(())
    }

    /// Its indexes have no checksums: one that lost its order hides rows from some questions, and not from others.
    async fn file_damage(&mut self) -> Result<Option<String>, StoreError> {
        let found = self.fetch(Sql::new("PRAGMA integrity_check(1)"), &[Kind::Text]).await?;
        let found = found.into_iter().next().map_or(Ok(String::new()), |mut row| row.text(0))?;
        Ok((found != "ok").then_some(found))
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        self.connection.finish();
        Ok(())
    }
}

/// Of rows of so many values. Rows that follow each other have much text in common: a cell has its copy from the one above.
fn arguments(values: &[Value<'_>], width: usize) -> Result<SqliteArguments, StoreError> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    let mut above: Vec<Arc<str>> = vec![Arc::default(); width];
    for (value, column) in values.iter().zip((0..width).cycle()) {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Text(text) | Value::Json(text) => {
                if *above[column] != **text {
                    above[column] = Arc::from(&**text);
                }
                arguments.add(Arc::clone(&above[column]))
            }
            Value::Int(int) => arguments.add(*int),
            Value::Nanos(nanos) => arguments.add(nanos.get()),
            Value::Time(time) => arguments.add(time.micros()),
            Value::Bool(bool) => arguments.add(*bool),
            Value::Bytes(bytes) => arguments.add(&**bytes),
        };
        added.map_err(|error| StoreError::Damaged(error.to_string()))?;
    }
    Ok(arguments)
}

fn read(row: &SqliteRow, kinds: &[Kind]) -> Result<Row, StoreError> {
    let cell = |(at, kind): (usize, &Kind)| -> Result<Value<'static>, StoreError> {
        let int = |of: fn(i64) -> Value<'static>| Ok(Value::opt(row.try_get::<Option<i64>, _>(at)?, of));
        match kind {
            Kind::Text => Ok(Value::opt(row.try_get::<Option<String>, _>(at)?, Value::owned)),
            Kind::Json => Ok(Value::opt(row.try_get(at)?, Value::json)),
            Kind::Bytes => Ok(Value::opt(row.try_get(at)?, Value::bytes)),
            Kind::Int => int(Value::Int),
            Kind::Nanos => int(|nanos| Value::Nanos(Nanos::new(nanos))),
            Kind::Time => int(|micros| Value::Time(Timestamp::from_micros(micros))),
            Kind::Bool => int(|bool| Value::Bool(bool != 0)),
        }
    };
    kinds.iter().enumerate().map(cell).collect::<Result<_, _>>().map(Row)
}

/// For so many rows, whose cells are its values.
fn statement(table: &Table, how: How, rows: usize) -> String {
    let Table { name, columns } = table;
    let names = |columns: &mut dyn Iterator<Item = &'static str>| columns.collect::<Vec<_>>().join(", ");
    let keys = names(&mut table.keys().map(|column| column.name));
    match how {
        How::Insert | How::Merge => {
            let all = names(&mut columns.iter().map(|column| column.name));
            let values = values(columns.len(), rows);
            let merged = if how == How::Merge { merged(table, &keys) } else { String::new() };
            // The transaction is rolled back when a row can't be there: SQLite needn't be able to undo the statement alone.
            format!("INSERT OR FAIL INTO {name} ({all}) {values}{merged}")
        }
        How::Patch => {
            let numbered = || columns.iter().enumerate().map(|(i, column)| (column, i + 1));
            let set = numbered().filter(|(column, _)| column.merge == Merge::Replace);
            let set = set.map(|(column, no)| format!("{0} = coalesce(patch.column{no}, {name}.{0})", column.name));
            let at = numbered().filter(|(column, _)| column.merge == Merge::Key);
            let at = at.map(|(column, no)| format!("{name}.{} = patch.column{no}", column.name));
            let (set, at) = (set.collect::<Vec<_>>().join(", "), at.collect::<Vec<_>>().join(" AND "));
            format!("UPDATE {name} SET {set} FROM ({}) AS patch WHERE {at}", values(columns.len(), rows))
        }
        How::Delete => {
            format!("DELETE FROM {name} WHERE ({keys}) IN ({})", values(table.keys().count(), rows))
        }
    }
}

fn values(width: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    format!("VALUES {}", vec![row; rows].join(","))
}

fn merged(table: &Table, keys: &str) -> String {
    let set = table.columns.iter().filter_map(|column| match column.merge {
        Merge::Key | Merge::Keep => None,
        Merge::Replace => Some(format!("{0} = excluded.{0}", column.name)),
        // Beyond the integers SQLite would go on in floating point.
        Merge::Add => Some(format!(
            "{0} = CAST(max(-9223372036854775807, min(9223372036854775807, {0} + excluded.{0})) AS INTEGER)",
            column.name
        )),
    });
    format!(" ON CONFLICT ({keys}) DO UPDATE SET {}", set.collect::<Vec<_>>().join(", "))
}
