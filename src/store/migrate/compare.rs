//! What tells books apart: rows and sums of every table, and where each ledger ends.

use super::sum_of;
use crate::{
    domain::money::Nanos,
    store::{
        StoreError,
        connection::Connection,
        tables::{self, Kind},
        value::Sql,
    },
};

/// Of one table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub table: &'static str,
    pub rows: u64,
    /// Of the columns that hold money or credits, in nano-units.
    pub money: Vec<(&'static str, i128)>,
}

/// An organization's ledger: the last entry, and the balance after it, by its head and by the entry itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    organization: String,
    head: (u64, Nanos),
    entry: Option<Nanos>,
}

/// A table that isn't empty.
pub(super) async fn filled(session: &mut dyn Connection) -> Result<Option<&'static str>, StoreError> {
    for table in tables::ALL {
        let sql = Sql::new(format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1) AS one", table.name));
        if count(session, sql).await? > 0 {
            return Ok(Some(table.name));
        }
    }
    let position = count(session, Sql::new("SELECT position FROM projector")).await?;
    let leases = count(session, Sql::new("SELECT count(*) FROM writer_lease")).await?;
    Ok(if position > 0 {
        Some("projector")
    } else if leases > 0 {
        Some("writer_lease")
    } else {
        None
    })
}

async fn count(session: &mut dyn Connection, sql: Sql<'_>) -> Result<u64, StoreError> {
    session.fetch(sql, &[Kind::Int]).await?.into_iter().next().map_or(Ok(0), |mut row| row.count(0))
}

pub(super) async fn sums(session: &mut dyn Connection) -> Result<Vec<Sums>, StoreError> {
    let mut all = Vec::new();
    for table in tables::ALL {
        let columns: Vec<_> = table.columns.iter().filter(|column| column.kind == Kind::Nanos).collect();
        let dialect = session.dialect();
        let sums =
            columns.iter().map(|column| format!(", {}", dialect.sum_of(column.name))).collect::<Vec<_>>().concat();
        let sql = Sql::new(format!("SELECT count(*){sums} FROM {}", table.name));
        let kinds = vec![Kind::Int; 1 + 2 * columns.len()];
        let Some(mut row) = session.fetch(sql, &kinds).await?.into_iter().next() else { continue };
        let mut money = Vec::new();
        for (no, column) in columns.iter().enumerate() {
            money.push((column.name, sum_of(row.int(1 + 2 * no)?, row.int(2 + 2 * no)?)));
        }
        all.push(Sums { table: table.name, rows: row.count(0)?, money });
    }
    Ok(all)
}

/// # Errors
/// The first difference.
pub(super) fn same(there: &[Sums], arrived: &[Sums]) -> Result<(), String> {
    for (there, arrived) in there.iter().zip(arrived) {
        if there.rows != arrived.rows {
            return Err(format!("{} has {} rows instead of {}", there.table, arrived.rows, there.rows));
        }
        for ((column, sum), (_, other)) in there.money.iter().zip(&arrived.money) {
            if sum != other {
                return Err(format!("{}.{column} sums up to {other} nano-units instead of {sum}", there.table));
            }
        }
    }
    Ok(())
}

/// By organization.
pub(super) async fn ends(session: &mut dyn Connection) -> Result<Vec<End>, StoreError> {
    let sql = Sql::new(
        "SELECT ledger_heads.organization_id, ledger_heads.entry, ledger_heads.balance, ledger_entries.balance
         FROM ledger_heads LEFT JOIN ledger_entries ON ledger_entries.organization_id = ledger_heads.organization_id
            AND ledger_entries.entry = ledger_heads.entry ORDER BY ledger_heads.organization_id",
    );
    let mut all = Vec::new();
    for mut row in session.fetch(sql, &[Kind::Text, Kind::Int, Kind::Nanos, Kind::Nanos]).await? {
        all.push(End { organization: row.text(0)?, head: (row.count(1)?, row.nanos(2)?), entry: row.opt_nanos(3)? });
    }
    Ok(all)
}

/// # Errors
/// The first difference.
pub(super) fn same_ends(there: &[End], arrived: &[End]) -> Result<(), String> {
    match there.iter().zip(arrived).find(|(there, arrived)| there != arrived) {
        None if there.len() == arrived.len() => Ok(()),
        None => Err(format!("there are {} ledgers instead of {}", arrived.len(), there.len())),
        Some((there, arrived)) => {
            let End { organization, head: (entry, balance), .. } = there;
            let (other, instead) = arrived.head;
            Err(format!(
                "the ledger of {organization} ends with entry {other} and balance {instead} instead of {entry} and {balance}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(rows: u64, money: i128) -> Vec<Sums> {
        vec![Sums { table: "ledger_entries", rows, money: vec![("cost", money)] }]
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(same(&books(2, 5), &books(2, 5)), Ok(()));
        let rows = same(&books(2, 5), &books(1, 5)).unwrap_err();
        assert_eq!(rows, "ledger_entries has 1 rows instead of 2");
        let money = same(&books(2, 5), &books(2, 4)).unwrap_err();
        assert_eq!(money, "ledger_entries.cost sums up to 4 nano-units instead of 5");
        let end = |balance| End {
            organization: String::from("acme"),
            head: (3, Nanos::new(balance)),
            entry: Some(Nanos::new(balance)),
        };
        assert_eq!(same_ends(&[end(1)], &[end(1)]), Ok(()));
        assert!(same_ends(&[end(1)], &[end(2)]).unwrap_err().contains("acme"));
        assert!(same_ends(&[end(1)], &[]).unwrap_err().contains("0 ledgers instead of 1"));
    }
}
