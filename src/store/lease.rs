//! Who may write the books.

use super::{
    LEASE_SECONDS, LeaseStatus, StoreError, StoreStatus,
    connection::Connection,
    tables::Kind::{Bool, Bytes, Int, Text},
    value::{Sql, Value},
};
use crate::domain::{
    lease::{JournalId, Lease, StoreId},
    time::Timestamp,
};

fn damaged(problem: &str) -> StoreError {
    StoreError::Damaged(problem.to_owned())
}

pub(super) async fn status(connection: &mut dyn Connection) -> Result<StoreStatus, StoreError> {
    let sql = Sql::new(format!(
        "SELECT store_id, position, journal_id, epoch, holder, {}
         FROM projector LEFT JOIN writer_lease ON writer_lease.id = projector.id",
        connection.dialect().lease_is_free.replace('#', &LEASE_SECONDS.to_string())
    ));
    let rows = connection.fetch(sql, &[Bytes, Int, Bytes, Int, Text, Bool]).await?;
    let mut row = rows.into_iter().next().ok_or_else(|| damaged("the row of the projector is missing"))?;
    let id = StoreId::from_slice(&row.bytes(0)?).ok_or_else(|| damaged("store_id isn't 16 bytes"))?;
    let position = row.count(1)?;
    let lease = match row.opt_bytes(2)? {
        None => None,
        Some(journal) => {
            let (journal, epoch) = (JournalId::from_slice(&journal), u32::try_from(row.int(3)?).ok());
            let lease = journal.zip(epoch).map(|(journal, epoch)| Lease { journal, epoch });
            let lease = lease.ok_or_else(|| damaged("writer_lease can't be read"))?;
            Some(LeaseStatus { lease, holder: row.text(4)?, free: row.bool(5)? })
        }
    };
    Ok(StoreStatus { id, position, lease })
}

pub(super) async fn clock(connection: &mut dyn Connection) -> Result<Option<Timestamp>, StoreError> {
    let Some(clock) = connection.dialect().clock else { return Ok(None) };
    let rows = connection.fetch(Sql::new(format!("SELECT {clock}")), &[Int]).await?;
    let mut row = rows.into_iter().next().ok_or_else(|| damaged("the database doesn't tell the time"))?;
    Ok(Some(Timestamp::from_micros(row.int(0)?)))
}

/// Every transaction that writes the books, or changes who may, first has this row for itself. What it then reads is read in
/// a statement of its own, which sees what the one before it wrote.
pub(super) async fn lock(connection: &mut dyn Connection) -> Result<(), StoreError> {
    let sql = Sql::new(format!("SELECT position FROM projector{}", connection.dialect().lock));
    connection.fetch(sql, &[Int]).await.map(drop)
}

/// # Errors
/// [`StoreError::Fenced`] unless `expected` is the one that may write.
pub(super) async fn lock_for(connection: &mut dyn Connection, expected: Lease) -> Result<StoreStatus, StoreError> {
    lock(connection).await?;
    let status = status(connection).await?;
    match &status.lease {
        Some(found) if found.lease == expected => Ok(status),
        found => Err(fenced(found.as_ref())),
    }
}

fn fenced(found: Option<&LeaseStatus>) -> StoreError {
    let (holder, epoch) = found.map_or((String::from("nobody"), 0), |found| (found.holder.clone(), found.lease.epoch));
    StoreError::Fenced { holder, epoch }
}

pub(super) async fn take(
    connection: &mut dyn Connection,
    new: Lease,
    holder: &str,
    former: Option<Lease>,
) -> Result<(), StoreError> {
    lock(connection).await?;
    let status = status(connection).await?;
    if status.lease.as_ref().map(|found| found.lease) != former {
        return Err(fenced(status.lease.as_ref()));
    }
    connection.execute(Sql::new("DELETE FROM writer_lease")).await?;
    let mut sql =
        Sql::new("INSERT INTO writer_lease (id, released, renewed_at, journal_id, epoch, holder) VALUES (1, FALSE, ");
    sql.push(connection.dialect().now).push(", ").bind(Value::Bytes(new.journal.as_bytes().as_slice().into()));
    sql.push(", ").bind(Value::Int(i64::from(new.epoch))).push(", ").bind(Value::text(holder)).push(")");
    connection.execute(sql).await?;
    Ok(())
}

/// Renews the lease, or gives it back. Doesn't wait for what is being projected.
pub(super) async fn touch(connection: &mut dyn Connection, lease: Lease, released: bool) -> Result<(), StoreError> {
    let mut sql = Sql::new("UPDATE writer_lease SET renewed_at = ");
    sql.push(connection.dialect().now).push(", released = ").bind(Value::Bool(released));
    sql.push(" WHERE journal_id = ").bind(Value::Bytes(lease.journal.as_bytes().as_slice().into()));
    sql.push(" AND epoch = ").bind(Value::Int(i64::from(lease.epoch)));
    match connection.execute(sql).await? {
        0 => Err(fenced(status(connection).await?.lease.as_ref())),
        _ => Ok(()),
    }
}
