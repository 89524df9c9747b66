//! Tells holders which of their running requests to stop.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::mpsc;

use super::{Caller, Error, Service};
use crate::{
    domain::{
        access::Scopes,
        decision::Revocation,
        error::Exhausted,
        id::{Actor, Holder, OrganizationId},
        reservation_id::{ReservationId, ReservationNo},
        time::{Span, Timestamp},
    },
    engine::{directory::Cell, reservation::Hold},
};

/// Organizations looked through, or revocations copied, before others get their turn.
const AT_ONCE: usize = 64;
/// Longest time from a turn's reading of the clock to the publication of its revocations.
const PUBLISHED_WITHIN: Span = Span::seconds(60);
/// Wait before asking for a place among the watchers again.
const WATCH_AGAIN: Span = Span::seconds(5);

/// A revocation under the id that the reservation goes by outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedRevocation {
    pub reservation_id: String,
    pub revocation: Revocation,
}

/// More revocations came than the watcher read: what it missed it learns when it asks anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

/// Takes what is for one watcher, as far as it reads.
#[derive(Debug, Clone)]
struct Listener {
    sender: mpsc::Sender<Arc<WatchedRevocation>>,
    lagged: Arc<AtomicBool>,
    /// Of the token that listens.
    scopes: Option<Arc<Scopes>>,
}

