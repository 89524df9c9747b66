//! Whose the books are: whether this server's journal may write them, and what keeps another server from doing it too.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Error, Service};
use crate::{
    domain::lease::{JournalId, Lease, first_epoch_after},
    journal::Extent,
    store::{LEASE_SECONDS, LeaseStatus, StoreError, StoreStatus},
};

#[cfg(test)]
mod tests;

/// Several within the time that a lease lasts.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(LEASE_SECONDS as u64 / 3);

/// What this server knows of the books and its right to write them.
#[derive(Debug)]
pub(super) struct Books {
    /// `None` while the store hasn't been reached since the start.
    lease: Mutex<Option<Lease>>,
    /// Where the journal ended at the start: books that are further are another journal's.
    end: u64,
    /// Why this server can't go on, once it can't.
    lost: watch::Sender<Option<String>>,
}

impl Books {
    pub(super) fn new(lease: Option<Lease>, end: u64) -> Self {
        Self { lease: Mutex::new(lease), end, lost: watch::Sender::new(None) }
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        *self.lease.lock()
    }
}

/// How a journal goes on with books that it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Its records continue the books.
    Continue { epoch: u32 },
    /// Another server of the same journal may be running: its lease hasn't run out.
    Wait,
    /// What the journal has beyond the books is given up: the server is built anew from the books.
    Rebuild { epoch: u32 },
}

/// Why a journal may not write these books.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the books are written by {holder}; stop that server first: its lease ends when it stops, or {LEASE_SECONDS} seconds later"
    )]
    Held { holder: String },
    #[error(
        "the books reach journal position {books}, but the journal in this data directory ends at {journal}: it isn't the \
         latest. Start with the data directory that {holder} had, or with --accept-journal-loss to build this one from the \
         books: what was acknowledged and isn't in them stays out"
    )]
    Ahead { books: u64, journal: u64, holder: String },
    #[error(
        "the books, at journal position {books}, are those of another journal, of {holder}. Start with its data directory, or \
         with --accept-journal-loss to build this one from the books: what was acknowledged and isn't in them stays out, and \
         this directory's own journal is set aside for `quotactl journal import`"
    )]
    Foreign { books: u64, holder: String },
    #[error("{}", moved(to))]
    Moved { to: String },
    #[error(
        "the books reach journal position {books}, but the journal begins behind {trimmed}: these aren't the books that it was \
         trimmed for. Move them with `quotactl store migrate`, or name the database that they are in"
    )]
    Behind { books: u64, trimmed: u64 },
    #[error(
        "the database can't be reached ({why}), and this data directory never wrote into it, so that it may not be the latest; \
         start the database first"
    )]
    Unknown { why: String },
    #[error("the books' epoch {0} is the last one")]
    NoEpochLeft(u32),
}

fn moved(to: &str) -> String {
    let start = if to.contains("://") {
        format!("Start with --database-url and the whole URL of that database, its password too: {to}")
    } else {
        format!("Start without --database-url, and with the books in the data directory: --data-dir {to}")
    };
    format!("these books were moved to {to} by `quotactl store migrate` and are closed. {start}")
}

/// Who asks to write the books.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    pub journal: JournalId,
    pub extent: Extent,
    /// Names this server to people. The same name means the same data directory, which nobody else has locked.
    pub holder: &'a str,
    /// An operator gave up what may be missing from the books.
    pub accept_loss: bool,
}

