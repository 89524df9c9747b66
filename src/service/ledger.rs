//! The wallet and the books: money in, and what was charged.

use super::{Error, Service};
use crate::{
    domain::{
        entity::WalletMode,
        event::{EntryKind, Settled},
        id::OrganizationId,
        money::Nanos,
        reservation_id::ReservationId,
    },
    store::{Change, ChangeQuery, Entry, EntryQuery, Grouping, Totals},
};

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
}
