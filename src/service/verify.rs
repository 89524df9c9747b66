//! Whether memory, journal and books tell the same, compared while they go on.
//!
//! Changes nothing, and holds no organization longer than to copy it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    fmt::Display,
    sync::Arc,
};

use super::{
    Error, Service,
    recover::{Recovered, advance, begin},
    snapshots,
};
use crate::{
    domain::{
        event::{LimitNo, Stream},
        id::{MemberId, OrganizationId, TeamId},
        money::Nanos,
        time::Timestamp,
    },
    engine::{
        directory::Cell,
        limit::Counter,
        state::{Mismatch, OrganizationState, window_name},
    },
    store::{Audit, Store, WindowAudit},
};

/// Most differences that a verification names.
const MAX_DIFFERENCES: usize = 100;
/// How often a busy organization is compared anew before its memory is left out of the comparison with the books.
const ATTEMPTS: usize = 5;
/// Organizations to build from the journal at a time. Each time its tail is read once.
const REPLAYED_AT_ONCE: usize = 16_384;
const SNAPSHOTS_AT_ONCE: usize = 256;
const RECORDS_AT_ONCE: usize = 16_384;

/// Something that doesn't add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `None` where it isn't known whose.
    pub organization: Option<OrganizationId>,
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl Difference {
    /// As people read it.
    pub fn organization(&self) -> &str {
        self.organization.as_ref().map_or("an unknown organization", OrganizationId::as_str)
    }

    fn of(organization: &OrganizationId, Mismatch { what, expected, found }: Mismatch) -> Self {
        Self { organization: Some(organization.clone()), what, expected, found }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    pub organizations: u64,
    pub entries: u64,
    pub windows: u64,
    /// Of the journal's tail, applied to the snapshots anew.
    pub replayed: u64,
    pub differences: Vec<Difference>,
}

/// A copy of memory. It can't be shared between threads, which is why it is handed on by exclusive references.
struct Copied {
    state: OrganizationState,
    position: u64,
}

/// What memory says of an organization's money at one of its entries.
struct Memory {
    entry: u64,
    position: u64,
    sequence: u64,
    balance: Nanos,
    windows: Vec<(LimitNo, Timestamp, Nanos, String)>,
    allocations: BTreeMap<(TeamId, Option<MemberId>), Nanos>,
}

impl Memory {
    fn of(state: &OrganizationState, position: u64) -> Self {
        Self {
            entry: state.entry,
            position,
            sequence: state.sequence,
            balance: state.wallet.balance,
            windows: windows_of(state),
            allocations: state.monthly_allocations(),
        }
    }
}

impl Verification {
    fn count(&mut self, audit: &Audit) {
        self.organizations += 1;
        self.entries += audit.entries;
        self.windows += audit.windows.len() as u64;
    }
}

impl Service {
    /// Compares memory with itself, with what journal and snapshots lead to, and with what the entries of the books add up to; of all
    /// organizations, also looks whether the books' file is in order.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization, [`Error::StoreUnavailable`].
    pub async fn verify(&self, organization: Option<&OrganizationId>) -> Result<Verification, Error> {
        let cells = match organization {
            None => self.directory.all(),
            Some(id) => {
                let missing = || Error::NotFound { kind: "organization", id: id.to_string() };
                vec![self.directory.find(id).ok_or_else(missing)?]
            }
        };
        let mut verification = Verification::default();
        for cells in cells.chunks(REPLAYED_AT_ONCE) {
            self.verify_journal(cells, &mut verification).await?;
        }
        if organization.is_none() {
            verification.differences.extend(file_damage(&*self.store).await?);
        }
        for cell in cells {
            self.verify_books(&cell, &mut verification).await?;
        }
        verification.differences.truncate(MAX_DIFFERENCES);
        Ok(verification)
    }

    async fn verify_journal(&self, cells: &[Arc<Cell>], verification: &mut Verification) -> Result<(), Error> {
        let mut copied: HashMap<OrganizationId, Copied> =
            cells.iter().map(|cell| (cell.id.clone(), copy_of(cell))).collect();
        let end = copied.values().map(|copied| copied.position).max().unwrap_or(0);
        self.writer.wait_durable(end).await?;
        for (organization, Copied { state, .. }) in &copied {
            let inconsistent = state.inconsistencies().into_iter();
            verification.differences.extend(inconsistent.map(|found| Difference::of(organization, found)));
        }
        // What is read must not lie on both sides of a trimming.
        let _untrimmed = self.trimming.read().await;
        let trimmed = self.journal.extent().await?.trimmed;
        match self.replay(&mut copied, trimmed, end).await {
            Ok((records, differences)) => {
                verification.replayed += records;
                verification.differences.extend(differences);
            }
            Err(Error::Internal(problem)) => verification.differences.push(Difference {
                organization: None,
                what: String::from("journal and snapshots"),
                expected: String::from("all that was acknowledged"),
                found: problem,
            }),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Builds the states anew as a start would, each up to the sequence that its copy has, and compares.
    async fn replay(
        &self,
        copied: &mut HashMap<OrganizationId, Copied>,
        trimmed: u64,
        end: u64,
    ) -> Result<(u64, Vec<Difference>), Error> {
        let streams = copied.keys().cloned().map(Stream::Organization).collect();
        let mut states = self.states_of(streams).await?;
        let mut differences = Vec::new();
        let (mut position, mut applied) = (trimmed, 0);
        while position < end {
            let records = self.journal.read(position + 1, RECORDS_AT_ONCE).await?;
            let Some(last) = records.last() else { break };
            position = last.position;
            for record in &records {
                let Stream::Organization(id) = &record.stream else { continue };
                let Some(Copied { state: memory, .. }) = copied.get(id) else { continue };
                if record.sequence > memory.sequence {
                    continue;
                }
                let state = match states.entry(id.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => unknown.insert(begin(id, record)?),
                };
                applied += u64::from(advance(state, record)?);
            }
        }
        for (id, Copied { state: memory, .. }) in &*copied {
            match states.get(id) {
                // A snapshot made meanwhile is ahead of the copy, which is no difference.
                Some(state) if state.sequence > memory.sequence => {}
                Some(state) => {
                    differences.extend(memory.mismatches(state).into_iter().map(|found| Difference::of(id, found)));
                }
                None => differences.push(Difference {
                    organization: Some(id.clone()),
                    what: String::from("organization in journal and snapshots"),
                    expected: String::from("a snapshot or a beginning"),
                    found: String::from("none"),
                }),
            }
        }
        Ok((applied, differences))
    }

    /// As the snapshots have them.
    async fn states_of(&self, streams: Vec<Stream>) -> Result<HashMap<OrganizationId, OrganizationState>, Error> {
        let mut states = HashMap::with_capacity(streams.len());
        for streams in streams.chunks(SNAPSHOTS_AT_ONCE) {
            for snapshot in self.snapshots.find(streams).await? {
                if let Stream::Organization(id) = &snapshot.stream {
                    states.insert(id.clone(), snapshots::decode(&snapshot.stream, &snapshot.state)?);
                }
            }
        }
        Ok(states)
    }

    async fn verify_books(&self, cell: &Arc<Cell>, verification: &mut Verification) -> Result<(), Error> {
        for attempt in 1.. {
            let memory = memory_of(cell);
            self.wait_stored(memory.position).await?;
            let audit = self.store.audit(&cell.id).await?;
            // The books may know of changes that memory's copy doesn't.
            let unchanged = cell.lock().state.sequence == memory.sequence;
            let settled = audit.entries == memory.entry;
            if !settled && attempt < ATTEMPTS {
                continue;
            }
            let mut found = in_books(&audit);
            if audit.entries < memory.entry {
                found.push(mismatch("last entry", &memory.entry, &audit.entries));
            }
            if settled {
                found.extend(against_memory(&audit, &memory));
            }
            if unchanged {
                found.extend(given_out(&audit, &memory));
            }
            verification.count(&audit);
            verification.differences.extend(found.into_iter().map(|found| Difference::of(&cell.id, found)));
            break;
        }
        Ok(())
    }
}

/// Compares what was recovered from a journal with itself, and with books that have all of that journal.
///
/// # Errors
/// [`Error::StoreUnavailable`].
pub async fn verify_recovered(recovered: &Recovered, store: &dyn Store) -> Result<Verification, Error> {
    let differences = file_damage(store).await?.into_iter().collect();
    let mut verification = Verification { replayed: recovered.replayed, differences, ..Verification::default() };
    for cell in recovered.cells() {
        let audit = store.audit(&cell.id).await?;
        let state = &cell.lock().state;
        let mut found = state.inconsistencies();
        found.extend(in_books(&audit));
        if audit.entries != state.entry {
            found.push(mismatch("last entry", &state.entry, &audit.entries));
        }
        let memory = Memory::of(state, 0);
        found.extend(against_memory(&audit, &memory));
        found.extend(given_out(&audit, &memory));
        verification.count(&audit);
        verification.differences.extend(found.into_iter().map(|found| Difference::of(&cell.id, found)));
    }
    Ok(verification)
}

async fn file_damage(store: &dyn Store) -> Result<Option<Difference>, Error> {
    let found = store.file_damage().await?;
    Ok(found.map(|found| Difference {
        organization: None,
        what: String::from("the file of the books"),
        expected: String::from("in order"),
        found,
    }))
}

fn copy_of(cell: &Cell) -> Copied {
    let inner = cell.lock();
    Copied { state: inner.state.clone(), position: inner.position }
}

fn memory_of(cell: &Cell) -> Memory {
    let inner = cell.lock();
    Memory::of(&inner.state, inner.position)
}

fn windows_of(state: &OrganizationState) -> Vec<(LimitNo, Timestamp, Nanos, String)> {
    let mut windows = Vec::new();
    for (no, entry) in state.all_limits() {
        let Counter::Budget(counters) = &entry.counter else { continue };
        for (start, counted) in counters.iter() {
            windows.push((no, start, counted.spent, window_name(entry, state.organization.id.as_str(), start)));
        }
    }
    windows
}

fn mismatch(what: impl Into<String>, expected: &dyn Display, found: &dyn Display) -> Mismatch {
    Mismatch { what: what.into(), expected: expected.to_string(), found: found.to_string() }
}

/// The books against themselves.
fn in_books(audit: &Audit) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if let Some(gap) = audit.gap {
        found.push(mismatch(format!("entry {gap}"), &"an entry", &"none"));
    }
    if let Some((entry, sum, stands)) = audit.wrong_balance {
        found.push(mismatch(format!("balance after entry {entry}"), &sum, &stands));
    }
    if let Some(entry) = audit.wrong_charge {
        found.push(mismatch(format!("what entry {entry} charged to its budgets"), &"what it cost", &"something else"));
    }
    for WindowAudit { limit, window, from_entries, from_row } in &audit.windows {
        if from_entries != from_row {
            found.push(mismatch(format!("books' budget {} from {}", limit.0, window.micros()), from_entries, from_row));
        }
    }
    found
}

/// The books against memory.
fn against_memory(audit: &Audit, memory: &Memory) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if audit.balance != memory.balance {
        found.push(mismatch("balance", &audit.balance, &memory.balance));
    }
    for (limit, window, spent, name) in &memory.windows {
        let booked = audit.windows.iter().find(|row| row.limit == *limit && row.window == *window);
        let booked = booked.map_or(Nanos::ZERO, |row| row.from_entries);
        if booked != *spent {
            found.push(mismatch(name, &booked, spent));
        }
    }
    found
}

/// Allocations in the books against those in memory.
fn given_out(audit: &Audit, memory: &Memory) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let booked: BTreeMap<_, _> =
        audit.allocations.iter().map(|(team, member, monthly)| ((team.clone(), member.clone()), *monthly)).collect();
    let places: BTreeSet<_> = booked.keys().chain(memory.allocations.keys()).collect();
    for place in places {
        let of = |all: &BTreeMap<_, Nanos>| all.get(place).copied().unwrap_or_default();
        if of(&booked) != of(&memory.allocations) {
            let (team, member) = place;
            let whose = member.as_ref().map_or_else(String::new, |member| format!("/{member}"));
            let what = format!("credits allocated to {team}{whose}");
            found.push(mismatch(what, &of(&booked), &of(&memory.allocations)));
        }
    }
    found
}
