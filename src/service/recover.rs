//! From what is on disk to a running service: snapshots, then the journal's tail, then a new epoch.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Display,
    sync::{Arc, atomic::AtomicU64},
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, RwLock},
    task::JoinHandle,
};

use super::{
    Error, Parts, Service, authorize::KnownTokens, books::Books, calls::Tenants, expiry, lag::Begin, ledger::Sums,
    outbox, revocations, secret, snapshots, stored::Stored, verify::Verifier,
};
use crate::{
    domain::{
        event::{Event, Record, Stream},
        id::{Actor, OrganizationId},
        reservation_id::SealKey,
        snapshot::Snapshot,
        time::Timestamp,
    },
    engine::{
        directory::{Cell, Directory, Route},
        state::OrganizationState,
        system::SystemState,
    },
    journal::{Extent, Journal, Snapshots},
};

const SNAPSHOTS_AT_ONCE: usize = 256;
const RECORDS_AT_ONCE: usize = 16_384;
/// Pages of snapshots that are decoded while the next ones are read.
const PAGES_AHEAD: usize = 4;

/// The state as the disk tells it.
#[derive(Debug, Default)]
pub struct Recovered {
    system: SystemState,
    /// In the cells that they stay in: a map of the states themselves would need room for them twice while it grows.
    organizations: HashMap<OrganizationId, Arc<Cell>, RandomState>,
    /// Of the last record; 0 for an empty journal.
    pub position: u64,
    /// Up to which the system's snapshot reaches.
    system_position: u64,
    /// Of the last record: the clock must not start before it.
    pub time: Timestamp,
    epoch: u32,
    /// Records replayed.
    pub replayed: u64,
}

/// Reads snapshots and journal. `stored` is the position that the books have reached.
///
/// # Errors
/// [`Error::Internal`] when anything is damaged or doesn't belong together: what and where.
pub async fn recover(journal: &dyn Journal, snapshots: &dyn Snapshots, stored: u64) -> Result<Recovered, Error> {
    let mut recovered = Recovered::default();
    recovered.load(snapshots, stored).await?;
    let in_snapshots = recovered.position;
    // Where nothing is left of it, or nothing came yet, it ends where it begins.
    let Extent { trimmed, .. } = journal.extent().await?;
    recovered.check_beginning(trimmed + 1, stored)?;
    recovered.position = recovered.position.max(trimmed);
    let mut end = trimmed;
    loop {
        let records = journal.read(end + 1, RECORDS_AT_ONCE).await?;
        let Some(last) = records.last() else { break };
        end = last.position;
        for record in &records {
            recovered.replay(record, stored)?;
        }
    }
    // Books and snapshots follow the journal, and its last batch is never trimmed.
    for (what, reached) in [("books have", stored), ("snapshots have", in_snapshots)] {
        if reached > end {
            return Err(Error::Internal(format!(
                "the {what} reached journal position {reached}, but the journal ends at {end}: they don't belong together"
            )));
        }
    }
    recovered.check_keys()?;
    Ok(recovered)
}

fn damaged(record: &Record, problem: impl Display) -> Error {
    Error::Internal(format!("the journal at position {}: {problem}", record.position))
}

/// The state of an organization that has no snapshot, before the first record of its stream.
pub(super) fn begin(id: &OrganizationId, record: &Record) -> Result<OrganizationState, Error> {
    match &record.event {
        Event::OrganizationSet(organization) if record.sequence == 1 => {
            Ok(OrganizationState::new((**organization).clone()))
        }
        _ => Err(damaged(record, format!("organization {id} has neither a snapshot nor a beginning"))),
    }
}

/// Applies a record unless the state has it. Answers whether it did.
pub(super) fn advance(state: &mut OrganizationState, record: &Record) -> Result<bool, Error> {
    let is_new = record.sequence > state.sequence;
    if is_new {
        state.apply(record).map_err(|error| damaged(record, error))?;
    }
    Ok(is_new)
}

/// A state, and the journal position that it reaches.
enum Loaded {
    System(Box<SystemState>, u64),
    Organization(Arc<Cell>),
}

impl Loaded {
    fn of(Snapshot { stream, state, position, .. }: &Snapshot) -> Result<Self, Error> {
        if *stream == Stream::System {
            return Ok(Self::System(snapshots::decode(stream, state)?, *position));
        }
        let mut state: OrganizationState = snapshots::decode(stream, state)?;
        state.share_settings();
        Ok(Self::Organization(Arc::new(Cell::new(state, *position))))
    }
}

impl Recovered {
    /// Reads page after page, while tasks of their own decode those before: that takes longer than to read them.
    async fn load(&mut self, snapshots: &dyn Snapshots, stored: u64) -> Result<(), Error> {
        let (mut after, mut pages) = (None, VecDeque::new());
        loop {
            let page = snapshots.load(after.as_ref(), SNAPSHOTS_AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.stream.clone());
            pages.push_back(tokio::spawn(async move { page.iter().map(Loaded::of).collect() }));
            if pages.len() > PAGES_AHEAD
                && let Some(page) = pages.pop_front()
            {
                self.take_page(page, stored).await?;
            }
        }
        for page in pages {
            self.take_page(page, stored).await?;
        }
        Ok(())
    }

