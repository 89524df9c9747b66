//! Tells holders which of their running requests to stop.

use std::{collections::HashSet, sync::Arc};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::mpsc;

use super::{Caller, Service};
use crate::{
    domain::{
        access::Scopes,
        decision::Revocation,
        id::{Holder, OrganizationId},
        reservation_id::{ReservationId, ReservationNo},
    },
    engine::{directory::Cell, reservation::Hold},
};

/// A revocation under the id that the reservation goes by outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedRevocation {
    pub reservation_id: String,
    pub revocation: Revocation,
}

type Sender = mpsc::UnboundedSender<Message>;

#[derive(Debug, Clone)]
enum Message {
    Revocation(Box<WatchedRevocation>),
    /// What was revoked before has been sent: from here on nothing comes twice.
    CaughtUp,
}

/// Who listens, by holder.
#[derive(Debug, Default)]
pub(super) struct Hub {
    listeners: DashMap<Holder, Vec<Listener>, RandomState>,
}

/// One that listens, to what is within the scopes of its token.
#[derive(Debug)]
struct Listener {
    sender: Sender,
    scopes: Option<Arc<Scopes>>,
}

impl Listener {
    fn reaches(&self, organization: &OrganizationId) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.covers(organization))
    }
}

impl Hub {
    fn send(&self, organization: &OrganizationId, holder: &Holder, revocation: &WatchedRevocation) {
        if let Some(mut listeners) = self.listeners.get_mut(holder) {
            listeners.retain(|listener| {
                !listener.reaches(organization)
                    || listener.sender.send(Message::Revocation(Box::new(revocation.clone()))).is_ok()
            });
        }
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
}

/// Revocations of some holders, as they come. Unbounded, because a revocation must not be lost and there are never more than
/// open reservations.
pub struct Subscription {
    service: Arc<Service>,
    /// Of the token that listens.
    scopes: Option<Arc<Scopes>>,
    holders: HashSet<Holder>,
    sender: Sender,
    receiver: mpsc::UnboundedReceiver<Message>,
    /// While catching up, what was told already: what is revoked meanwhile comes twice.
    told: Option<HashSet<(OrganizationId, ReservationNo)>>,
}

impl Subscription {
    pub fn new(service: Arc<Service>, caller: &Caller) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let scopes = caller.scopes().cloned();
        Self { service, scopes, holders: HashSet::new(), sender, receiver, told: None }
    }

    /// Listens for this holder too; what is revoked already comes first if `catch_up`.
    pub async fn add(&mut self, holder: &Holder, catch_up: bool) {
        if !self.holders.insert(holder.clone()) {
            return;
        }
        if catch_up {
            self.told = Some(HashSet::new());
        }
        let listener = Listener { sender: self.sender.clone(), scopes: self.scopes.clone() };
        self.service.revocations.listen(holder, listener);
        if !catch_up {
            return;
        }
        let scopes = self.scopes.as_deref();
        for cell in self.service.directory.all() {
            if scopes.is_some_and(|scopes| !scopes.covers(&cell.id)) {
                continue;
            }
            let revoked: Vec<Revocation> = {
                let inner = cell.lock();
                let held =
                    inner.state.open().filter(|reservation| reservation.reserved.holder.as_ref() == Some(holder));
                held.filter_map(Hold::revocation).collect()
            };
            for revocation in revoked {
                // Its receiver is here, so it can't be closed.
                let _ = self.sender.send(Message::Revocation(Box::new(self.service.watched(&cell, revocation))));
            }
            tokio::task::yield_now().await;
        }
        let _ = self.sender.send(Message::CaughtUp);
    }

    /// The next one; waits for it.
    pub async fn next(&mut self) -> Option<WatchedRevocation> {
        loop {
            let watched = match self.receiver.recv().await? {
                Message::Revocation(watched) => *watched,
                Message::CaughtUp => {
                    self.told = None;
                    continue;
                }
            };
            let Some(told) = &mut self.told else { return Some(watched) };
            let organization = ReservationId::decode(&watched.reservation_id, &self.service.seal)?.organization;
            if told.insert((organization, watched.revocation.reservation)) {
                return Some(watched);
            }
        }
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
            if let Some(holder) = revocation.holder.clone() {
                self.revocations.send(&cell.id, &holder, &self.watched(cell, revocation));
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
