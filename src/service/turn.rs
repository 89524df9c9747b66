//! Runs an operation of the engine: under the lock decide and enqueue, after it tell whom it concerns.

use std::sync::Arc;

use super::{Caller, Error, Service, lag::Moves, outbox, system::SystemTurn};
use crate::{
    domain::{
        alert::AlertState,
        decision::Revocation,
        event::{EntryKind, Event, Record},
        id::Actor,
        payment::{OrderState, TopUpOrder},
        price::PriceBook,
        time::Timestamp,
    },
    engine::{
        directory::{Cell, Inner},
        turn::{Context, Effects, Turn},
    },
};

/// An answer, and the journal position that must be on disk before it may be given; 0 where it may be given at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it may be given once it is on disk: see `Service::acknowledge`"]
pub struct Done<T> {
    pub answer: T,
    pub position: u64,
}

impl<T> Done<T> {
    pub fn at_once(answer: T) -> Self {
        Self { answer, position: 0 }
    }

    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Done<U> {
        Done { answer: with(self.answer), position: self.position }
    }
}

impl<T, E> Done<Result<T, E>> {
    /// An error promises nothing, so that there is nothing to wait for.
    pub(super) fn transposed(self) -> Result<Done<T>, E> {
        let Self { answer, position } = self;
        answer.map(|answer| Done { answer, position })
    }
}

/// Whether something may leave the server because of it: a suspension that is lifted lets orders go, too.
fn leaves(event: &Event) -> bool {
    matches!(event, Event::AlertSet(_) | Event::OrderSet(_) | Event::OrganizationSet(_))
}

/// What is left to do once the lock is released.
struct Aftermath {
    position: u64,
    /// When the timer must look here.
    due: Option<Timestamp>,
    /// When something is to be sent.
    outgoing: Option<Timestamp>,
    revocations: Vec<Revocation>,
}

impl Service {
    /// Gives an answer once what it rests on is on disk.
    ///
    /// # Errors
    /// [`Error::JournalFailed`] when it may never be: what was done stands, or not.
    pub async fn acknowledge<T>(&self, done: Done<T>) -> Result<T, Error> {
        self.writer.wait_durable(done.position).await?;
        Ok(done.answer)
    }

    /// For who has many answers to give: waits as [`Self::acknowledge`] does, without borrowing.
    pub fn durable(&self, position: u64) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let writer = self.writer.clone();
        async move { Ok(writer.wait_durable(position).await?) }
    }

    /// All that is on disk.
    pub fn durable_position(&self) -> u64 {
        self.writer.durable_position()
    }

    /// One turn on one organization.
    pub(super) fn turn<T>(
        &self,
        cell: &Arc<Cell>,
        actor: &Actor,
        operation: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> Done<T> {
        let prices = self.prices.load();
        let mut inner = cell.lock();
        let context = self.context(actor, &prices);
        let mut turn = Turn::new(&mut inner.state, context);
        let answer = operation(&mut turn);
        let effects = turn.finish();
        let aftermath = self.enqueue(&mut inner, context.now, effects, Vec::new());
        drop(inner);
        Done { answer, position: self.follow_up(cell, aftermath) }
    }

    /// One turn of a caller of the control plane on one organization, which must be permitted still under its lock.
    ///
    /// # Errors
    /// As the operation, and as [`Self::permit_still`].
    pub(super) fn turn_of<T>(
        &self,
        cell: &Arc<Cell>,
        caller: &Caller,
        operation: impl FnOnce(&mut Turn<'_>) -> Result<T, Error>,
    ) -> Result<Done<T>, Error> {
        let done = self.turn(cell, &caller.actor, |turn| {
            self.permit_still(caller, turn.state)?;
            operation(turn)
        });
        done.transposed()
    }

    /// The same, on the system's own stream too.
    ///
    /// # Errors
    /// As [`Self::turn_of`].
    pub(super) fn joint_turn_of<T>(
        &self,
        cell: &Arc<Cell>,
        caller: &Caller,
        operation: impl FnOnce(&mut Turn<'_>, &mut SystemTurn<'_>) -> Result<T, Error>,
    ) -> Result<Done<T>, Error> {
        let done = self.joint_turn(cell, &caller.actor, |turn, system| {
            self.permit_still(caller, turn.state)?;
            operation(turn, system)
        });
        done.transposed()
    }

    /// One turn on one organization and on the system's own stream: both are on disk, or neither.
    pub(super) fn joint_turn<T>(
        &self,
        cell: &Arc<Cell>,
        actor: &Actor,
        operation: impl FnOnce(&mut Turn<'_>, &mut SystemTurn<'_>) -> T,
    ) -> Done<T> {
        let prices = self.prices.load();
        let mut inner = cell.lock();
        // Always the second lock: whoever holds it alone must not ask for an organization's.
        let mut system = self.system.lock();
        let context = self.context(actor, &prices);
        let mut turn = Turn::new(&mut inner.state, context);
        let mut beside = SystemTurn::new(&mut system, self.epoch, context.now);
        let answer = operation(&mut turn, &mut beside);
        let effects = turn.finish();
        let (records, changed) = beside.finish();
        let aftermath = self.enqueue(&mut inner, context.now, effects, records);
        self.show_system(&system, changed);
        drop(system);
        drop(inner);
        Done { answer, position: self.follow_up(cell, aftermath) }
    }

    fn context<'a>(&self, actor: &'a Actor, prices: &'a PriceBook) -> Context<'a> {
        Context { now: self.clock.now(), epoch: self.epoch, actor, prices, bounds: self.tuning.bounds }
    }

    /// Under the lock, so that the journal's order is the state's. `system` are records of the system's stream, whose lock is
    /// held too.
    fn enqueue(&self, inner: &mut Inner, now: Timestamp, effects: Effects, system: Vec<Record>) -> Aftermath {
        let Effects { records, revocations } = effects;
        self.count(&records);
        let moves = Moves::of(&records);
        let outgoing = records.iter().any(|record| leaves(&record.event));
        let mut position = inner.position;
        if !records.is_empty() || !system.is_empty() {
            let is_ours = !records.is_empty();
            // The organization's own come last, so that the position is theirs.
            position = self.writer.push(system.into_iter().chain(records));
            self.begin.note(moves);
            if is_ours {
                inner.position = position;
            }
        }
        let due = inner.timer_to_set();
        let outgoing = outgoing.then(|| outbox::next_due(&inner.state, now)).flatten();
        Aftermath { position, due, outgoing, revocations }
    }

    fn follow_up(&self, cell: &Arc<Cell>, aftermath: Aftermath) -> u64 {
        let Aftermath { position, due, outgoing, revocations } = aftermath;
        if let Some(outgoing) = outgoing {
            self.outbox.set(outgoing, cell);
        }
        if let Some(due) = due {
            self.timer.set(due, cell);
        }
        if !revocations.is_empty() {
            self.publish(cell, revocations);
        }
        position
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
                Event::Settled(settled) if settled.takes_back => {}
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
            EntryKind::Release => {
                metrics.released.increment();
                metrics.open_reservations.add(-1);
            }
            EntryKind::LateCommit => metrics.committed_late.increment(),
            EntryKind::Charge => metrics.charged.increment(),
            EntryKind::TopUp | EntryKind::Refund | EntryKind::Adjustment | EntryKind::Reversal => {}
        }
    }
}
