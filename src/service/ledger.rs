//! The wallet and the books: money in, what was charged, and whether it all adds up.

use std::sync::Arc;

use super::{Error, Service};
use crate::{
    domain::{
        entity::WalletMode,
        event::{EntryKind, LimitNo, Settled},
        id::OrganizationId,
        money::Nanos,
        reservation_id::ReservationId,
        time::Timestamp,
    },
    engine::{
        directory::Cell,
        limit::{Counter, scope_of},
        state::OrganizationState,
    },
    store::{Audit, Change, ChangeQuery, Entry, EntryQuery, Grouping, Totals, WindowAudit},
};

/// Most differences that a verification names.
const MAX_DIFFERENCES: usize = 100;
/// How often a busy organization is compared anew before its memory is left out of the comparison.
const ATTEMPTS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub balance: Nanos,
    pub held: Nanos,
    pub mode: WalletMode,
    pub as_of_entry: u64,
}

/// A page of the ledger, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactions {
    pub entries: Vec<Entry>,
    /// Entry number before which the next page begins.
    pub next: Option<u64>,
    pub as_of_entry: u64,
    pub totals: Totals,
}

/// Usage in groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSummary {
    pub groups: Vec<(String, Totals)>,
    /// Of the groups beyond those.
    pub others: Totals,
    pub totals: Totals,
    pub as_of_entry: u64,
}

/// Something that doesn't add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub organization: OrganizationId,
    pub what: String,
    pub expected: String,
    pub found: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    pub organizations: u64,
    pub entries: u64,
    pub windows: u64,
    pub differences: Vec<Difference>,
}

/// What memory says of an organization's money at one of its entries.
struct Memory {
    entry: u64,
    position: u64,
    balance: Nanos,
    windows: Vec<(LimitNo, Timestamp, Nanos, String)>,
}

impl Service {
    /// The id of the reservation that a settlement closed.
    pub fn reservation_id(&self, organization: &OrganizationId, settled: &Settled) -> Option<String> {
        let id = ReservationId {
            organization: organization.clone(),
            key: settled.key.clone(),
            model: settled.reserved_model.as_ref().unwrap_or(&settled.model).clone(),
            admit_time: settled.occurred_at,
            no: settled.reservation?,
        };
        Some(id.encode(&self.seal))
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn balance(&self, organization: &OrganizationId) -> Result<Balance, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        let state = &inner.state;
        Ok(Balance {
            balance: state.wallet.balance,
            held: state.wallet.held,
            mode: state.organization.wallet_mode,
            as_of_entry: state.entry,
        })
    }

    /// Sees every charge acknowledged before the call: waits for the books.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there never was such an organization, [`Error::StoreUnavailable`].
    pub async fn transactions(
        &self,
        mut query: EntryQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Transactions, Error> {
        query.as_of = query.as_of.min(self.books_reach(&query.organization).await?);
        let mut entries = self.store.list_entries(&query, before, limit.saturating_add(1)).await?;
        let totals = self.store.total(&query).await?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(Entry::number);
        Ok(Transactions { entries, next, as_of_entry: query.as_of, totals })
    }

    /// Waits until the books have all of an organization so far, and answers its last entry. A deleted one's stay.
    async fn books_reach(&self, organization: &OrganizationId) -> Result<u64, Error> {
        let missing = || Error::NotFound { kind: "organization", id: organization.to_string() };
        let cell = self.directory.find(organization).ok_or_else(missing)?;
        let (position, entry) = {
            let inner = cell.lock();
            (inner.position, inner.state.entry)
        };
        self.wait_stored(position).await?;
        Ok(entry)
    }

    /// What was charged, in groups. Sees every charge acknowledged before the call.
    ///
    /// # Errors
    /// As [`Self::transactions`].
    pub async fn summarize_usage(
        &self,
        mut query: EntryQuery,
        by: Grouping,
        limit: u32,
    ) -> Result<UsageSummary, Error> {
        query.as_of = query.as_of.min(self.books_reach(&query.organization).await?);
        // Money that came in is no usage.
        query.kinds = vec![EntryKind::Commit, EntryKind::Charge, EntryKind::Expiry, EntryKind::LateCommit];
        let groups = self.store.usage(&query, by, limit).await?;
        let totals = self.store.total(&query).await?;
        let shown = groups.iter().fold(Totals::default(), |sum, (_, totals)| sum.plus(totals));
        Ok(UsageSummary { groups, others: totals.minus(&shown), totals, as_of_entry: query.as_of })
    }

    /// Changes of the control plane, the newest first. Sees every change acknowledged before the call.
    ///
    /// # Errors
    /// As [`Self::transactions`].
    pub async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Change>, Error> {
        if self.directory.find(&query.organization).is_none() {
            return Err(Error::NotFound { kind: "organization", id: query.organization.to_string() });
        }
        // Those of access tokens are in the system's stream, beyond the organization's last position perhaps.
        self.wait_stored(self.writer.durable_position()).await?;
        Ok(self.store.list_changes(query, before, u32::try_from(limit).unwrap_or(u32::MAX)).await?)
    }

    /// Recomputes balances and budgets from the entries alone and compares them with the books and with memory.
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
        for cell in cells {
            self.verify_one(&cell, &mut verification).await?;
        }
        verification.differences.truncate(MAX_DIFFERENCES);
        Ok(verification)
    }

