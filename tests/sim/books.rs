//! The simulated database: keeps the records that were projected, and answers every question from them anew.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use quotad::{
    domain::{
        ended::{Ended, ended_in},
        event::{Event, Record, Settled, Stream},
        id::{KeyId, OrganizationId, RequestId, SecretHash},
        lease::{JournalId, Lease, StoreId, first_epoch_after},
        reservation_id::ReservationNo,
        snapshot::{Snapshot, SnapshotMark},
        time::{Span, Timestamp},
    },
    store::{
        Audit, Change, ChangeQuery, EndedKey, Entry, EntryQuery, Grouping, LEASE_SECONDS, LeaseStatus, RegisteredKey,
        ReservationKey, SearchQuery, Store, StoreError, StoreStatus, StoredReservation, Totals,
    },
};

use crate::{answers, time::Time, trouble::Trouble};

#[derive(Debug, Default)]
struct Tables {
    /// All that was projected; the position is their number.
    records: Vec<Record>,
    lease: Option<Held>,
    states: BTreeMap<String, Snapshot>,
    /// Up to here the records aren't kept for a rebuild.
    trimmed: u64,
}

#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    holder: String,
    renewed: Timestamp,
    released: bool,
}

pub(crate) struct Books {
    tables: Mutex<Tables>,
    time: Arc<Time>,
    trouble: Arc<Trouble>,
}

impl Books {
    pub(crate) fn new(time: &Arc<Time>, trouble: &Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { tables: Mutex::default(), time: Arc::clone(time), trouble: Arc::clone(trouble) })
    }

    pub(crate) fn position(&self) -> u64 {
        self.tables.lock().unwrap().records.len() as u64
    }

    /// What was projected, whoever looks.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.tables.lock().unwrap().records.clone()
    }

    pub(crate) fn are(&self, history: &[Record]) -> bool {
        self.tables.lock().unwrap().records == history
    }

    /// Another server takes the books over, if it may, and writes something into them.
    pub(crate) fn be_taken(&self, journal: JournalId, record: impl FnOnce(&[Record], u32) -> Record) -> bool {
        let now = self.time.now();
        let mut tables = self.tables.lock().unwrap();
        let Some(held) = tables.lease.as_ref().filter(|held| held.is_free(now)) else { return false };
        let lease = Lease { journal, epoch: first_epoch_after(held.lease.epoch).unwrap() };
        let record = record(&tables.records, lease.epoch);
        tables.records.push(record);
        // It ends as it should, so that the lease is free again.
        tables.lease = Some(Held { lease, holder: String::from("another server"), renewed: now, released: true });
        true
    }

    async fn reach(&self) -> Result<(), StoreError> {
        self.trouble.pass().await;
        if self.trouble.store_is_down() { Err(unavailable("the connection broke off")) } else { Ok(()) }
    }

    /// A writing transaction, whose answer may be lost.
    async fn write<T>(
        &self,
        lease: Option<Lease>,
        work: impl FnOnce(&mut Tables, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reach().await?;
        if self.trouble.transaction_fails() {
            return Err(unavailable("the transaction was rolled back"));
        }
        let done = {
            let mut tables = self.tables.lock().unwrap();
            match lease {
                Some(lease) if tables.lease.as_ref().is_none_or(|held| held.lease != lease) => Err(tables.fenced()),
                _ => work(&mut tables, self.time.now()),
            }
        };
        self.trouble.pass().await;
        if self.trouble.answer_is_lost() {
            return Err(unavailable("the connection broke off after the commit was sent"));
        }
        done
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

impl Held {
    fn is_free(&self, now: Timestamp) -> bool {
        self.released || now - self.renewed > Span::seconds(i64::from(LEASE_SECONDS))
    }
}

impl Tables {
    fn fenced(&self) -> StoreError {
        let (holder, epoch) = self.lease.as_ref().map_or_else(Default::default, |h| (h.holder.clone(), h.lease.epoch));
        StoreError::Fenced { holder, epoch }
    }

    fn states_after(&self, after: Option<&Stream>, limit: usize) -> Vec<Snapshot> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.key().to_owned()));
        self.states.range((from, Bound::Unbounded)).take(limit).map(|(_, state)| state.clone()).collect()
    }
}

