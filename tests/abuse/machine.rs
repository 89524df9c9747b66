//! The machine that the server runs on: its files, its clock, its network, and settings that hold passwords are tried in
//! `tests/process` and `tests/faults`; here is what a tenant could learn of its network by webhooks.

use std::{collections::BTreeSet, io::ErrorKind, net::TcpListener, time::Duration};

use quotad::{
    api::proto::{AlertSettings, AlertState, GetAlertRequest, Role, SendTestAlertRequest, UpdateAlertSettingsRequest},
    client::Connection,
    clock::Stopwatch,
};

use crate::{server::ORGANIZATION, world::World};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a tenant reads of a webhook to this URL after its first attempt.
async fn told(tenant: &Connection, url: &str) -> (AlertState, String) {
    let settings = AlertSettings {
        organization_id: ORGANIZATION.to_owned(),
        webhook_url: url.to_owned(),
        ..AlertSettings::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec![String::from("webhook_url")] });
    let update = UpdateAlertSettingsRequest { settings: Some(settings), update_mask };
    tenant.alerts().update_alert_settings(update).await.unwrap();
    let organization_id = ORGANIZATION.to_owned();
    let send = SendTestAlertRequest { organization_id: organization_id.clone(), ..Default::default() };
    let alert_id = tenant.alerts().send_test_alert(send).await.unwrap().into_inner().alert.unwrap().id;
    let waited = Stopwatch::start();
    loop {
        let asked = GetAlertRequest { organization_id: organization_id.clone(), alert_id: alert_id.clone() };
        let alert = tenant.alerts().get_alert(asked).await.unwrap().into_inner().alert.unwrap();
        let webhook = alert.webhook.unwrap();
        if !webhook.problem.is_empty() {
            return (webhook.state(), webhook.problem);
        }
        assert!(waited.elapsed() < PATIENCE, "{url}: {webhook:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_webhook_reaches_nothing_of_the_servers_own_network_and_tells_nothing_of_it() {
    let world = World::start(&[]).await;
    let tenant = world.attacker("fin", Role::FinanceAdmin).await;
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    open.set_nonblocking(true).unwrap();
    let port = open.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut answers = BTreeSet::new();
    for host in ["127.0.0.1", "0.0.0.0", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
        answers.insert(format!("{:?}", told(&tenant, &format!("http://{host}:{port}/")).await));
    }
    answers.insert(format!("{:?}", told(&tenant, &format!("http://127.0.0.1:{closed}/")).await));
    answers.insert(format!("{:?}", told(&tenant, "https://169.254.169.254/latest").await));
    assert_eq!(answers.len(), 1, "an open port and a closed one are told apart: {answers:?}");
    let answer = answers.pop_first().unwrap();
    for word in ["refused", "403", "invalid", "127.", "public"] {
        assert!(!answer.contains(word), "{answer}");
    }
    assert_eq!(open.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
}
