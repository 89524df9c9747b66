//! The books: events projected into SQL, and the queries on them.
//!
//! The store never decides anything: it writes down what the events say, exactly once, in one transaction with the journal
//! position that it has reached.

mod batch;
mod books;
mod change;
mod connection;
mod detail;
mod error;
mod lease;
pub mod migrate;
pub mod postgres;
mod project;
mod query;
mod rows;
pub mod sqlite;
mod states;
mod tables;
mod value;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use rust_decimal::Decimal;

pub use change::KINDS as AUDIT_KINDS;
pub use project::prepare_rows;

use crate::domain::{
    ended::{Ended, EndedName},
    event::{EntryKind, LimitNo, Record, Reserved, Settled, Stream, TopUp},
    id::{KeyId, MemberId, Model, OrganizationId, RequestId, SecretHash, TeamId},
    lease::{Lease, StoreId},
    money::Nanos,
    payment::Correction,
    reservation_id::ReservationNo,
    snapshot::{Snapshot, SnapshotMark},
    time::Timestamp,
    zone::Zone,
};

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Which books these are, how far they are written, and who may write them.
    async fn status(&self) -> Result<StoreStatus, StoreError>;

    /// Makes `lease` the one that may write, in place of the one that [`Self::status`] told; `holder` names its server to
    /// people. Whether the former one may be replaced is the caller's to know.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another one was faster.
    async fn take_lease(&self, lease: Lease, holder: &str, former: Option<Lease>) -> Result<(), StoreError>;

    /// Says that the lease is still in use.
    async fn renew_lease(&self, lease: Lease) -> Result<(), StoreError>;

    /// Gives the lease back, so that the next server needn't wait until it has run out.
    async fn release_lease(&self, lease: Lease) -> Result<(), StoreError>;

    /// Writes consecutive records, the first at most one beyond the books' position, and the new position in one transaction;
    /// those that are written already are left out. Answers the position reached.
    async fn project(&self, lease: Lease, records: &[Record]) -> Result<u64, StoreError>;

    /// Keeps states for a server that has lost its disk, each in place of its stream's former one. None may be ahead of the books.
    async fn save_states(&self, lease: Lease, states: &[Snapshot]) -> Result<(), StoreError>;

    /// Which states are kept, in the order of their streams' keys, byte by byte: those after `after`.
    async fn list_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, StoreError>;

    /// The states themselves, in the same order.
    async fn load_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError>;

    /// Records as they were projected, from position `from` on, as far as they are kept: until at least `at_least` are read
    /// or none is left.
    async fn read_events(&self, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError>;

    /// Forgets records at or before `position`, which every stream's kept state has.
    async fn trim_events(&self, lease: Lease, position: u64) -> Result<(), StoreError>;

    /// How an older reservation ended, for those that memory has forgotten.
    async fn find_reservation(
        &self,
        organization: &OrganizationId,
        by: ReservationKey<'_>,
    ) -> Result<Option<StoredReservation>, StoreError>;

    /// A Charge or `TopUp` with this request id: their ids are unique for ever.
    async fn find_entry(&self, organization: &OrganizationId, request: &RequestId)
    -> Result<Option<Entry>, StoreError>;

    /// Something of the control plane that is over, for when memory has given it up.
    async fn find_ended(&self, organization: &OrganizationId, by: EndedKey<'_>) -> Result<Option<Ended>, StoreError>;

    /// Returns the organization of a key, and its id: ids are unique over all organizations, for ever.
    async fn find_key(&self, by: RegisteredKey<'_>) -> Result<Option<(OrganizationId, KeyId)>, StoreError>;

    /// All entries that a reservation's settlements booked, in their order.
    async fn settlements(
        &self,
        organization: &OrganizationId,
        no: ReservationNo,
    ) -> Result<Vec<Arc<Settled>>, StoreError>;

    /// One entry of the ledger.
    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError>;

    /// Where the entries that match can be: the same query, narrowed to their numbers by its times and by what the ledger has.
    /// Found by looking a few entries up.
    async fn narrow(&self, query: &EntryQuery) -> Result<EntryQuery, StoreError>;

    /// Entries that match, newest first. Reads all from `after` to `as_of` where few match.
    async fn list_entries(&self, query: &EntryQuery, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// Sums over all entries that match.
    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError>;

    /// Sums over the entries that match and book usage, by group, in no order.
    async fn usage(&self, query: &EntryQuery, by: Grouping) -> Result<Vec<(String, Totals)>, StoreError>;

    /// Changes of the control plane that match, newest first, before journal position `before` if given.
    async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError>;

    /// Finds rows whose texts hold what is searched for, in the order of their creation from a number on. Answers their numbers and
    /// ids.
    async fn search(&self, query: &SearchQuery, from: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError>;

    /// Returns the number of rows that [`Self::search`] finds.
    async fn count_found(&self, query: &SearchQuery) -> Result<u64, StoreError>;

    /// What the entries of an organization add up to, recomputed from the entries alone.
    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError>;

    /// The time by the database's own clock; `None` where it has none but this machine's.
    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// What is wrong with the file that the books are in; `None` also where a database answers for that itself. Reads all of it.
    async fn file_damage(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Leaves its files in order; nothing may be asked of it after that.
    async fn close(&self) {}
}

/// What kind of thing a record changes in the control plane, and its id, as the audit log names them; `None` for all else.
pub fn change_name(record: &Record) -> Option<(&'static str, String)> {
    change::ChangeRow::of(record).map(|change| (change.kind, change.id))
}

/// How long a lease that isn't renewed keeps others out.
pub const LEASE_SECONDS: u32 = 15;

/// Bytes of a kept state that go into one row.
const STATE_PART: usize = 4 << 20;

/// Values of one list in a statement: far below what any database takes.
const LIST: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    pub id: StoreId,
    /// The journal position up to which the books are written; 0 when empty.
    pub position: u64,
    /// `None` before the first.
    pub lease: Option<LeaseStatus>,
}

/// The lease that may write the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    pub lease: Lease,
    /// Names its server to people.
    pub holder: String,
    /// Given back, or not renewed for [`LEASE_SECONDS`] by the database's clock.
    pub free: bool,
}

/// What the holder of closed books begins with; where they were moved to follows, without a password.
const MOVED_TO: &str = "the books that these were moved to, at ";

impl LeaseStatus {
    /// Where these books were moved to; `None` while they are the ones to write.
    pub fn moved_to(&self) -> Option<&str> {
        self.holder.strip_prefix(MOVED_TO)
    }
}

/// Names a reservation: by its number, or by the key and request id that it was made with (the latest such one).
#[derive(Debug, Clone, Copy)]
pub enum ReservationKey<'a> {
    No(ReservationNo),
    Request(&'a KeyId, &'a RequestId),
}

/// Names something that is over: itself, or by the request id that it was ordered with.
#[derive(Debug, Clone, Copy)]
pub enum EndedKey<'a> {
    Name(&'a EndedName),
    Request(&'a RequestId),
}

/// Names a key by its id, or by the secret that it was given last.
#[derive(Debug, Clone, Copy)]
pub enum RegisteredKey<'a> {
    Id(&'a KeyId),
    Secret(&'a SecretHash),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReservation {
    pub no: ReservationNo,
    pub admit_time: Timestamp,
    pub end: StoredEnd,
}

/// What was reserved comes with what was held in the end, which an Extend may have raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredEnd {
    Open,
    /// Given back; `charged` is what of it had been used.
    Released {
        reserved: Arc<Reserved>,
        reason: String,
        charged: Option<Arc<Settled>>,
    },
    /// Expired; `charged` is what expiry booked, if anything. A late Commit may still come.
    Expired {
        reserved: Arc<Reserved>,
        charged: Option<Arc<Settled>>,
    },
    /// Committed, also late: the settlement as journalled, its `touches` included.
    Committed(Arc<Settled>),
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub time: Timestamp,
    pub actor: String,
    pub detail: EntryDetail,
}

impl Entry {
    /// Its number in the organization.
    pub fn number(&self) -> u64 {
        match &self.detail {
            EntryDetail::Settled(settled) => settled.entry.unwrap_or(0),
            EntryDetail::ToppedUp(top_up) => top_up.entry,
            EntryDetail::Corrected(correction) => correction.entry,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryDetail {
    Settled(Arc<Settled>),
    ToppedUp(Box<TopUp>),
    Corrected(Box<Correction>),
}

/// What usage is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    Member,
    Key,
    Team,
    Model,
    /// Days of a zone, as `2026-01-31`.
    Day(Zone),
}

/// Which changes of the control plane; unset fields match all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeQuery {
    pub organization: OrganizationId,
    pub kind: Option<String>,
    pub id: Option<String>,
    pub actor: Option<String>,
    /// At or after.
    pub start: Option<Timestamp>,
    /// Before.
    pub end: Option<Timestamp>,
}

/// One change of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Journal position.
    pub position: u64,
    pub sequence: u64,
    pub time: Timestamp,
    pub actor: String,
    pub kind: String,
    pub id: String,
    /// JSON; `None` where it is new.
    pub before: Option<String>,
    /// JSON.
    pub after: String,
}

/// Text that is searched for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchQuery {
    pub organization: OrganizationId,
    pub among: Searched,
    /// Folded as [`for_search`](crate::domain::fold::for_search) folds it.
    pub text: String,
}

/// Rows that are searched. Those that were removed aren't among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Searched {
    Teams,
    Members,
    /// Members in a team.
    MembersOf(TeamId),
    /// Also those that are over.
    Invitations,
}

/// Which entries; unset fields match all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryQuery {
    pub organization: OrganizationId,
    pub key: Option<KeyId>,
    pub member: Option<MemberId>,
    pub team: Option<TeamId>,
    pub model: Option<Model>,
    /// Empty matches all.
    pub kinds: BTreeSet<EntryKind>,
    /// What `start` and `end` are compared with.
    pub basis: TimeBasis,
    /// At or after.
    pub start: Option<Timestamp>,
    /// Before.
    pub end: Option<Timestamp>,
    /// Entries after this number only.
    pub after: u64,
    /// Entries up to and including this number only.
    pub as_of: u64,
    /// Only entries that were booked more than 25 hours after what they book was used, which are few.
    pub late_only: bool,
}