    async fn take_page(&mut self, page: JoinHandle<Result<Vec<Loaded>, Error>>, stored: u64) -> Result<(), Error> {
        for loaded in page.await.map_err(|error| Error::Internal(error.to_string()))?? {
            match loaded {
                Loaded::System(state, position) => {
                    self.position = self.position.max(position);
                    self.system_position = position;
                    self.epoch = self.epoch.max(state.epoch);
                    self.time = self.time.max(state.time);
                    self.system = *state;
                }
                Loaded::Organization(cell) => {
                    let mut inner = cell.lock();
                    self.position = self.position.max(inner.position);
                    self.time = self.time.max(inner.state.time);
                    inner.saved = inner.state.sequence;
                    inner.stored = if inner.position <= stored { inner.saved } else { 0 };
                    drop(inner);
                    self.organizations.insert(cell.id.clone(), cell);
                }
            }
        }
        Ok(())
    }

    /// The journal is trimmed behind the older of the last round of snapshots and the books: where it begins, both must reach.
    fn check_beginning(&self, first: u64, stored: u64) -> Result<(), Error> {
        for (what, reached) in [("books", stored), ("system's snapshot", self.system_position)] {
            if first > reached + 1 {
                return Err(Error::Internal(format!(
                    "the journal begins at position {first}, but the {what} reach only {reached}: what lies between is lost; \
                     restore the whole data directory from one backup"
                )));
            }
        }
        Ok(())
    }

    /// Every organization that keys are registered for must be there.
    fn check_keys(&self) -> Result<(), Error> {
        let lost = self.system.keys.iter().find(|(_, key)| !self.organizations.contains_key(&key.organization));
        match lost {
            None => Ok(()),
            Some((key, registration)) => Err(Error::Internal(format!(
                "organization {} of key {key} has neither a snapshot nor a beginning in the journal; restore the whole data \
                 directory from one backup",
                registration.organization
            ))),
        }
    }

    fn replay(&mut self, record: &Record, stored: u64) -> Result<(), Error> {
        self.position = self.position.max(record.position);
        self.time = self.time.max(record.time);
        self.epoch = self.epoch.max(record.epoch);
        let Stream::Organization(id) = &record.stream else {
            if record.sequence > self.system.sequence {
                self.system.apply(record).map_err(|error| damaged(record, error))?;
                self.replayed += 1;
            }
            return Ok(());
        };
        if !self.organizations.contains_key(id) {
            self.organizations.insert(id.clone(), Arc::new(Cell::new(begin(id, record)?, 0)));
        }
        let Some(cell) = self.organizations.get(id) else { return Ok(()) };
        let inner = &mut *cell.lock();
        if record.position <= stored {
            inner.stored = inner.stored.max(record.sequence);
        }
        if advance(&mut inner.state, record)? {
            inner.position = record.position;
            self.replayed += 1;
        }
        Ok(())
    }

    /// Each organization with its last sequence and its last entry.
    pub fn ends(&self) -> impl Iterator<Item = (&OrganizationId, u64, u64)> {
        self.cells().map(|cell| {
            let state = &cell.lock().state;
            (&cell.id, state.sequence, state.entry)
        })
    }

    /// What reservation ids are sealed with; `None` before the first start.
    pub fn seal(&self) -> Option<SealKey> {
        self.system.seal
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.organizations.values().map(|cell| &**cell)
    }

    pub fn organizations(&self) -> usize {
        self.organizations.len()
    }

