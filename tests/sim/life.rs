//! One life of the server: it joins the books, recovers, serves, and ends as it was fated to, or otherwise.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quotad::{
    clock::SystemClock,
    domain::payment::OrderTerms,
    domain::{
        event::{Event, Record, Stream},
        id::{Actor, SecretHash},
        lease::Lease,
        time::Span,
    },
    engine::turn::Bounds,
    journal::{
        Journal as _, Snapshots,
        writer::{Collecting, Writer},
    },
    notify::{Reach, Webhooks},
    service::{
        self, Admission, CallBounds, Claimant, ManualProvider, Parts, Recovered, Refusal, Service, Tuning, admit,
    },
    store::{Store as _, StoreError},
    telemetry::Metrics,
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    chance::Chance,
    client::{self, Line},
    disk::Disk,
    place,
    world::{Fate, World},
};

const OPERATOR: &str = "operator";
/// A directory's name: nobody else has it.
const HOLDER: &str = "this server";
/// A life never lasts longer, in simulated time.
const LONGEST: Duration = Duration::from_mins(15);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As it should, with all that was answered on disk.
    Orderly,
    PowerLost,
    /// A sync failed, and so the server ended itself.
    JournalLost,
    /// Another server has the books.
    BooksLost,
    /// An earlier start has a later epoch.
    StartedTooOften,
    /// It didn't start: its snapshots are gone, and what they held was trimmed.
    Unrecoverable,
}

/// What a start needs, as long as it lasts.
struct Joined {
    disk: Arc<Disk>,
    lease: Option<Lease>,
    stored: u64,
}

pub(crate) fn webhooks() -> Webhooks {
    static WEBHOOKS: std::sync::OnceLock<Webhooks> = std::sync::OnceLock::new();
    WEBHOOKS.get_or_init(|| Webhooks::new(Duration::from_secs(1), Reach::anywhere(), None).unwrap()).clone()
}

pub(crate) fn tuning(chance: &Chance) -> Tuning {
    Tuning {
        remember: Span::seconds(*chance.pick(&[1, 5, 600])),
        remember_at_most: *chance.pick(&[2, 20, 1000]),
        snapshot_every: Duration::from_millis(*chance.pick(&[200, 2000, 60_000])),
        journal_max: *chance.pick(&[12_000, u64::MAX, u64::MAX]),
        longest_lag: *chance.pick(&[5, 1000, u64::MAX]),
        remember_ended: Span::seconds(30 * 86_400),
        bounds: Bounds::default(),
        calls: CallBounds::default(),
        orders: OrderTerms::default(),
        watching: quotad::domain::bounds::WatchBounds::default(),
    }
}

/// A service on what was recovered, with what it needs.
pub(crate) async fn service_on(
    recovered: Recovered,
    (disk, snapshots): (&Arc<Disk>, Arc<dyn Snapshots>),
    (lease, stored): (Option<Lease>, u64),
    world: &World,
    collecting: Collecting,
) -> Result<(Arc<Service>, Writer), service::Error> {
    let metrics = Arc::new(Metrics::default());
    let journal: Arc<Disk> = Arc::clone(disk);
    let writer = Writer::start(journal.clone(), recovered.position, collecting, Arc::clone(&metrics));
    let clock = SystemClock::with_readings(crate::time::Machine(Arc::clone(&world.time)), recovered.time);
    let parts = Parts {
        journal,
        snapshots,
        store: world.books.clone(),
        writer: writer.clone(),
        lease,
        holder: String::from(HOLDER),
        clock: Arc::new(clock),
        metrics,
        operator: SecretHash::of(OPERATOR),
        mailer: None,
        webhooks: webhooks(),
        payments: Box::new(ManualProvider),
        tuning: tuning(&world.chance),
    };
    Ok((recovered.start(parts, stored).await?, writer))
}

impl World {
    /// Lives until something ends it.
    pub(crate) async fn live(&self, fate: Fate) -> How {
        tokio::select! {
            biased;
            () = self.trouble.death() => How::PowerLost,
            how = self.serve(fate) => how,
        }
    }

