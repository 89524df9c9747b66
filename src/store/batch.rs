//! What a batch of records comes to in the books: entries as they are, state rows as they are in the end.
//!
//! Knows no SQL, so that every database is written the same. A reservation that is opened and committed within the batch
//! leaves no row; deltas of one budget's window are added up.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::change::ChangeRow;
use crate::domain::{
    access::{AccessToken, Invitation},
    alert::Alert,
    allocation::{Allocation, CreditRequest},
    ended::{EndedName, ended_by},
    entity::{Key, Member, Membership, Organization, PriceEntry, Team},
    event::{EntryKind, Event, Extended, LimitNo, NumberedLimit, Record, Reserved, Settled, Stream, TopUp},
    id::{
        AlertId, CreditRequestId, InvitationId, KeyId, MemberId, Model, OrderId, OrganizationId, RuleId, SecretHash,
        TeamId, TokenId,
    },
    money::Nanos,
    payment::{Correction, TopUpOrder},
    policy::{AllocationPlace, Limit, Place},
    reservation_id::ReservationNo,
    rule::Rule,
    time::Timestamp,
    usage::Amounts,
};

/// An organization's id with something of its own.
type Of<T> = (OrganizationId, T);

/// Something as the last event says, with the sequence of the first one of the batch: where that made it, lists go by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<T> {
    pub sequence: u64,
    pub entity: T,
}

fn make<K: Ord, T>(all: &mut BTreeMap<K, Made<T>>, key: K, sequence: u64, entity: T) {
    match all.entry(key) {
        Entry::Vacant(free) => {
            free.insert(Made { sequence, entity });
        }
        Entry::Occupied(mut before) => before.get_mut().entity = entity,
    }
}

#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub organizations: BTreeMap<OrganizationId, &'a Organization>,
    pub teams: BTreeMap<Of<TeamId>, Made<&'a Team>>,
    pub members: BTreeMap<Of<MemberId>, Made<&'a Member>>,
    pub invitations: BTreeMap<Of<InvitationId>, Made<&'a Invitation>>,
    pub memberships: BTreeMap<Of<(TeamId, MemberId)>, &'a Membership>,
    pub keys: BTreeMap<Of<KeyId>, &'a Key>,
    pub directory: BTreeMap<&'a KeyId, (&'a OrganizationId, &'a SecretHash)>,
    pub rules: BTreeMap<Of<RuleId>, &'a Rule>,
    /// Of a team, or of a member in it.
    pub allocations: BTreeMap<Of<(TeamId, Option<MemberId>)>, Allocation>,
    pub credit_requests: BTreeMap<Of<CreditRequestId>, &'a CreditRequest>,
    pub orders: BTreeMap<Of<OrderId>, &'a TopUpOrder>,
    pub alerts: BTreeMap<Of<AlertId>, &'a Alert>,
    /// What is over, by the event that says how it is.
    pub ended: BTreeMap<Of<EndedName>, &'a Event>,
    /// Of policies, and counters that were opened: each for ever.
    pub limits: BTreeMap<Of<LimitNo>, LimitRow<'a>>,
    /// The last policy of each place: limits of earlier batches that it leaves out aren't active any more.
    pub policies: HashMap<(&'a OrganizationId, &'a Place), &'a [NumberedLimit]>,
    pub windows: HashMap<Of<(LimitNo, Timestamp)>, Nanos, RandomState>,
    pub reservations: HashMap<Of<ReservationNo>, ReservationChange, RandomState>,
    /// Ledger by ledger.
    pub entries: Vec<EntryRow<'a>>,
    pub changes: Vec<ChangeRow<'a>>,
    pub prices: BTreeMap<&'a Model, Option<&'a PriceEntry>>,
    pub tokens: BTreeMap<&'a TokenId, Option<&'a AccessToken>>,
}

#[derive(Debug)]
pub(super) struct LimitRow<'a> {
    pub place: &'a Place,
    pub limit: &'a Limit,
    pub active: bool,
}

/// What becomes of a reservation's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReservationChange {
    /// A new row, as it is at the end of the batch.
    New(Box<ReservationRow>),
    /// Changes to a row of an earlier batch; `None` leaves a column as it is.
    Old(Box<ReservationPatch>),
    /// Committed: the ledger has it.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReservationRow {
    pub admit_time: Timestamp,
    pub reserved: Arc<Reserved>,
    pub state: &'static str,
    pub expire_time: Timestamp,
    pub held: Amounts,
    pub reason: Option<String>,
    pub settled: Option<Arc<Settled>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReservationPatch {
    pub state: Option<&'static str>,
    pub expire_time: Option<Timestamp>,
    pub held: Option<Amounts>,
    pub reason: Option<String>,
    pub settled: Option<Arc<Settled>>,
}