    /// A service on this state, in a new epoch that is on disk before anything is granted in it.
    ///
    /// # Errors
    /// [`Error`] when the first records can't be written.
    pub async fn start(mut self, parts: Parts, stored: u64) -> Result<Arc<Service>, Error> {
        let epoch = parts.lease.map_or(self.epoch + 1, |lease| lease.epoch);
        if epoch <= self.epoch {
            return Err(Error::Internal(format!("epoch {epoch} can't follow epoch {}", self.epoch)));
        }
        let now = parts.clock.now();
        let end = self.position;
        let mut records = Vec::new();
        if self.system.seal.is_none() {
            let seal = SealKey::new(secret::new_seal()?);
            records.push(self.system.emit(Event::Initialized { seal }, epoch, now, &Actor::SYSTEM));
        }
        records.push(self.system.emit(Event::Started, epoch, now, &Actor::SYSTEM));
        let position = parts.writer.push(records);
        parts.writer.wait_durable(position).await?;
        let seal = self.system.seal.ok_or_else(|| Error::Internal(String::from("the seal was booked and lost")))?;
        let Parts {
            journal,
            snapshots,
            store,
            writer,
            lease,
            holder,
            clock,
            metrics,
            operator,
            mailer,
            webhooks,
            payments,
            tuning,
        } = parts;
        metrics.store_up.set(lease.is_some().into());
        let service = Arc::new(Service {
            directory: Directory::default(),
            prices: ArcSwap::new(Arc::clone(&self.system.prices)),
            tokens: KnownTokens::of(&self.system.tokens),
            system: Mutex::new(self.system),
            operator,
            seal,
            epoch,
            journal,
            snapshots,
            store,
            books: Books::new(lease, end),
            holder,
            writer,
            clock,
            timer: expiry::Timer::default(),
            outbox: expiry::Timer::default(),
            mailer,
            webhooks,
            payments,
            revocations: revocations::Hub::default(),
            verifier: Verifier::new(tuning.calls.verifications_per_hour),
            sums: Sums::default(),
            tenants: Tenants::new(tuning.calls),
            saved: AtomicU64::new(0),
            trimming: RwLock::default(),
            round: Notify::new(),
            stored: Stored::new(stored),
            begin: Begin::new(end, tuning.longest_lag),
            metrics,
            tuning,
        });
        for cell in self.organizations.into_values() {
            service.settle_in(cell);
        }
        service.forget_leftover_keys();
        Ok(service)
    }
}

impl Service {
    /// Gives up what the system's snapshot, the older one, knows of keys that their organizations had forgotten.
    fn forget_leftover_keys(&self) {
        let mut system = self.system.lock();
        let before = system.keys.len();
        if before == self.directory.key_count() {
            return;
        }
        system.keys.retain(|id, _| self.directory.knows_key(id));
        system.forgotten_keys += (before - system.keys.len()) as u64;
    }

    /// Makes a recovered organization found, and its reservations expire.
    fn settle_in(&self, cell: Arc<Cell>) {
        {
            let mut inner = cell.lock();
            self.metrics.open_reservations.add(i64::try_from(inner.state.open_count()).unwrap_or(i64::MAX));
            let system = self.system.lock();
            for (place, row) in inner.state.keys.all() {
                let id = &row.entity.key.id;
                if let Some(registration) = system.keys.get(id) {
                    let route = Route { cell: Arc::clone(&cell), key: place };
                    if let Some((secret, until)) = registration.previous.as_deref().copied() {
                        self.directory.retire_secret(secret, route.clone(), until, self.clock.now());
                    }
                    self.directory.add_key(id.clone(), registration.hash, route);
                }
            }
            if let Some(due) = inner.timer_to_set() {
                self.timer.set(due, &cell);
            }
            if let Some(due) = outbox::next_due(&inner.state, self.clock.now()) {
                self.outbox.set(due, &cell);
            }
        }
        // Ids are unique: each came from a map by id.
        let _ = self.directory.insert(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            entity::{AccountKind, ExpiryPolicy, Organization, WalletMode},
            money::Factor,
        },
        journal::{snapshots::SqliteSnapshots, sqlite::SqliteJournal},
    };

    fn organization(no: usize) -> Snapshot {
        let id = OrganizationId::trusted(format!("organization-{no:05}"));
        let mut state = OrganizationState::new(Organization {
            id: id.clone(),
            name: format!("Organization {no}"),
            kind: AccountKind::default(),
            default_rule: None,
            credit_factor: Factor::OFF,
            wallet_mode: WalletMode::default(),
            expiry_policy: ExpiryPolicy::default(),
            disabled: false,
            suspended: false,
            deleted: false,
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
            bounds: None,
        });
        state.sequence = no as u64 + 1;
        let (stream, state_bytes) = (Stream::Organization(id), snapshots::encode(&state).unwrap());
        Snapshot { stream, sequence: state.sequence, position: 0, state: state_bytes }
    }

    /// Of more pages than are decoded ahead, the last one not full.
    #[tokio::test]
    async fn states_are_recovered_from_all_pages_of_snapshots_and_a_damaged_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(directory.path()).await.unwrap();
        let snapshots = SqliteSnapshots::open(directory.path()).await.unwrap();
        let last = (PAGES_AHEAD + 3) * SNAPSHOTS_AT_ONCE + 7;
        let mut all: Vec<_> = (0..=last).map(organization).collect();
        snapshots.save(&all).await.unwrap();
        let recovered = recover(&journal, &snapshots, 0).await.unwrap();
        let mut found: Vec<_> = recovered.ends().map(|(id, sequence, _)| (id.as_str(), sequence)).collect();
        found.sort_unstable();
        assert_eq!((found.len(), found.last()), (last + 1, Some(&("organization-01799", 1800))));
        assert!(found.iter().enumerate().all(|(no, (_, sequence))| *sequence == no as u64 + 1));

        all[last].state.pop();
        snapshots.save(&all[last..]).await.unwrap();
        let error = recover(&journal, &snapshots, 0).await.unwrap_err().to_string();
        assert!(error.contains("organization-01799") && error.contains("can't be read"), "{error}");
    }
}
