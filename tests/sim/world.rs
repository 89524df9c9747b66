//! A run: lives of the server one after the other, what happens to its machine between them, and what is looked at then.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use quotad::{
    domain::{
        event::Stream,
        lease::JournalId,
        snapshot::Snapshot,
        time::{Span, Timestamp},
    },
    engine::{state::OrganizationState, system::SystemState},
    journal::{Journal as _, Snapshots as _, writer::Collecting},
    service,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    books::Books,
    chance::Chance,
    client::Client,
    disk::Disk,
    history::History,
    life::{How, service_on},
    promises::Promises,
    time::Time,
    trouble::{Plan, Trouble},
};

/// 2023-11-14T22:13:20Z
const START: Timestamp = Timestamp::from_seconds(1_700_000_000);
const CLIENTS: u64 = 3;

/// What is to become of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ends when its clients have, or when one of its reads or writes ends it.
    Served,
    PowerLoss {
        after: Duration,
    },
    /// Another server takes its books.
    Rivalled,
    /// Nothing goes wrong any more.
    Last,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) time: Arc<Time>,
    pub(crate) books: Arc<Books>,
    pub(crate) promises: Arc<Mutex<Promises>>,
    pub(crate) clients: Vec<Arc<Mutex<Client>>>,
    disk: Mutex<Arc<Disk>>,
    journals: AtomicU8,
    is_new: AtomicBool,
    /// The operator accepts that what the books haven't got is lost.
    loss_accepted: AtomicBool,
    snapshots_lost: AtomicBool,
    /// Another server has the books.
    rivalled: AtomicBool,
    history: Mutex<History>,
}

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) ends: Vec<How>,
    pub(crate) records: u64,
    pub(crate) promises: u64,
    /// Changes with anything that happens otherwise.
    pub(crate) trace: u64,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Runs one seed to its end.
///
/// # Panics
/// When something that must hold doesn't.
pub(crate) fn run(seed: u64) -> Summary {
    let world = World::new(seed);
    let mut ends = vec![world.one_life(Fate::Last, Plan { quick: true, ..Plan::default() })];
    for _ in 0..world.chance.between(1, 4) {
        let (fate, plan) = world.fate();
        ends.push(world.one_life(fate, plan));
        world.mishap();
    }
    ends.push(world.one_life(Fate::Last, Plan::default()));
    if matches!(ends.last(), Some(How::Unrecoverable | How::BooksLost | How::StartedTooOften)) {
        // It is started once more, built anew from the books maybe.
        ends.push(world.one_life(Fate::Last, Plan::default()));
    }
    assert_eq!(ends.last(), Some(&How::Orderly));
    world.summary(ends)
}

impl World {
    fn new(seed: u64) -> Self {
        let chance = Chance::new(seed);
        let (trouble, time) = (Trouble::new(chance.clone()), Time::new(START));
        Self {
            books: Books::new(&time, &trouble),
            clients: (1..=CLIENTS).map(|client| Arc::new(Mutex::new(Client::new(client, &chance)))).collect(),
            disk: Mutex::new(Disk::new(JournalId::new([0; 16]), &trouble)),
            journals: AtomicU8::new(0),
            is_new: AtomicBool::new(true),
            loss_accepted: AtomicBool::new(false),
            snapshots_lost: AtomicBool::new(false),
            rivalled: AtomicBool::new(false),
            promises: Arc::default(),
            history: Mutex::default(),
            chance,
            trouble,
            time,
        }
    }

    fn one_life(&self, fate: Fate, plan: Plan) -> How {
        self.trouble.begin(plan);
        let runtime = runtime();
        let how = runtime.block_on(async {
            self.time.begin();
            let how = self.live(fate).await;
            self.time.end();
            how
        });
        // All that is in memory goes, wherever it stands.
        drop(runtime);
        self.disk().lose_power();
        match how {
            How::BooksLost => self.loss_accepted.store(true, Relaxed),
            How::Unrecoverable => self.lose_disk(),
            How::Orderly | How::PowerLost | How::JournalLost | How::StartedTooOften => {}
        }
        self.look();
        how
    }

    /// How the next life goes.
    fn fate(&self) -> (Fate, Plan) {
        let chance = &self.chance;
        let some = |rates: &[u64]| *chance.pick(rates);
        let mut plan = Plan {
            crash_at: None,
            disk_full: some(&[0, 0, 10, 40]),
            sync_fails: some(&[0, 0, 0, 30]),
            snapshot_fails: some(&[0, 0, 5]),
            read_fails: some(&[0, 0, 10]),
            store_down: some(&[0, 0, 20, 60]),
            transaction_fails: some(&[0, 0, 4, 15]),
            answer_lost: some(&[0, 0, 4, 15]),
            refused: some(&[0, 0, 0, 10]),
            quick: false,
        };
        match chance.below(10) {
            0..=4 => {
                plan.crash_at = Some(chance.between(1, 250));
                (Fate::Served, plan)
            }
            5..=6 => (Fate::PowerLoss { after: Duration::from_millis(chance.between(1, 6000)) }, plan),
            7 => (Fate::Rivalled, plan),
            _ => (Fate::Served, plan),
        }
    }

    /// What happens while the server is down.
    fn mishap(&self) {
        match self.chance.below(16) {
            0 => self.lose_disk(),
            1 => {
                self.disk().lose_snapshots();
                self.snapshots_lost.store(true, Relaxed);
            }
            2 => self.time.step(Span::seconds(i64::try_from(self.chance.between(0, 30 * 3600)).unwrap())),
            3 => self.time.step(Span::seconds(-i64::try_from(self.chance.between(0, 30 * 3600)).unwrap())),
            _ => {}
        }
    }

