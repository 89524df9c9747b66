//! Runs an operation of the engine: under the lock decide and enqueue, after it tell whom it concerns.

use std::sync::Arc;

use super::{Service, outbox};
use crate::{
    domain::{
        alert::AlertState,
        event::{EntryKind, Event, Record},
        id::Actor,
        payment::{OrderState, TopUpOrder},
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
        let bounds = self.tuning.bounds;
        let context = Context { now: self.clock.now(), epoch: self.epoch, actor, prices: &prices, bounds };
        let mut turn = Turn::new(&mut inner.state, context);
        let answer = operation(&mut turn);
        let Effects { records, revocations } = turn.finish();
        self.count(&records);
        let outgoing = records.iter().any(|record| matches!(record.event, Event::AlertSet(_) | Event::OrderSet(_)));
        if !records.is_empty() {
            inner.position = self.writer.push(records);
        }
        let position = inner.position;
        let due = inner.timer_to_set();
        let outgoing = outgoing.then(|| outbox::next_due(&inner.state, context.now)).flatten();
        drop(inner);
        if let Some(outgoing) = outgoing {
            self.outbox.set(outgoing, cell);
        }
        if let Some(due) = due {
            self.timer.set(due, cell);
        }
        if !revocations.is_empty() {
            self.publish(cell, revocations);
        }
        Done { answer, position }
    }

    fn count(&self, records: &[Record]) {
        let metrics = &self.metrics;
        for record in records {
            match &record.event {
                Event::Reserved(_) => {
                    metrics.granted.increment();
                    metrics.open_reservations.add(1);
                }
                Event::Restored { .. } => metrics.open_reservations.add(1),
                Event::Extended(_) => metrics.granted.increment(),
                Event::Released { .. } => {
                    metrics.released.increment();
                    metrics.open_reservations.add(-1);
                }
                Event::Expired { .. } => {
                    metrics.expired.increment();
                    metrics.open_reservations.add(-1);
                }
                Event::Revoked { .. } => metrics.revoked.increment(),
                Event::Settled(settled) => self.count_settled(settled.kind),
                // Counted once no channel is left to try; acknowledging it changes nothing.
                Event::AlertSet(alert) if alert.next_attempt().is_none() && alert.acknowledged.is_none() => {
                    self.count_alert(alert.state());
                }
                Event::OrderSet(order) => self.count_order(order),
                _ => {}
            }
        }
    }

    fn count_alert(&self, state: AlertState) {
        match state {
            AlertState::Pending => {}
            AlertState::Delivered => self.metrics.alerts_delivered.increment(),
            AlertState::Failed => self.metrics.alerts_failed.increment(),
            AlertState::Undeliverable => self.metrics.alerts_undeliverable.increment(),
        }
    }

    fn count_order(&self, order: &TopUpOrder) {
        match order.state {
            OrderState::Pending => {}
            OrderState::Settled => self.metrics.orders_settled.increment(),
            OrderState::Failed => self.metrics.orders_failed.increment(),
            OrderState::Reversed => self.metrics.orders_reversed.increment(),
        }
    }

    fn count_settled(&self, kind: EntryKind) {
        let metrics = &self.metrics;
        match kind {
            EntryKind::Commit => {
                metrics.committed.increment();
                metrics.open_reservations.add(-1);
            }
            EntryKind::Expiry => {
                metrics.expired.increment();
                metrics.open_reservations.add(-1);
            }
            EntryKind::LateCommit => metrics.committed_late.increment(),
            EntryKind::Charge => metrics.charged.increment(),
            EntryKind::TopUp | EntryKind::Refund | EntryKind::Adjustment | EntryKind::Reversal => {}
        }
    }
}