    async fn serve(&self, fate: Fate) -> How {
        let Some(joined) = self.join().await else { return How::BooksLost };
        let Joined { disk, lease, stored } = joined;
        let recovered = match recover(&disk, stored).await {
            Ok(recovered) => recovered,
            Err(why) => {
                assert!(self.snapshots_lost() && disk.begins() > 0, "it doesn't recover: {why}");
                return How::Unrecoverable;
            }
        };
        self.note_recovered();
        let window = Duration::from_millis(*self.chance.pick(&[0, 3, 50]));
        let collecting = Collecting { window, capacity: *self.chance.pick(&[10, 10_000]) };
        let started = service_on(recovered, (&disk, disk.clone()), (lease, stored), self, collecting).await;
        let (service, writer) = match started {
            Ok(started) => started,
            // The disk was full, or its sync failed: the process ends, and is started again.
            Err(service::Error::JournalFailed) => return How::JournalLost,
            Err(error) => panic!("it doesn't start: {error}"),
        };
        let caller = service.authorize(Some(OPERATOR), "/quotad.v1.WalletService/TopUp").unwrap();
        let abandoned = Arc::new(Mutex::new(JoinSet::new()));
        let line = Line {
            service: Arc::clone(&service),
            caller,
            chance: self.chance.clone(),
            promises: Arc::clone(&self.promises),
            abandoned: Arc::clone(&abandoned),
        };
        let mut background = background(&service);
        let how = tokio::select! {
            biased;
            why = writer.failed_for_good() => {
                assert_eq!(why, "the sync failed");
                How::JournalLost
            }
            why = service.lost_books() => {
                // Several starts took the lease and got no further, and this one couldn't ask: the next one can.
                let too_often = why.contains("a later start of this server");
                assert!(too_often || self.was_rivalled(), "the books are lost to nobody: {why}");
                if too_often { How::StartedTooOften } else { How::BooksLost }
            }
            ended = background.join_next() => panic!("a task ended: {ended:?}"),
            how = self.use_it(&line, fate) => how,
        };
        drop(line);
        let mut calls = std::mem::take(&mut *abandoned.lock().unwrap());
        while let Some(call) = calls.try_join_next() {
            call.unwrap();
        }
        calls.shutdown().await;
        if how == How::Orderly {
            background.shutdown().await;
            self.end(&service, &writer, fate).await
        } else {
            how
        }
    }

