//! Reservations and entries that memory has forgotten.

use std::sync::Arc;

use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{StoreError, decode, list::entry_of};
use crate::{
    domain::{
        event::{EntryKind, Reserved, Settled},
        id::{OrganizationId, RequestId},
        money::Nanos,
        reservation_id::ReservationNo,
        time::Timestamp,
        usage::Amounts,
    },
    store::{Entry, EntryDetail, ReservationKey, StoredEnd, StoredReservation},
};

pub(super) async fn reservation(
    pool: &SqlitePool,
    organization: &OrganizationId,
    by: ReservationKey<'_>,
) -> Result<Option<StoredReservation>, StoreError> {
    let held = match by {
        ReservationKey::No(no) => sqlx::query(
            "SELECT epoch, sequence, admit_time, state, reason, reserved, settled, held_usd, held_credits, held_tokens,
                 held_requests FROM reservations
                 WHERE organization_id = ? AND epoch = ? AND sequence = ?",
        )
        .bind(organization.as_str())
        .bind(i64::from(no.epoch))
        .bind(no.sequence.cast_signed())
        .fetch_optional(pool)
        .await?,
        ReservationKey::Request(key, request) => sqlx::query(
            "SELECT epoch, sequence, admit_time, state, reason, reserved, settled, held_usd, held_credits, held_tokens,
                 held_requests FROM reservations
                 WHERE organization_id = ? AND request_id = ? AND key_id = ? ORDER BY admit_time DESC LIMIT 1",
        )
        .bind(organization.as_str())
        .bind(request.as_str())
        .bind(key.as_str())
        .fetch_optional(pool)
        .await?,
    };
    let held = match held {
        Some(row) => Some(ended(pool, organization, &row).await?),
        None => None,
    };
    let committed = committed(pool, organization, by).await?;
    // A request id may have been used again after it was forgotten: the latest counts.
    Ok([held, committed].into_iter().flatten().max_by_key(|found| (found.admit_time, found.no)))
}

async fn ended(
    pool: &SqlitePool,
    organization: &OrganizationId,
    row: &SqliteRow,
) -> Result<StoredReservation, StoreError> {
    let (epoch, sequence): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let no = number(epoch, sequence)?;
    let (state, reason): (&str, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
    let mut reserved: Reserved = decode("a reservation", row.try_get(5)?)?;
    reserved.held = Amounts {
        usd: Nanos::new(row.try_get(7)?),
        credits: Nanos::new(row.try_get(8)?),
        tokens: row.try_get(9)?,
        requests: row.try_get(10)?,
    };
    let reserved = Arc::new(reserved);
    let end = match state {
        "open" | "revoked" => StoredEnd::Open,
        "released" => StoredEnd::Released { reserved, reason: reason.unwrap_or_default() },
        "expired" => StoredEnd::Expired { reserved, charged: settlement(pool, organization, no, "expiry").await? },
        "committed" => StoredEnd::Committed(Arc::new(decode("a settlement", row.try_get(6)?)?)),
        other => return Err(StoreError::Damaged(format!("a reservation is {other:?}"))),
    };
    Ok(StoredReservation { no, admit_time: Timestamp::from_micros(row.try_get(2)?), end })
}

fn number(epoch: i64, sequence: i64) -> Result<ReservationNo, StoreError> {
    let damaged = |_| StoreError::Damaged(format!("a reservation has epoch {epoch}"));
    Ok(ReservationNo { epoch: u32::try_from(epoch).map_err(damaged)?, sequence: sequence.unsigned_abs() })
}

/// The entry of this kind about a reservation.
async fn settlement(
    pool: &SqlitePool,
    organization: &OrganizationId,
    no: ReservationNo,
    kind: &'static str,
) -> Result<Option<Arc<Settled>>, StoreError> {
    let detail: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT detail FROM ledger_entries
         WHERE organization_id = ? AND reservation_epoch = ? AND reservation_sequence = ? AND kind = ?",
    )
    .bind(organization.as_str())
    .bind(i64::from(no.epoch))
    .bind(no.sequence.cast_signed())
    .bind(kind)
    .fetch_optional(pool)
    .await?;
    detail.map(|detail| decode("a ledger entry", &detail).map(Arc::new)).transpose()
}

async fn committed(
    pool: &SqlitePool,
    organization: &OrganizationId,
    by: ReservationKey<'_>,
) -> Result<Option<StoredReservation>, StoreError> {
    let row = match by {
        ReservationKey::No(no) => {
            let query = "SELECT detail FROM ledger_entries WHERE organization_id = ? AND reservation_epoch = ?
                         AND reservation_sequence = ? AND kind IN ('commit', 'late_commit')";
            let query = sqlx::query_scalar(query).bind(organization.as_str()).bind(i64::from(no.epoch));
            query.bind(no.sequence.cast_signed()).fetch_optional(pool).await?
        }
        ReservationKey::Request(key, request) => {
            let query = "SELECT detail FROM ledger_entries WHERE organization_id = ? AND request_id = ? AND key_id = ?
                         AND kind IN ('commit', 'late_commit') ORDER BY occurred_at DESC LIMIT 1";
            let query = sqlx::query_scalar(query).bind(organization.as_str()).bind(request.as_str());
            query.bind(key.as_str()).fetch_optional(pool).await?
        }
    };
    let Some(detail): Option<Vec<u8>> = row else { return Ok(None) };
    let settled: Settled = decode("a ledger entry", &detail)?;
    let no = settled.reservation.ok_or_else(|| StoreError::Damaged(String::from("a commit has no reservation")))?;
    Ok(Some(StoredReservation { no, admit_time: settled.occurred_at, end: StoredEnd::Committed(Arc::new(settled)) }))
}

pub(super) async fn entry(
    pool: &SqlitePool,
    organization: &OrganizationId,
    request: &RequestId,
) -> Result<Option<Entry>, StoreError> {
    let row = sqlx::query(
        "SELECT time, actor, kind, detail FROM ledger_entries
         WHERE organization_id = ? AND request_id = ? AND kind IN ('charge', 'top_up')",
    )
    .bind(organization.as_str())
    .bind(request.as_str())
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(entry_of).transpose()
}

pub(super) async fn numbered(
    pool: &SqlitePool,
    organization: &OrganizationId,
    entry: u64,
) -> Result<Option<Entry>, StoreError> {
    let row =
        sqlx::query("SELECT time, actor, kind, detail FROM ledger_entries WHERE organization_id = ? AND entry = ?")
            .bind(organization.as_str())
            .bind(i64::try_from(entry).unwrap_or(i64::MAX))
            .fetch_optional(pool)
            .await?;
    row.as_ref().map(entry_of).transpose()
}

/// The event of an entry.
pub(super) fn detail_of(kind: &str, detail: &[u8]) -> Result<EntryDetail, StoreError> {
    const WHAT: &str = "a ledger entry";
    let known = EntryKind::ALL.into_iter().find(|known| known.name() == kind);
    match known.ok_or_else(|| StoreError::Damaged(format!("{WHAT} is of the kind {kind:?}")))? {
        EntryKind::TopUp => Ok(EntryDetail::ToppedUp(Box::new(decode(WHAT, detail)?))),
        EntryKind::Refund | EntryKind::Adjustment | EntryKind::Reversal => {
            Ok(EntryDetail::Corrected(Box::new(decode(WHAT, detail)?)))
        }
        EntryKind::Commit | EntryKind::Charge | EntryKind::Expiry | EntryKind::LateCommit => {
            Ok(EntryDetail::Settled(Arc::new(decode(WHAT, detail)?)))
        }
    }
}
