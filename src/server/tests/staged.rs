//! A server whose journal waits or fails when it is told to, so that what happens meanwhile can be chosen.

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::{
    domain::{
        access::Role,
        event::{Event, Record, Stream},
        id::{Actor, InvitationId},
        lease::{JournalId, StoreId},
        time::Span,
    },
    journal::{AppendError, Extent, Journal},
    service::NewInvitation,
};

/// Keeps the positions of each batch; appends wait while the gate is held, and fail once they are told to, as checkpoints and trims do.
/// Reads wait while theirs is held. What is read can be made another thing than what was written.
pub(super) struct StagedJournal {
    inner: Arc<dyn Journal>,
    pub(super) gate: tokio::sync::Mutex<()>,
    pub(super) waiting: AtomicBool,
    pub(super) failing: AtomicBool,
    pub(super) checkpoints_fail: AtomicBool,
    pub(super) trims_fail: AtomicBool,
    pub(super) read_gate: tokio::sync::Mutex<()>,
    pub(super) reading: AtomicBool,
    pub(super) batches: Mutex<Vec<Vec<u64>>>,
    pub(super) forge: Mutex<Option<fn(&mut Record)>>,
}

impl StagedJournal {
    pub(super) fn over(inner: Arc<dyn Journal>) -> Self {
        Self {
            inner,
            gate: tokio::sync::Mutex::default(),
            waiting: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            checkpoints_fail: AtomicBool::new(false),
            trims_fail: AtomicBool::new(false),
            read_gate: tokio::sync::Mutex::default(),
            reading: AtomicBool::new(false),
            batches: Mutex::default(),
            forge: Mutex::default(),
        }
    }
}

#[async_trait]
impl Journal for StagedJournal {
    async fn append(&self, batch: &[Record]) -> Result<(), AppendError> {
        if self.failing.load(SeqCst) {
            return Err(AppendError::Fatal("fsync failed".into()));
        }
        self.waiting.store(true, SeqCst);
        let _open = self.gate.lock().await;
        self.waiting.store(false, SeqCst);
        self.batches.lock().push(batch.iter().map(|record| record.position).collect());
        self.inner.append(batch).await
    }

    async fn checkpoint(&self) -> Result<(), AppendError> {
        if self.checkpoints_fail.load(SeqCst) {
            return Err(AppendError::Fatal("fsync failed".into()));
        }
        self.inner.checkpoint().await
    }

    async fn read(&self, from: u64, at_least: usize) -> Result<Vec<Record>, JournalError> {
        self.reading.store(true, SeqCst);
        let _open = self.read_gate.lock().await;
        self.reading.store(false, SeqCst);
        let mut records = self.inner.read(from, at_least).await?;
        if let Some(forge) = *self.forge.lock() {
            records.iter_mut().for_each(forge);
        }
        Ok(records)
    }

    async fn trim(&self, position: u64) -> Result<(), JournalError> {
        if self.trims_fail.load(SeqCst) {
            return Err(JournalError::Io("the log can't be copied".into()));
        }
        self.inner.trim(position).await
    }

    async fn size(&self) -> Result<u64, JournalError> {
        self.inner.size().await
    }

    fn id(&self) -> JournalId {
        self.inner.id()
    }

    async fn books(&self) -> Result<Option<StoreId>, JournalError> {
        self.inner.books().await
    }

    async fn set_books(&self, books: Option<StoreId>) -> Result<(), JournalError> {
        self.inner.set_books(books).await
    }

    async fn begin_after(&self, position: u64) -> Result<(), JournalError> {
        self.inner.begin_after(position).await
    }

    async fn extent(&self) -> Result<Extent, JournalError> {
        self.inner.extent().await
    }
}

pub(super) struct Stage {
    pub(super) running: Running,
    pub(super) journal: Arc<StagedJournal>,
    /// Of a journal that isn't staged.
    pub(super) backends: Backends,
    /// Of a service.
    pub(super) token: String,
    _home: Home,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with_room_for(Settings::default().queue_capacity).await
    }

    /// The queue takes that many records.
    pub(super) async fn with_room_for(queue_capacity: usize) -> Self {
        let home = Home::new();
        let settings = Settings { queue_capacity, ..home.settings() };
        let data = DataDir::prepare(&settings.data_dir).unwrap();
        let backends = backends::open(data.path(), &settings).await.unwrap();
        let journal = Arc::new(StagedJournal::over(backends.journal.clone()));
        let staged = Backends { journal: journal.clone(), ..backends.clone() };
        let running = start(&settings, data, staged, Arc::default(), stopped_clock).await.unwrap();
        let token = seed(&running).await;
        Self { running, journal, backends, token, _home: home }
    }

    /// Records that mean nothing, as one push.
    pub(super) fn fill(&self, count: usize) {
        let record = Record {
            position: 0,
            stream: Stream::System,
            sequence: 1,
            epoch: 1,
            time: NOON,
            actor: Actor::SYSTEM,
            event: Event::Started,
        };
        self.running.writer.push(vec![record; count]);
    }

    pub(super) async fn invite(&self, organization: &OrganizationId, email: &str) -> (InvitationId, String) {
        let new = NewInvitation {
            id: None,
            email: email.to_owned(),
            name: String::new(),
            role: Role::Basic,
            teams: Vec::new(),
            policy: Policy::default(),
            ttl: Span::HOUR,
        };
        let (service, caller) = (&self.running.service, operator(&self.running));
        let (view, token) = service.create_invitation(&caller, organization, new, Repeatable::default()).await.unwrap();
        (view.invitation.id, token.unwrap())
    }
}