    fn lose_disk(&self) {
        *self.disk.lock().unwrap() = Disk::new(self.new_journal_id(), &self.trouble);
        self.loss_accepted.store(true, Relaxed);
        // Until the server is built anew from them, nothing but the books counts.
        self.give_up();
    }

    /// What isn't in the books is given up: it needn't be there any more.
    fn give_up(&self) {
        let mut history = self.history.lock().unwrap();
        history.cut(self.books.records());
        self.promises.lock().unwrap().retain(|promise, told| history.keeps(promise, told));
    }

    pub(crate) fn replace_disk(&self, disk: &Arc<Disk>) {
        let begins = usize::try_from(disk.begins()).unwrap();
        let mut records = self.books.records();
        records.truncate(begins);
        disk.set_archive(records);
        *self.disk.lock().unwrap() = Arc::clone(disk);
        self.loss_accepted.store(false, Relaxed);
        self.rivalled.store(false, Relaxed);
        self.give_up();
    }

    pub(crate) fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk.lock().unwrap())
    }

    pub(crate) fn is_new(&self) -> bool {
        self.is_new.load(Relaxed)
    }

    pub(crate) fn set_up(&self) {
        self.is_new.store(false, Relaxed);
    }

    pub(crate) fn loss_accepted(&self) -> bool {
        self.loss_accepted.load(Relaxed)
    }

    pub(crate) fn was_rivalled(&self) -> bool {
        self.rivalled.load(Relaxed)
    }

    pub(crate) fn note_rival(&self) {
        self.rivalled.store(true, Relaxed);
    }

    pub(crate) fn snapshots_lost(&self) -> bool {
        self.snapshots_lost.load(Relaxed)
    }

    /// From here on its snapshots are looked for again.
    pub(crate) fn note_recovered(&self) {
        self.snapshots_lost.store(false, Relaxed);
    }

    pub(crate) fn new_journal_id(&self) -> JournalId {
        JournalId::new([self.journals.fetch_add(1, Relaxed) + 1; 16])
    }

    /// What must hold whenever the server is down.
    fn look(&self) {
        let promises = self.promises.lock().unwrap();
        assert!(promises.violations().is_empty(), "{:#?}", promises.violations());
        if self.loss_accepted() || self.was_rivalled() {
            return;
        }
        let mut history = self.history.lock().unwrap();
        history.follow(self.disk().history());
        for (promise, told) in promises.all() {
            assert!(history.keeps(promise, told), "acknowledged and lost, or otherwise: {promise:?}, {told:?}");
        }
        for followed in history.organizations.values() {
            followed.check_sums();
        }
        let position = usize::try_from(self.books.position()).unwrap();
        assert!(position <= history.records.len(), "the books have more than the journal");
        assert!(self.books.are(&history.records[..position]), "the books say something else");
        drop((promises, history));
        if !self.snapshots_lost() {
            self.look_into_memory();
        }
    }

    /// A server that started now would have the state that the history comes to.
    fn look_into_memory(&self) {
        self.trouble.begin(Plan { quick: true, ..Plan::default() });
        let snapshots = runtime().block_on(async {
            self.time.begin();
            let (disk, stored) = (self.disk(), self.books.position());
            let recovered = service::recover(&*disk, &*disk, stored).await.unwrap();
            let last = disk.extent().await.unwrap().last;
            let aside = Disk::new(JournalId::new([255; 16]), &self.trouble);
            aside.begin_after(last).await.unwrap();
            // Only what has changed since is saved anew.
            aside.save(&disk.snapshots()).await.unwrap();
            let collecting = Collecting { window: Duration::ZERO, capacity: 10 };
            let service = service_on(recovered, (&aside, aside.clone()), (None, stored), self, collecting).await;
            let (service, _writer) = service.unwrap();
            service.save_snapshots().await.unwrap();
            aside.snapshots()
        });
        self.compare(&snapshots);
    }

    /// Snapshots of all of a server's memory.
    pub(crate) fn compare(&self, snapshots: &[Snapshot]) {
        let mut history = self.history.lock().unwrap();
        if !self.loss_accepted() && history.records.len() < self.disk().history().len() {
            history.follow(self.disk().history());
        }
        assert_eq!(snapshots.len(), history.organizations.len() + 1, "snapshots");
        for Snapshot { stream, state, .. } in snapshots {
            match stream {
                Stream::System => {
                    let system: SystemState = postcard::from_bytes(&state[1..]).unwrap();
                    let own = &history.system;
                    assert!(system.sequence >= own.sequence && system.seal == own.seal, "the system's state");
                    assert!(system.prices == own.prices && system.keys == own.keys, "prices and keys");
                }
                Stream::Organization(id) => {
                    let memory: OrganizationState = postcard::from_bytes(&state[1..]).unwrap();
                    history.organizations[id].check_state(&memory);
                }
            }
        }
    }

    fn summary(&self, ends: Vec<How>) -> Summary {
        let history = self.history.lock().unwrap();
        let times = history.records.iter().map(|record| record.time.micros().unsigned_abs());
        let trace = times.fold(history.records.len() as u64, |trace, time| trace.wrapping_mul(31).wrapping_add(time));
        let promises = self.promises.lock().unwrap().all().count() as u64;
        Summary { ends, records: history.records.len() as u64, promises, trace }
    }
}
