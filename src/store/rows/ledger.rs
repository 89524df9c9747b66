//! Budget windows, reservations and entries: what moves with the load.

use std::{borrow::Cow, collections::HashMap, fmt::Write as _};

use smol_str::SmolStr;

use crate::{
    domain::{
        event::{EntryKind, LimitNo, Settled, TopUp},
        id::{Holder, MemberId, OrganizationId, RequestId},
        money::Nanos,
        payment::{CorrectedUsage, Correction},
        policy::Unit,
        reservation_id::ReservationNo,
        time::Timestamp,
    },
    store::{
        StoreError,
        batch::{Batch, EntryEvent, EntryRow, ReservationChange, ReservationPatch, ReservationRow},
        detail::encode,
        tables,
        value::{How, Rows, Value},
    },
};

/// All but the entries.
pub(super) fn of<'b>(batch: &'b Batch<'_>) -> Result<Vec<Rows<'b>>, StoreError> {
    let mut all = vec![windows(batch)];
    all.extend(reservations(batch)?);
    Ok(all)
}

/// By their keys: one place in an index after the other is much faster than back and forth, and what is written depends on nothing but
/// the records.
fn in_order<K: Ord, V, S>(map: &HashMap<K, V, S>) -> Vec<(&K, &V)> {
    let mut list: Vec<_> = map.iter().collect();
    list.sort_unstable_by_key(|(key, _)| *key);
    list
}

fn windows<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::BUDGET_WINDOWS, How::Merge);
    for ((organization, (limit, window)), spent) in in_order(&batch.windows) {
        let limit = Value::Int(i64::from(limit.0));
        rows.push([Value::text(organization.as_str()), limit, Value::Time(*window), Value::Nanos(*spent)]);
    }
    rows
}

fn number(no: ReservationNo) -> [Value<'static>; 2] {
    [Value::Int(i64::from(no.epoch)), Value::count(no.sequence)]
}

fn reservations<'b>(batch: &'b Batch<'_>) -> Result<[Rows<'b>; 3], StoreError> {
    let mut new = Rows::new(&tables::RESERVATIONS, How::Insert);
    let mut changed = Rows::new(&tables::RESERVATIONS, How::Patch);
    let mut gone = Rows::new(&tables::RESERVATIONS, How::Delete);
    for ((organization, no), change) in in_order(&batch.reservations) {
        match change {
            ReservationChange::New(row) => new.push(opened(organization, *no, row)?),
            ReservationChange::Old(patch) => changed.push(patched(organization, *no, patch)?),
            ReservationChange::Gone => {
                let [epoch, sequence] = number(*no);
                gone.push([Value::text(organization.as_str()), epoch, sequence]);
            }
        }
    }
    Ok([new, changed, gone])
}

fn opened<'b>(
    organization: &'b OrganizationId,
    no: ReservationNo,
    row: &'b ReservationRow,
) -> Result<[Value<'b>; 17], StoreError> {
    let ReservationRow { admit_time, reserved, state, expire_time, held, reason, settled } = row;
    let [epoch, sequence] = number(no);
    Ok([
        Value::text(organization.as_str()),
        epoch,
        sequence,
        Value::opt_text(reserved.request.as_ref().map(RequestId::as_str)),
        Value::text(reserved.key.as_str()),
        Value::text(reserved.model.as_str()),
        Value::opt_text(reserved.holder.as_ref().map(Holder::as_str)),
        Value::Time(*admit_time),
        Value::bytes(encode(&**reserved)?),
        Value::text(state),
        Value::Time(*expire_time),
        Value::Nanos(held.usd),
        Value::Nanos(held.credits),
        Value::Int(held.tokens),
        Value::Int(held.requests),
        Value::opt_text(reason.as_deref()),
        Value::opt(settled.as_deref().map(encode).transpose()?, Value::bytes),
    ])
}

fn patched<'b>(
    organization: &'b OrganizationId,
    no: ReservationNo,
    patch: &'b ReservationPatch,
) -> Result<[Value<'b>; 17], StoreError> {
    let ReservationPatch { state, expire_time, held, reason, settled } = patch;
    let [epoch, sequence] = number(no);
    Ok([
        Value::text(organization.as_str()),
        epoch,
        sequence,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::opt_text(*state),
        Value::opt(*expire_time, Value::Time),
        Value::opt(held.map(|held| held.usd), Value::Nanos),
        Value::opt(held.map(|held| held.credits), Value::Nanos),
        Value::opt(held.map(|held| held.tokens), Value::Int),
        Value::opt(held.map(|held| held.requests), Value::Int),
        Value::opt_text(reason.as_deref()),
        Value::opt(settled.as_deref().map(encode).transpose()?, Value::bytes),
    ])
}

