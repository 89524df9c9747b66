//! Reservations and entries that memory has forgotten.

use std::sync::Arc;

use super::list::{ENTRY, ENTRY_KINDS, entry_of};
use crate::{
    domain::{
        ended::Ended,
        event::{Reserved, Settled},
        id::{KeyId, OrganizationId, RequestId},
        reservation_id::ReservationNo,
        usage::Amounts,
    },
    store::{
        EndedKey, Entry, RegisteredKey, ReservationKey, StoreError, StoredEnd, StoredReservation,
        connection::Connection,
        detail::decode,
        tables::Kind::{Bytes, Int, Nanos as Money, Text, Time},
        value::{Row, Sql, Value},
    },
};

pub(in crate::store) async fn reservation(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    by: ReservationKey<'_>,
) -> Result<Option<StoredReservation>, StoreError> {
    let mut sql = Sql::new(
        "SELECT epoch, sequence, admit_time, state, reason, reserved, settled, held_usd, held_credits, held_tokens,
            held_requests
         FROM reservations WHERE organization_id = ",
    );
    sql.bind(Value::text(organization.as_str()));
    match by {
        ReservationKey::No(no) => {
            sql.push(" AND epoch = ").bind(Value::Int(i64::from(no.epoch)));
            sql.push(" AND sequence = ").bind(Value::count(no.sequence));
        }
        ReservationKey::Request(key, request) => {
            sql.push(" AND request_id = ").bind(Value::text(request.as_str()));
            sql.push(" AND key_id = ").bind(Value::text(key.as_str())).push(" ORDER BY admit_time DESC LIMIT 1");
        }
    }
    let rows = connection.fetch(sql, &[Int, Int, Time, Text, Text, Bytes, Bytes, Money, Money, Int, Int]).await?;
    let held = match rows.into_iter().next() {
        Some(row) => Some(ended(connection, organization, row).await?),
        None => None,
    };
    let committed = committed(connection, organization, by).await?;
    // A request id may have been used again after it was forgotten: the latest counts.
    Ok([held, committed].into_iter().flatten().max_by_key(|found| (found.admit_time, found.no)))
}

async fn ended(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    mut row: Row,
) -> Result<StoredReservation, StoreError> {
    let epoch = row.int(0)?;
    let damaged = |_| StoreError::Damaged(format!("a reservation has epoch {epoch}"));
    let no = ReservationNo { epoch: u32::try_from(epoch).map_err(damaged)?, sequence: row.count(1)? };
    let (state, reason) = (row.text(3)?, row.opt_text(4)?);
    let mut reserved: Reserved = decode("a reservation", &row.bytes(5)?)?;
    // An Extend may have raised it.
    reserved.held = Amounts { usd: row.nanos(7)?, credits: row.nanos(8)?, tokens: row.int(9)?, requests: row.int(10)? };
    let reserved = Arc::new(reserved);
    let end = match state.as_str() {
        "open" | "revoked" => StoredEnd::Open,
        "released" => {
            let charged = if row.is_null(6) { None } else { Some(Arc::new(decode("a settlement", &row.bytes(6)?)?)) };
            StoredEnd::Released { reserved, reason: reason.unwrap_or_default(), charged }
        }
        "expired" => StoredEnd::Expired { reserved, charged: expiry(connection, organization, no).await? },
        "committed" => StoredEnd::Committed(Arc::new(decode("a settlement", &row.bytes(6)?)?)),
        other => return Err(StoreError::Damaged(format!("a reservation is {other:?}"))),
    };
    Ok(StoredReservation { no, admit_time: row.time(2)?, end })
}

fn details(organization: &OrganizationId) -> Sql<'_> {
    let mut sql = Sql::new("SELECT detail FROM ledger_entries WHERE organization_id = ");
    sql.bind(Value::text(organization.as_str()));
    sql
}

fn push_number(sql: &mut Sql<'_>, no: ReservationNo) {
    sql.push(" AND reservation_epoch = ").bind(Value::Int(i64::from(no.epoch)));
    sql.push(" AND reservation_sequence = ").bind(Value::count(no.sequence));
}

async fn one_settlement(connection: &mut dyn Connection, sql: Sql<'_>) -> Result<Option<Arc<Settled>>, StoreError> {
    let Some(mut row) = connection.fetch(sql, &[Bytes]).await?.into_iter().next() else { return Ok(None) };
    Ok(Some(Arc::new(decode("a ledger entry", &row.bytes(0)?)?)))
}

/// Every entry that a reservation's settlements booked.
pub(in crate::store) async fn settlements(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    no: ReservationNo,
) -> Result<Vec<Arc<Settled>>, StoreError> {
    let mut all = Vec::new();
    // One index each.
    for kinds in [" AND kind = 'expiry'", " AND kind IN ('commit', 'late_commit')"] {
        let mut sql = details(organization);
        push_number(&mut sql, no);
        sql.push(kinds);
        for mut row in connection.fetch(sql, &[Bytes]).await? {
            all.push(Arc::new(decode::<Settled>("a ledger entry", &row.bytes(0)?)?));
        }
    }
    all.sort_by_key(|settled| settled.entry);
    Ok(all)
}

