//! Lists that are read while they change: nothing comes twice, nothing is left out.

use std::collections::BTreeSet;

use quotad::api::proto::{
    AcknowledgeAlertRequest, AlertKind, AlertSettings, CreditRequestState, DeleteKeyRequest, DenyCreditRequestRequest,
    ListAlertsRequest, ListCreditRequestsRequest, ListKeysRequest, ListTopUpOrdersRequest, SendTestAlertRequest,
    SubmitCreditRequestRequest, TopUpState, UpdateAlertSettingsRequest,
};

use crate::{
    messages::mask,
    world::{ACME, World},
};

const PAGE: i32 = 5;

async fn ask_for_credits(world: &World) -> String {
    let new = SubmitCreditRequestRequest {
        organization_id: ACME.into(),
        member_id: "ada".into(),
        amount: "1".into(),
        ..SubmitCreditRequestRequest::default()
    };
    world.operator.credit_requests().submit_credit_request(new).await.unwrap().into_inner().request.unwrap().id
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_denied_page_by_page_are_all_denied() {
    let world = World::new().await;
    let mut asked = BTreeSet::new();
    for _ in 0..28 {
        asked.insert(ask_for_credits(&world).await);
    }
    let mut client = world.operator.credit_requests();
    let (mut denied, mut page_token) = (Vec::new(), String::new());
    loop {
        let pending = ListCreditRequestsRequest {
            organization_id: ACME.into(),
            states: vec![CreditRequestState::Pending.into()],
            page_size: PAGE,
            page_token,
            ..ListCreditRequestsRequest::default()
        };
        let page = client.list_credit_requests(pending).await.unwrap().into_inner();
        for request in page.requests {
            let deny = DenyCreditRequestRequest {
                organization_id: ACME.into(),
                credit_request_id: request.id.clone(),
                note: String::new(),
            };
            client.deny_credit_request(deny).await.unwrap();
            denied.push(request.id);
        }
        ask_for_credits(&world).await;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(denied.len(), 28, "each once: {denied:?}");
    assert_eq!(denied.into_iter().collect::<BTreeSet<_>>(), asked);
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_come_between_pages_repeat_none_and_hide_none() {
    let world = World::with_wallet("1").await;
    let mut ordered: Vec<_> = vec![String::from("first")];
    for no in 0..17 {
        ordered.push(format!("order-{no}"));
        world.top_up(&format!("order-{no}"), "1").await.unwrap();
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    for no in 0.. {
        let settled = ListTopUpOrdersRequest {
            organization_id: ACME.into(),
            states: vec![TopUpState::Settled.into(); 2],
            page_size: PAGE,
            page_token,
        };
        let page = world.operator.wallets().list_top_up_orders(settled).await.unwrap().into_inner();
        seen.extend(page.orders.into_iter().map(|order| order.request_id));
        world.top_up(&format!("late-{no}"), "1").await.unwrap();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ordered.reverse();
    assert_eq!(seen, ordered);
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_that_are_seen_to_page_by_page_are_all_seen_to() {
    let world = World::new().await;
    let mut client = world.operator.alerts();
    let settings = AlertSettings {
        organization_id: ACME.into(),
        recipients: vec!["ops@example.com".into(), "OPS@example.com".into()],
        ..AlertSettings::default()
    };
    let update = UpdateAlertSettingsRequest { settings: Some(settings), update_mask: mask(&["recipients"]) };
    let set = client.update_alert_settings(update).await.unwrap().into_inner().settings.unwrap();
    assert_eq!(set.recipients, ["ops@example.com"], "once, whatever the case");
    let test = || SendTestAlertRequest { organization_id: ACME.into(), ..SendTestAlertRequest::default() };
    let mut made = Vec::new();
    for _ in 0..13 {
        made.push(client.send_test_alert(test()).await.unwrap().into_inner().alert.unwrap().id);
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ListAlertsRequest {
            organization_id: ACME.into(),
            kinds: vec![AlertKind::Test.into()],
            unacknowledged: true,
            page_size: PAGE,
            page_token,
            ..ListAlertsRequest::default()
        };
        let page = client.list_alerts(list).await.unwrap().into_inner();
        for alert in page.alerts {
            let acknowledge = AcknowledgeAlertRequest { organization_id: ACME.into(), alert_id: alert.id.clone() };
            client.acknowledge_alert(acknowledge).await.unwrap();
            seen.push(alert.id);
        }
        client.send_test_alert(test()).await.unwrap();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    made.reverse();
    assert_eq!(seen, made);
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_deleted_page_by_page_are_all_deleted() {
    let world = World::new().await;
    let mut made = vec![String::from("k1")];
    for no in 2..=12 {
        made.push(format!("k{no}"));
        world.key(&format!("k{no}"), "ada", "default").await;
    }
    let (mut deleted, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ListKeysRequest { organization_id: ACME.into(), page_size: PAGE, page_token, ..Default::default() };
        let page = world.operator.keys().list_keys(list).await.unwrap().into_inner();
        for key in page.keys {
            let delete = DeleteKeyRequest {
                organization_id: ACME.into(),
                key_id: key.id.clone(),
                ..DeleteKeyRequest::default()
            };
            world.operator.keys().delete_key(delete).await.unwrap();
            deleted.push(key.id);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(deleted, made);
}