#[async_trait]
impl Store for Books {
    async fn status(&self) -> Result<StoreStatus, StoreError> {
        self.reach().await?;
        let now = self.time.now();
        let tables = self.tables.lock().unwrap();
        let lease = tables.lease.clone().map(|held| LeaseStatus {
            free: held.is_free(now),
            lease: held.lease,
            holder: held.holder,
        });
        Ok(StoreStatus { id: StoreId::new([1; 16]), position: tables.records.len() as u64, lease })
    }

    async fn take_lease(&self, lease: Lease, holder: &str, former: Option<Lease>) -> Result<(), StoreError> {
        let take = |tables: &mut Tables, now| {
            if tables.lease.as_ref().map(|held| held.lease) != former {
                return Err(tables.fenced());
            }
            tables.lease = Some(Held { lease, holder: holder.to_owned(), renewed: now, released: false });
            Ok(())
        };
        self.write(None, take).await
    }

    async fn renew_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.write(Some(lease), |tables, now| {
            let held = tables.lease.as_mut().unwrap();
            (held.renewed, held.released) = (now, false);
            Ok(())
        })
        .await
    }

    async fn release_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.write(Some(lease), |tables, _| {
            tables.lease.as_mut().unwrap().released = true;
            Ok(())
        })
        .await
    }

    async fn project(&self, lease: Lease, records: &[Record]) -> Result<u64, StoreError> {
        let refused = self.trouble.record_is_refused();
        self.write(Some(lease), |tables, _| {
            let reached = tables.records.len() as u64;
            let new = &records[records.partition_point(|record| record.position <= reached)..];
            let Some(first) = new.first() else { return Ok(reached) };
            assert_eq!(first.position, reached + 1, "projected with a gap");
            if refused {
                return Err(StoreError::Damaged(String::from("a constraint of the table was violated")));
            }
            tables.records.extend_from_slice(new);
            Ok(tables.records.len() as u64)
        })
        .await
    }

    async fn save_states(&self, lease: Lease, states: &[Snapshot]) -> Result<(), StoreError> {
        self.write(Some(lease), |tables, _| {
            for state in states {
                assert!(state.position <= tables.records.len() as u64, "a state is ahead of the books");
                tables.states.insert(state.stream.key().to_owned(), state.clone());
            }
            Ok(())
        })
        .await
    }

    async fn list_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, StoreError> {
        self.reach().await?;
        let states = self.tables.lock().unwrap().states_after(after, limit);
        let mark = |Snapshot { stream, sequence, position, .. }: Snapshot| SnapshotMark { stream, sequence, position };
        Ok(states.into_iter().map(mark).collect())
    }

    async fn load_states(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
        self.reach().await?;
        Ok(self.tables.lock().unwrap().states_after(after, limit))
    }

    async fn read_events(&self, from: u64, at_least: usize) -> Result<Vec<Record>, StoreError> {
        self.reach().await?;
        let tables = self.tables.lock().unwrap();
        let from = usize::try_from(from.max(tables.trimmed + 1) - 1).unwrap();
        Ok(tables.records.iter().skip(from).take(at_least).cloned().collect())
    }

    async fn trim_events(&self, lease: Lease, position: u64) -> Result<(), StoreError> {
        self.write(Some(lease), |tables, _| {
            tables.trimmed = tables.trimmed.max(position);
            Ok(())
        })
        .await
    }

    async fn find_reservation(
        &self,
        organization: &OrganizationId,
        by: ReservationKey<'_>,
    ) -> Result<Option<StoredReservation>, StoreError> {
        self.reach().await?;
        Ok(answers::reservation(&self.tables.lock().unwrap().records, organization, by))
    }

    async fn find_entry(
        &self,
        organization: &OrganizationId,
        request: &RequestId,
    ) -> Result<Option<Entry>, StoreError> {
        self.reach().await?;
        Ok(answers::entry_of(&self.tables.lock().unwrap().records, organization, request))
    }

    async fn find_ended(&self, organization: &OrganizationId, by: EndedKey<'_>) -> Result<Option<Ended>, StoreError> {
        self.reach().await?;
        let tables = self.tables.lock().unwrap();
        let of = tables.records.iter().rev().filter(|record| record.stream.key() == organization.as_str());
        let named = |ended: &Ended| match by {
            EndedKey::Name(name) => ended.name() == *name,
            EndedKey::Request(request) => ended.request() == Some(request),
        };
        Ok(of.filter_map(|record| ended_in(&record.event)).find(named))
    }

    async fn find_key(&self, by: RegisteredKey<'_>) -> Result<Option<(OrganizationId, KeyId)>, StoreError> {
        self.reach().await?;
        let tables = self.tables.lock().unwrap();
        let mut registered = BTreeMap::new();
        for record in &tables.records {
            if let Event::KeyRegistered { key, organization, hash, .. } = &record.event {
                registered.insert(key.clone(), (organization.clone(), *hash));
            }
        }
        let is_named = |(key, (_, hash)): &(KeyId, (OrganizationId, SecretHash))| match by {
            RegisteredKey::Id(id) => key == id,
            RegisteredKey::Secret(secret) => hash == secret,
        };
        Ok(registered.into_iter().find(is_named).map(|(key, (organization, _))| (organization, key)))
    }

    async fn settlements(
        &self,
        organization: &OrganizationId,
        no: ReservationNo,
    ) -> Result<Vec<Arc<Settled>>, StoreError> {
        self.reach().await?;
        let tables = self.tables.lock().unwrap();
        let of = tables.records.iter().filter(|record| record.stream.key() == organization.as_str());
        let settled = of.filter_map(|record| match &record.event {
            Event::Settled(settled) if settled.reservation == Some(no) && settled.entry.is_some() => Some(settled),
            _ => None,
        });
        Ok(settled.cloned().collect())
    }

    async fn get_entry(&self, organization: &OrganizationId, entry: u64) -> Result<Option<Entry>, StoreError> {
        self.reach().await?;
        let tables = self.tables.lock().unwrap();
        Ok(answers::entries(&tables.records, organization).find(|found| found.number() == entry))
    }

    async fn narrow(&self, query: &EntryQuery) -> Result<EntryQuery, StoreError> {
        self.reach().await?;
        Ok(query.clone())
    }

    async fn list_entries(&self, query: &EntryQuery, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.reach().await?;
        let tables = self.tables.lock().unwrap();
        let mut found: Vec<_> = answers::entries(&tables.records, &query.organization).collect();
        found.retain(|entry| (query.after + 1..=query.as_of).contains(&entry.number()));
        found.reverse();
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn total(&self, query: &EntryQuery) -> Result<Totals, StoreError> {
        self.reach().await?;
        Ok(answers::total(&self.tables.lock().unwrap().records, query))
    }

    async fn usage(&self, _: &EntryQuery, _: Grouping) -> Result<Vec<(String, Totals)>, StoreError> {
        Err(unavailable("usage isn't summed here"))
    }

    async fn list_changes(&self, _: &ChangeQuery, _: Option<u64>, _: u32) -> Result<Vec<Change>, StoreError> {
        Err(unavailable("changes aren't listed here"))
    }

    async fn search(&self, _: &SearchQuery, _: u64, _: usize) -> Result<Vec<(u64, String)>, StoreError> {
        Err(unavailable("nothing is searched for here"))
    }

    async fn count_found(&self, _: &SearchQuery) -> Result<u64, StoreError> {
        Err(unavailable("nothing is searched for here"))
    }

    async fn audit(&self, organization: &OrganizationId) -> Result<Audit, StoreError> {
        self.reach().await?;
        Ok(answers::audit(&self.tables.lock().unwrap().records, organization))
    }
}
