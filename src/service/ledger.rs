//! The wallet and the books: money in, and what was charged.

use std::{collections::HashMap, time::Duration};

use tokio::time::timeout;

use super::{Error, Service};
use crate::{
    domain::{
        entity::WalletMode,
        error::Exhausted,
        event::{EntryKind, Settled},
        id::OrganizationId,
        money::Nanos,
        reservation_id::ReservationId,
        time::Span,
        zone::Zone,
    },
    store::{Change, ChangeQuery, Entry, EntryQuery, Grouping, TimeBasis, Totals},
};

mod sums;

pub(super) use sums::Sums;

/// Entries that one look at the books reads at most. Between two looks others have their turn, and the books' log can be used again:
/// entries never change, so that many looks see the same as one.
const LOOK: u64 = 10_000;
/// Entries that a page looks at; then it ends, however few of them match.
const PAGE_LOOKS_AT: u64 = 20 * LOOK;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub balance: Nanos,
    pub held: Nanos,
    pub mode: WalletMode,
    pub as_of_entry: u64,
}

/// Where a page of the ledger begins that isn't the first, and what the first said of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageStart {
    /// Entry number before which it begins.
    pub before: u64,
    pub as_of_entry: u64,
    pub totals: Totals,
}

/// A page of the ledger, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactions {
    pub entries: Vec<Entry>,
    /// `None` after the last.
    pub next: Option<PageStart>,
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

    /// Sees every charge acknowledged before the call of the first page: waits for the books. A page ends early where few entries match.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there never was such an organization, [`Error::StoreUnavailable`], [`Error::Exhausted`] when it takes
    /// longer than a read may.
    pub async fn transactions(
        &self,
        mut query: EntryQuery,
        start: Option<PageStart>,
        limit: u32,
    ) -> Result<Transactions, Error> {
        let reach = self.books_reach(&query.organization).await?;
        query.as_of = reach.min(start.map_or(u64::MAX, |start| start.as_of_entry));
        let as_of_entry = query.as_of;
        self.in_time(async {
            let narrowed = self.store.narrow(&query).await?;
            let totals = match start {
                Some(start) => start.totals,
                None => self.total(&query, &narrowed).await?,
            };
            let (entries, next) = self.page(&query, narrowed, start.map(|start| start.before), limit).await?;
            let next = next.map(|before| PageStart { before, as_of_entry, totals });
            Ok(Transactions { entries, next, as_of_entry, totals })
        })
        .await
    }

    /// Entries before number `before`, and the number before which the next page begins.
    async fn page(
        &self,
        query: &EntryQuery,
        narrowed: EntryQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<(Vec<Entry>, Option<u64>), Error> {
        let end = before.map_or(u64::MAX, |before| before.saturating_sub(1));
        let late = query.late_part(&narrowed).map(|late| EntryQuery { as_of: late.as_of.min(end), ..late });
        let last = narrowed.as_of.min(end);
        let first = narrowed.after.max(last.saturating_sub(PAGE_LOOKS_AT));
        let prompt = looks_back(first, last).map(|(after, as_of)| EntryQuery { after, as_of, ..narrowed.clone() });
        let mut entries = Vec::new();
        for look in late.filter(|late| late.after < late.as_of).into_iter().chain(prompt) {
            // One more than asked for tells whether there is another page.
            let wanted = limit.saturating_add(1).saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            entries.extend(self.store.list_entries(&look, wanted).await?);
            if entries.len() > limit as usize {
                entries.truncate(limit as usize);
                let next = entries.last().map(Entry::number);
                return Ok((entries, next));
            }
        }
        Ok((entries, (first > narrowed.after).then_some(first + 1)))
    }

    /// Sums over all entries that match. What was summed before is kept, also of a sum that took too long.
    async fn total(&self, query: &EntryQuery, narrowed: &EntryQuery) -> Result<Totals, Error> {
        let (reached, mut totals) = self.sums.find(query, narrowed);
        for (after, as_of) in looks(reached, narrowed.as_of) {
            let look = EntryQuery { after, as_of, ..narrowed.clone() };
            totals = totals.plus(&self.store.total(&look).await?);
            self.sums.keep(query, narrowed.after, as_of, totals);
        }
        match query.late_part(narrowed) {
            Some(late) => Ok(totals.plus(&self.store.total(&late).await?)),
            None => Ok(totals),
        }
    }

    /// Ends a read of the ledger that takes too long.
    pub(super) async fn in_time<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let seconds = u64::from(self.tuning.calls.ledger_read_seconds);
        let too_long = |_| Exhausted {
            what: "seconds for one read of the books, of which a shorter time span takes less",
            max: seconds,
            retry_after: Span::SECOND,
        };
        timeout(Duration::from_secs(seconds), read).await.map_err(too_long)?
    }

    /// Waits until the books have all of an organization so far, and answers its last entry. A deleted one's stay.
    pub(super) async fn books_reach(&self, organization: &OrganizationId) -> Result<u64, Error> {
        let missing = || Error::NotFound { kind: "organization", id: organization.to_string() };
        let cell = self.directory.find(organization).ok_or_else(missing)?;
        let (position, entry) = {
            let inner = cell.lock();
            (inner.position, inner.state.entry)
        };
        self.wait_stored(position).await?;
        Ok(entry)
    }

    /// Returns the zone that an organization counts its months in; also of a deleted one.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there never was such an organization.
    pub fn zone_of(&self, organization: &OrganizationId) -> Result<Zone, Error> {
        let missing = || Error::NotFound { kind: "organization", id: organization.to_string() };
        let cell = self.directory.find(organization).ok_or_else(missing)?;
        let zone = cell.lock().state.allocations.settings.zone;
        Ok(zone)
    }

    /// Returns what was used in a span of time, whenever it was booked, in groups. Sees every charge acknowledged before the call.
    ///
    /// # Errors
    /// As [`Self::transactions`].
    pub async fn summarize_usage(
        &self,
        mut query: EntryQuery,
        by: Grouping,
        limit: u32,
    ) -> Result<UsageSummary, Error> {
        query.as_of = self.books_reach(&query.organization).await?;
        query.basis = TimeBasis::Used;
        let as_of_entry = query.as_of;
        // Money that came in is no usage; what was given back of usage is.
        query.kinds = EntryKind::ALL.into_iter().filter(|kind| kind.is_usage()).collect();
        let sums = self.in_time(async {
            let narrowed = self.store.narrow(&query).await?;
            let mut sums = HashMap::<String, Totals>::new();
            let late = query.late_part(&narrowed);
            let prompt = looks(narrowed.after, narrowed.as_of);
            let prompt = prompt.map(|(after, as_of)| EntryQuery { after, as_of, ..narrowed.clone() });
            for look in prompt.chain(late) {
                for (id, part) in self.store.usage(&look, by).await? {
                    let sum = sums.entry(id).or_default();
                    *sum = sum.plus(&part);
                }
            }
            Ok(sums)
        });
        let mut groups: Vec<_> = sums.await?.into_iter().collect();
        match by {
            Grouping::Day(_) => groups.sort_unstable_by(|a, b| b.0.cmp(&a.0)),
            Grouping::Member | Grouping::Key | Grouping::Team | Grouping::Model => {
                groups.sort_unstable_by(|a, b| b.1.cost.cmp(&a.1.cost).then_with(|| a.0.cmp(&b.0)));
            }
        }
        let sum = |of: &[(String, Totals)]| of.iter().fold(Totals::default(), |sum, (_, totals)| sum.plus(totals));
        let totals = sum(&groups);
        let others = groups.split_off(groups.len().min(limit as usize));
        Ok(UsageSummary { groups, others: sum(&others), totals, as_of_entry })
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
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.in_time(async { Ok(self.store.list_changes(query, before, limit).await?) }).await
    }
}

