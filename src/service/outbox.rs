//! What leaves the server by itself: alerts to people, orders to the payment provider. Off the hot path, in its own task; what
//! is to leave stands in the journalled state, so that a restart forgets nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Error, Service, turn::Done};
use crate::{
    domain::{
        access::{Bearer, InvitationState},
        alert::{Alert, AlertKind, Delivery, Webhook},
        event::Event,
        id::{Actor, InvitationId, OrganizationId, TokenId},
        payment::TopUpOrder,
        time::Timestamp,
    },
    engine::{directory::Cell, state::OrganizationState},
    notify::{DeliveryError, Message, retry_delay},
    service::secret,
};

mod order;

use order::Attempts;

/// Organizations served at a time, orders and alerts apart: a receiver that hangs holds up its own only.
const AT_ONCE: usize = 16;
/// However slowly the clock is slewed, look again after this long.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// What tokens that went out by mail are called.
const MAILED: &str = "mailed";

/// When something of the organization is to leave next.
pub(super) fn next_due(state: &OrganizationState, now: Timestamp) -> Option<Timestamp> {
    let alerts = state.alerts.pending().filter_map(Alert::next_attempt).min();
    let order = state.payments.pending().any(|order| !order.placed).then_some(now);
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
        let turns = [What::Orders, What::Alerts].map(|what| (what, Arc::new(Semaphore::new(AT_ONCE))));
        let mut tasks = JoinSet::new();
        let mut busy: HashSet<(OrganizationId, What)> = HashSet::new();
        loop {
            while let Some(cell) = self.outbox.take_due(self.clock.now()) {
                for (what, turns) in &turns {
                    if busy.insert((cell.id.clone(), *what)) {
                        let (service, attempts, cell) = (Arc::clone(&self), Arc::clone(&attempts), Arc::clone(&cell));
                        let (what, turns) = (*what, Arc::clone(turns));
                        tasks.spawn(async move {
                            // Never closed, so that there is always a turn to come.
                            let _turn = turns.acquire().await;
                            match what {
                                What::Orders => service.place_due(&cell, &attempts).await,
                                What::Alerts => service.tell_due(&cell).await,
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
            What::Alerts => cell.lock().state.alerts.pending().filter_map(Alert::next_attempt).min(),
            What::Orders => {
                let inner = cell.lock();
                let orders = inner.state.payments.pending().filter(|order| !order.placed);
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

    async fn tell_due(&self, cell: &Arc<Cell>) {
        let now = self.clock.now();
        let (name, webhook, alerts) = {
            let inner = cell.lock();
            let state = &inner.state;
            let is_due = |alert: &&Alert| alert.next_attempt().is_some_and(|next| next <= now);
            let alerts: Vec<_> = state.alerts.pending().filter(is_due).cloned().collect();
            (state.organization.name.clone(), state.alerts.settings.webhook.clone(), alerts)
        };
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
            Ok(Some(message)) => message,
            Ok(None) => return Some(Delivery::Undeliverable(String::from("the invitation isn't open any more"))),
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

    /// `None` where there is nothing to say any more.
    async fn message(&self, cell: &Arc<Cell>, organization: &str, alert: &Alert) -> Result<Option<Message>, Error> {
        let mut facts: Vec<_> = alert.facts.iter().map(|(label, value)| (label.to_string(), value.clone())).collect();
        let mut lines = vec![format!("{organization}: {}.", alert.subject)];
        if alert.kind == AlertKind::Invitation {
            let Some(secret) = self.invitation_secret(cell, alert).await? else { return Ok(None) };
            lines.push(String::from(
                "Accept with this token; whoever has it joins in your place, so keep it to yourself:",
            ));
            facts.push((String::from("token"), secret));
        }
        let id = format!("{}.{}", cell.id, alert.id);
        let (subject, heading) = (alert.subject.clone(), alert.subject.clone());
        Ok(Some(Message { id, subject, heading, lines, facts }))
    }

    /// Only hashes are kept, so that each mail has a token of its own, and ends that of the mail before. `None` where the
    /// invitation isn't open any more.
    async fn invitation_secret(&self, cell: &Cell, alert: &Alert) -> Result<Option<String>, Error> {
        let named = alert.facts.iter().find(|(label, _)| label == "invitation");
        let Some(invitation) = named.map(|(_, id)| InvitationId::trusted(id.as_str())) else { return Ok(None) };
        let open = {
            let inner = cell.lock();
            let invitation = inner.state.invitations.find(&invitation).map(|row| &row.entity);
            invitation.filter(|invitation| invitation.state == InvitationState::Pending).map(|open| open.expire_time)
        };
        let Some(expire_time) = open else { return Ok(None) };
        let bearer = Bearer::Invitee(cell.id.clone(), invitation.clone());
        let id = TokenId::trusted(secret::new_id("token")?);
        let new = self.mint(id, String::from(MAILED), bearer, Some(expire_time))?;
        let position = self.system_events(&Actor::SYSTEM, |system, _| {
            let mailed = system.tokens.of_invitation(&cell.id, &invitation).filter(|token| token.name == MAILED);
            let mut events: Vec<_> = mailed.map(|token| Event::TokenDeleted(token.id.clone())).collect();
            events.push(Event::TokenSet(Box::new(new.token)));
            Ok(events)
        })?;
        self.writer.wait_durable(position).await?;
        Ok(Some(new.secret))
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
}
