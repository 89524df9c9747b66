//! What leaves the server by itself: alerts to people, orders to the payment provider. Off the hot path, in its own task; what
//! is to leave stands in the journalled state, so that a restart forgets nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Error, Service, payment::Placed, turn::Done};
use crate::{
    domain::{
        access::Bearer,
        alert::{Alert, AlertKind, Delivery, Webhook},
        id::{Actor, InvitationId, OrderId, OrganizationId, TokenId},
        payment::{PaymentOutcome, TopUpOrder},
        time::Timestamp,
    },
    engine::{directory::Cell, state::OrganizationState},
    notify::{DeliveryError, Message, retry_delay},
    service::secret,
};

/// Organizations served at a time: a receiver that hangs holds up its own only.
const AT_ONCE: usize = 16;
/// However slowly the clock is slewed, look again after this long.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// How often placing an order has failed since the start, and when it is tried again.
pub(super) type Attempts = Mutex<HashMap<(OrganizationId, OrderId), (u32, Timestamp)>>;

/// When something of the organization is to leave next.
pub(super) fn next_due(state: &OrganizationState, now: Timestamp) -> Option<Timestamp> {
    let alerts = state.alerts.pending().filter_map(Alert::next_attempt).min();
    let order = state.payments.pending().any(|order| !order.placed).then_some(now);
    [alerts, order].into_iter().flatten().min()
}

/// Everything of an organization that is due.
struct Due {
    name: String,
    alerts: Vec<Alert>,
    webhook: Option<Webhook>,
    orders: Vec<(TopUpOrder, String)>,
}

impl Service {
    /// Delivers what falls due, until the task is dropped.
    pub async fn run_outbox(self: Arc<Self>) {
        let attempts = Arc::new(Attempts::default());
        let mut tasks = JoinSet::new();
        let mut busy: HashSet<OrganizationId> = HashSet::new();
        loop {
            while busy.len() < AT_ONCE
                && let Some(cell) = self.outbox.take_due(self.clock.now())
            {
                if busy.insert(cell.id.clone()) {
                    let (service, attempts) = (Arc::clone(&self), Arc::clone(&attempts));
                    tasks.spawn(async move {
                        service.deliver(&cell, &attempts).await;
                        cell
                    });
                }
            }
            tokio::select! {
                () = self.outbox.rest(self.clock.now(), LONGEST_NAP) => {}
                Some(Ok(cell)) = tasks.join_next() => {
                    busy.remove(&cell.id);
                    self.look_again(&cell, &attempts);
                }
            }
        }
    }

    /// What came meanwhile, and what is to be tried again.
    fn look_again(&self, cell: &Arc<Cell>, attempts: &Attempts) {
        let now = self.clock.now();
        let (alerts, orders) = {
            let inner = cell.lock();
            let alerts = inner.state.alerts.pending().filter_map(Alert::next_attempt).min();
            let orders: Vec<_> =
                inner.state.payments.pending().filter(|order| !order.placed).map(|order| order.id.clone()).collect();
            (alerts, orders)
        };
        let attempts = attempts.lock();
        let retry = |id| attempts.get(&(cell.id.clone(), id)).map_or(now, |(_, next)| *next);
        let next = orders.into_iter().map(retry).chain(alerts).min();
        if let Some(next) = next {
            self.outbox.set(next, cell);
        }
    }

    fn due(&self, cell: &Cell, attempts: &Attempts) -> Due {
        let now = self.clock.now();
        let inner = cell.lock();
        let state = &inner.state;
        let is_due = |alert: &&Alert| alert.next_attempt().is_some_and(|next| next <= now);
        let alerts = state.alerts.pending().filter(is_due).cloned().collect();
        let attempts = attempts.lock();
        let waits = |order: &TopUpOrder| {
            attempts.get(&(cell.id.clone(), order.id.clone())).is_some_and(|(_, next)| *next > now)
        };
        let unplaced = state.payments.pending().filter(|order| !order.placed && !waits(order));
        let method = |order: &TopUpOrder| {
            let method = order.method.as_ref().and_then(|id| state.payments.methods.find_live(id));
            method.map(|row| row.entity.token.clone()).unwrap_or_default()
        };
        let orders = unplaced.map(|order| (order.clone(), method(order))).collect();
        Due { name: state.organization.name.clone(), alerts, webhook: state.alerts.settings.webhook.clone(), orders }
    }

    async fn deliver(&self, cell: &Arc<Cell>, attempts: &Attempts) {
        let Due { name, alerts, webhook, orders } = self.due(cell, attempts);
        for (order, method) in orders {
            self.place(cell, &order, &method, attempts).await;
        }
        for alert in alerts {
            let mail = self.mail(cell, &name, &alert).await;
            let posted = self.post(cell, webhook.as_ref(), &alert).await;
            self.writer.wait_for_room().await;
            let Done { .. } = self.turn(cell, &Actor::SYSTEM, |turn| turn.note_delivery(&alert.id, mail, posted));
        }
    }

