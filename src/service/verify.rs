//! Whether memory, journal and books tell the same, compared while they go on.
//!
//! Changes nothing, and holds no organization longer than to copy it. One verification runs at a time, and has copies of a bounded
//! number of rows in memory, or of one organization.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    fmt::Display,
    sync::Arc,
};

use tokio::task::yield_now;

use super::{
    Caller, Error, Service,
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

mod turns;

pub(super) use turns::Verifier;

/// Most differences that a verification names.
const MAX_DIFFERENCES: usize = 100;
/// How often a busy organization is compared anew before its memory is left out of the comparison with the books.
const ATTEMPTS: usize = 5;
/// Rows of organizations to build from the journal at a time, each some hundred bytes; one organization at least. Each time the
/// journal's tail is read once.
const ROWS_AT_ONCE: usize = 100_000;
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
    /// In the order of limits and, within one, of time: as an audit has them.
    windows: Vec<(LimitNo, Timestamp, Nanos)>,
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
    /// The same as [`Self::verify`] for a caller: freely for the operator, for others so often and only while no other one runs.
    ///
    /// # Errors
    /// [`Error::Exhausted`], and as [`Self::verify`].
    pub async fn verify_for(
        &self,
        caller: &Caller,
        organization: Option<&OrganizationId>,
    ) -> Result<Verification, Error> {
        let Some(of) = organization.filter(|_| !caller.is_operator()) else { return self.verify(organization).await };
        let _alone = self.verifier.admit(of, self.clock.now())?;
        self.verify_alone(organization).await
    }

    /// Compares memory with itself, with what journal and snapshots lead to, and with what the entries of the books add up to; of all
    /// organizations, also looks whether the books' file is in order.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization, [`Error::StoreUnavailable`].
    pub async fn verify(&self, organization: Option<&OrganizationId>) -> Result<Verification, Error> {
        let _alone = self.verifier.wait().await;
        self.verify_alone(organization).await
    }

    async fn verify_alone(&self, organization: Option<&OrganizationId>) -> Result<Verification, Error> {
        let cells = match organization {
            None => self.directory.all(),
            Some(id) => {
                let missing = || Error::NotFound { kind: "organization", id: id.to_string() };
                vec![self.directory.find(id).ok_or_else(missing)?]
            }
        };
        let mut verification = Verification::default();
        let mut rest = &cells[..];
        while !rest.is_empty() {
            let (some, others) = rest.split_at(at_once(rest));
            self.verify_journal(some, &mut verification).await?;
            rest = others;
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
                found.extend(against_memory(&audit, &memory, |limit, start| name_in(&cell.lock().state, limit, start)));
            }
            if unchanged {
                found.extend(given_out(&audit, &memory));
            }
            verification.count(&audit);
            verification.differences.extend(found.into_iter().map(|found| Difference::of(&cell.id, found)));
            break;
        }
        // There may be millions of them, each compared without a pause.
        yield_now().await;
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
        found.extend(against_memory(&audit, &memory, |limit, start| name_in(state, limit, start)));
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

/// How many of them to compare at a time.
fn at_once(cells: &[Arc<Cell>]) -> usize {
    let mut rows = 0;
    let more = cells.iter().take_while(|cell| {
        let had = rows;
        rows += cell.lock().state.row_count();
        had == 0 || rows <= ROWS_AT_ONCE
    });
    more.count()
}

fn windows_of(state: &OrganizationState) -> Vec<(LimitNo, Timestamp, Nanos)> {
    let mut windows = Vec::new();
    for (no, entry) in state.all_counters() {
        // What a pool counts follows from its members, and is compared with them: the books have no sum of it.
        let Counter::Budget(counters) = &entry.counter else { continue };
        if entry.is_pool() {
            continue;
        }
        windows.extend(counters.iter().map(|(start, counted)| (no, start, counted.spent)));
    }
    windows.sort_unstable_by_key(|(no, start, _)| (*no, *start));
    windows
}

fn name_in(state: &OrganizationState, limit: LimitNo, start: Timestamp) -> String {
    match state.limit(limit) {
        Some(entry) => window_name(entry, state.organization.id.as_str(), start),
        // It was removed since memory was copied.
        None => format!("budget {} from {}", limit.0, start.micros()),
    }
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

/// The books against memory: one pass over both, which are in the same order. Names are made of what differs only, and not under
/// the lock under which memory was copied.
fn against_memory(audit: &Audit, memory: &Memory, name: impl Fn(LimitNo, Timestamp) -> String) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if audit.balance != memory.balance {
        found.push(mismatch("balance", &audit.balance, &memory.balance));
    }
    let mut booked = audit.windows.iter().peekable();
    for (limit, start, spent) in &memory.windows {
        // Windows that memory has forgotten are in the books only.
        let earlier = |row: &&WindowAudit| (row.limit, row.window).cmp(&(*limit, *start)) == Ordering::Less;
        while booked.next_if(earlier).is_some() {}
        let same = booked.next_if(|row| (row.limit, row.window) == (*limit, *start));
        let from_entries = same.map_or(Nanos::ZERO, |row| row.from_entries);
        if from_entries != *spent && found.len() < MAX_DIFFERENCES {
            found.push(mismatch(name(*limit, *start), &from_entries, spent));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(windows: impl IntoIterator<Item = (u32, i64, i64)>) -> Audit {
        let window = |(limit, start, spent)| WindowAudit {
            limit: LimitNo(limit),
            window: Timestamp::from_micros(start),
            from_entries: Nanos::new(spent),
            from_row: Nanos::new(spent),
        };
        Audit { windows: windows.into_iter().map(window).collect(), ..Audit::default() }
    }

    fn memory(windows: impl IntoIterator<Item = (u32, i64, i64)>) -> Memory {
        let window = |(limit, start, spent)| (LimitNo(limit), Timestamp::from_micros(start), Nanos::new(spent));
        let windows = windows.into_iter().map(window).collect();
        Memory { entry: 0, position: 0, sequence: 0, balance: Nanos::ZERO, windows, allocations: BTreeMap::new() }
    }

    fn differing(audit: &Audit, memory: &Memory) -> Vec<String> {
        let name = |limit: LimitNo, start: Timestamp| format!("{}@{}", limit.0, start.micros());
        against_memory(audit, memory, name)
            .into_iter()
            .map(|Mismatch { what, expected, found }| format!("{what}: {expected}, {found}"))
            .collect()
    }

    #[test]
    fn windows_of_books_and_memory_are_compared_pair_by_pair() {
        let books = audit([(0, 5, 1), (0, 9, 2), (1, 1, 3), (2, 1, 4), (2, 7, 5)]);
        assert_eq!(differing(&books, &memory([(0, 9, 2), (1, 1, 3), (2, 7, 5)])), [""; 0], "memory forgets windows");
        let found = differing(&books, &memory([(0, 5, 1), (0, 7, 6), (1, 1, 8), (2, 7, 5), (3, 1, 0), (4, 1, 9)]));
        assert_eq!(found, ["0@7: 0, 0.000000006", "1@1: 0.000000003, 0.000000008", "4@1: 0, 0.000000009"]);
    }

    #[test]
    fn many_windows_are_compared_in_one_pass_and_few_differences_are_named() {
        let windows = || (0..4_000_000).map(|no| (no / 64, i64::from(no % 64), 1));
        let (books, memory) = (audit(windows()), memory(windows().map(|(limit, start, _)| (limit, start, 2))));
        assert_eq!(differing(&books, &memory).len(), MAX_DIFFERENCES);
    }
}