    async fn use_it(&self, line: &Line, fate: Fate) -> How {
        if self.is_new() {
            place::set_up(&line.service, &line.caller, &self.chance).await;
            self.set_up();
            return How::Orderly;
        }
        let mut tasks = JoinSet::new();
        for client in &self.clients {
            let times = if fate == Fate::Last { 0 } else { self.chance.between(4, 24) };
            tasks.spawn(client::run(Arc::clone(client), line.clone(), times));
        }
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                unwrap(ended);
            }
            match fate {
                Fate::Last => self.finish(line).await,
                Fate::Rivalled => std::future::pending().await,
                _ => {}
            }
        };
        tokio::select! {
            biased;
            () = all => How::Orderly,
            () = self.rival(fate) => How::BooksLost,
            () = self.set_clocks() => How::Orderly,
            () = power(fate) => How::PowerLost,
            () = sleep(LONGEST) => {
                assert!(fate != Fate::Last, "it doesn't come to an end");
                How::Orderly
            }
        }
    }

    /// Everything pending is asked until it is answered, and the books follow to the end.
    async fn finish(&self, line: &Line) {
        for client in &self.clients {
            while !client.lock().unwrap().is_idle() {
                client::run(Arc::clone(client), line.clone(), 1).await;
            }
        }
        loop {
            let last = self.disk().extent().await.unwrap().last;
            if self.books.position() == last && line.service.books_follow() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let verified = line.service.verify(None).await.unwrap();
        assert!(verified.differences.is_empty(), "{:#?}", verified.differences);
        assert_eq!(verified.organizations, place::ORGANIZATIONS);
    }

    async fn end(&self, service: &Arc<Service>, writer: &Writer, fate: Fate) -> How {
        // A disk that is full at the end must get room again, or the process is killed.
        while timeout(Duration::from_secs(10), writer.drain()).await.is_ok_and(|drained| drained.is_err()) {
            if writer_is_lost(writer).await {
                return How::JournalLost;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let saved = service.save_snapshots().await;
        assert!(saved.is_ok() || fate != Fate::Last, "{saved:?}");
        if fate == Fate::Last {
            self.compare(&self.disk().snapshots());
        }
        service.close().await;
        How::Orderly
    }

    /// The wall clock is set now and then.
    async fn set_clocks(&self) {
        loop {
            sleep(Duration::from_millis(self.chance.between(100, 60_000))).await;
            let seconds: i64 = *self.chance.pick(&[1, 60, 3600, 4 * 3600]);
            self.time.step(Span::seconds(if self.chance.one_in(2) { seconds } else { -seconds }));
        }
    }

    /// The network breaks until the lease has run out, and another server takes the books.
    async fn rival(&self, fate: Fate) {
        if fate != Fate::Rivalled {
            return std::future::pending().await;
        }
        sleep(Duration::from_millis(self.chance.between(1, 8000))).await;
        self.trouble.set_cut(true);
        while !self.books.be_taken(self.new_journal_id(), started) {
            sleep(Duration::from_secs(1)).await;
        }
        self.note_rival();
        self.trouble.set_cut(false);
        std::future::pending::<()>().await;
    }

    /// As `server::join` does it, with files that are made anew.
    async fn join(&self) -> Option<Joined> {
        loop {
            let disk = self.disk();
            let extent = disk.extent().await.unwrap();
            let status = match self.books.status().await {
                Ok(status) => status,
                Err(_) if disk.books().await.unwrap().is_none() => {
                    sleep(Duration::from_millis(500)).await;
                    continue;
                }
                Err(_) => return Some(Joined { disk, lease: None, stored: extent.trimmed }),
            };
            let accept_loss = self.loss_accepted();
            let claimant = Claimant { journal: disk.id(), extent, holder: HOLDER, accept_loss };
            let former = status.lease.as_ref().map(|former| former.lease);
            match admit(&claimant, &status) {
                Ok(Admission::Continue { epoch }) => {
                    let lease = Lease { journal: disk.id(), epoch };
                    if self.books.take_lease(lease, HOLDER, former).await.is_ok() {
                        disk.set_books(Some(status.id)).await.unwrap();
                        return Some(Joined { disk, lease: Some(lease), stored: status.position });
                    }
                }
                Ok(Admission::Rebuild { epoch }) => {
                    if let Ok((disk, lease)) = self.rebuild(epoch, former).await {
                        return Some(Joined { disk, lease: Some(lease), stored: self.books.position() });
                    }
                }
                Ok(Admission::Wait) | Err(Refusal::Held { .. }) => {}
                Err(Refusal::Foreign { .. } | Refusal::Ahead { .. }) if self.was_rivalled() => return None,
                Err(refusal) => panic!("it is refused: {refusal}"),
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// What the old disk had beyond the books is given up.
    async fn rebuild(&self, epoch: u32, former: Option<Lease>) -> Result<(Arc<Disk>, Lease), StoreError> {
        let disk = Disk::new(self.new_journal_id(), &self.trouble);
        let rebuilt = service::rebuild(&*self.books, &*disk, &*disk).await;
        let stored = match rebuilt {
            Ok(stored) => stored,
            Err(service::Error::StoreUnavailable(why) | service::Error::DiskUnavailable(why)) => {
                return Err(StoreError::Unavailable(why));
            }
            // A sync failed, or the disk was full.
            Err(service::Error::Internal(why)) if why.contains("sync") || why.contains("space") => {
                return Err(StoreError::Unavailable(why));
            }
            Err(error) => panic!("it can't be rebuilt: {error}"),
        };
        let lease = Lease { journal: disk.id(), epoch };
        self.books.take_lease(lease, HOLDER, former).await?;
        assert_eq!(self.books.position(), stored);
        disk.set_books(Some(self.books.status().await?.id)).await.unwrap();
        self.replace_disk(&disk);
        Ok((disk, lease))
    }
}

async fn recover(disk: &Arc<Disk>, stored: u64) -> Result<Recovered, service::Error> {
    loop {
        match service::recover(&**disk, &**disk, stored).await {
            Err(service::Error::DiskUnavailable(why)) if why.contains("a read failed") => {}
            other => return other,
        }
    }
}

fn background(service: &Arc<Service>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(service).run_expiry());
    tasks.spawn(Arc::clone(service).run_projector());
    tasks.spawn(Arc::clone(service).run_lease());
    tasks.spawn(Arc::clone(service).run_journal_watch());
    tasks.spawn(Arc::clone(service).run_snapshots());
    tasks.spawn(Arc::clone(service).run_outbox());
    tasks
}

fn unwrap(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn writer_is_lost(writer: &Writer) -> bool {
    timeout(Duration::ZERO, writer.failed_for_good()).await.is_ok()
}

async fn power(fate: Fate) {
    match fate {
        Fate::PowerLoss { after } => sleep(after).await,
        _ => std::future::pending().await,
    }
}

/// What another server writes first.
fn started(records: &[Record], epoch: u32) -> Record {
    let last = records.last().unwrap();
    let system = records.iter().rev().find(|record| record.stream == Stream::System).unwrap();
    Record {
        position: last.position + 1,
        stream: Stream::System,
        sequence: system.sequence + 1,
        epoch,
        time: system.time,
        actor: Actor::SYSTEM,
        event: Event::Started,
    }
}