/// Whether and how a server may go on with these books.
///
/// # Errors
/// [`Refusal`], with the way out.
pub fn admit(claimant: &Claimant<'_>, status: &StoreStatus) -> Result<Admission, Refusal> {
    let Claimant { journal, extent, holder, accept_loss } = *claimant;
    let books = status.position;
    let own = match &status.lease {
        None => true,
        Some(former) => former.lease.journal == journal,
    };
    let former = status.lease.as_ref();
    let former_holder = || former.map_or_else(|| String::from("an unknown server"), |former| former.holder.clone());
    let former_epoch = former.map_or(0, |former| former.lease.epoch);
    // Nobody writes them any more, whatever may be lost: what was booked since is where they went.
    if let Some(to) = former.and_then(LeaseStatus::moved_to) {
        return Err(Refusal::Moved { to: to.to_owned() });
    }
    let is_held = former.is_some_and(|former| !(former.free || own && former.holder == holder));
    let refusal = if !own {
        Some(Refusal::Foreign { books, holder: former_holder() })
    } else if books > extent.last {
        Some(Refusal::Ahead { books, journal: extent.last, holder: former_holder() })
    } else if books < extent.trimmed {
        Some(Refusal::Behind { books, trimmed: extent.trimmed })
    } else {
        None
    };
    match refusal {
        None if is_held => Ok(Admission::Wait),
        None => {
            let last = former_epoch.max(extent.epoch);
            Ok(Admission::Continue { epoch: last.checked_add(1).ok_or(Refusal::NoEpochLeft(last))? })
        }
        Some(Refusal::Ahead { .. } | Refusal::Foreign { .. }) if accept_loss && is_held => {
            Err(Refusal::Held { holder: former_holder() })
        }
        Some(Refusal::Ahead { .. } | Refusal::Foreign { .. }) if accept_loss => {
            // The journal given up may have been started more often than the books know.
            Ok(Admission::Rebuild { epoch: first_epoch_after(former_epoch).ok_or(Refusal::NoEpochLeft(former_epoch))? })
        }
        Some(refusal) => Err(refusal),
    }
}

impl Service {
    /// Takes the lease that couldn't be had at the start, because the store was out of reach.
    pub(super) async fn join_books(&self) -> Result<Lease, Error> {
        if let Some(lease) = self.books.lease() {
            return Ok(lease);
        }
        let status = self.store.status().await?;
        let extent = Extent { last: self.books.end, ..self.journal.extent().await? };
        let (journal, holder) = (self.journal.id(), &*self.holder);
        let refused = |why: String| {
            self.lose_books(why.clone());
            Error::Internal(why)
        };
        match admit(&Claimant { journal, extent, holder, accept_loss: false }, &status) {
            Ok(Admission::Continue { .. }) => {}
            Ok(Admission::Wait | Admission::Rebuild { .. }) => {
                return Err(Error::StoreUnavailable(String::from("another server's lease hasn't run out")));
            }
            Err(refusal) => return Err(refused(refusal.to_string())),
        }
        let lease = Lease { journal, epoch: self.epoch };
        // Its own: taken when the answer was lost, or by a start that got no further.
        let is_own = |former: &LeaseStatus| former.lease == lease && former.holder == holder;
        if status.lease.as_ref().is_some_and(|former| former.lease.epoch >= self.epoch && !is_own(former)) {
            return Err(refused(String::from("a later start of this server has written the books")));
        }
        let former = status.lease.map(|former| former.lease);
        self.guard_books(self.store.take_lease(lease, holder, former).await)?;
        self.journal.set_books(Some(status.id)).await?;
        *self.books.lease.lock() = Some(lease);
        self.note_reached();
        self.stored.set(status.position);
        self.metrics.projected.reach(status.position);
        tracing::info!(position = status.position, "the books can be written");
        Ok(lease)
    }

    /// False where there is none to renew.
    pub(super) async fn renew_lease(&self) -> Result<bool, Error> {
        let Some(lease) = self.books.lease() else { return Ok(false) };
        self.guard_books(self.store.renew_lease(lease).await)?;
        Ok(true)
    }

    /// Gives the lease back, at the end.
    pub(super) async fn leave_books(&self) {
        let Some(lease) = self.books.lease() else { return };
        if let Err(error) = self.store.release_lease(lease).await {
            tracing::warn!(%error, "the lease on the books can't be given back; it runs out by itself");
        }
    }

    /// Notices when another server has taken over.
    pub(super) fn guard_books<T>(&self, result: Result<T, StoreError>) -> Result<T, Error> {
        if let Err(fenced @ StoreError::Fenced { .. }) = &result {
            self.lose_books(fenced.to_string());
        }
        Ok(result?)
    }

    fn lose_books(&self, why: String) {
        self.books.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(why);
            first
        });
    }

    /// Completes when this server's journal may not write the books any more, and says why: the process must end.
    pub async fn lost_books(&self) -> String {
        let mut lost = self.books.lost.subscribe();
        let why = match lost.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        };
        // From now on it doesn't start without them.
        if let Err(error) = self.journal.set_books(None).await {
            tracing::warn!(%error, "it can't be noted that the books are another server's");
        }
        why
    }
}
