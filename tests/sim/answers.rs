//! What records say of an organization's reservations, entries and sums: looked up one by one, nothing kept.

use std::{collections::BTreeMap, sync::Arc};

use quotad::{
    domain::{
        event::{EntryKind, Event, Record, Reserved, Settled, Stream},
        id::{OrganizationId, RequestId},
        money::Nanos,
        policy::{AllocationPlace, Unit},
        reservation_id::ReservationNo,
        time::Timestamp,
    },
    store::{Audit, Entry, EntryDetail, EntryQuery, ReservationKey, StoredEnd, StoredReservation, Totals, WindowAudit},
};

pub(crate) fn of<'a>(records: &'a [Record], id: &'a OrganizationId) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| matches!(&record.stream, Stream::Organization(of) if of == id))
}

/// The reservation that a record opens: its number, admission and hold.
fn opened(record: &Record) -> Option<(ReservationNo, Timestamp, &Arc<Reserved>)> {
    match &record.event {
        Event::Reserved(reserved) => {
            Some((ReservationNo { epoch: record.epoch, sequence: record.sequence }, record.time, reserved))
        }
        Event::Restored { reservation, admit_time, reserved } => Some((*reservation, *admit_time, reserved)),
        _ => None,
    }
}

pub(crate) fn reservation(
    records: &[Record],
    organization: &OrganizationId,
    by: ReservationKey<'_>,
) -> Option<StoredReservation> {
    let is_meant = |no: ReservationNo, reserved: &Reserved| match by {
        ReservationKey::No(wanted) => no == wanted,
        ReservationKey::Request(key, request) => reserved.key == *key && reserved.request.as_ref() == Some(request),
    };
    let holds = of(records, organization).filter_map(opened).filter(|(no, _, reserved)| is_meant(*no, reserved));
    let (no, admit_time, reserved) = holds.max_by_key(|(no, admit_time, _)| (*admit_time, *no))?;
    let mut reserved = reserved.clone();
    let mut end = StoredEnd::Open;
    for record in of(records, organization) {
        match &record.event {
            Event::Extended(extended) if extended.reservation == no => {
                Arc::make_mut(&mut reserved).held = extended.held;
            }
            Event::Released { reservation, reason, .. } if *reservation == no => {
                end = StoredEnd::Released { reserved: reserved.clone(), reason: reason.to_string(), charged: None };
            }
            Event::Expired { reservation, .. } if *reservation == no => {
                end = StoredEnd::Expired { reserved: reserved.clone(), charged: None };
            }
            Event::Settled(settled) if settled.reservation == Some(no) => {
                end = if settled.takes_back {
                    StoredEnd::Expired { reserved: reserved.clone(), charged: None }
                } else if settled.is_expiry() {
                    StoredEnd::Expired { reserved: reserved.clone(), charged: Some(settled.clone()) }
                } else if settled.kind == EntryKind::Release {
                    let (reason, charged) = (settled.reason.clone().unwrap_or_default(), Some(settled.clone()));
                    StoredEnd::Released { reserved: reserved.clone(), reason: reason.to_string(), charged }
                } else {
                    StoredEnd::Committed(settled.clone())
                };
            }
            _ => {}
        }
    }
    Some(StoredReservation { no, admit_time, end })
}

/// The entry that a record books.
fn entry(record: &Record) -> Option<Entry> {
    let detail = match &record.event {
        Event::Settled(settled) if settled.entry.is_some() => EntryDetail::Settled(settled.clone()),
        Event::ToppedUp(top_up) => EntryDetail::ToppedUp(top_up.clone()),
        Event::Corrected(correction) => EntryDetail::Corrected(correction.clone()),
        _ => return None,
    };
    Some(Entry { time: record.time, actor: record.actor.as_str().to_owned(), detail })
}

pub(crate) fn entries<'a>(records: &'a [Record], organization: &'a OrganizationId) -> impl Iterator<Item = Entry> + 'a {
    of(records, organization).filter_map(entry)
}