impl Listener {
    fn reaches(&self, organization: &OrganizationId) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.covers(organization))
    }

    /// Returns false when nothing more can be sent.
    fn send(&self, revocation: &Arc<WatchedRevocation>) -> bool {
        match self.sender.try_send(Arc::clone(revocation)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagged.store(true, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Who listens, by holder.
#[derive(Debug, Default)]
pub(super) struct Hub {
    listeners: DashMap<Holder, Vec<Listener>, RandomState>,
    /// Number of watchers by token.
    watchers: DashMap<Actor, u32, RandomState>,
    in_all: AtomicU32,
}

impl Hub {
    fn send(&self, organization: &OrganizationId, holder: &Holder, revocation: &Arc<WatchedRevocation>) {
        if let Some(mut listeners) = self.listeners.get_mut(holder) {
            listeners.retain(|listener| !listener.reaches(organization) || listener.send(revocation));
        }
    }

    fn is_heard(&self, holder: &Holder) -> bool {
        self.listeners.contains_key(holder)
    }

    fn listen(&self, holder: &Holder, listener: Listener) {
        self.listeners.entry(holder.clone()).or_default().push(listener);
    }

    fn drop_closed(&self, holder: &Holder) {
        if let Some(mut listeners) = self.listeners.get_mut(holder) {
            listeners.retain(|listener| !listener.sender.is_closed());
        }
        self.listeners.remove_if(holder, |_, listeners| listeners.is_empty());
    }

    fn leave(&self, token: &Actor) {
        self.in_all.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut watchers) = self.watchers.get_mut(token) {
            *watchers -= 1;
        }
        self.watchers.remove_if(token, |_, watchers| *watchers == 0);
    }
}

/// A place among the watchers of a token, free again when it is dropped.
pub struct WatchPlace {
    service: Arc<Service>,
    token: Actor,
}

impl WatchPlace {
    /// # Errors
    /// [`Error::Exhausted`] when too many watch already.
    pub fn take(service: &Arc<Service>, caller: &Caller) -> Result<Self, Error> {
        let bounds = service.tuning.watching;
        let refused = |what, max| Err(Exhausted { what, max: u64::from(max), retry_after: WATCH_AGAIN }.into());
        let hub = &service.revocations;
        if hub.in_all.fetch_add(1, Ordering::Relaxed) >= bounds.in_all {
            hub.in_all.fetch_sub(1, Ordering::Relaxed);
            return refused("watchers of all tokens at a time", bounds.in_all);
        }
        let token = caller.actor.clone();
        let of_token = {
            let mut watchers = hub.watchers.entry(token.clone()).or_default();
            *watchers += 1;
            *watchers
        };
        let place = Self { service: Arc::clone(service), token };
        if of_token > bounds.per_token {
            return refused("watchers of one token at a time", bounds.per_token);
        }
        Ok(place)
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        self.service.revocations.leave(&self.token);
    }
}

/// Revocations of some holders, as they come. Ends when too many are left unread: none is lost so, because a watcher that asks
/// anew first gets what is revoked already.
pub struct Subscription {
    service: Arc<Service>,
    holders: HashSet<Holder>,
    listener: Listener,
    receiver: mpsc::Receiver<Arc<WatchedRevocation>>,
    catch_up: Option<CatchUp>,
    /// Told while catching up, as far as they may come once more.
    told: HashSet<(OrganizationId, ReservationNo)>,
}

/// Revocations of before the watch, read as the watcher reads.
struct CatchUp {
    holder: Holder,
    /// Organizations that have such, the next last.
    cells: Vec<Arc<Cell>>,
    /// The last that was read of the next organization.
    after: Option<ReservationNo>,
    read: VecDeque<Arc<WatchedRevocation>>,
    began: Timestamp,
}

impl Subscription {
    pub fn new(service: Arc<Service>, caller: &Caller) -> Self {
        let (sender, receiver) = mpsc::channel(service.tuning.watching.unread as usize);
        let listener = Listener { sender, lagged: Arc::default(), scopes: caller.scopes().cloned() };
        Self { service, holders: HashSet::new(), listener, receiver, catch_up: None, told: HashSet::new() }
    }

    /// Listens for this holder too; what is revoked already comes first if `catch_up`, which one holder can at a time.
    pub async fn add(&mut self, holder: &Holder, catch_up: bool) {
        if !self.holders.insert(holder.clone()) {
            return;
        }
        let began = self.service.clock.now();
        self.service.revocations.listen(holder, self.listener.clone());
        if !catch_up {
            return;
        }
        let mut cells = Vec::new();
        for (no, cell) in self.service.directory.all().into_iter().enumerate() {
            if no % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            if !self.listener.reaches(&cell.id) {
                continue;
            }
            let any = cell.lock().state.revoked_of(holder, None).next().is_some();
            if any {
                cells.push(cell);
            }
        }
        self.catch_up = Some(CatchUp { holder: holder.clone(), cells, after: None, read: VecDeque::new(), began });
    }

    /// The next one; waits for it.
    ///
    /// # Errors
    /// [`Lagged`] when too many came meanwhile; then nothing more comes.
    pub async fn next(&mut self) -> Option<Result<Arc<WatchedRevocation>, Lagged>> {
        loop {
            if self.listener.lagged.load(Ordering::Acquire) {
                return Some(Err(Lagged));
            }
            if let Some(watched) = self.next_of_before() {
                return Some(Ok(watched));
            }
            let watched = self.receiver.recv().await?;
            if self.told.is_empty() || !self.told.remove(&self.name(&watched)?) {
                return Some(Ok(watched));
            }
        }
    }

    fn name(&self, watched: &WatchedRevocation) -> Option<(OrganizationId, ReservationNo)> {
        let organization = ReservationId::decode(&watched.reservation_id, &self.service.seal)?.organization;
        Some((organization, watched.revocation.reservation))
    }

    fn next_of_before(&mut self) -> Option<Arc<WatchedRevocation>> {
        let catch_up = self.catch_up.as_mut()?;
        let Some(watched) = catch_up.next(&self.service) else {
            self.catch_up = None;
            return None;
        };
        let may_come = watched.revocation.time + PUBLISHED_WITHIN >= catch_up.began;
        if may_come {
            let name = self.name(&watched)?;
            self.told.insert(name);
        }
        Some(watched)
    }
}

impl CatchUp {
    fn next(&mut self, service: &Service) -> Option<Arc<WatchedRevocation>> {
        while self.read.is_empty() {
            let cell = Arc::clone(self.cells.last()?);
            let revoked: Vec<Revocation> = {
                let inner = cell.lock();
                let nos = inner.state.revoked_of(&self.holder, self.after).take(AT_ONCE);
                nos.filter_map(|no| inner.state.hold(no)).filter_map(Hold::revocation).collect()
            };
            self.after = revoked.last().map(|last| last.reservation);
            if revoked.is_empty() {
                self.cells.pop();
            }
            self.read.extend(revoked.into_iter().map(|revocation| Arc::new(service.watched(&cell, revocation))));
        }
        self.read.pop_front()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver.close();
        for holder in &self.holders {
            self.service.revocations.drop_closed(holder);
        }
    }
}

impl Service {
    pub(super) fn publish(&self, cell: &Cell, revocations: Vec<Revocation>) {
        for revocation in revocations {
            if let Some(holder) = revocation.holder.clone().filter(|holder| self.revocations.is_heard(holder)) {
                self.revocations.send(&cell.id, &holder, &Arc::new(self.watched(cell, revocation)));
            }
        }
    }

    fn watched(&self, cell: &Cell, revocation: Revocation) -> WatchedRevocation {
        let id = ReservationId {
            organization: cell.id.clone(),
            key: revocation.key.clone(),
            model: revocation.model.clone(),
            admit_time: revocation.admit_time,
            no: revocation.reservation,
        };
        WatchedRevocation { reservation_id: id.encode(&self.seal), revocation }
    }
}