/// A ledger entry to be.
#[derive(Debug)]
pub(super) struct EntryRow<'a> {
    pub organization: &'a OrganizationId,
    pub record: &'a Record,
    pub detail: EntryEvent<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum EntryEvent<'a> {
    Settled(&'a Settled),
    ToppedUp(&'a TopUp),
    Corrected(&'a Correction),
}

impl EntryRow<'_> {
    pub(super) fn number(&self) -> u64 {
        self.moves().0
    }

    /// Its number, what it does to the balance, and the balance after it.
    pub(super) fn moves(&self) -> (u64, Nanos, Nanos) {
        match self.detail {
            EntryEvent::Settled(settled) => (settled.entry.unwrap_or(0), settled.wallet, settled.balance),
            EntryEvent::ToppedUp(top_up) => (top_up.entry, top_up.amount, top_up.balance),
            EntryEvent::Corrected(correction) => (correction.entry, correction.wallet, correction.balance),
        }
    }
}

impl<'a> Batch<'a> {
    pub(super) fn of(records: &'a [Record]) -> Self {
        let mut batch = Self::default();
        for record in records {
            batch.changes.extend(ChangeRow::of(record));
            match &record.stream {
                Stream::System => batch.add_system(&record.event),
                Stream::Organization(id) => {
                    batch.ended.extend(ended_by(&record.event).map(|name| ((id.clone(), name), &record.event)));
                    batch.add(id, record);
                }
            }
        }
        // Stable, so that each ledger stays in its order. Every index of entries begins with the organization: one place in
        // it after the other is much faster than back and forth.
        batch.entries.sort_by_key(|entry| entry.organization);
        batch
    }

    fn add_system(&mut self, event: &'a Event) {
        match event {
            Event::PriceSet(entry) => {
                self.prices.insert(&entry.model, Some(entry));
            }
            Event::PriceDeleted(model) => {
                self.prices.insert(model, None);
            }
            Event::TokenSet(token) => {
                self.tokens.insert(&token.id, Some(token));
            }
            Event::TokenDeleted(id) => {
                self.tokens.insert(id, None);
            }
            Event::GrantRemoved { left, .. } => {
                self.tokens.insert(&left.id, left.is_for_anything().then_some(left));
            }
            Event::KeyRegistered { key, organization, hash, previous: _ } => {
                self.directory.insert(key, (organization, hash));
            }
            _ => {}
        }
    }

    fn add(&mut self, id: &'a OrganizationId, record: &'a Record) {
        match &record.event {
            Event::OrganizationSet(organization) => {
                self.organizations.insert(id.clone(), organization);
            }
            Event::TeamSet(team) => make(&mut self.teams, (id.clone(), team.id.clone()), record.sequence, &**team),
            Event::MemberSet(member) => {
                make(&mut self.members, (id.clone(), member.id.clone()), record.sequence, &**member);
            }
            Event::InvitationSet(invitation) => {
                make(&mut self.invitations, (id.clone(), invitation.id.clone()), record.sequence, &**invitation);
            }
            Event::MembershipSet(membership) => {
                let of = (membership.team.clone(), membership.member.clone());
                self.memberships.insert((id.clone(), of), membership);
            }
            Event::KeySet(key) => {
                self.keys.insert((id.clone(), key.id.clone()), key);
            }
            Event::PolicySet { place, limits, retired: _ } => self.set_policy(id, place, limits),
            Event::Reserved(reserved) => {
                let no = ReservationNo { epoch: record.epoch, sequence: record.sequence };
                self.open(id, no, record.time, reserved);
            }
            Event::Restored { reservation, admit_time, reserved } => {
                self.open(id, *reservation, *admit_time, reserved);
            }
            Event::Extended(extended) => {
                let Extended { reservation, expire_time, held, .. } = **extended;
                let (expire_time, held) = (Some(expire_time), Some(held));
                self.patch(id, reservation, ReservationPatch { expire_time, held, ..ReservationPatch::default() });
            }
            Event::Released { reservation, reason, .. } => {
                let (state, reason) = (Some("released"), Some(reason.to_string()));
                self.patch(id, *reservation, ReservationPatch { state, reason, ..ReservationPatch::default() });
            }
            Event::Expired { reservation, .. } => self.set_state(id, *reservation, "expired"),
            Event::Revoked { reservation, .. } => self.set_state(id, *reservation, "revoked"),
            Event::Settled(settled) => self.settle(id, record, settled),
            Event::Corrected(correction) => self.correct(id, record, correction),
            Event::RuleSet(rule) => {
                self.rules.insert((id.clone(), rule.id.clone()), rule);
            }
            // What a pool counts is no sum of entries.
            Event::CounterOpened { place: Place::Allocation(AllocationPlace::Pool(_)), .. } => {}
            Event::CounterOpened { place, limit } => self.set_limit(id, place, limit),
            Event::AllocationSet { place, allocation, .. } => {
                let of = match place {
                    AllocationPlace::Organization => return,
                    AllocationPlace::Pool(team) => (team.clone(), None),
                    AllocationPlace::Member(team, member) => (team.clone(), Some(member.clone())),
                };
                self.allocations.insert((id.clone(), of), *allocation);
            }
            Event::CreditRequestSet(request) => {
                self.credit_requests.insert((id.clone(), request.id.clone()), request);
            }
            Event::OrderSet(order) => {
                self.orders.insert((id.clone(), order.id.clone()), order);
            }
            Event::AlertSet(alert) => {
                self.alerts.insert((id.clone(), alert.id.clone()), alert);
            }
            Event::ToppedUp(top_up) => {
                self.entries.push(EntryRow { organization: id, record, detail: EntryEvent::ToppedUp(top_up) });
            }
            _ => {}
        }
    }

    fn set_policy(&mut self, id: &'a OrganizationId, place: &'a Place, limits: &'a [NumberedLimit]) {
        for NumberedLimit { no, .. } in self.policies.insert((id, place), limits).unwrap_or_default() {
            if let Some(row) = self.limits.get_mut(&(id.clone(), *no)) {
                row.active = false;
            }
        }
        for limit in limits {
            self.set_limit(id, place, limit);
        }
    }

    fn set_limit(&mut self, id: &OrganizationId, place: &'a Place, NumberedLimit { no, limit }: &'a NumberedLimit) {
        self.limits.insert((id.clone(), *no), LimitRow { place, limit, active: true });
    }

    fn open(&mut self, id: &OrganizationId, no: ReservationNo, admit_time: Timestamp, reserved: &Arc<Reserved>) {
        let row = ReservationRow {
            admit_time,
            reserved: Arc::clone(reserved),
            state: "open",
            expire_time: reserved.expire_time,
            held: reserved.held,
            reason: None,
            settled: None,
        };
        self.reservations.insert((id.clone(), no), ReservationChange::New(Box::new(row)));
    }

    fn set_state(&mut self, id: &OrganizationId, no: ReservationNo, state: &'static str) {
        self.patch(id, no, ReservationPatch { state: Some(state), ..ReservationPatch::default() });
    }

    fn patch(&mut self, id: &OrganizationId, no: ReservationNo, patch: ReservationPatch) {
        let fresh = || ReservationChange::Old(Box::default());
        let ReservationPatch { state, expire_time, held, reason, settled } = patch;
        match self.reservations.entry((id.clone(), no)).or_insert_with(fresh) {
            ReservationChange::New(row) => {
                row.state = state.unwrap_or(row.state);
                row.expire_time = expire_time.unwrap_or(row.expire_time);
                row.held = held.unwrap_or(row.held);
                row.reason = reason.or_else(|| row.reason.take());
                row.settled = settled.or_else(|| row.settled.take());
            }
            ReservationChange::Old(before) => {
                before.state = state.or(before.state);
                before.expire_time = expire_time.or(before.expire_time);
                before.held = held.or(before.held);
                before.reason = reason.or_else(|| before.reason.take());
                before.settled = settled.or_else(|| before.settled.take());
            }
            ReservationChange::Gone => {}
        }
    }

    fn settle(&mut self, id: &'a OrganizationId, record: &'a Record, settled: &'a Arc<Settled>) {
        if let Some(no) = settled.reservation {
            match (settled.kind, settled.entry) {
                // The late commit that follows ends it.
                (EntryKind::Expiry, _) if settled.takes_back => {}
                (EntryKind::Expiry, _) => self.set_state(id, no, "expired"),
                (EntryKind::Release, _) => {
                    let reason = settled.reason.as_ref().map(ToString::to_string);
                    let (state, settled) = (Some("released"), Some(Arc::clone(settled)));
                    self.patch(id, no, ReservationPatch { state, reason, settled, ..ReservationPatch::default() });
                }
                (_, Some(_)) => self.remove(id, no),
                (_, None) => {
                    let (state, settled) = (Some("committed"), Some(Arc::clone(settled)));
                    self.patch(id, no, ReservationPatch { state, settled, ..ReservationPatch::default() });
                }
            }
        }
        for (limit, _, window, amount) in settled.charges() {
            *self.windows.entry((id.clone(), (limit, window))).or_default() += amount;
        }
        if settled.entry.is_some() {
            self.entries.push(EntryRow { organization: id, record, detail: EntryEvent::Settled(settled) });
        }
    }

    fn correct(&mut self, id: &'a OrganizationId, record: &'a Record, correction: &'a Correction) {
        for limit in correction.usage.iter().flat_map(|usage| usage.limits.iter()) {
            *self.windows.entry((id.clone(), (limit.limit, limit.window))).or_default() += limit.amount;
        }
        self.entries.push(EntryRow { organization: id, record, detail: EntryEvent::Corrected(correction) });
    }

    fn remove(&mut self, id: &OrganizationId, no: ReservationNo) {
        let key = (id.clone(), no);
        match self.reservations.get(&key) {
            Some(ReservationChange::New(_)) => {
                self.reservations.remove(&key);
            }
            _ => {
                self.reservations.insert(key, ReservationChange::Gone);
            }
        }
    }
}
