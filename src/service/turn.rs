//! Runs an operation of the engine: under the lock decide and enqueue, after it tell whom it concerns.

use std::sync::Arc;

use super::Service;
use crate::{
    domain::{
        event::{EntryKind, Event, Record},
        id::Actor,
    },
    engine::{
        directory::Cell,
        turn::{Context, Effects, Turn},
    },
};

/// An answer, and the journal position that must be on disk before it is a promise.
pub(super) struct Done<T> {
    pub answer: T,
    pub position: u64,
}

impl Service {
    /// One turn on one organization.
    pub(super) fn turn<T>(
        &self,
        cell: &Arc<Cell>,
        actor: &Actor,
        operation: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> Done<T> {
        let prices = self.prices.load();
        let mut inner = cell.lock();
        let context = Context { now: self.clock.now(), epoch: self.epoch, actor, prices: &prices };
        let mut turn = Turn::new(&mut inner.state, context);
        let answer = operation(&mut turn);
        let Effects { records, revocations } = turn.finish();
        self.count(&records);
        if !records.is_empty() {
            inner.position = self.writer.push(records);
        }
        let position = inner.position;
        let due = inner.timer_to_set();
        drop(inner);
        if let Some(due) = due {
            self.timer.set(due, cell);
        }
        if !revocations.is_empty() {
            self.publish(cell, revocations);
        }
        Done { answer, position }
    }

    fn count(&self, records: &[Record]) {
        for record in records {
            match &record.event {
                Event::Reserved(_) | Event::Extended(_) => self.metrics.granted.increment(),
                Event::Released { .. } => self.metrics.released.increment(),
                Event::Expired { .. } => self.metrics.expired.increment(),
                Event::Revoked { .. } => self.metrics.revoked.increment(),
                Event::Settled(settled) => match settled.kind {
                    EntryKind::Commit => self.metrics.committed.increment(),
                    EntryKind::LateCommit => self.metrics.committed_late.increment(),
                    EntryKind::Charge => self.metrics.charged.increment(),
                    EntryKind::Expiry => self.metrics.expired.increment(),
                    EntryKind::TopUp => {}
                },
                _ => {}
            }
        }
    }
}
