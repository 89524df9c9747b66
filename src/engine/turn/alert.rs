//! Telling people: once per cause and period, as events that the service delivers.

use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::{Outcome, Turn};
use crate::{
    domain::{
        alert::{Alert, AlertKind, AlertSettings, Delivery},
        error::Invalid,
        event::{Event, LimitNo, Settled},
        fold,
        id::{AlertId, MemberId},
        money::Nanos,
        policy::{Budget, Limit, Unit},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        limit::{Counter, LimitEntry, amount_in, scope_of},
        state::Counted,
    },
};

/// What is to be told.
pub(super) struct Notice {
    pub kind: AlertKind,
    /// What it isn't told again for, and until when. `None` tells it every time.
    pub cause: Option<(SmolStr, Timestamp)>,
    pub subject: String,
    pub facts: Vec<(&'static str, String)>,
    /// The organization's own recipients if empty.
    pub recipients: Vec<String>,
}

/// A budget that a charge brought to one of its thresholds.
pub(super) struct Crossed {
    limit: LimitNo,
    window: Timestamp,
    threshold: i64,
    spent: i64,
}

pub(super) type Crossings = SmallVec<[Crossed; 1]>;

/// The amounts at which a budget tells of itself: only one that asks for it does, by a soft cap or other thresholds.
fn thresholds(limit: &Limit) -> SmallVec<[i64; 4]> {
    let Limit::Budget(Budget { max, soft, alerts, .. }) = limit else { return SmallVec::new() };
    if soft.is_none() && alerts.is_none() {
        return SmallVec::new();
    }
    let max = max.map(Nanos::get);
    let others = alerts.iter().flat_map(|alerts| &alerts.thresholds).filter_map(|threshold| threshold.amount(max));
    soft.map(Nanos::get).into_iter().chain(others).chain(max).collect()
}

impl Turn<'_> {
    /// What a settlement is about to bring to a threshold.
    pub(super) fn crossed_by(&self, settled: &Settled) -> Crossings {
        let booked = settled.booked.amounts();
        let mut crossed = Crossings::new();
        for touch in settled.touches.iter().filter(|touch| touch.unit.is_budget()) {
            let Some(entry) = self.state.limit(touch.limit).filter(|_| self.state.binds(touch.unit)) else { continue };
            let Counter::Budget(windows) = &entry.counter else { continue };
            let before = windows.at(touch.window).spent.get();
            let spent = before.saturating_add(amount_in(touch.unit, booked));
            let (limit, window) = (touch.limit, touch.window);
            let reached =
                thresholds(&entry.limit).into_iter().filter(|threshold| before < *threshold && *threshold <= spent);
            crossed.extend(reached.map(|threshold| Crossed { limit, window, threshold, spent }));
        }
        crossed
    }

    pub(super) fn tell_crossed(&mut self, crossed: Crossings) {
        for crossed in crossed {
            self.tell_of_budget(&crossed);
        }
    }

    /// After limits were set: those that stand at a threshold already.
    pub(super) fn tell_above(&mut self, limits: &[LimitNo]) {
        let mut above = Crossings::new();
        for limit in limits {
            let Some(entry) = self.state.limit(*limit).filter(|entry| self.state.binds(entry.limit.unit())) else {
                continue;
            };
            if !entry.limit.unit().is_budget() {
                continue;
            }
            let standing = entry.standing(self.now);
            let (limit, window, spent) = (*limit, standing.window, standing.spent);
            let reached =
                thresholds(&entry.limit).into_iter().filter(|threshold| 0 < *threshold && *threshold <= spent);
            above.extend(reached.map(|threshold| Crossed { limit, window, threshold, spent }));
        }
        self.tell_crossed(above);
    }