    /// `None` where nothing is to be mailed now.
    async fn mail(&self, cell: &Arc<Cell>, organization: &str, alert: &Alert) -> Option<Delivery> {
        let Delivery::Pending { attempts, next, left, .. } = &alert.mail else { return None };
        if *next > self.clock.now() {
            return None;
        }
        let Some(mailer) = &self.mailer else {
            let problem = "no mail server is configured; set smtp_host";
            return Some(Delivery::Undeliverable(problem.to_owned()));
        };
        let message = match self.message(cell, organization, alert).await {
            Ok(message) => message,
            Err(error) => return Some(self.again(*attempts, error.to_string(), left.clone())),
        };
        let results = mailer.send_each(left, &message).await;
        let (mut again, mut problem, mut refused) = (Vec::new(), String::new(), false);
        for (recipient, result) in left.iter().zip(results) {
            match result {
                Ok(()) => {}
                Err(DeliveryError::Retriable(why)) => {
                    problem = why;
                    again.push(recipient.clone());
                }
                Err(DeliveryError::Permanent(why)) => {
                    refused = true;
                    problem = why;
                }
            }
        }
        Some(match (again.is_empty(), refused) {
            (true, false) => Delivery::Delivered(self.clock.now()),
            (true, true) => Delivery::Failed(problem),
            (false, _) => self.again(*attempts, problem, again),
        })
    }

    /// Tried again later, or given up.
    fn again(&self, failed: u32, problem: String, left: Vec<String>) -> Delivery {
        let attempts = failed + 1;
        match retry_delay(attempts) {
            Some(delay) => Delivery::Pending { attempts, next: self.clock.now() + delay, problem, left },
            None => Delivery::Failed(problem),
        }
    }

    async fn message(&self, cell: &Arc<Cell>, organization: &str, alert: &Alert) -> Result<Message, Error> {
        let mut facts: Vec<_> = alert.facts.iter().map(|(label, value)| (label.to_string(), value.clone())).collect();
        let mut lines = vec![format!("{organization}: {}.", alert.subject)];
        if alert.kind == AlertKind::Invitation {
            let secret = self.invitation_secret(cell, alert).await?;
            lines.push(String::from(
                "Accept with this token; whoever has it joins in your place, so keep it to yourself:",
            ));
            facts.push((String::from("token"), secret));
        }
        let id = format!("{}.{}", cell.id, alert.id);
        Ok(Message { id, subject: alert.subject.clone(), heading: alert.subject.clone(), lines, facts })
    }

    /// Only hashes are kept, so that each mail has a token of its own.
    async fn invitation_secret(&self, cell: &Cell, alert: &Alert) -> Result<String, Error> {
        let named = alert.facts.iter().find(|(label, _)| label == "invitation");
        let invitation = named.map(|(_, id)| InvitationId::trusted(id.as_str()));
        let gone = || Error::Internal(String::from("the invitation isn't there any more"));
        let invitation = invitation.ok_or_else(gone)?;
        let expire_time = {
            let inner = cell.lock();
            inner.state.invitations.find(&invitation).map(|row| row.entity.expire_time).ok_or_else(gone)?
        };
        let bearer = Bearer::Invitee(cell.id.clone(), invitation);
        let new = self.mint(TokenId::trusted(secret::new_id("token")?), String::new(), bearer, Some(expire_time))?;
        let event = crate::domain::event::Event::TokenSet(Box::new(new.token));
        let position = self.system_turn(&Actor::SYSTEM, |_, _| Ok(event))?;
        self.writer.wait_durable(position).await?;
        Ok(new.secret)
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
        Some(match posted {
            Ok(()) => Delivery::Delivered(self.clock.now()),
            Err(DeliveryError::Permanent(problem)) => Delivery::Failed(problem),
            Err(DeliveryError::Retriable(problem)) => self.again(*attempts, problem, Vec::new()),
        })
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
        let refused = match placed {
            Placed::Taken => {
                attempts.lock().remove(&named);
                let Done { .. } = self.turn(cell, &Actor::SYSTEM, |turn| turn.note_placed(&order.id));
                return;
            }
            Placed::Refused(why) => Some((PaymentOutcome::HardDeclined, why)),
            Placed::Failed(why) => {
                let failed = attempts.lock().get(&named).map_or(0, |(failed, _)| *failed) + 1;
                match retry_delay(failed) {
                    Some(delay) => {
                        attempts.lock().insert(named.clone(), (failed, self.clock.now() + delay));
                        None
                    }
                    None => Some((PaymentOutcome::SoftDeclined, why)),
                }
            }
        };
        if let Some((outcome, why)) = refused {
            attempts.lock().remove(&named);
            let decided =
                self.turn(cell, &Actor::SYSTEM, |turn| turn.decide_order(&order.id, outcome, String::new(), why));
            if let Err(conflict) = decided.answer {
                tracing::warn!(order = %order.id, %conflict, "a refused order was decided otherwise meanwhile");
            }
        }
    }
}
