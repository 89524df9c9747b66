//! The store, over any database.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Audit, Change, ChangeQuery, EndedKey, Entry, EntryQuery, Grouping, RegisteredKey, ReservationKey, SearchQuery,
    Store, StoreError, StoreStatus, StoredReservation, Totals,
    connection::{Connection, Database},
    lease, project,
    query::{audit, change, find, list, search},
    states,
};
use crate::domain::{
    ended::Ended,
    event::{Record, Settled, Stream},
    id::{KeyId, OrganizationId, RequestId},
    lease::Lease,
    reservation_id::ReservationNo,
    snapshot::{Snapshot, SnapshotMark},
    time::Timestamp,
};

/// A transaction that `lease` may write in, and the position of the books in it.
async fn begin(database: &(impl Database + ?Sized), lease: Lease) -> Result<(Box<dyn Connection>, u64), StoreError> {
    let mut connection = database.begin().await?;
    let status = lease::lock_for(&mut *connection, lease).await?;
    Ok((connection, status.position))
}

/// What one look at the books says: by `view` for who browses, else by `lookup`.
macro_rules! read {
    ($database:ident.$begin:ident, $connection:ident => $read:expr) => {{
        let mut session = $database.$begin().await?;
        let $connection = &mut *session;
        let read = $read.await?;
        session.commit().await?;
        Ok(read)
    }};
}

#[async_trait]
impl<D: Database + ?Sized> Store for D {
    async fn status(&self) -> Result<StoreStatus, StoreError> {
        read!(self.lookup, connection => lease::status(connection))
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        read!(self.lookup, connection => lease::clock(connection))
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
        self.reuse_log().await?;
        Ok(reached)
    }

    async fn save_states(&self, lease: Lease, states: &[Snapshot]) -> Result<(), StoreError> {
        let (mut connection, _) = begin(self, lease).await?;
        states::save(&mut *connection, states).await?;
        connection.commit().await
    }

    async fn list_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, StoreError> {
        read!(self.lookup, connection => states::list(connection, after, limit))
    }

    async fn load_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        read!(self.lookup, connection => states::load(connection, after, limit))
    }

    async fn read_events(&self, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError> {
        read!(self.lookup, connection => states::read_events(connection, from, at_least))
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
        read!(self.lookup, connection => find::reservation(connection, organization, by))
    }

    async fn find_entry(
        &self,
        organization: &OrganizationId,
        request: &RequestId,
    ) -> Result<Option<Entry>, StoreError> {
        read!(self.lookup, connection => find::entry(connection, organization, request))
    }

    async fn find_ended(&self, organization: &OrganizationId, by: EndedKey<'_>) -> Result<Option<Ended>, StoreError> {
        read!(self.lookup, connection => find::ended_entity(connection, organization, by))
    }

    async fn find_key(&self, by: RegisteredKey<'_>) -> Result<Option<(OrganizationId, KeyId)>, StoreError> {
        read!(self.lookup, connection => find::key(connection, by))
    }

    async fn settlements(
        &self,
        organization: &OrganizationId,
        no: ReservationNo,
    ) -> Result<Vec<Arc<Settled>>, StoreError> {
        read!(self.lookup, connection => find::settlements(connection, organization, no))
    }

    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError> {
        read!(self.lookup, connection => find::numbered(connection, organization, entry))
    }

    async fn narrow(&self, query: &EntryQuery) -> Result<EntryQuery, StoreError> {
        read!(self.view, connection => list::narrow(connection, query))
    }

    async fn list_entries(&self, query: &EntryQuery, limit: u32) -> Result<Vec<Entry>, StoreError> {
        read!(self.view, connection => list::entries(connection, query, limit))
    }

    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError> {
        read!(self.view, connection => list::total(connection, query))
    }

    async fn usage(&self, query: &EntryQuery, by: Grouping) -> Result<Vec<(String, Totals)>, StoreError> {
        read!(self.view, connection => list::usage(connection, query, by))
    }

    async fn list_changes(
        &self,
        query: &ChangeQuery,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let (mut changes, mut before) = (Vec::new(), before);
        loop {
            let wanted = limit.saturating_sub(u32::try_from(changes.len()).unwrap_or(u32::MAX));
            let looked: Result<_, StoreError> =
                read!(self.view, connection => change::list(connection, query, before, wanted));
            let (found, next) = looked?;
            changes.extend(found);
            match next {
                Some(next) if changes.len() < limit as usize => before = Some(next),
                _ => return Ok(changes),
            }
        }
    }

    async fn search(&self, query: &SearchQuery, from: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError> {
        let (mut all, mut from) = (Vec::new(), from);
        loop {
            let wanted = limit - all.len();
            let looked: Result<_, StoreError> =
                read!(self.view, connection => search::find(connection, query, from, wanted));
            let (found, look) = looked?;
            all.extend(found);
            match look.next() {
                Some(next) if all.len() < limit => from = next,
                _ => return Ok(all),
            }
        }
    }

    async fn count_found(&self, query: &SearchQuery) -> Result<u64, StoreError> {
        let (mut count, mut from) = (0, 0);
        loop {
            let looked: Result<_, StoreError> = read!(self.view, connection => search::count(connection, query, from));
            let (found, look) = looked?;
            count += found;
            let Some(next) = look.next() else { return Ok(count) };
            from = next;
        }
    }

    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError> {
        read!(self.view, connection => audit::audit(connection, organization))
    }

    async fn file_damage(&self) -> Result<Option<String>, StoreError> {
        read!(self.view, connection => connection.file_damage())
    }

    async fn close(&self) {
        Database::close(self).await;
    }
}