    fn tell_of_budget(&mut self, crossed: &Crossed) {
        let Crossed { limit: no, window, threshold, spent } = *crossed;
        let Some(LimitEntry { place, limit, .. }) = self.state.limit(no) else { return };
        let Limit::Budget(budget) = &**limit else { return };
        let (scope, scope_id) = scope_of(place, self.state.organization.id.as_str());
        let is_hard = budget.max == Some(Nanos::new(threshold));
        let end = budget.period.window_at(window).end;
        let unit = if limit.unit() == Unit::Usd { "USD" } else { limit.unit().name() };
        let amount = |nanos: i64| format!("{} {unit}", Nanos::new(nanos).shown());
        let what = if is_hard { "is used up" } else { "has reached an alert threshold" };
        let mut facts = vec![
            ("scope", format!("{} {scope_id}", scope.name())),
            ("budget", budget.id.to_string()),
            ("spent", amount(spent)),
            ("threshold", amount(threshold)),
        ];
        facts.extend(budget.max.map(|max| ("limit", amount(max.get()))));
        if !end.is_never() {
            facts.push(("resets", end.to_string()));
        }
        let notice = Notice {
            kind: if is_hard { AlertKind::BudgetReached } else { AlertKind::SoftBudget },
            cause: Some((format_smolstr!("budget:{}:{}:{threshold}", no.0, window.micros()), end)),
            subject: format!("Budget {} of {} {scope_id} {what}", budget.id, scope.name()),
            facts,
            recipients: budget.alerts.as_ref().map(|alerts| alerts.recipients.clone()).unwrap_or_default(),
        };
        self.notice(notice);
    }

    /// Records what is to be told, unless it was told already.
    pub(super) fn notice(&mut self, notice: Notice) {
        let Notice { kind, cause, subject, facts, mut recipients } = notice;
        if let Some((cause, until)) = cause {
            if self.state.alerts.was_told(&cause, self.now) {
                return;
            }
            self.emit(Event::AlertCaused { cause, until });
        }
        if recipients.is_empty() {
            recipients = self.default_recipients();
        }
        let mail = if recipients.is_empty() {
            Delivery::Undeliverable(String::from(
                "nobody to send it to: no recipients are set and no owner has an address",
            ))
        } else {
            Delivery::due(self.now, recipients.clone())
        };
        let webhook = match self.state.alerts.settings.webhook {
            Some(_) => Delivery::due(self.now, Vec::new()),
            None => Delivery::None,
        };
        self.emit(Event::AlertSet(Box::new(Alert {
            id: AlertId::trusted(format_smolstr!("alert-{}", self.state.sequence + 1)),
            kind,
            subject,
            facts: facts.into_iter().map(|(label, value)| (SmolStr::new_static(label), value)).collect(),
            recipients,
            mail,
            webhook,
            create_time: self.now,
            acknowledged: None,
        })));
    }

    /// As the organization set them, or else those who look after its money.
    fn default_recipients(&self) -> Vec<String> {
        let set = &self.state.alerts.settings.recipients;
        if !set.is_empty() {
            return set.clone();
        }
        self.addresses(self.state.staff.minders())
    }

    /// Addresses of members, by their places: no more than one message goes to.
    fn addresses(&self, places: &[u32]) -> Vec<String> {
        let told = places.iter().filter_map(|place| self.state.members.row(*place));
        told.map(|row| row.entity.email.clone()).take(crate::domain::policy::MAX_RECIPIENTS).collect()
    }

    /// The owners, whoever else is told.
    pub(super) fn owners_and_recipients(&self) -> Vec<String> {
        let mut told = self.addresses(self.state.staff.owners_to_tell());
        let others = self.default_recipients().into_iter().filter(|other| !told.contains(other));
        told.extend(others.collect::<Vec<_>>());
        told.truncate(crate::domain::policy::MAX_RECIPIENTS);
        told
    }

    /// # Errors
    /// [`Conflict`] when the organization is deleted.
    pub fn set_alert_settings(&mut self, settings: AlertSettings) -> Outcome<()> {
        self.check_organization()?;
        self.emit(Event::AlertSettingsSet(Box::new(settings)));
        self.check_low_balance();
        Ok(())
    }

    /// As people know it.
    pub(super) fn organization_name(&self) -> String {
        let organization = &self.state.organization;
        if organization.name.is_empty() { organization.id.to_string() } else { organization.name.clone() }
    }

