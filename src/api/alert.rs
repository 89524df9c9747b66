//! Alerts and who is told, in and out.

use std::sync::Arc;

use super::{
    convert::{
        mask::Mask,
        page::{page_in, query_name, token_out},
        recipients_in, required,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, alert_service_server::AlertService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        alert::{Alert, AlertKind, AlertSettings, AlertState, Delivery, Webhook},
        contact::{WebhookSecret, check_webhook_url},
        error::Invalid,
        id::{AlertId, OrganizationId},
        money::Nanos,
    },
    service::{AlertFilter, AlertSettingsChange, AlertSettingsView, Caller, Error, Found, Service},
};

pub(super) struct AlertApi(pub(super) Arc<Service>);

serve! {
    AlertService, AlertApi {
        get_alert_settings(GetAlertSettingsRequest) -> GetAlertSettingsResponse = settings;
        update_alert_settings(UpdateAlertSettingsRequest) -> UpdateAlertSettingsResponse = change_settings.await;
        get_alert(GetAlertRequest) -> GetAlertResponse = get;
        list_alerts(ListAlertsRequest) -> ListAlertsResponse = list;
        acknowledge_alert(AcknowledgeAlertRequest) -> AcknowledgeAlertResponse = acknowledge.await;
        send_test_alert(SendTestAlertRequest) -> SendTestAlertResponse = test.await;
    }
}

scoped! {
    GetAlertSettingsRequest: organization_id;
    UpdateAlertSettingsRequest: settings.organization_id, fields update_mask;
    GetAlertRequest: organization_id, of Alert(alert_id);
    ListAlertsRequest: organization_id;
    AcknowledgeAlertRequest: organization_id, of Alert(alert_id);
    SendTestAlertRequest: organization_id;
}

