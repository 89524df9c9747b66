//! Entries, budget windows and reservations: what moves with the load.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query_builder::Separated};

use super::{StoreError, encode, project::ROWS};
use crate::{
    domain::{
        event::{EntryKind, Settled, TopUp},
        id::{Holder, MemberId, OrganizationId, RequestId},
        payment::Correction,
        reservation_id::ReservationNo,
        time::Timestamp,
    },
    store::batch::{Batch, EntryEvent, EntryRow, ReservationChange, ReservationPatch, ReservationRow, charges},
};

pub(super) async fn windows(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    let windows: Vec<_> = batch.windows.iter().collect();
    for chunk in windows.chunks(ROWS) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO budget_windows (organization_id, limit_no, window_start, spent) ");
        query.push_values(chunk, |mut row, &((organization, (limit, window)), spent)| {
            row.push_bind(organization.as_str()).push_bind(i64::from(limit.0));
            row.push_bind(window.micros()).push_bind(spent.get());
        });
        // Saturates as memory does: beyond the integers SQLite would go on in floating point.
        query.push(
            " ON CONFLICT DO UPDATE SET spent = CAST(
                max(-9223372036854775807, min(9223372036854775807, spent + excluded.spent)) AS INTEGER)",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn reservations(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    let mut new = Vec::new();
    let mut gone = Vec::new();
    for ((organization, no), change) in &batch.reservations {
        match change {
            ReservationChange::New(row) => new.push((organization, no, &**row, encode(&*row.reserved)?)),
            ReservationChange::Gone => gone.push((organization, no)),
            ReservationChange::Old(patch) => update(connection, organization, *no, patch).await?,
        }
    }
    for chunk in new.chunks(ROWS) {
        insert(connection, chunk).await?;
    }
    for chunk in gone.chunks(ROWS) {
        let mut query =
            QueryBuilder::<Sqlite>::new("DELETE FROM reservations WHERE (organization_id, epoch, sequence) IN (");
        query.push_values(chunk, |mut row, (organization, no)| {
            row.push_bind(organization.as_str()).push_bind(i64::from(no.epoch)).push_bind(no.sequence.cast_signed());
        });
        query.push(")");
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

type NewRow<'a> = (&'a OrganizationId, &'a ReservationNo, &'a ReservationRow, Vec<u8>);

async fn insert(connection: &mut SqliteConnection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    let mut settled = Vec::with_capacity(rows.len());
    for (_, _, row, _) in rows {
        settled.push(row.settled.as_deref().map(encode).transpose()?);
    }
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO reservations (organization_id, epoch, sequence, request_id, key_id, model, holder, state, admit_time,
         expire_time, held_usd, held_credits, held_tokens, held_requests, reason, reserved, settled) ",
    );
    query.push_values(rows.iter().zip(settled), |mut values, ((organization, no, row, reserved), settled)| {
        values.push_bind(organization.as_str()).push_bind(i64::from(no.epoch)).push_bind(no.sequence.cast_signed());
        values.push_bind(row.reserved.request.as_ref().map(RequestId::as_str));
        values.push_bind(row.reserved.key.as_str()).push_bind(row.reserved.model.as_str());
        values.push_bind(row.reserved.holder.as_ref().map(Holder::as_str)).push_bind(row.state);
        values.push_bind(row.admit_time.micros()).push_bind(row.expire_time.micros());
        values.push_bind(row.held.usd.get()).push_bind(row.held.credits.get());
        values.push_bind(row.held.tokens).push_bind(row.held.requests);
        values.push_bind(row.reason.as_deref()).push_bind(&reserved[..]).push_bind(settled);
    });
    query.build().execute(connection).await?;
    Ok(())
}

