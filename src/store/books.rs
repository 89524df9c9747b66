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
async fn begin(database: &(impl Database + ?Sized), lease: Lease) -> Result<(Box<dyn Connection>, u64), StoreError> {
    let mut connection = database.begin().await?;
    let status = lease::lock_for(&mut *connection, lease).await?;
    Ok((connection, status.position))
}

/// What one look at the books says.
macro_rules! view {
    ($database:ident, $connection:ident => $read:expr) => {{
        let mut session = $database.view().await?;
        let $connection = &mut *session;
        let read = $read.await?;
        session.commit().await?;
        Ok(read)
    }};
}

#[async_trait]
impl<D: Database + ?Sized> Store for D {
    async fn status(&self) -> Result<StoreStatus, StoreError> {
        view!(self, connection => lease::status(connection))
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
        view!(self, connection => states::list(connection, after, limit))
    }

    async fn load_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        view!(self, connection => states::load(connection, after, limit))
    }

    async fn read_events(&self, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError> {
        view!(self, connection => states::read_events(connection, from, at_least))
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
        view!(self, connection => find::reservation(connection, organization, by))
    }

    async fn find_entry(
        &self,
        organization: &OrganizationId,
        request: &RequestId,
    ) -> Result<Option<Entry>, StoreError> {
        view!(self, connection => find::entry(connection, organization, request))
    }

    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError> {
        view!(self, connection => find::numbered(connection, organization, entry))
    }

    async fn list_entries(
        &self,
        query: &EntryQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        view!(self, connection => list::entries(connection, query, before, limit))
    }

    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError> {
        view!(self, connection => list::total(connection, query))
    }

    async fn usage(&self, query: &EntryQuery, by: Grouping, limit: u32) -> Result<Vec<(String, Totals)>, StoreError> {
        view!(self, connection => list::usage(connection, query, by, limit))
    }

    async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        view!(self, connection => change::list(connection, query, before, limit))
    }

    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError> {
        view!(self, connection => audit::audit(connection, organization))
    }

    async fn file_damage(&self) -> Result<Option<String>, StoreError> {
        view!(self, connection => connection.file_damage())
    }

    async fn close(&self) {
        Database::close(self).await;
    }
}
