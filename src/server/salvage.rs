//! What a journal tells that another server's books may lack: of a server that lost its lease, or whose directory was set aside.
//!
//! Reads only; who brings it in names everything by the ids that it was made with, so that nothing counts twice.

use std::{path::Path, sync::Arc};

use crate::{
    domain::{
        event::{EntryKind, Event, Record, Settled, Stream, TopUp},
        id::{Actor, OrganizationId},
        operation::Commit,
        reservation_id::{ReservationId, SealKey},
        time::Timestamp,
    },
    journal::{Journal as _, JournalError, snapshots::SqliteSnapshots, sqlite::SqliteJournal},
    service::{self, recover},
    store::change_name,
};

const RECORDS_AT_ONCE: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    #[error("{0} has no journal.db; name a data directory, or one that a server set aside in its own")]
    NoJournal(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Service(#[from] service::Error),
    #[error("the journal was never in use: it has no key that reservation ids are sealed with")]
    Unused,
}

/// Something acknowledged, with what it is done again by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Salvaged {
    Committed {
        organization: OrganizationId,
        reservation_id: String,
        commit: Commit,
        settled: Arc<Settled>,
    },
    Charged {
        organization: OrganizationId,
        settled: Arc<Settled>,
    },
    /// Charged by expiry. Where the reservation is known it expires again; where not, nobody was told of it.
    Expired {
        organization: OrganizationId,
        settled: Arc<Settled>,
    },
    /// Charged by a Release: what had been used of a hold that was given back.
    Released {
        organization: OrganizationId,
        settled: Arc<Settled>,
    },
    ToppedUp {
        organization: OrganizationId,
        top_up: Box<TopUp>,
    },
    /// A change of the control plane or a correction: not to be repeated without looking at what it changes now.
    Changed {
        organization: Option<OrganizationId>,
        time: Timestamp,
        actor: Actor,
        kind: &'static str,
        id: String,
    },
}

/// A journal that is read from the beginning on.
pub struct Salvage {
    journal: SqliteJournal,
    seal: SealKey,
    position: u64,
    /// Of its last record.
    pub end: u64,
}

impl Salvage {
    /// Opens the journal in `directory` to read what lies behind position `after`.
    ///
    /// # Errors
    /// [`SalvageError`] when there is none or it is damaged.
    pub async fn open(directory: &Path, after: u64) -> Result<Self, SalvageError> {
        if !directory.join("journal.db").exists() {
            return Err(SalvageError::NoJournal(directory.display().to_string()));
        }
        let journal = SqliteJournal::open(directory).await?;
        let snapshots = SqliteSnapshots::open(directory).await?;
        let extent = journal.extent().await?;
        let recovered = recover(&journal, &snapshots, extent.trimmed).await?;
        let seal = recovered.seal().ok_or(SalvageError::Unused)?;
        Ok(Self { journal, seal, position: after.max(extent.trimmed), end: extent.last })
    }

    /// Position of the last record that was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the next records tell; `None` after the last.
    ///
    /// # Errors
    /// [`SalvageError`] when the journal is damaged.
    pub async fn next(&mut self) -> Result<Option<Vec<Salvaged>>, SalvageError> {
        let records = self.journal.read(self.position + 1, RECORDS_AT_ONCE).await?;
        let Some(last) = records.last() else { return Ok(None) };
        self.position = last.position;
        Ok(Some(records.iter().filter_map(|record| self.salvaged(record)).collect()))
    }

    fn salvaged(&self, record: &Record) -> Option<Salvaged> {
        if let (Stream::Organization(organization), event) = (&record.stream, &record.event) {
            let organization = organization.clone();
            match event {
                Event::Settled(settled) if settled.is_expiry() => {
                    return Some(Salvaged::Expired { organization, settled: Arc::clone(settled) });
                }
                Event::Settled(settled) if settled.kind == EntryKind::Charge => {
                    return Some(Salvaged::Charged { organization, settled: Arc::clone(settled) });
                }
                Event::Settled(settled) if settled.kind == EntryKind::Release => {
                    return Some(Salvaged::Released { organization, settled: Arc::clone(settled) });
                }
                // The late commit that follows says all.
                Event::Settled(settled) if settled.takes_back => return None,
                Event::Settled(settled) => return self.committed(organization, settled),
                Event::ToppedUp(top_up) => return Some(Salvaged::ToppedUp { organization, top_up: top_up.clone() }),
                _ => {}
            }
        }
        if record.actor == Actor::SYSTEM {
            return None;
        }
        let (kind, id) = change_name(record)?;
        let organization = match &record.stream {
            Stream::Organization(organization) => Some(organization.clone()),
            Stream::System => None,
        };
        Some(Salvaged::Changed { organization, time: record.time, actor: record.actor.clone(), kind, id })
    }

    fn committed(&self, organization: OrganizationId, settled: &Arc<Settled>) -> Option<Salvaged> {
        let id = ReservationId {
            organization: organization.clone(),
            key: settled.key.clone(),
            model: settled.reserved_model.as_ref().unwrap_or(&settled.model).clone(),
            admit_time: settled.occurred_at,
            no: settled.reservation?,
        };
        Some(Salvaged::Committed {
            organization,
            reservation_id: id.encode(&self.seal),
            commit: commit_of(settled),
            settled: Arc::clone(settled),
        })
    }
}

/// The words that the caller settled with, so that its own repeat is one after the import too.
fn commit_of(settled: &Settled) -> Commit {
    let without = Commit { usage: settled.usage, model: None };
    if settled.reserved_model.is_none() && without.fingerprint() == settled.fingerprint {
        return without;
    }
    Commit { usage: settled.usage, model: Some(settled.model.clone()) }
}