/// Returns what the expiry of a reservation charged, unless a late commit has taken it back.
async fn expiry(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    no: ReservationNo,
) -> Result<Option<Arc<Settled>>, StoreError> {
    let mut sql = details(organization);
    push_number(&mut sql, no);
    sql.push(" AND kind = 'expiry' ORDER BY entry DESC LIMIT 1");
    Ok(one_settlement(connection, sql).await?.filter(|settled| settled.is_expiry()))
}

async fn committed(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    by: ReservationKey<'_>,
) -> Result<Option<StoredReservation>, StoreError> {
    let mut sql = details(organization);
    sql.push(" AND kind IN ('commit', 'late_commit')");
    match by {
        ReservationKey::No(no) => push_number(&mut sql, no),
        ReservationKey::Request(key, request) => {
            sql.push(" AND request_id = ").bind(Value::text(request.as_str()));
            sql.push(" AND key_id = ").bind(Value::text(key.as_str())).push(" ORDER BY occurred_at DESC LIMIT 1");
        }
    }
    let Some(settled) = one_settlement(connection, sql).await? else { return Ok(None) };
    let no = settled.reservation.ok_or_else(|| StoreError::Damaged(String::from("a commit has no reservation")))?;
    Ok(Some(StoredReservation { no, admit_time: settled.occurred_at, end: StoredEnd::Committed(settled) }))
}

/// By the request ids of what moved money. They outlive the entries: what was dropped stands beside the id.
pub(in crate::store) async fn entry(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    request: &RequestId,
) -> Result<Option<Entry>, StoreError> {
    let mut sql = Sql::new(
        "SELECT entry, time, actor, kind, detail FROM money_request_ids
         WHERE (kind IS NULL OR kind IN ('charge', 'top_up')) AND organization_id = ",
    );
    sql.bind(Value::text(organization.as_str())).push(" AND request_id = ").bind(Value::text(request.as_str()));
    let rows = connection.fetch(sql, &[Int, Time, Text, Text, Bytes]).await?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let number = row.count(0)?;
    if row.is_null(4) {
        let found = numbered(connection, organization, number).await?;
        return Ok(found.filter(|entry| !matches!(entry.detail, crate::store::EntryDetail::Corrected(_))));
    }
    row.0.remove(0);
    entry_of(row).map(Some)
}

pub(in crate::store) async fn numbered(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    entry: u64,
) -> Result<Option<Entry>, StoreError> {
    let mut sql = Sql::new(ENTRY);
    sql.push(" WHERE organization_id = ").bind(Value::text(organization.as_str()));
    sql.push(" AND entry = ").bind(Value::count(entry));
    let row = connection.fetch(sql, &ENTRY_KINDS).await?.into_iter().next();
    row.map(entry_of).transpose()
}

/// Returns the organization of a key, and its id.
pub(in crate::store) async fn key(
    connection: &mut dyn Connection,
    by: RegisteredKey<'_>,
) -> Result<Option<(OrganizationId, KeyId)>, StoreError> {
    let mut sql = Sql::new("SELECT organization_id, key_id FROM key_directory WHERE ");
    match by {
        RegisteredKey::Id(id) => sql.push("key_id = ").bind(Value::text(id.as_str())),
        RegisteredKey::Secret(hash) => sql.push("hash = ").bind(Value::Bytes(hash.as_bytes().as_slice().into())),
    };
    let Some(mut row) = connection.fetch(sql, &[Text, Text]).await?.into_iter().next() else { return Ok(None) };
    Ok(Some((OrganizationId::trusted(row.text(0)?), KeyId::trusted(row.text(1)?))))
}

/// Something of the control plane that is over.
pub(in crate::store) async fn ended_entity(
    connection: &mut dyn Connection,
    organization: &OrganizationId,
    by: EndedKey<'_>,
) -> Result<Option<Ended>, StoreError> {
    let mut sql = Sql::new("SELECT detail FROM ended_entities WHERE organization_id = ");
    sql.bind(Value::text(organization.as_str()));
    match by {
        EndedKey::Name(name) => {
            sql.push(" AND kind = ").bind(Value::text(name.kind()));
            sql.push(" AND entity_id = ").bind(Value::text(name.id()));
        }
        EndedKey::Request(request) => {
            sql.push(" AND request_id = ").bind(Value::text(request.as_str()));
        }
    }
    match connection.fetch(sql, &[Bytes]).await?.into_iter().next() {
        Some(mut row) => decode("what is over", &row.bytes(0)?),
        None => Ok(None),
    }
}
