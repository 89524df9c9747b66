//! Orders on their way to the payment provider, which are sent until it takes or refuses them.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    domain::{
        id::{Actor, OrderId, OrganizationId},
        payment::{METHOD_MISSING, PaymentOutcome, TopUpOrder},
        time::Timestamp,
    },
    engine::directory::Cell,
    notify::{LONGEST_DELAY, retry_delay},
    service::{Service, payment::Placed, turn::Done},
};

/// How often placing an order has failed since the start, and when it is tried again.
pub(super) type Attempts = Mutex<HashMap<(OrganizationId, OrderId), (u32, Timestamp)>>;

impl Service {
    pub(super) async fn place_due(&self, cell: &Arc<Cell>, attempts: &Attempts) {
        let now = self.clock.now();
        let orders: Vec<_> = {
            let inner = cell.lock();
            let attempts = attempts.lock();
            let waits = |order: &TopUpOrder| {
                attempts.get(&(cell.id.clone(), order.id.clone())).is_some_and(|(_, next)| *next > now)
            };
            let method = |order: &TopUpOrder| {
                // Ordered before there was a provider, which would have to choose whom to charge.
                if order.method.is_none() && self.tuning.orders.by_provider {
                    return Err(METHOD_MISSING);
                }
                inner.state.paid_by(order.method.as_ref(), order.source).map(str::to_owned)
            };
            let unplaced = inner.state.orders_to_place().filter(|order| !waits(order));
            unplaced.map(|order| (order.clone(), method(order))).collect()
        };
        for (order, method) in orders {
            match method {
                Ok(method) => self.place(cell, &order, &method, attempts).await,
                // An empty name would leave it to the provider whom to charge instead.
                Err(why) => {
                    attempts.lock().remove(&(cell.id.clone(), order.id.clone()));
                    self.fail(cell, &order, PaymentOutcome::HardDeclined, why);
                }
            }
        }
    }

    /// Sends an order, which is journalled already, to the provider. That tells repeats by the order's id.
    async fn place(&self, cell: &Arc<Cell>, order: &TopUpOrder, method: &str, attempts: &Attempts) {
        let named = (cell.id.clone(), order.id.clone());
        // The order must be on disk before the provider hears of it.
        let position = cell.lock().position;
        if self.writer.wait_durable(position).await.is_err() {
            return;
        }
        let placed = self.payments.place(&cell.id, order, method, self.clock.now()).await;
        match placed {
            Placed::Taken => {
                attempts.lock().remove(&named);
                let Done { .. } = self.turn(cell, &Actor::SYSTEM, |turn| turn.note_placed(&order.id));
            }
            Placed::Refused(why) => {
                attempts.lock().remove(&named);
                self.fail(cell, order, PaymentOutcome::HardDeclined, &why);
            }
            // The provider may have it all the same: were it given up, another could be ordered and both be paid.
            Placed::Failed(why) => {
                let failed = attempts.lock().get(&named).map_or(0, |(failed, _)| *failed).saturating_add(1);
                let delay = retry_delay(failed).unwrap_or(LONGEST_DELAY);
                attempts.lock().insert(named, (failed, self.clock.now() + delay));
                tracing::warn!(organization = %cell.id, order = %order.id, %why, "the payment provider doesn't take an order");
                let Done { .. } = self.turn(cell, &Actor::SYSTEM, |turn| turn.note_unanswered(&order.id));
            }
        }
    }

    fn fail(&self, cell: &Arc<Cell>, order: &TopUpOrder, outcome: PaymentOutcome, why: &str) {
        let decided = self.turn(cell, &Actor::SYSTEM, |turn| turn.decide_order(&order.id, outcome, String::new(), why));
        if let Err(conflict) = decided.answer {
            tracing::warn!(order = %order.id, %conflict, "a refused order was decided otherwise meanwhile");
        }
    }
}