    /// # Errors
    /// [`Conflict`] when there is no such alert.
    pub fn acknowledge_alert(&mut self, id: &AlertId) -> Outcome<()> {
        let missing = || Conflict::NotFound { kind: "alert", id: id.to_string() };
        let alert = self.state.alerts.find(id).cloned().ok_or_else(missing)?;
        if alert.acknowledged.is_none() {
            let acknowledged = Some((self.context.actor.clone(), self.now));
            self.emit(Event::AlertSet(Box::new(Alert { acknowledged, ..alert })));
        }
        Ok(())
    }

    /// Tells the recipients, or these, that alerts arrive. Answers the alert's id.
    ///
    /// # Errors
    /// [`Conflict`] when the organization is deleted, somebody else is to be written to, or too many mails were sent of late.
    pub fn test_alert(&mut self, recipients: Vec<String>) -> Outcome<AlertId> {
        self.check_organization()?;
        self.check_test(&recipients)?;
        let name = self.organization_name();
        self.notice(Notice {
            kind: AlertKind::Test,
            cause: None,
            subject: format!("Test message for {name}"),
            facts: vec![("asked for by", self.context.actor.as_str().to_owned())],
            recipients,
        });
        Ok(AlertId::trusted(format_smolstr!("alert-{}", self.state.sequence)))
    }

    /// Lets members write to themselves and to recipients of the organization's alerts only.
    fn check_test(&self, recipients: &[String]) -> Outcome<()> {
        if self.is_exempt() {
            return Ok(());
        }
        let own = self.default_recipients();
        let member = self.context.actor.as_str().strip_prefix("member:").map(MemberId::trusted);
        let email = member.and_then(|id| self.state.members.find_live(&id)).map(|row| &row.entity.email);
        let is_own =
            |recipient: &String| own.iter().chain(email).any(|own| fold::address(own) == fold::address(recipient));
        if let Some(at) = recipients.iter().position(|recipient| !is_own(recipient)) {
            let problem = "is neither a recipient of the organization's alerts nor your own address";
            return Err(Invalid::new(format!("recipients[{at}]"), problem).into());
        }
        let mails = if recipients.is_empty() { own.len() } else { recipients.len() };
        let mails = u32::try_from(mails.max(1)).unwrap_or(u32::MAX);
        let max = self.bounds().mails_per_hour;
        self.check_frequency(&Counted::TestMails, "test mails of the organization in an hour", mails, max)
    }

    /// What became of a delivery. One that memory has forgotten needs nothing.
    pub fn note_delivery(&mut self, id: &AlertId, mail: Option<Delivery>, webhook: Option<Delivery>) {
        let Some(alert) = self.state.alerts.find(id).cloned() else { return };
        let (mail, webhook) =
            (mail.unwrap_or_else(|| alert.mail.clone()), webhook.unwrap_or_else(|| alert.webhook.clone()));
        if (&mail, &webhook) != (&alert.mail, &alert.webhook) {
            self.emit(Event::AlertSet(Box::new(Alert { mail, webhook, ..alert })));
        }
    }

    /// Tells once that the balance fell below the threshold; again only after it has risen above it.
    pub(super) fn check_low_balance(&mut self) {
        const CAUSE: &str = "wallet-low";
        let Some(threshold) = self.state.alerts.settings.low_balance.filter(|_| self.state.wallet_binds()) else {
            return;
        };
        let balance = self.state.wallet.balance;
        let told = self.state.alerts.was_told(CAUSE, self.now);
        if balance >= threshold {
            if told {
                self.emit(Event::AlertCaused { cause: SmolStr::new_static(CAUSE), until: Timestamp::EPOCH });
            }
            return;
        }
        if told {
            return;
        }
        self.notice(Notice {
            kind: AlertKind::WalletLow,
            cause: Some((SmolStr::new_static(CAUSE), Timestamp::NEVER)),
            subject: format!("The balance of {} is low", self.organization_name()),
            facts: vec![
                ("balance", format!("{} USD", balance.shown())),
                ("threshold", format!("{} USD", threshold.shown())),
            ],
            recipients: Vec::new(),
        });
    }
}