/// The Charge or top-up of a request id.
pub(crate) fn entry_of(records: &[Record], organization: &OrganizationId, wanted: &RequestId) -> Option<Entry> {
    entries(records, organization).find(|entry| match &entry.detail {
        EntryDetail::Settled(settled) => settled.kind == EntryKind::Charge && settled.request.as_ref() == Some(wanted),
        EntryDetail::ToppedUp(top_up) => top_up.request == *wanted,
        EntryDetail::Corrected(_) => false,
    })
}

pub(crate) fn total(records: &[Record], query: &EntryQuery) -> Totals {
    let mut totals = Totals::default();
    let asked = query.after + 1..=query.as_of;
    for entry in entries(records, &query.organization).filter(|entry| asked.contains(&entry.number())) {
        totals.entries += 1;
        if let EntryDetail::Settled(settled) = entry.detail {
            totals.cost += settled.booked.cost.to_decimal();
            totals.credits += settled.booked.credits.to_decimal();
            totals.requests += settled.booked.requests;
        }
    }
    totals
}

/// What a settlement charges to each budget that it touches.
pub(crate) fn charges(settled: &Settled) -> impl Iterator<Item = (quotad::domain::event::LimitNo, Timestamp, Nanos)> {
    settled.touches.iter().filter_map(|touch| match touch.unit {
        Unit::Usd => Some((touch.limit, touch.window, settled.booked.cost)),
        Unit::Credits => Some((touch.limit, touch.window, settled.booked.credits)),
        Unit::RequestsPerMinute | Unit::TokensPerMinute | Unit::InFlight => None,
    })
}

pub(crate) fn audit(records: &[Record], organization: &OrganizationId) -> Audit {
    let mut audit = Audit::default();
    let mut windows: BTreeMap<_, WindowAudit> = BTreeMap::new();
    let mut monthly = BTreeMap::new();
    for record in of(records, organization) {
        // A late commit that changes nothing has no entry, and charges nothing.
        let counted: Vec<_> = match &record.event {
            Event::Settled(settled) => charges(settled).collect(),
            Event::Corrected(correction) => {
                let limits = correction.usage.iter().flat_map(|usage| usage.limits.iter());
                limits.map(|limit| (limit.limit, limit.window, limit.amount)).collect()
            }
            _ => Vec::new(),
        };
        for (limit, window, amount) in counted {
            let fresh = WindowAudit { limit, window, from_entries: Nanos::ZERO, from_row: Nanos::ZERO };
            let sums = windows.entry((limit, window)).or_insert(fresh);
            sums.from_entries += amount;
            sums.from_row += amount;
        }
        if let Event::AllocationSet { place, allocation, .. } = &record.event {
            match place {
                AllocationPlace::Organization => {}
                AllocationPlace::Pool(team) => _ = monthly.insert((team.clone(), None), allocation.monthly),
                AllocationPlace::Member(team, member) => {
                    monthly.insert((team.clone(), Some(member.clone())), allocation.monthly);
                }
            }
        }
        let Some(entry) = entry(record) else { continue };
        let (moved, balance) = match &entry.detail {
            EntryDetail::Settled(settled) => (settled.wallet, settled.balance),
            EntryDetail::ToppedUp(top_up) => (top_up.amount, top_up.balance),
            EntryDetail::Corrected(correction) => (correction.wallet, correction.balance),
        };
        audit.entries += 1;
        audit.balance += moved;
        if entry.number() != audit.entries && audit.gap.is_none() {
            audit.gap = Some(audit.entries);
        }
        if balance != audit.balance && audit.wrong_balance.is_none() {
            audit.wrong_balance = Some((entry.number(), audit.balance, balance));
        }
    }
    audit.windows = windows.into_values().collect();
    audit.allocations =
        monthly.into_iter().filter_map(|((team, member), monthly)| Some((team, member, monthly?))).collect();
    audit
}