/// Parts of the entries after number `after` up to number `last`, each for one look, the oldest first.
fn looks(after: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
    let parts = last.saturating_sub(after).div_ceil(LOOK);
    (0..parts).map(move |no| (after + no * LOOK, last.min(after + (no + 1) * LOOK)))
}

/// The same, the newest first.
fn looks_back(after: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
    let parts = last.saturating_sub(after).div_ceil(LOOK);
    (0..parts).map(move |no| (after.max(last.saturating_sub((no + 1) * LOOK)), last - no * LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_cover_every_entry_once_in_their_order() {
        assert_eq!(looks(5, 5).chain(looks_back(5, 5)).chain(looks(6, 5)).count(), 0);
        for (after, last) in [(0, 1), (0, LOOK), (3, LOOK + 3), (3, LOOK + 4), (0, u64::MAX / 2), (7, 3 * LOOK)] {
            let (mut reached, mut left) = (after, last);
            for (forward, back) in looks(after, last).zip(looks_back(after, last)).take(100) {
                assert_eq!((forward.0, back.1), (reached, left));
                (reached, left) = (forward.1, back.0);
                assert!(forward.1 - forward.0 <= LOOK && back.1 - back.0 <= LOOK);
            }
            if last < 100 * LOOK {
                assert_eq!((reached, left), (last, after));
            }
        }
    }
}