pub(super) fn entries<'b>(list: &'b [EntryRow<'_>]) -> Result<Rows<'b>, StoreError> {
    let mut rows = Rows::new(&tables::LEDGER_ENTRIES, How::Insert);
    rows.cells.reserve(list.len() * rows.width());
    for entry in list {
        rows.push(match entry.detail {
            EntryEvent::Settled(settled) => settlement(entry, settled)?,
            EntryEvent::ToppedUp(top_up) => Money::of_top_up(top_up).row(entry, encode(top_up)?),
            EntryEvent::Corrected(correction) => Money::of_correction(correction).row(entry, encode(correction)?),
        });
    }
    Ok(rows)
}

/// The request ids of a batch's entries that move money.
pub(in crate::store) fn money_ids<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut ids = Rows::new(&tables::MONEY_REQUEST_IDS, How::Insert);
    for entry in &batch.entries {
        let request = match entry.detail {
            EntryEvent::Settled(settled) => settled.request.as_ref().filter(|_| settled.kind == EntryKind::Charge),
            EntryEvent::ToppedUp(top_up) => Some(&top_up.request),
            EntryEvent::Corrected(correction) => Some(&correction.request),
        };
        if let Some(request) = request {
            let organization = Value::text(entry.organization.as_str());
            let (request, number) = (Value::text(request.as_str()), Value::count(entry.number()));
            ids.push([organization, request, number, Value::Null, Value::Null, Value::Null, Value::Null]);
        }
    }
    ids
}

fn settlement<'b>(entry: &EntryRow<'b>, settled: &'b Settled) -> Result<[Value<'b>; 28], StoreError> {
    let booked = settled.booked;
    let [epoch, sequence] = settled.reservation.map_or([Value::Null, Value::Null], number);
    Ok([
        Value::text(entry.organization.as_str()),
        Value::count(settled.entry.unwrap_or(0)),
        Value::text(settled.kind.name()),
        Value::Time(entry.record.time),
        Value::Time(settled.occurred_at),
        Value::text(entry.record.actor.as_str()),
        Value::text(settled.key.as_str()),
        Value::text(settled.member.as_str()),
        Value::text(settled.team.as_str()),
        Value::text(settled.model.as_str()),
        Value::opt_text(settled.request.as_ref().map(RequestId::as_str)),
        epoch,
        sequence,
        Value::Int(booked.input_tokens),
        Value::Int(booked.cached_input_tokens),
        Value::Int(booked.cache_write_tokens),
        Value::Int(booked.output_tokens),
        Value::Int(booked.requests),
        Value::Nanos(booked.cost),
        Value::Nanos(booked.credits),
        Value::Nanos(settled.overage.usd),
        Value::Nanos(settled.wallet),
        Value::Nanos(settled.balance),
        Value::Null,
        limits_json(settled.charges()),
        labels_json(settled.labels.as_deref()),
        Value::Null,
        Value::bytes(encode(settled)?),
    ])
}

/// An entry that moves money and books no usage.
struct Money<'a> {
    entry: u64,
    kind: EntryKind,
    member: Option<&'a str>,
    request: &'a RequestId,
    amount: Nanos,
    balance: Nanos,
    reason: &'a str,
    corrects: Option<u64>,
    /// Of a correction.
    usage: Option<&'a CorrectedUsage>,
}

impl<'b> Money<'b> {
    fn of_top_up(top_up: &'b TopUp) -> Self {
        Self {
            entry: top_up.entry,
            kind: EntryKind::TopUp,
            member: top_up.member.as_ref().map(MemberId::as_str),
            request: &top_up.request,
            amount: top_up.amount,
            balance: top_up.balance,
            reason: &top_up.reason,
            corrects: None,
            usage: None,
        }
    }

    fn of_correction(correction: &'b Correction) -> Self {
        Self {
            entry: correction.entry,
            kind: correction.kind,
            member: correction.usage.as_deref().map(|usage| usage.member.as_str()),
            request: &correction.request,
            amount: correction.wallet,
            balance: correction.balance,
            reason: &correction.reason,
            corrects: Some(correction.corrects),
            usage: correction.usage.as_deref(),
        }
    }

