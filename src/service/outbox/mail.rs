//! Mails of alerts. Each goes to each recipient alone, as long as that doesn't fill a mailbox; beyond, what waits is gathered in
//! one mail.

use std::{collections::BTreeMap, sync::Arc};

use super::pace::{Pace, Room};
use crate::{
    domain::{
        access::{Bearer, InvitationState},
        alert::{Alert, AlertKind, Delivery, MAIL_WAITS},
        event::Event,
        id::{Actor, InvitationId, TokenId},
        time::Timestamp,
    },
    engine::directory::Cell,
    notify::{DeliveryError, Mailer, Message, retry_delay},
    service::{Error, Service, secret, turn::Done},
};

/// What tokens that went out by mail are called.
const MAILED: &str = "mailed";
/// Alerts that one mail names; it says how many more there are.
const GATHERED: usize = 50;

/// Whether a recipient has an alert.
enum Outcome {
    Reached,
    Refused(String),
    /// The mail server may take it later.
    Failed(String),
    /// Enough mails were sent; more may be from this instant on.
    Waits(Timestamp),
}

/// An alert on its way by mail.
struct Progress {
    attempts: u32,
    left: Vec<String>,
    refused: Option<String>,
    failed: Option<String>,
    waits: Option<Timestamp>,
}

/// Who gets what now.
#[derive(Default)]
struct Plan {
    /// By the alert's place.
    alone: BTreeMap<usize, Vec<String>>,
    /// One mail each, with these alerts.
    gathered: Vec<(String, Vec<usize>)>,
}

impl Progress {
    fn of(alert: &Alert, now: Timestamp) -> Option<Self> {
        match &alert.mail {
            Delivery::Pending { attempts, next, left, .. } if *next <= now => {
                let (attempts, left) = (*attempts, left.clone());
                Some(Self { attempts, left, refused: None, failed: None, waits: None })
            }
            _ => None,
        }
    }

    fn note(&mut self, recipient: &str, outcome: Outcome) {
        match outcome {
            Outcome::Reached => {}
            Outcome::Refused(why) => self.refused = Some(why),
            Outcome::Failed(why) => {
                self.failed = Some(why);
                return;
            }
            Outcome::Waits(until) => {
                self.waits = Some(self.waits.map_or(until, |other| other.min(until)));
                return;
            }
        }
        self.left.retain(|left| left != recipient);
    }

    fn delivery(&self, now: Timestamp) -> Delivery {
        match (&self.failed, &self.refused) {
            (_, None) if self.left.is_empty() => Delivery::Delivered(now),
            (_, Some(why)) if self.left.is_empty() => Delivery::Failed(why.clone()),
            (Some(why), _) => again(self.attempts, why.clone(), self.left.clone(), now),
            (None, _) => Delivery::Pending {
                attempts: self.attempts,
                next: self.waits.unwrap_or(now),
                problem: String::from(MAIL_WAITS),
                left: self.left.clone(),
            },
        }
    }
}

/// Tried again later, or given up.
pub(super) fn again(failed: u32, problem: String, left: Vec<String>, now: Timestamp) -> Delivery {
    let attempts = failed + 1;
    match retry_delay(attempts) {
        Some(delay) => Delivery::Pending { attempts, next: now + delay, problem, left },
        None => Delivery::Failed(problem),
    }
}

fn judged(result: Result<(), DeliveryError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Reached,
        Err(DeliveryError::Permanent(why)) => Outcome::Refused(why),
        Err(DeliveryError::Retriable(why)) => Outcome::Failed(why),
    }
}

impl Service {
    /// Mails what is due of these alerts, and notes what became of each.
    pub(super) async fn mail_due(&self, cell: &Arc<Cell>, organization: &str, alerts: &[Alert], pace: &Pace) {
        let now = self.clock.now();
        let mut due: Vec<Option<Progress>> = alerts.iter().map(|alert| Progress::of(alert, now)).collect();
        let Some(mailer) = &self.mailer else {
            for (alert, _) in alerts.iter().zip(due).filter(|(_, due)| due.is_some()) {
                let problem = String::from("no mail server is configured; set smtp_host");
                self.note_mail(cell, alert, Delivery::Undeliverable(problem)).await;
            }
            return;
        };
        let plan = self.plan(cell, alerts, &mut due, pace);
        for ((at, alert), progress) in alerts.iter().enumerate().zip(&mut due) {
            let Some(progress) = progress else { continue };
            if !plan.alone.contains_key(&at) && progress.waits.is_none() {
                continue;
            }
            if let Some(to) = plan.alone.get(&at)
                && !self.mail_alone(cell, mailer, (organization, alert), (to, progress), pace).await
            {
                let problem = String::from("the invitation isn't open any more");
                self.note_mail(cell, alert, Delivery::Undeliverable(problem)).await;
                continue;
            }
            self.note_mail(cell, alert, progress.delivery(self.clock.now())).await;
        }
        for (recipient, gathered) in &plan.gathered {
            let of = gathered.iter().filter_map(|at| alerts.get(*at));
            let message = digest(cell, organization, &of.collect::<Vec<_>>());
            let sent = mailer.send_each(std::slice::from_ref(recipient), &message).await;
            let result = sent.into_iter().next().unwrap_or(Ok(()));
            if matches!(result, Err(DeliveryError::Retriable(_))) {
                pace.give_back(&cell.id, recipient);
            }
            for at in gathered {
                let (Some(alert), Some(Some(progress))) = (alerts.get(*at), due.get_mut(*at)) else { continue };
                progress.note(recipient, judged(result.clone()));
                self.note_mail(cell, alert, progress.delivery(self.clock.now())).await;
            }
        }
    }

