//! What goes wrong, and when: every read and write of the simulated disk and database passes here.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::chance::Chance;

/// How often things go wrong in one life of the server: once in so many times, 0 for never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// The power fails at this read or write, counted from the start.
    pub(crate) crash_at: Option<u64>,
    pub(crate) disk_full: u64,
    pub(crate) sync_fails: u64,
    pub(crate) snapshot_fails: u64,
    pub(crate) read_fails: u64,
    pub(crate) store_down: u64,
    pub(crate) transaction_fails: u64,
    pub(crate) answer_lost: u64,
    pub(crate) refused: u64,
    /// Reads and writes take no time.
    pub(crate) quick: bool,
}

pub(crate) struct Trouble {
    pub(crate) chance: Chance,
    plan: Mutex<Plan>,
    left: Mutex<Spells>,
    dead: watch::Sender<bool>,
    /// The network to the database is cut.
    cut: AtomicBool,
}

/// What lasts for some more attempts.
#[derive(Debug, Default)]
struct Spells {
    points: u64,
    full: u64,
    down: u64,
}

impl Trouble {
    pub(crate) fn new(chance: Chance) -> Arc<Self> {
        Arc::new(Self {
            chance,
            plan: Mutex::new(Plan { quick: true, ..Plan::default() }),
            left: Mutex::default(),
            dead: watch::Sender::new(false),
            cut: AtomicBool::new(false),
        })
    }

    pub(crate) fn begin(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
        *self.left.lock().unwrap() = Spells::default();
        self.dead.send_replace(false);
        self.cut.store(false, Relaxed);
    }

    /// From here on nothing reaches disk or database, and nobody hears of what did.
    pub(crate) fn die(&self) {
        self.dead.send_replace(true);
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    pub(crate) async fn death(&self) {
        let mut dead = self.dead.subscribe();
        let _ = dead.wait_for(|dead| *dead).await;
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Relaxed);
    }

    /// Time passes in a read or write, and the power may fail.
    pub(crate) async fn pass(&self) {
        let quick = self.plan.lock().unwrap().quick;
        if !quick {
            self.take_time().await;
        }
        let crash_at = self.plan.lock().unwrap().crash_at;
        let point = {
            let mut left = self.left.lock().unwrap();
            left.points += 1;
            left.points
        };
        if crash_at == Some(point) {
            self.die();
        }
        if self.is_dead() {
            pending::<()>().await;
        }
    }

    async fn take_time(&self) {
        if self.is_dead() {
            pending::<()>().await;
        }
        match self.chance.below(8) {
            0..=3 => {}
            4..=5 => tokio::task::yield_now().await,
            6 => tokio::time::sleep(Duration::from_millis(self.chance.between(1, 3))).await,
            _ => tokio::time::sleep(Duration::from_millis(self.chance.between(1, 40))).await,
        }
    }

    fn happens(&self, rate: impl FnOnce(&Plan) -> u64) -> bool {
        let rate = rate(&self.plan.lock().unwrap());
        self.chance.one_in(rate)
    }

    fn lasts(&self, rate: impl FnOnce(&Plan) -> u64, most: u64, of: impl FnOnce(&mut Spells) -> &mut u64) -> bool {
        let begins = self.happens(rate);
        let mut left = self.left.lock().unwrap();
        let spell = of(&mut left);
        if begins && *spell == 0 {
            *spell = self.chance.between(1, most);
        }
        *spell = spell.saturating_sub(1);
        *spell > 0 || begins
    }

    pub(crate) fn disk_is_full(&self) -> bool {
        self.lasts(|plan| plan.disk_full, 5, |spells| &mut spells.full)
    }

    pub(crate) fn store_is_down(&self) -> bool {
        self.cut.load(Relaxed) || self.lasts(|plan| plan.store_down, 12, |spells| &mut spells.down)
    }

    pub(crate) fn sync_fails(&self) -> bool {
        self.happens(|plan| plan.sync_fails)
    }

    pub(crate) fn snapshot_fails(&self) -> bool {
        self.happens(|plan| plan.snapshot_fails)
    }

    pub(crate) fn read_fails(&self) -> bool {
        self.happens(|plan| plan.read_fails)
    }

    pub(crate) fn transaction_fails(&self) -> bool {
        self.happens(|plan| plan.transaction_fails)
    }

    pub(crate) fn answer_is_lost(&self) -> bool {
        self.happens(|plan| plan.answer_lost)
    }

    pub(crate) fn record_is_refused(&self) -> bool {
        self.happens(|plan| plan.refused)
    }
}