/// Which of an entry's times a query is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimeBasis {
    /// When it was booked: the order of the entries.
    #[default]
    Booked,
    /// When what it books was used.
    Used,
}

impl EntryQuery {
    /// Returns the late entries behind those that `narrowed`, which is [`Store::narrow`] of this query, reaches.
    pub fn late_part(&self, narrowed: &Self) -> Option<Self> {
        let late = Self { after: narrowed.as_of, late_only: true, ..self.clone() };
        (self.basis == TimeBasis::Used && late.after < late.as_of).then_some(late)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub entries: u64,
    /// Sums over any number of entries may pass what [`Nanos`] hold.
    pub cost: Decimal,
    pub credits: Decimal,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub requests: i64,
}

impl Totals {
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            cost: self.cost + other.cost,
            credits: self.credits + other.credits,
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            requests: self.requests + other.requests,
        }
    }

    #[must_use]
    pub fn minus(self, other: &Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            cost: self.cost - other.cost,
            credits: self.credits - other.credits,
            input_tokens: self.input_tokens - other.input_tokens,
            output_tokens: self.output_tokens - other.output_tokens,
            requests: self.requests - other.requests,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    pub entries: u64,
    /// First number that is missing between 1 and the last.
    pub gap: Option<u64>,
    /// Sum of what the entries did to the balance.
    pub balance: Nanos,
    /// First entry whose stored balance isn't the running sum: its number, the sum, what stands there.
    pub wrong_balance: Option<(u64, Nanos, Nanos)>,
    /// First entry that charged a budget something else than it cost.
    pub wrong_charge: Option<u64>,
    /// What teams, and members in them, have in every cycle.
    pub allocations: Vec<(TeamId, Option<MemberId>, Nanos)>,
    /// Per limit and window: the sum of the entries' charges, and what the books' own row for the window says.
    pub windows: Vec<WindowAudit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowAudit {
    pub limit: LimitNo,
    pub window: Timestamp,
    pub from_entries: Nanos,
    pub from_row: Nanos,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Out of reach or out of space for now; may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Its surroundings must be changed by somebody: nothing in it is wrong.
    #[error("the books can't be used as things are: {0}")]
    Unfit(String),
    #[error("the books are damaged: {0}")]
    Damaged(String),
    /// Another server writes the books; this one must stop, and keep its journal.
    #[error("the books are written by another server now: {holder}, in its epoch {epoch}")]
    Fenced { holder: String, epoch: u32 },
}
