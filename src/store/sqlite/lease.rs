//! Who may write the books.

use sqlx::{Row, SqliteConnection, SqliteExecutor};

use super::StoreError;
use crate::{
    domain::lease::{JournalId, Lease, StoreId},
    store::{LEASE_SECONDS, LeaseStatus, StoreStatus},
};

pub(super) async fn status(connection: impl SqliteExecutor<'_>) -> Result<StoreStatus, StoreError> {
    let row = sqlx::query(
        "SELECT store_id, position, journal_id, epoch, holder, released OR renewed_at < unixepoch() - ?
         FROM projector LEFT JOIN writer_lease USING (id)",
    )
    .bind(LEASE_SECONDS)
    .fetch_one(connection)
    .await?;
    let (id, position): (&[u8], i64) = (row.try_get(0)?, row.try_get(1)?);
    let id = StoreId::from_slice(id).ok_or_else(|| StoreError::Damaged(String::from("store_id isn't 16 bytes")))?;
    let lease = match row.try_get::<Option<&[u8]>, _>(2)? {
        None => None,
        Some(journal) => {
            let (epoch, holder, free): (i64, String, bool) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
            Some(LeaseStatus { lease: lease(journal, epoch)?, holder, free })
        }
    };
    Ok(StoreStatus { id, position: position.unsigned_abs(), lease })
}

fn lease(journal: &[u8], epoch: i64) -> Result<Lease, StoreError> {
    let (journal, epoch) = (JournalId::from_slice(journal), u32::try_from(epoch).ok());
    let lease = journal.zip(epoch).map(|(journal, epoch)| Lease { journal, epoch });
    lease.ok_or_else(|| StoreError::Damaged(String::from("writer_lease can't be read")))
}

/// Fails unless `expected` is the one that may write.
pub(super) async fn check(connection: &mut SqliteConnection, expected: Lease) -> Result<StoreStatus, StoreError> {
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
    connection: &mut SqliteConnection,
    new: Lease,
    holder: &str,
    former: Option<Lease>,
) -> Result<(), StoreError> {
    let status = status(&mut *connection).await?;
    if status.lease.as_ref().map(|found| found.lease) != former {
        return Err(fenced(status.lease.as_ref()));
    }
    sqlx::query(
        "INSERT OR REPLACE INTO writer_lease (id, journal_id, epoch, holder, renewed_at, released)
         VALUES (1, ?, ?, ?, unixepoch(), 0)",
    )
    .bind(&new.journal.as_bytes()[..])
    .bind(new.epoch)
    .bind(holder)
    .execute(connection)
    .await?;
    Ok(())
}

/// Renews the lease, or gives it back.
pub(super) async fn touch(connection: &mut SqliteConnection, lease: Lease, released: bool) -> Result<(), StoreError> {
    let touched = sqlx::query(
        "UPDATE writer_lease SET renewed_at = unixepoch(), released = ? WHERE journal_id = ? AND epoch = ?",
    )
    .bind(released)
    .bind(&lease.journal.as_bytes()[..])
    .bind(lease.epoch)
    .execute(&mut *connection)
    .await?;
    match touched.rows_affected() {
        0 => Err(fenced(status(connection).await?.lease.as_ref())),
        _ => Ok(()),
    }
}
