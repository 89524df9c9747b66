//! Adds the entries up anew, in one view of the books.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::StoreError;
use crate::{
    domain::{event::LimitNo, id::OrganizationId, money::Nanos, time::Timestamp},
    store::{Audit, WindowAudit},
};

type Windows = BTreeMap<(LimitNo, Timestamp), WindowAudit>;

pub(super) async fn audit(pool: &SqlitePool, organization: &OrganizationId) -> Result<Audit, StoreError> {
    // One transaction sees one state of the books, whatever is projected meanwhile.
    let mut transaction = pool.begin().await?;
    let mut audit = balances(&mut transaction, organization).await?;
    let mut windows = Windows::new();
    audit.wrong_charge = wrong_charge(&mut transaction, organization).await?;
    sum_entries(&mut transaction, organization, &mut windows).await?;
    read_rows(&mut transaction, organization, &mut windows).await?;
    audit.windows = windows.into_values().collect();
    Ok(audit)
}

async fn balances(connection: &mut SqliteConnection, organization: &OrganizationId) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    let mut rows =
        sqlx::query("SELECT entry, wallet, balance FROM ledger_entries WHERE organization_id = ? ORDER BY entry")
            .bind(organization.as_str())
            .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let entry: i64 = row.try_get(0)?;
        let (wallet, balance) = (Nanos::new(row.try_get(1)?), Nanos::new(row.try_get(2)?));
        audit.entries += 1;
        audit.balance += wallet;
        if entry.unsigned_abs() != audit.entries && audit.gap.is_none() {
            audit.gap = Some(audit.entries);
        }
        if balance != audit.balance && audit.wrong_balance.is_none() {
            audit.wrong_balance = Some((entry.unsigned_abs(), audit.balance, balance));
        }
    }
    Ok(audit)
}

fn window(windows: &mut Windows, limit: i64, start: i64) -> Result<&mut WindowAudit, StoreError> {
    let number = u32::try_from(limit).map_err(|_| StoreError::Damaged(format!("a limit has number {limit}")))?;
    let (limit, window) = (LimitNo(number), Timestamp::from_micros(start));
    let fresh = WindowAudit { limit, window, from_entries: Nanos::ZERO, from_row: Nanos::ZERO };
    Ok(windows.entry((limit, window)).or_insert(fresh))
}

/// The first entry that charged a budget something else than it cost.
async fn wrong_charge(
    connection: &mut SqliteConnection,
    organization: &OrganizationId,
) -> Result<Option<u64>, StoreError> {
    let entry: Option<i64> = sqlx::query_scalar(
        "SELECT min(entry) FROM ledger_entries, json_each(ledger_entries.limits) AS charge
         WHERE organization_id = ? AND charge.value ->> 'amount' <>
            CASE charge.value ->> 'unit' WHEN 'usd' THEN cost WHEN 'credits' THEN credits END",
    )
    .bind(organization.as_str())
    .fetch_one(connection)
    .await?;
    Ok(entry.map(i64::unsigned_abs))
}

async fn sum_entries(
    connection: &mut SqliteConnection,
    organization: &OrganizationId,
    windows: &mut Windows,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT charge.value ->> 'limit_no' AS limit_no, charge.value ->> 'window_start' AS window_start,
                sum((charge.value ->> 'amount') / 1000000000), sum((charge.value ->> 'amount') % 1000000000)
         FROM ledger_entries, json_each(ledger_entries.limits) AS charge
         WHERE organization_id = ? GROUP BY 1, 2",
    )
    .bind(organization.as_str())
    .fetch_all(connection)
    .await?;
    for row in rows {
        window(windows, row.try_get(0)?, row.try_get(1)?)?.from_entries =
            Nanos::units(row.try_get(2)?) + Nanos::new(row.try_get(3)?);
    }
    Ok(())
}

async fn read_rows(
    connection: &mut SqliteConnection,
    organization: &OrganizationId,
    windows: &mut Windows,
) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT limit_no, window_start, spent FROM budget_windows WHERE organization_id = ?")
        .bind(organization.as_str())
        .fetch_all(connection)
        .await?;
    for row in rows {
        window(windows, row.try_get(0)?, row.try_get(1)?)?.from_row = Nanos::new(row.try_get(2)?);
    }
    Ok(())
}
