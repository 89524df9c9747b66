//! A server whose journal waits when it is told to, so that what happens meanwhile can be chosen.

use parking_lot::Mutex;

use super::*;
use crate::{
    domain::{
        access::Role,
        event::{Event, Stream},
        id::{Actor, InvitationId},
        time::Span,
    },
    service::NewInvitation,
};

/// Keeps the positions of each batch; appends wait while the gate is held.
pub(super) struct GatedJournal {
    inner: Arc<dyn Journal>,
    pub(super) gate: tokio::sync::Mutex<()>,
    pub(super) waiting: AtomicBool,
    pub(super) batches: Mutex<Vec<Vec<u64>>>,
}

#[async_trait]
impl Journal for GatedJournal {
    async fn append(&self, batch: &[Record]) -> Result<(), AppendError> {
        self.waiting.store(true, SeqCst);
        let _open = self.gate.lock().await;
        self.waiting.store(false, SeqCst);
        self.batches.lock().push(batch.iter().map(|record| record.position).collect());
        self.inner.append(batch).await
    }

    async fn read(&self, from: u64, at_least: usize) -> Result<Vec<Record>, JournalError> {
        self.inner.read(from, at_least).await
    }

    async fn trim(&self, position: u64) -> Result<(), JournalError> {
        self.inner.trim(position).await
    }
}

pub(super) struct Stage {
    pub(super) running: Running,
    pub(super) journal: Arc<GatedJournal>,
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
        let backends = backends::open(data.path()).await.unwrap();
        let journal = Arc::new(GatedJournal {
            inner: backends.journal.clone(),
            gate: tokio::sync::Mutex::default(),
            waiting: AtomicBool::new(false),
            batches: Mutex::default(),
        });
        let backends = Backends { journal: journal.clone(), ..backends };
        let running = start(&settings, data, backends, Arc::default(), stopped_clock).await.unwrap();
        seed(&running).await;
        Self { running, journal, _home: home }
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