    async fn note_mail(&self, cell: &Arc<Cell>, alert: &Alert, mail: Delivery) {
        self.writer.wait_for_room().await;
        let Done { .. } = self.turn(cell, &Actor::SYSTEM, |turn| turn.note_delivery(&alert.id, Some(mail), None));
    }

    /// Whom each alert goes to now, and what goes out gathered; those that must wait are noted at once.
    fn plan(&self, cell: &Cell, alerts: &[Alert], due: &mut [Option<Progress>], pace: &Pace) -> Plan {
        let (now, bounds) = (self.clock.now(), self.bounds_of(cell));
        let mut to: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, progress) in due.iter().enumerate() {
            for recipient in progress.iter().flat_map(|progress| &progress.left) {
                to.entry(recipient.clone()).or_default().push(at);
            }
        }
        let is_invitation = |at: &usize| alerts.get(*at).is_some_and(|alert| alert.kind == AlertKind::Invitation);
        let mut plan = Plan::default();
        for (recipient, mut of) in to {
            // Each has a token of its own, and can't be gathered.
            of.sort_by_key(|at| !is_invitation(at));
            let invitations = of.iter().filter(|at| is_invitation(at)).count();
            let Room { mails, more } = pace.take(&cell.id, &recipient, of.len(), &bounds, now);
            // The last one is for all the rest.
            let alone = if mails == of.len() { mails } else { mails.min(invitations.max(mails.saturating_sub(1))) };
            let rest = of.split_off(alone);
            for at in of {
                plan.alone.entry(at).or_default().push(recipient.clone());
            }
            let (waiting, gathered): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|at| mails == alone || is_invitation(at));
            for at in waiting {
                if let Some(Some(progress)) = due.get_mut(at) {
                    progress.note(&recipient, Outcome::Waits(more));
                }
            }
            if !gathered.is_empty() {
                plan.gathered.push((recipient, gathered));
            }
        }
        for (at, to) in &mut plan.alone {
            let left = due.get(*at).and_then(Option::as_ref).map_or(&[][..], |progress| &progress.left);
            to.sort_by_key(|recipient| left.iter().position(|left| left == recipient));
        }
        plan
    }

    /// False where there is nothing to say any more.
    async fn mail_alone(
        &self,
        cell: &Cell,
        mailer: &Mailer,
        (organization, alert): (&str, &Alert),
        (to, progress): (&[String], &mut Progress),
        pace: &Pace,
    ) -> bool {
        let results = match self.message(cell, organization, alert).await {
            Ok(Some(message)) => mailer.send_each(to, &message).await,
            Ok(None) => {
                for recipient in to {
                    pace.give_back(&cell.id, recipient);
                }
                return false;
            }
            Err(error) => vec![Err(DeliveryError::Retriable(error.to_string())); to.len()],
        };
        for (recipient, result) in to.iter().zip(results) {
            if matches!(result, Err(DeliveryError::Retriable(_))) {
                pace.give_back(&cell.id, recipient);
            }
            progress.note(recipient, judged(result));
        }
        true
    }

    /// `None` where there is nothing to say any more.
    async fn message(&self, cell: &Cell, organization: &str, alert: &Alert) -> Result<Option<Message>, Error> {
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
}

/// One mail in place of many.
fn digest(cell: &Cell, organization: &str, alerts: &[&Alert]) -> Message {
    let name = if organization.is_empty() { cell.id.as_str() } else { organization };
    let subject = format!("{} messages of {name}", alerts.len());
    let mut lines = vec![format!("{name}: so many messages came within an hour that they are gathered here.")];
    if let Some(more) = alerts.len().checked_sub(GATHERED).filter(|more| *more > 0) {
        lines.push(format!("{more} more aren't named here; the list of alerts has all of them."));
    }
    let fact = |alert: &&Alert| (alert.create_time.to_string(), alert.subject.clone());
    let facts = alerts.iter().take(GATHERED).map(fact).collect();
    let first = alerts.first().map_or("", |alert| alert.id.as_str());
    let id = format!("{}.{first}.{}", cell.id, alerts.len());
    Message { id, heading: subject.clone(), subject, lines, facts }
}
