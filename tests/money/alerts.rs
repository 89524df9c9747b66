//! Alerts as the API lists them, and the settings of who gets them.

use quotad::{
    api::proto::{
        Alert, AlertKind, AlertSettings, AlertState, GetAlertRequest, ListAlertsRequest, SendTestAlertRequest,
        UpdateAlertSettingsRequest, UpdateAlertSettingsResponse,
    },
    client::Connection,
};
use tonic::Response;

use crate::{
    messages::{Failure, failure, mask},
    people::until,
    world::{ACME, World},
};

/// Of these kinds, or all where there are none; the newest first.
pub(crate) async fn list(world: &World, kinds: &[AlertKind]) -> Vec<Alert> {
    let kinds = kinds.iter().map(|kind| i32::from(*kind)).collect();
    let asked =
        ListAlertsRequest { organization_id: ACME.into(), kinds, page_size: 1000, ..ListAlertsRequest::default() };
    world.operator.alerts().list_alerts(asked).await.unwrap().into_inner().alerts
}

pub(crate) async fn find(world: &World, id: &str) -> Alert {
    let asked = GetAlertRequest { organization_id: ACME.into(), alert_id: id.into() };
    world.operator.alerts().get_alert(asked).await.unwrap().into_inner().alert.unwrap()
}

/// Once nothing of it is on its way any more.
pub(crate) async fn ended(world: &World, id: &str) -> Alert {
    until("the end of a delivery", async || {
        let alert = find(world, id).await;
        (alert.state() != AlertState::Pending).then_some(alert)
    })
    .await
}

/// Once an attempt has failed.
pub(crate) async fn tried(world: &World, id: &str, attempts: u32) -> Alert {
    until("a failed attempt", async || {
        let alert = find(world, id).await;
        let deliveries = [&alert.mail, &alert.webhook];
        let failed = deliveries.into_iter().flatten().any(|delivery| delivery.attempts == attempts);
        failed.then_some(alert)
    })
    .await
}

/// Asks for a test message to these, or to the organization's own recipients; answers its id.
pub(crate) async fn send_test(world: &World, recipients: &[&str]) -> String {
    let recipients = recipients.iter().map(ToString::to_string).collect();
    let asked = SendTestAlertRequest { organization_id: ACME.into(), recipients };
    world.operator.alerts().send_test_alert(asked).await.unwrap().into_inner().alert.unwrap().id
}

pub(crate) async fn configure(
    by: &Connection,
    settings: AlertSettings,
    fields: &[&str],
) -> Result<UpdateAlertSettingsResponse, Failure> {
    let settings = Some(AlertSettings { organization_id: ACME.into(), ..settings });
    let update = UpdateAlertSettingsRequest { settings, update_mask: mask(fields) };
    let answer = by.alerts().update_alert_settings(update).await;
    answer.map(Response::into_inner).map_err(|status| failure(&status))
}

/// The value that stands beside a label.
pub(crate) fn fact<'a>(alert: &'a Alert, label: &str) -> &'a str {
    let found = alert.facts.iter().find(|fact| fact.label == label);
    &found.unwrap_or_else(|| panic!("no {label} in {alert:?}")).value
}
