//! Adds the entries up anew, in one view of the books.

use std::collections::BTreeMap;

use crate::{
    domain::{
        event::LimitNo,
        id::{MemberId, OrganizationId, TeamId},
        money::Nanos,
        time::Timestamp,
    },
    store::{
        Audit, StoreError, WindowAudit,
        connection::Connection,
        tables::Kind::{Int, Nanos as Money, Text, Time},
        value::{Row, Sql, Value},
    },
};

/// Entries that are in memory at a time.
const PAGE: i64 = 10_000;

type Windows = BTreeMap<(LimitNo, Timestamp), WindowAudit>;

/// The transaction must see one state of the books, whatever is projected meanwhile.
pub(in crate::store) async fn audit(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
) -> Result<Audit, StoreError> {
    connection.be_patient().await?;
    let mut audit = dropped(connection, organization).await?;
    balances(connection, organization, &mut audit).await?;
    audit.wrong_charge = wrong_charge(connection, organization).await?;
    let mut windows = Windows::new();
    sum_entries(connection, organization, &mut windows).await?;
    read_windows(connection, organization, &mut windows).await?;
    audit.windows = windows.into_values().collect();
    audit.allocations = allocations(connection, organization).await?;
    Ok(audit)
}

async fn allocations(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
) -> Result<Vec<(TeamId, Option<MemberId>, Nanos)>, StoreError> {
    let mut sql = of("SELECT team_id, member_id, monthly FROM allocations", organization);
    sql.push(" AND monthly IS NOT NULL ORDER BY team_id, member_id");
    let rows = connection.fetch(sql, &[Text, Text, Money]).await?;
    let allocation = |mut row: Row| {
        let member = Some(row.text(1)?).filter(|member| !member.is_empty());
        Ok((TeamId::trusted(row.text(0)?), member.map(MemberId::trusted), row.nanos(2)?))
    };
    rows.into_iter().map(allocation).collect()
}

/// Of one organization.
fn of<'a>(select: &str, organization: &'a OrganizationId) -> Sql<'a> {
    let mut sql = Sql::new(select);
    sql.push(" WHERE organization_id = ").bind(Value::text(organization.as_str()));
    sql
}

/// What the months come to whose entries aren't there any more.
async fn dropped(connection: &mut dyn Connection, organization: &OrganizationId) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    let mut sql = of("SELECT first_entry, entries, wallet, balance FROM ledger_dropped_months", organization);
    sql.push(" ORDER BY month");
    for mut row in connection.fetch(sql, &[Int, Int, Money, Money]).await? {
        let (first, entries, balance) = (row.count(0)?, row.count(1)?, row.nanos(3)?);
        if first != audit.entries + 1 && audit.gap.is_none() {
            audit.gap = Some(audit.entries + 1);
        }
        audit.entries += entries;
        audit.balance += row.nanos(2)?;
        if balance != audit.balance && audit.wrong_balance.is_none() {
            audit.wrong_balance = Some((audit.entries, audit.balance, balance));
        }
    }
    Ok(audit)
}

async fn balances(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    audit: &mut Audit,
) -> Result<(), StoreError> {
    let mut last = 0;
    loop {
        let mut sql = of("SELECT entry, wallet, balance FROM ledger_entries", organization);
        sql.push(" AND entry > ").bind(Value::count(last)).push(" ORDER BY entry LIMIT ").bind(Value::Int(PAGE));
        let rows = connection.fetch(sql, &[Int, Money, Money]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for mut row in rows {
            let (entry, wallet, balance) = (row.count(0)?, row.nanos(1)?, row.nanos(2)?);
            audit.entries += 1;
            audit.balance += wallet;
            if entry != audit.entries && audit.gap.is_none() {
                audit.gap = Some(audit.entries);
            }
            if balance != audit.balance && audit.wrong_balance.is_none() {
                audit.wrong_balance = Some((entry, audit.balance, balance));
            }
            last = entry;
        }
    }
}

/// The first entry that charged a budget something else than it cost.
async fn wrong_charge(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
) -> Result<Option<u64>, StoreError> {
    let values = vec![Value::text(organization.as_str())];
    let sql = Sql { text: connection.dialect().wrong_charge.to_owned(), values };
    let row = connection.fetch(sql, &[Int]).await?.into_iter().next();
    Ok(row.map_or(Ok(None), |mut row| row.opt_int(0))?.map(i64::unsigned_abs))
}

fn window(windows: &mut Windows, limit: i64, window: Timestamp) -> Result<&mut WindowAudit, StoreError> {
    let number = u32::try_from(limit).map_err(|_| StoreError::Damaged(format!("a limit has number {limit}")))?;
    let limit = LimitNo(number);
    let fresh = WindowAudit { limit, window, from_entries: Nanos::ZERO, from_row: Nanos::ZERO };
    Ok(windows.entry((limit, window)).or_insert(fresh))
}

async fn sum_entries(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    windows: &mut Windows,
) -> Result<(), StoreError> {
    let values = vec![Value::text(organization.as_str())];
    let sql = Sql { text: connection.dialect().charge_sums.to_owned(), values };
    for mut row in connection.fetch(sql, &[Int, Int, Int, Int]).await? {
        let start = Timestamp::from_micros(row.int(1)?);
        let sum = Nanos::units(row.int(2)?) + Nanos::new(row.int(3)?);
        window(windows, row.int(0)?, start)?.from_entries = sum;
    }
    let sql = of("SELECT limit_no, window_start, amount FROM ledger_dropped_charges", organization);
    for mut row in connection.fetch(sql, &[Int, Time, Money]).await? {
        window(windows, row.int(0)?, row.time(1)?)?.from_entries += row.nanos(2)?;
    }
    Ok(())
}

async fn read_windows(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    windows: &mut Windows,
) -> Result<(), StoreError> {
    let sql = of("SELECT limit_no, window_start, spent FROM budget_windows", organization);
    for mut row in connection.fetch(sql, &[Int, Time, Money]).await? {
        window(windows, row.int(0)?, row.time(1)?)?.from_row = row.nanos(2)?;
    }
    Ok(())
}
