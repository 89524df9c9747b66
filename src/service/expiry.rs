//! Wakes organizations when something of theirs is due: a heap with at most a few entries an organization, no scanning.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Service, turn::Done};
use crate::{
    domain::{
        id::{Actor, OrganizationId},
        time::Timestamp,
    },
    engine::directory::Cell,
};

/// However slowly the clock is slewed, look again after this long.
const LONGEST_NAP: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Timer {
    due: Mutex<BinaryHeap<Reverse<Due>>>,
    /// Something falls due earlier than what the timer sleeps for.
    earlier: Notify,
}

#[derive(Debug)]
struct Due {
    time: Timestamp,
    /// Only to order by.
    id: OrganizationId,
    cell: Weak<Cell>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, &self.id).cmp(&(other.time, &other.id))
    }
}

impl Timer {
    pub(super) fn set(&self, time: Timestamp, cell: &Arc<Cell>) {
        let mut due = self.due.lock();
        let is_first = due.peek().is_none_or(|Reverse(first)| time < first.time);
        due.push(Reverse(Due { time, id: cell.id.clone(), cell: Arc::downgrade(cell) }));
        drop(due);
        if is_first {
            self.earlier.notify_one();
        }
    }

    pub(super) fn take_due(&self, now: Timestamp) -> Option<Arc<Cell>> {
        let mut due = self.due.lock();
        while due.peek().is_some_and(|Reverse(first)| first.time <= now) {
            let cell = due.pop().and_then(|Reverse(first)| first.cell.upgrade());
            if cell.is_some() {
                return cell;
            }
        }
        None
    }

    /// Sleeps until something is due, or may be.
    pub(super) async fn rest(&self, now: Timestamp, longest: Duration) {
        let next = self.due.lock().peek().map(|Reverse(first)| first.time);
        let nap = next.map_or(longest, |next| {
            let micros = (next - now).as_micros().max(0).unsigned_abs();
            Duration::from_micros(micros).min(longest)
        });
        tokio::select! {
            biased;
            () = tokio::time::sleep(nap) => {}
            () = self.earlier.notified() => {}
        }
    }
}

impl Service {
    /// Expires what falls due, until the task is dropped. Operations expire what they meet themselves; this does the rest.
    pub async fn run_expiry(self: Arc<Self>) {
        loop {
            while let Some(cell) = self.timer.take_due(self.clock.now()) {
                self.writer.wait_for_room().await;
                self.expire(&cell);
                tokio::task::yield_now().await;
            }
            self.timer.rest(self.clock.now(), LONGEST_NAP).await;
        }
    }

    fn expire(&self, cell: &Arc<Cell>) {
        cell.lock().timer_looked(self.clock.now());
        loop {
            let Done { answer: more, .. } = self.turn(cell, &Actor::SYSTEM, |turn| turn.expire_due(None));
            if !more {
                return;
            }
        }
    }
}
