//! Alerts: who is told, what was, and who has seen to it.

use std::collections::BTreeSet;

use super::{
    Caller, Error, Service,
    listing::{Found, Page, page},
};
use crate::{
    domain::{
        alert::{Alert, AlertKind, AlertSettings, AlertState, Webhook},
        contact::WebhookSecret,
        error::Invalid,
        id::{AlertId, OrganizationId},
        money::Nanos,
    },
    engine::{conflict::Conflict, state::OrganizationState, turn::Outcome},
    service::secret,
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertSettingsChange {
    pub recipients: Option<Vec<String>>,
    /// An inner `None` removes the webhook.
    pub webhook_url: Option<Option<String>>,
    pub webhook_secret: Option<WebhookSecret>,
    /// An inner `None` alerts never.
    pub low_balance: Option<Option<Nanos>>,
}

impl AlertSettingsChange {
    /// The settings with the changes made, and the secret that a webhook without one got of `fresh`.
    fn of(
        self,
        mut settings: AlertSettings,
        fresh: WebhookSecret,
    ) -> Result<(AlertSettings, Option<WebhookSecret>), Invalid> {
        let Self { recipients, webhook_url, webhook_secret, low_balance } = self;
        settings.recipients = recipients.unwrap_or(settings.recipients);
        settings.low_balance = low_balance.unwrap_or(settings.low_balance);
        let before = settings.webhook.take();
        let url = webhook_url.unwrap_or_else(|| before.as_ref().map(|webhook| webhook.url.clone()));
        let mut minted = None;
        settings.webhook = match (url, webhook_secret) {
            (None, None) => None,
            (None, Some(_)) => return Err(Invalid::new("settings.webhook_secret", "is set without a webhook_url")),
            (Some(url), Some(secret)) => Some(Webhook { url, secret }),
            (Some(url), None) => {
                let secret = match before {
                    Some(before) if before.url == url => before.secret,
                    _ => minted.insert(fresh).clone(),
                };
                Some(Webhook { url, secret })
            }
        };
        Ok((settings, minted))
    }
}

/// Which alerts; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    pub kinds: BTreeSet<AlertKind>,
    pub states: BTreeSet<AlertState>,
    pub unacknowledged: bool,
}

fn shown(state: &OrganizationState, id: &AlertId) -> Outcome<Alert> {
    let missing = || Conflict::NotFound { kind: "alert", id: id.to_string() };
    state.alerts.find(id).cloned().ok_or_else(missing)
}

/// Settings by which an organization is alerted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettingsView {
    pub settings: AlertSettings,
    /// True where the wallet is enforced. Without it no balance is low.
    pub wallet_enforced: bool,
}

fn settings_shown(state: &OrganizationState) -> AlertSettingsView {
    AlertSettingsView { settings: (*state.alerts.settings).clone(), wallet_enforced: state.wallet_binds() }
}

impl Service {
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn alert_settings(&self, organization: &OrganizationId) -> Result<AlertSettingsView, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(settings_shown(&inner.state))
    }

    /// Answers the webhook's secret too where it was minted, this once.
    ///
    /// # Errors
    /// [`Error`] when a secret is given without a URL.
    pub async fn update_alert_settings(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: AlertSettingsChange,
    ) -> Result<(AlertSettingsView, Option<WebhookSecret>), Error> {
        let fresh = WebhookSecret::from_random(secret::random()?);
        self.change(caller, organization, |turn| {
            let (settings, minted) = change.of((*turn.state.alerts.settings).clone(), fresh)?;
            turn.set_alert_settings(settings)?;
            Ok((settings_shown(turn.state), minted))
        })
        .await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such alert, or it is too old.
    pub fn alert(&self, organization: &OrganizationId, id: &AlertId) -> Result<Alert, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(shown(&inner.state, id)?)
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_alerts(
        &self,
        organization: &OrganizationId,
        filter: &AlertFilter,
        at: Page,
    ) -> Result<Found<Alert>, Error> {
        let cell = self.organization_cell(organization)?;
        let matches = |alert: &Alert| {
            (filter.kinds.is_empty() || filter.kinds.contains(&alert.kind))
                && (filter.states.is_empty() || filter.states.contains(&alert.state()))
                && !(filter.unacknowledged && alert.acknowledged.is_some())
        };
        let pick = |_: &OrganizationState, _, alert: &Alert| matches(alert).then(|| alert.clone());
        Ok(page(&cell, at, |state, from| Box::new(state.alerts.newest_first(from)), pick, |_| 1))
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such alert.
    pub async fn acknowledge_alert(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &AlertId,
    ) -> Result<Alert, Error> {
        self.change(caller, organization, |turn| {
            turn.acknowledge_alert(id)?;
            shown(turn.state, id)
        })
        .await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub async fn send_test_alert(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        recipients: Vec<String>,
    ) -> Result<Alert, Error> {
        self.change(caller, organization, |turn| {
            let id = turn.test_alert(recipients)?;
            shown(turn.state, &id)
        })
        .await
    }
}