    fn row(self, entry: &EntryRow<'b>, detail: Vec<u8>) -> [Value<'b>; 28] {
        let no_tokens = Value::Int(0);
        let usage = self.usage;
        let of = |amount: fn(&CorrectedUsage) -> Nanos| Value::Nanos(usage.map_or(Nanos::ZERO, amount));
        let limits = usage.iter().flat_map(|usage| usage.limits.iter());
        let limits = limits.map(|of| (of.limit, of.unit, of.window, of.amount));
        [
            Value::text(entry.organization.as_str()),
            Value::count(self.entry),
            Value::text(self.kind.name()),
            Value::Time(entry.record.time),
            Value::Time(usage.map_or(entry.record.time, |usage| usage.occurred_at)),
            Value::text(entry.record.actor.as_str()),
            Value::opt_text(usage.map(|usage| usage.key.as_str())),
            Value::opt_text(self.member),
            Value::opt_text(usage.map(|usage| usage.team.as_str())),
            Value::opt_text(usage.map(|usage| usage.model.as_str())),
            Value::text(self.request.as_str()),
            Value::Null,
            Value::Null,
            no_tokens.clone(),
            no_tokens.clone(),
            no_tokens.clone(),
            no_tokens.clone(),
            no_tokens,
            of(|usage| usage.cost),
            of(|usage| usage.credits),
            Value::Nanos(Nanos::ZERO),
            Value::Nanos(self.amount),
            Value::Nanos(self.balance),
            Value::text(self.reason),
            limits_json(limits),
            labels_json(usage.and_then(|usage| usage.labels.as_deref())),
            Value::opt(self.corrects, Value::count),
            Value::bytes(detail),
        ]
    }
}

/// Bytes that nearly every charge fits into.
const CHARGE: usize = 96;

/// Written by hand: numbers and known names only, many times a second.
fn limits_json(charges: impl Iterator<Item = (LimitNo, Unit, Timestamp, Nanos)>) -> Value<'static> {
    let mut json = String::with_capacity(2 + CHARGE * charges.size_hint().1.unwrap_or(0));
    json.push('[');
    for (i, (limit, unit, window, amount)) in charges.enumerate() {
        let (comma, unit, window) = (if i == 0 { "" } else { "," }, unit.name(), window.micros());
        // Writing to a string doesn't fail.
        let _ = write!(
            json,
            r#"{comma}{{"amount":{},"limit_no":{},"unit":"{unit}","window_start":{window}}}"#,
            amount.get(),
            limit.0,
        );
    }
    json.push(']');
    Value::json(json)
}

fn labels_json(labels: Option<&[(SmolStr, SmolStr)]>) -> Value<'static> {
    let Some(labels) = labels else { return Value::Json(Cow::Borrowed("{}")) };
    let labels: serde_json::Map<_, _> =
        labels.iter().map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
    Value::json(serde_json::Value::from(labels).to_string())
}

/// Last entry of a ledger, and the balance after it.
pub(in crate::store) type Heads<'b> = HashMap<&'b str, (u64, Nanos)>;

/// Moves the heads of the ledgers over a batch's entries.
///
/// # Errors
/// [`StoreError::Damaged`] where an entry doesn't follow the one before it, by number and by balance.
pub(in crate::store) fn heads<'b>(batch: &'b Batch<'_>, heads: &mut Heads<'b>) -> Result<Rows<'b>, StoreError> {
    for entry in &batch.entries {
        let organization = entry.organization.as_str();
        let (last, before) = heads.get(organization).copied().unwrap_or_default();
        let (number, moved, balance) = entry.moves();
        if number != last + 1 {
            let problem = format!("entry {number} of {organization} can't follow its entry {last}");
            return Err(StoreError::Damaged(problem));
        }
        if before + moved != balance {
            let problem = format!("entry {number} of {organization} moves {before} by {moved} to {balance}");
            return Err(StoreError::Damaged(problem));
        }
        heads.insert(organization, (number, balance));
    }
    let mut rows = Rows::new(&tables::LEDGER_HEADS, How::Merge);
    for (organization, (entry, balance)) in &*heads {
        rows.push([Value::text(organization), Value::count(*entry), Value::Nanos(*balance)]);
    }
    Ok(rows)
}
