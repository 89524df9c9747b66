//! What leaves the server by itself: alerts to people, orders to the payment provider. Off the hot path, in its own task; what
//! is to leave stands in the journalled state, so that a restart forgets nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Service, turn::Done};
use crate::{
    domain::{
        alert::{Alert, Delivery, Webhook},
        bounds::Bounds,
        id::{Actor, OrganizationId},
        payment::TopUpOrder,
        time::Timestamp,
    },
    engine::{directory::Cell, state::OrganizationState, turn::Turn},
    notify::DeliveryError,
};

mod mail;
mod order;
mod pace;

use mail::again;
use order::Attempts;
use pace::Pace;

/// Organizations served at a time, orders and alerts apart: a receiver that hangs holds up its own only.
const AT_ONCE: usize = 16;
/// However slowly the clock is slewed, look again after this long.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// Alerts of an organization that are told in one go.
const ALERTS_AT_ONCE: usize = 1000;
/// What a tenant is told of a webhook that failed, whatever happened: more would make a scanner of networks of it.
const NOT_POSTED: &str =
    "the receiver couldn't be reached or didn't take it; this server's log says more to its operator";

/// When something of the organization is to leave next.
pub(super) fn next_due(state: &OrganizationState, now: Timestamp) -> Option<Timestamp> {
    let alerts = state.alerts.next_due();
    let order = state.orders_to_place().next().map(|_| now);
    [alerts, order].into_iter().flatten().min()
}

/// What leaves apart: money must not wait for a mail server that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Orders,
    Alerts,
}

impl Service {
    /// Delivers what falls due, until the task is dropped.
    pub async fn run_outbox(self: Arc<Self>) {
        let attempts = Arc::new(Attempts::default());
        let pace = Arc::new(Pace::default());
        for cell in self.directory.all() {
            pace.count(&cell, self.clock.now());
            tokio::task::yield_now().await;
        }
        let turns = [What::Orders, What::Alerts].map(|what| (what, Arc::new(Semaphore::new(AT_ONCE))));
        let mut tasks = JoinSet::new();
        let mut busy: HashSet<(OrganizationId, What)> = HashSet::new();
        loop {
            while let Some(cell) = self.outbox.take_due(self.clock.now()) {
                for (what, turns) in &turns {
                    if busy.insert((cell.id.clone(), *what)) {
                        let (service, cell) = (Arc::clone(&self), Arc::clone(&cell));
                        let (attempts, pace) = (Arc::clone(&attempts), Arc::clone(&pace));
                        let (what, turns) = (*what, Arc::clone(turns));
                        tasks.spawn(async move {
                            // Never closed, so that there is always a turn to come.
                            let _turn = turns.acquire().await;
                            match what {
                                What::Orders => service.place_due(&cell, &attempts).await,
                                What::Alerts => service.tell_due(&cell, &pace).await,
                            }
                            (cell, what)
                        });
                    }
                }
            }
            tokio::select! {
                biased;
                Some(Ok((cell, what))) = tasks.join_next() => {
                    busy.remove(&(cell.id.clone(), what));
                    self.look_again(&cell, what, &attempts);
                }
                () = self.outbox.rest(self.clock.now(), LONGEST_NAP) => {}
            }
        }
    }

    /// What of this kind came meanwhile, and what is to be tried again. The other kind may be under way still.
    fn look_again(&self, cell: &Arc<Cell>, what: What, attempts: &Attempts) {
        let now = self.clock.now();
        let next = match what {
            What::Alerts => cell.lock().state.alerts.next_due(),
            What::Orders => {
                let inner = cell.lock();
                let orders = inner.state.orders_to_place();
                let attempts = attempts.lock();
                let retry = |order: &TopUpOrder| {
                    attempts.get(&(cell.id.clone(), order.id.clone())).map_or(now, |(_, next)| *next)
                };
                orders.map(retry).min()
            }
        };
        if let Some(next) = next {
            self.outbox.set(next, cell);
        }
    }

    async fn tell_due(&self, cell: &Arc<Cell>, pace: &Pace) {
        let now = self.clock.now();
        let (name, webhook, alerts) = {
            let inner = cell.lock();
            let state = &inner.state;
            let alerts: Vec<_> = state.alerts.due(now).take(ALERTS_AT_ONCE).cloned().collect();
            (state.organization.name.clone(), state.alerts.settings.webhook.clone(), alerts)
        };
        for alert in &alerts {
            if let Some(posted) = self.post(cell, webhook.as_ref(), alert).await {
                self.writer.wait_for_room().await;
                let note = |turn: &mut Turn<'_>| turn.note_delivery(&alert.id, None, Some(posted));
                let Done { .. } = self.turn(cell, &Actor::SYSTEM, note);
            }
        }
        self.mail_due(cell, &name, &alerts, pace).await;
    }

    /// In force for an organization.
    fn bounds_of(&self, cell: &Cell) -> Bounds {
        let own = cell.lock().state.organization.bounds.clone();
        own.map_or(self.tuning.bounds, |own| own.over(&self.tuning.bounds))
    }

    /// `None` where nothing is to be posted now.
    async fn post(&self, cell: &Cell, webhook: Option<&Webhook>, alert: &Alert) -> Option<Delivery> {
        let Delivery::Pending { attempts, next, .. } = &alert.webhook else { return None };
        if *next > self.clock.now() {
            return None;
        }
        let Some(Webhook { url, secret }) = webhook else {
            return Some(Delivery::Undeliverable(String::from("the webhook was removed")));
        };
        let facts: serde_json::Map<_, _> =
            alert.facts.iter().map(|(label, value)| (label.to_string(), value.as_str().into())).collect();
        let body = json!({
            "type": format!("alert.{}", alert.kind.name()),
            "timestamp": alert.create_time.to_string(),
            "data": {
                "organization_id": cell.id.as_str(),
                "id": alert.id.as_str(),
                "subject": alert.subject,
                "facts": facts,
            },
        });
        let (id, now) = (format!("{}.{}", cell.id, alert.id), self.clock.now());
        let posted = self.webhooks.post(url, secret, &id, now.seconds(), body.to_string().as_bytes()).await;
        let Err(error) = posted else { return Some(Delivery::Delivered(self.clock.now())) };
        tracing::info!(organization = %cell.id, alert = %alert.id, %error, "a webhook wasn't delivered");
        let problem = NOT_POSTED.to_owned();
        Some(match error {
            DeliveryError::Permanent(_) => Delivery::Failed(problem),
            DeliveryError::Retriable(_) => again(*attempts, problem, Vec::new(), self.clock.now()),
        })
    }
}