impl AlertApi {
    fn settings(
        &self,
        _: &Caller,
        message: proto::GetAlertSettingsRequest,
    ) -> Result<proto::GetAlertSettingsResponse, Error> {
        let proto::GetAlertSettingsRequest { organization_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let settings = self.0.alert_settings(&organization)?;
        Ok(proto::GetAlertSettingsResponse { settings: Some(settings_out(&organization, settings)) })
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        message: proto::UpdateAlertSettingsRequest,
    ) -> Result<proto::UpdateAlertSettingsResponse, Error> {
        let proto::UpdateAlertSettingsRequest { settings, update_mask } = message;
        let mask = Mask::of(update_mask, &["recipients", "webhook_url", "webhook_secret", "low_balance_usd"])?;
        let proto::AlertSettings {
            organization_id,
            recipients,
            webhook_url,
            webhook_secret,
            low_balance_usd,
            wallet_enforced: _,
        } = required("settings", settings)?;
        let organization = OrganizationId::parse("settings.organization_id", &organization_id)?;
        let webhook_url = mask.pick("webhook_url", || url_in(webhook_url))?;
        // Without a URL beside it, an empty one would ask for nothing.
        let mints = webhook_url.is_some() && webhook_secret.is_empty();
        let secret = || {
            let given = (!mints).then(|| WebhookSecret::parse("settings.webhook_secret", &webhook_secret));
            given.transpose()
        };
        let change = AlertSettingsChange {
            recipients: mask.pick("recipients", || recipients_in("settings.recipients", &recipients))?,
            webhook_secret: mask.pick("webhook_secret", secret)?.flatten(),
            webhook_url,
            low_balance: mask.pick("low_balance_usd", || low_balance_in(&low_balance_usd))?,
        };
        let (settings, minted) = self.0.update_alert_settings(caller, &organization, change).await?;
        Ok(proto::UpdateAlertSettingsResponse {
            settings: Some(settings_out(&organization, settings)),
            minted_webhook_secret: minted.map_or_else(String::new, |secret| secret.reveal()),
        })
    }

    fn get(&self, caller: &Caller, message: proto::GetAlertRequest) -> Result<proto::GetAlertResponse, Error> {
        let proto::GetAlertRequest { organization_id, alert_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let alert = self.0.alert(&organization, &AlertId::parse("alert_id", &alert_id)?)?;
        Ok(proto::GetAlertResponse { alert: Some(out(caller, &organization, alert)) })
    }

    fn list(&self, caller: &Caller, message: proto::ListAlertsRequest) -> Result<proto::ListAlertsResponse, Error> {
        let filters = proto::ListAlertsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("alerts", &filters);
        let proto::ListAlertsRequest { organization_id, kinds, states, unacknowledged, page_size, page_token } =
            message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let filter = AlertFilter {
            kinds: kinds.iter().enumerate().map(|(i, kind)| kind_in(i, *kind)).collect::<Result<_, _>>()?,
            states: states.iter().enumerate().map(|(i, state)| state_in(i, *state)).collect::<Result<_, _>>()?,
            unacknowledged,
        };
        let found = self.0.list_alerts(&organization, &filter, page_in(&list, page_size, &page_token)?)?;
        let Found { items, next, total: _ } = found;
        let alerts = items.into_iter().map(|alert| out(caller, &organization, alert)).collect();
        Ok(proto::ListAlertsResponse { alerts, next_page_token: token_out(&list, next) })
    }

    async fn acknowledge(
        &self,
        caller: &Caller,
        message: proto::AcknowledgeAlertRequest,
    ) -> Result<proto::AcknowledgeAlertResponse, Error> {
        let proto::AcknowledgeAlertRequest { organization_id, alert_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = AlertId::parse("alert_id", &alert_id)?;
        let alert = self.0.acknowledge_alert(caller, &organization, &id).await?;
        Ok(proto::AcknowledgeAlertResponse { alert: Some(out(caller, &organization, alert)) })
    }

    async fn test(
        &self,
        caller: &Caller,
        message: proto::SendTestAlertRequest,
    ) -> Result<proto::SendTestAlertResponse, Error> {
        let proto::SendTestAlertRequest { organization_id, recipients } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let recipients = recipients_in("recipients", &recipients)?;
        let alert = self.0.send_test_alert(caller, &organization, recipients).await?;
        Ok(proto::SendTestAlertResponse { alert: Some(out(caller, &organization, alert)) })
    }
}

/// Empty means no webhook.
fn url_in(url: String) -> Result<Option<String>, Invalid> {
    if url.is_empty() {
        return Ok(None);
    }
    check_webhook_url("settings.webhook_url", &url)?;
    Ok(Some(url))
}

/// Empty means never.
fn low_balance_in(amount: &str) -> Result<Option<Nanos>, Invalid> {
    if amount.is_empty() { Ok(None) } else { Nanos::parse("settings.low_balance_usd", amount).map(Some) }
}

fn kind_in(i: usize, kind: i32) -> Result<AlertKind, Invalid> {
    use proto::AlertKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::SoftBudget) => Ok(AlertKind::SoftBudget),
        Ok(Kind::BudgetReached) => Ok(AlertKind::BudgetReached),
        Ok(Kind::WalletLow) => Ok(AlertKind::WalletLow),
        Ok(Kind::TopUpFailed) => Ok(AlertKind::TopUpFailed),
        Ok(Kind::AutoTopUpDisabled) => Ok(AlertKind::AutoTopUpDisabled),
        Ok(Kind::CreditRequested) => Ok(AlertKind::CreditRequested),
        Ok(Kind::CreditDecided) => Ok(AlertKind::CreditDecided),
        Ok(Kind::Invitation) => Ok(AlertKind::Invitation),
        Ok(Kind::SignupCreditsMissing) => Ok(AlertKind::SignupCreditsMissing),
        Ok(Kind::Test) => Ok(AlertKind::Test),
        Ok(Kind::Unspecified) | Err(_) => {
            let choices = "ALERT_KIND_SOFT_BUDGET, _BUDGET_REACHED, _WALLET_LOW, _TOP_UP_FAILED, \
                           _AUTO_TOP_UP_DISABLED, _CREDIT_REQUESTED, _CREDIT_DECIDED, _INVITATION, \
                           _SIGNUP_CREDITS_MISSING or _TEST";
            Err(Invalid::new(format!("kinds[{i}]"), format!("{kind} is none of {choices}")))
        }
    }
}

fn kind_out(kind: AlertKind) -> proto::AlertKind {
    match kind {
        AlertKind::SoftBudget => proto::AlertKind::SoftBudget,
        AlertKind::BudgetReached => proto::AlertKind::BudgetReached,
        AlertKind::WalletLow => proto::AlertKind::WalletLow,
        AlertKind::TopUpFailed => proto::AlertKind::TopUpFailed,
        AlertKind::AutoTopUpDisabled => proto::AlertKind::AutoTopUpDisabled,
        AlertKind::CreditRequested => proto::AlertKind::CreditRequested,
        AlertKind::CreditDecided => proto::AlertKind::CreditDecided,
        AlertKind::Invitation => proto::AlertKind::Invitation,
        AlertKind::SignupCreditsMissing => proto::AlertKind::SignupCreditsMissing,
        AlertKind::Test => proto::AlertKind::Test,
    }
}

fn state_in(i: usize, state: i32) -> Result<AlertState, Invalid> {
    use proto::AlertState as State;
    match State::try_from(state) {
        Ok(State::Pending) => Ok(AlertState::Pending),
        Ok(State::Delivered) => Ok(AlertState::Delivered),
        Ok(State::Failed) => Ok(AlertState::Failed),
        Ok(State::Undeliverable) => Ok(AlertState::Undeliverable),
        Ok(State::Unspecified) | Err(_) => {
            let choices = "ALERT_STATE_PENDING, _DELIVERED, _FAILED or _UNDELIVERABLE";
            Err(Invalid::new(format!("states[{i}]"), format!("{state} is none of {choices}")))
        }
    }
}

fn state_out(state: AlertState) -> proto::AlertState {
    match state {
        AlertState::Pending => proto::AlertState::Pending,
        AlertState::Delivered => proto::AlertState::Delivered,
        AlertState::Failed => proto::AlertState::Failed,
        AlertState::Undeliverable => proto::AlertState::Undeliverable,
    }
}

/// The webhook's secret is never told again.
fn settings_out(organization: &OrganizationId, view: AlertSettingsView) -> proto::AlertSettings {
    let AlertSettingsView { settings: AlertSettings { recipients, webhook, low_balance }, wallet_enforced } = view;
    proto::AlertSettings {
        organization_id: organization.to_string(),
        recipients,
        webhook_url: webhook.map_or_else(String::new, |Webhook { url, secret: _ }| url),
        webhook_secret: String::new(),
        low_balance_usd: low_balance.map_or_else(String::new, nanos_out),
        wallet_enforced,
    }
}

fn out(caller: &Caller, organization: &OrganizationId, alert: Alert) -> proto::Alert {
    let state = alert.state();
    let Alert { id, kind, subject, facts, recipients, mail, webhook, create_time, acknowledged } = alert;
    let fact = |(label, value): (_, String)| proto::AlertFact { label: String::from(label), value };
    let (acknowledged_by, acknowledge_time) = acknowledged.unzip();
    proto::Alert {
        organization_id: organization.to_string(),
        id: id.to_string(),
        kind: kind_out(kind).into(),
        subject,
        facts: facts.into_iter().map(fact).collect(),
        recipients,
        state: state_out(state).into(),
        mail: delivery_out(if caller.is_operator() { mail } else { mail.told() }),
        webhook: delivery_out(webhook),
        create_time: Some(timestamp_out(create_time)),
        acknowledged_by: acknowledged_by.map_or_else(String::new, |actor| actor.as_str().to_owned()),
        acknowledge_time: acknowledge_time.map(timestamp_out),
    }
}

/// `None` for a channel that isn't asked for.
fn delivery_out(delivery: Delivery) -> Option<proto::AlertDelivery> {
    let (state, told) = match delivery {
        Delivery::None => return None,
        Delivery::Pending { attempts, next, problem, left: _ } => {
            let next_attempt_time = Some(timestamp_out(next));
            let told = proto::AlertDelivery { attempts, next_attempt_time, problem, ..Default::default() };
            (AlertState::Pending, told)
        }
        Delivery::Delivered(at) => {
            let deliver_time = Some(timestamp_out(at));
            (AlertState::Delivered, proto::AlertDelivery { deliver_time, ..Default::default() })
        }
        Delivery::Failed(problem) => (AlertState::Failed, proto::AlertDelivery { problem, ..Default::default() }),
        Delivery::Undeliverable(problem) => {
            (AlertState::Undeliverable, proto::AlertDelivery { problem, ..Default::default() })
        }
    };
    Some(proto::AlertDelivery { state: state_out(state).into(), ..told })
}
