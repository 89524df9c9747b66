//! The store, over any database.

use async_trait::async_trait;

use super::{
    Audit, Change, ChangeQuery, Entry, EntryQuery, Grouping, ReservationKey, Store, StoreError, StoreStatus,
    StoredReservation, Totals,
    connection::{Connection, Database},
    lease, project,
    query::{audit, change, find, list},
    states,
};
use crate::domain::{
    event::{Record, Stream},
    id::{OrganizationId, RequestId},
    lease::Lease,
    snapshot::{Snapshot, SnapshotMark},
};

/// A transaction that `lease` may write in, and the position of the books in it.
async fn begin(database: &impl Database, lease: Lease) -> Result<(Box<dyn Connection>, u64), StoreError> {
    let mut connection = database.begin().await?;
    let status = lease::lock_for(&mut *connection, lease).await?;
    Ok((connection, status.position))
}

#[async_trait]
impl<D: Database> Store for D {
    async fn status(&self) -> Result<StoreStatus, StoreError> {
        lease::status(&mut *self.view().await?).await
    }

    async fn take_lease(&self, lease: Lease, holder: &str, former: Option<Lease>) -> Result<(), StoreError> {
        let mut connection = self.begin().await?;
        lease::take(&mut *connection, lease, holder, former).await?;
        connection.commit().await
    }

    async fn renew_lease(&self, lease: Lease) -> Result<(), StoreError> {
        let mut connection = self.begin().await?;
        lease::touch(&mut *connection, lease, false).await?;
        connection.commit().await
    }

    async fn release_lease(&self, lease: Lease) -> Result<(), StoreError> {
        let mut connection = self.begin().await?;
        lease::touch(&mut *connection, lease, true).await?;
        connection.commit().await
    }

    async fn project(&self, lease: Lease, records: &[Record]) -> Result<u64, StoreError> {
        let (mut connection, position) = begin(self, lease).await?;
        let reached = project::project(&mut *connection, position, records).await?;
        connection.commit().await?;
        Ok(reached)
    }

    async fn save_states(&self, lease: Lease, states: &[Snapshot]) -> Result<(), StoreError> {
        let (mut connection, _) = begin(self, lease).await?;
        states::save(&mut *connection, states).await?;
        connection.commit().await
    }

    async fn list_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, StoreError> {
        states::list(&mut *self.view().await?, after, limit).await
    }

    async fn load_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        states::load(&mut *self.view().await?, after, limit).await
    }

    async fn read_events(&self, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError> {
        states::read_events(&mut *self.view().await?, from, at_least).await
    }

    async fn trim_events(&self, lease: Lease, position: u64) -> Result<(), StoreError> {
        let (mut connection, _) = begin(self, lease).await?;
        states::trim_events(&mut *connection, position).await?;
        connection.commit().await
    }

    async fn find_reservation(
        &self,
        organization: &OrganizationId,
        by: ReservationKey<'_>,
    ) -> Result<Option<StoredReservation>, StoreError> {
        find::reservation(&mut *self.view().await?, organization, by).await
    }

    async fn find_entry(
        &self,
        organization: &OrganizationId,
        request: &RequestId,
    ) -> Result<Option<Entry>, StoreError> {
        find::entry(&mut *self.view().await?, organization, request).await
    }

    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError> {
        find::numbered(&mut *self.view().await?, organization, entry).await
    }

    async fn list_entries(
        &self,
        query: &EntryQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        list::entries(&mut *self.view().await?, query, before, limit).await
    }

    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError> {
        list::total(&mut *self.view().await?, query).await
    }

    async fn usage(&self, query: &EntryQuery, by: Grouping, limit: u32) -> Result<Vec<(String, Totals)>, StoreError> {
        list::usage(&mut *self.view().await?, query, by, limit).await
    }

    async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        change::list(&mut *self.view().await?, query, before, limit).await
    }

    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError> {
        audit::audit(&mut *self.view().await?, organization).await
    }

    async fn close(&self) {
        Database::close(self).await;
    }
}