    async fn verify_one(&self, cell: &Arc<Cell>, verification: &mut Verification) -> Result<(), Error> {
        for attempt in 1.. {
            let memory = memory_of(cell);
            self.wait_stored(memory.position).await?;
            let audit = self.store.audit(&cell.id).await?;
            let settled = audit.entries == memory.entry;
            if !settled && attempt < ATTEMPTS {
                continue;
            }
            let mut found = differences(&cell.id, &audit);
            if settled {
                found.extend(differences_in_memory(&cell.id, &audit, &memory));
            }
            verification.organizations += 1;
            verification.entries += audit.entries;
            verification.windows += audit.windows.len() as u64;
            verification.differences.extend(found);
            break;
        }
        Ok(())
    }
}

fn memory_of(cell: &Cell) -> Memory {
    let inner = cell.lock();
    let state = &inner.state;
    Memory { entry: state.entry, position: inner.position, balance: state.wallet.balance, windows: windows_of(state) }
}

fn windows_of(state: &OrganizationState) -> Vec<(LimitNo, Timestamp, Nanos, String)> {
    let mut windows = Vec::new();
    for (no, entry) in state.all_limits() {
        let Counter::Budget(counters) = &entry.counter else { continue };
        let (scope, id) = scope_of(&entry.place, state.organization.id.as_str());
        for (start, counted) in counters.iter() {
            windows.push((no, start, counted.spent, format!("{}/{id}/{}", scope.name(), entry.limit.id())));
        }
    }
    windows
}

/// The books against themselves.
fn differences(organization: &OrganizationId, audit: &Audit) -> Vec<Difference> {
    let difference = |what: String, expected: String, found: String| Difference {
        organization: organization.clone(),
        what,
        expected,
        found,
    };
    let mut differences = Vec::new();
    if let Some(gap) = audit.gap {
        differences.push(difference(format!("entry {gap}"), String::from("an entry"), String::from("none")));
    }
    if let Some((entry, sum, found)) = audit.wrong_balance {
        differences.push(difference(format!("balance after entry {entry}"), sum.to_string(), found.to_string()));
    }
    if let Some(entry) = audit.wrong_charge {
        let what = format!("what entry {entry} charged to its budgets");
        differences.push(difference(what, String::from("what it cost"), String::from("something else")));
    }
    for WindowAudit { limit, window, from_entries, from_row } in &audit.windows {
        if from_entries != from_row {
            let what = format!("books' budget {} from {}", limit.0, window.micros());
            differences.push(difference(what, from_entries.to_string(), from_row.to_string()));
        }
    }
    differences
}

/// The books against memory.
fn differences_in_memory(organization: &OrganizationId, audit: &Audit, memory: &Memory) -> Vec<Difference> {
    let difference = |what: String, expected: String, found: String| Difference {
        organization: organization.clone(),
        what,
        expected,
        found,
    };
    let mut differences = Vec::new();
    if audit.balance != memory.balance {
        let (expected, found) = (audit.balance.to_string(), memory.balance.to_string());
        differences.push(difference(String::from("balance"), expected, found));
    }
    for (limit, window, spent, name) in &memory.windows {
        let booked = audit.windows.iter().find(|row| row.limit == *limit && row.window == *window);
        let booked = booked.map_or(Nanos::ZERO, |row| row.from_entries);
        if booked != *spent {
            let what = format!("budget {name} from {}", window.micros());
            differences.push(difference(what, booked.to_string(), spent.to_string()));
        }
    }
    differences
}