async fn update(
    connection: &mut SqliteConnection,
    organization: &OrganizationId,
    no: ReservationNo,
    patch: &ReservationPatch,
) -> Result<(), StoreError> {
    let ReservationPatch { state, expire_time, held, reason, settled } = patch;
    sqlx::query(
        "UPDATE reservations SET state = coalesce(?, state), expire_time = coalesce(?, expire_time),
         held_usd = coalesce(?, held_usd), held_credits = coalesce(?, held_credits),
         held_tokens = coalesce(?, held_tokens), held_requests = coalesce(?, held_requests),
         reason = coalesce(?, reason), settled = coalesce(?, settled)
         WHERE organization_id = ? AND epoch = ? AND sequence = ?",
    )
    .bind(*state)
    .bind(expire_time.map(Timestamp::micros))
    .bind(held.map(|held| held.usd.get()))
    .bind(held.map(|held| held.credits.get()))
    .bind(held.map(|held| held.tokens))
    .bind(held.map(|held| held.requests))
    .bind(reason.as_deref())
    .bind(settled.as_deref().map(encode).transpose()?)
    .bind(organization.as_str())
    .bind(i64::from(no.epoch))
    .bind(no.sequence.cast_signed())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn entries(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for chunk in batch.entries.chunks(ROWS) {
        let mut details = Vec::with_capacity(chunk.len());
        for entry in chunk {
            details.push(match entry.detail {
                EntryEvent::Settled(settled) => encode(settled)?,
                EntryEvent::ToppedUp(top_up) => encode(top_up)?,
                EntryEvent::Corrected(correction) => encode(correction)?,
            });
        }
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO ledger_entries (organization_id, time, actor, detail, entry, kind, occurred_at, key_id, member_id,
             team_id, model, request_id, reservation_epoch, reservation_sequence, input_tokens, cached_input_tokens,
             cache_write_tokens, output_tokens, requests, cost, credits, overage_usd, wallet, balance, reason, limits, labels,
             corrects_entry) ",
        );
        query.push_values(chunk.iter().zip(details), |mut row, (entry, detail)| {
            let EntryRow { organization, record, detail: event } = entry;
            row.push_bind(organization.as_str()).push_bind(record.time.micros());
            row.push_bind(record.actor.as_str()).push_bind(detail);
            match event {
                EntryEvent::Settled(settled) => push_settled(&mut row, settled),
                EntryEvent::ToppedUp(top_up) => push_money(&mut row, &Money::of_top_up(top_up), record.time),
                EntryEvent::Corrected(correction) => {
                    push_money(&mut row, &Money::of_correction(correction), record.time);
                }
            }
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

fn push_settled(row: &mut Separated<'_, Sqlite, &'static str>, settled: &Settled) {
    let booked = settled.booked;
    row.push_bind(settled.entry.unwrap_or(0).cast_signed()).push_bind(settled.kind.name());
    row.push_bind(settled.occurred_at.micros()).push_bind(settled.key.to_string());
    row.push_bind(settled.member.to_string()).push_bind(settled.team.to_string());
    row.push_bind(settled.model.to_string()).push_bind(settled.request.as_ref().map(ToString::to_string));
    row.push_bind(settled.reservation.map(|no| i64::from(no.epoch)));
    row.push_bind(settled.reservation.map(|no| no.sequence.cast_signed()));
    row.push_bind(booked.input_tokens).push_bind(booked.cached_input_tokens).push_bind(booked.cache_write_tokens);
    row.push_bind(booked.output_tokens).push_bind(booked.requests);
    row.push_bind(booked.cost.get()).push_bind(booked.credits.get()).push_bind(settled.overage.usd.get());
    row.push_bind(settled.wallet.get()).push_bind(settled.balance.get()).push_bind(None::<String>);
    row.push_bind(limits_json(settled)).push_bind(labels_json(settled)).push_bind(None::<i64>);
}

/// An entry that moves money and books no usage.
struct Money<'a> {
    entry: u64,
    kind: EntryKind,
    member: Option<&'a str>,
    request: &'a RequestId,
    amount: i64,
    balance: i64,
    reason: &'a str,
    corrects: Option<u64>,
}

impl<'a> Money<'a> {
    fn of_top_up(top_up: &'a TopUp) -> Self {
        Self {
            entry: top_up.entry,
            kind: EntryKind::TopUp,
            member: top_up.member.as_ref().map(MemberId::as_str),
            request: &top_up.request,
            amount: top_up.amount.get(),
            balance: top_up.balance.get(),
            reason: &top_up.reason,
            corrects: None,
        }
    }

    fn of_correction(correction: &'a Correction) -> Self {
        Self {
            entry: correction.entry,
            kind: correction.kind,
            member: None,
            request: &correction.request,
            amount: correction.amount.get(),
            balance: correction.balance.get(),
            reason: &correction.reason,
            corrects: Some(correction.corrects),
        }
    }
}

fn push_money(row: &mut Separated<'_, Sqlite, &'static str>, money: &Money<'_>, time: Timestamp) {
    row.push_bind(money.entry.cast_signed()).push_bind(money.kind.name()).push_bind(time.micros());
    let (no_text, no_number) = (None::<String>, None::<i64>);
    row.push_bind(no_text.clone()).push_bind(money.member.map(str::to_owned));
    row.push_bind(no_text.clone()).push_bind(no_text);
    row.push_bind(money.request.to_string()).push_bind(no_number).push_bind(no_number);
    // No tokens, no requests, no cost, no credits, no overage.
    for _ in 0..8 {
        row.push_bind(0_i64);
    }
    row.push_bind(money.amount).push_bind(money.balance).push_bind(money.reason.to_owned());
    row.push_bind("[]").push_bind("{}").push_bind(money.corrects.map(u64::cast_signed));
}

fn limits_json(settled: &Settled) -> String {
    let charges: Vec<_> = charges(settled)
        .map(|(limit, unit, window, amount)| {
            serde_json::json!({
                "limit_no": limit.0, "unit": unit.name(), "window_start": window.micros(), "amount": amount.get(),
            })
        })
        .collect();
    serde_json::Value::from(charges).to_string()
}

fn labels_json(settled: &Settled) -> String {
    let labels = settled.labels.as_deref().unwrap_or_default();
    let labels: serde_json::Map<_, _> =
        labels.iter().map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
    serde_json::Value::from(labels).to_string()
}
