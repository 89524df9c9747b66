//! P5: memory gives up ended things of the control plane; the books answer for them.

use futures::future::join_all;
use quotad::api::proto::{
    AcknowledgeAlertRequest, ApproveCreditRequestRequest, CreateInvitationRequest, CreatePaymentMethodRequest,
    CreditRequestState, DeletePaymentMethodRequest, DenyCreditRequestRequest, GetCreditRequestRequest,
    GetInvitationRequest, Invitation, InvitationState, ListInvitationsRequest, PaymentMethod, PaymentOutcome,
    ResendInvitationRequest, RevokeInvitationRequest, Role, SubmitCreditRequestRequest, WalletMode,
};
use tonic::Code;

use crate::{
    alerts::{ended, find, send_test},
    messages::{failed, failure},
    payments,
    people::{acting, joins, until},
    world::{ACME, World},
};

pub(crate) const DAY: i64 = 86_400;

// P5
#[tokio::test]
async fn an_alert_is_never_lost_however_many_come_after_it() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    let first = send_test(&world, &["ops@example.com"]).await;
    let told = ended(&world, &first).await;
    let mut last = String::new();
    for _ in 0..22 {
        let ids = join_all((0..100).map(|_| send_test(&world, &["ops@example.com"]))).await;
        last.clone_from(ids.iter().max_by_key(|id| (id.len(), (*id).clone())).unwrap());
    }
    ended(&world, &last).await;
    assert_eq!(find(&world, &first).await, told);
    world.restart().await;
    assert_eq!(find(&world, &first).await, told);
    let acknowledge = AcknowledgeAlertRequest { organization_id: ACME.into(), alert_id: first.clone() };
    world.operator.alerts().acknowledge_alert(acknowledge).await.unwrap();
    assert_eq!(find(&world, &first).await.acknowledged_by, "operator");
}

pub(crate) fn guest() -> CreateInvitationRequest {
    let invitation = Invitation {
        organization_id: ACME.into(),
        id: "guest".into(),
        email: "guest@example.com".into(),
        ..Invitation::default()
    };
    CreateInvitationRequest { invitation: Some(invitation), ..CreateInvitationRequest::default() }
}

fn card() -> CreatePaymentMethodRequest {
    let method = PaymentMethod {
        organization_id: ACME.into(),
        id: "card".into(),
        label: "Card".into(),
        provider_token: "tok".into(),
        ..PaymentMethod::default()
    };
    CreatePaymentMethodRequest { payment_method: Some(method), ..CreatePaymentMethodRequest::default() }
}

/// Days later, once memory has given up the invitation, and with it what ended before.
pub(crate) async fn later(world: &World, days: i64) {
    world.advance(days * DAY);
    until("less in memory", async || {
        world.team(&format!("team-{:x}", rand::random::<u64>())).await;
        let list = ListInvitationsRequest { organization_id: ACME.into(), ..ListInvitationsRequest::default() };
        let listed = world.operator.members().list_invitations(list).await.unwrap().into_inner().invitations;
        listed.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_ended_a_month_ago_is_read_by_its_id_which_stays_taken() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    let dev = joins(&world, "dev", Role::Developer).await;
    let ask = SubmitCreditRequestRequest {
        organization_id: ACME.into(),
        amount: "1".into(),
        ..SubmitCreditRequestRequest::default()
    };
    let id = dev.credit_requests().submit_credit_request(ask).await.unwrap().into_inner().request.unwrap().id;
    let deny = DenyCreditRequestRequest {
        organization_id: ACME.into(),
        credit_request_id: id.clone(),
        ..DenyCreditRequestRequest::default()
    };
    world.operator.credit_requests().deny_credit_request(deny).await.unwrap();
    dev.wallets().create_payment_method(card()).await.unwrap();
    let delete = DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: "card".into() };
    dev.wallets().delete_payment_method(delete).await.unwrap();
    let order = world.top_up("paid", "5").await.unwrap().order.unwrap();
    world.operator.members().create_invitation(guest()).await.unwrap();
    let revoke = RevokeInvitationRequest { organization_id: ACME.into(), invitation_id: "guest".into() };
    world.operator.members().revoke_invitation(revoke).await.unwrap();
    later(&world, 40).await;
    for _ in 0..2 {
        let get = GetInvitationRequest { organization_id: ACME.into(), invitation_id: "guest".into() };
        let read = world.operator.members().get_invitation(get).await.unwrap().into_inner().invitation.unwrap();
        assert_eq!(read.state(), InvitationState::Revoked);
        let again = world.operator.members().create_invitation(guest()).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again:?}");
        let resend = ResendInvitationRequest {
            organization_id: ACME.into(),
            invitation_id: "guest".into(),
            ..ResendInvitationRequest::default()
        };
        let again = world.operator.members().resend_invitation(resend).await.unwrap_err();
        assert!(again.message().contains("was revoked"), "{again:?}");
        let get = GetCreditRequestRequest { organization_id: ACME.into(), credit_request_id: id.clone() };
        let dev = acting(&world, ACME, "dev").await;
        let read = dev.credit_requests().get_credit_request(get).await.unwrap().into_inner().request.unwrap();
        assert_eq!(read.state(), CreditRequestState::Denied);
        let approve = ApproveCreditRequestRequest {
            organization_id: ACME.into(),
            credit_request_id: id.clone(),
            ..ApproveCreditRequestRequest::default()
        };
        let again = world.operator.credit_requests().approve_credit_request(approve).await.unwrap_err();
        assert!(again.message().contains("decided already"), "{again:?}");
        let again = dev.wallets().create_payment_method(card()).await.unwrap_err();
        assert_eq!(failure(&again), failed(Code::AlreadyExists, "ID_DELETED"));
        assert_eq!(payments::find(&world, &order.id).await, order);
        let repeated = world.top_up("paid", "5").await.unwrap();
        assert!(repeated.replayed, "{repeated:?}");
        assert_eq!(world.top_up("paid", "6").await.unwrap_err(), failed(Code::AlreadyExists, "REQUEST_ID_REUSED"));
        assert_eq!(world.verify().await.differences, []);
        world.restart().await;
    }
    let reversed = payments::decide(&world, &order.id, PaymentOutcome::Reversed).await.unwrap();
    assert_eq!(reversed.id, order.id);
    assert_eq!(world.verify().await.differences, []);
}
