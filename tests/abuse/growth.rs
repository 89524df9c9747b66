//! Things that cost their maker nothing grow to their bound and no further, and nobody else notices.

use std::collections::BTreeMap;

use futures::future::join_all;
use quotad::{
    api::proto::{
        Bounds, CreateInvitationRequest, CreateKeyRequest, CreatePaymentMethodRequest, GetOrganizationRequest,
        Invitation, Key, Organization, Payer, PaymentMethod, ReleaseRequest, ResendInvitationRequest, ReservationRef,
        ReserveRequest, Role, RotateKeyRequest, SubmitCreditRequestRequest, UpdateKeyRequest,
        UpdateOrganizationRequest, Usage, WatchRevocationsRequest, WatchRevocationsResponse, payer::Payer as By,
        reservation_ref::Reservation, reserve_response::Decision,
    },
    client::Connection,
};
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_types::StatusExt as _;

use crate::{
    neighbour::beside,
    server::{KEY, MODEL, ORGANIZATION},
    world::World,
};

const MEGABYTE: u64 = 1 << 20;

/// Outcomes by what was refused, and how often; what is taken counts under an empty reason.
#[derive(Debug, Default)]
struct Outcomes(BTreeMap<String, usize>);

impl Outcomes {
    fn note<T>(&mut self, outcome: Result<T, Status>) {
        *self.0.entry(outcome.map_or_else(|status| reason(&status), |_| String::new())).or_default() += 1;
    }

    fn taken(&self) -> usize {
        self.0.get("").copied().unwrap_or_default()
    }

    /// That all others were refused for this reason.
    #[track_caller]
    fn assert_taken(&self, taken: usize, reason: &str) {
        let refused = self.0.get(reason).copied().unwrap_or_default();
        assert_eq!((self.taken(), self.0.len()), (taken, 2), "{self:?}");
        assert!(refused > 0, "{self:?}");
    }
}

/// The reason, and that it says when to come back where time cures it.
fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    let waits = details.retry_info().is_some_and(|retry| retry.retry_delay.is_some());
    assert_eq!(waits, status.code() == Code::ResourceExhausted, "{status:?}");
    info.reason.clone()
}

fn credits(reason: &str) -> SubmitCreditRequestRequest {
    SubmitCreditRequestRequest {
        organization_id: ORGANIZATION.into(),
        team_id: "default".into(),
        amount: "1".into(),
        reason: reason.into(),
        ..SubmitCreditRequestRequest::default()
    }
}

#[tokio::test]
async fn requests_for_credits_of_a_basic_member_end_at_their_bound() {
    let world = World::start(&[]).await;
    let attacker = world.attacker("basic", Role::Basic).await;
    let before = world.memory();
    let outcomes = std::sync::Mutex::new(Outcomes::default());
    let reason = "x".repeat(1000);
    let measured = beside(&world, async || {
        loop {
            let asked = join_all(
                (0..16).map(|_| async { attacker.credit_requests().submit_credit_request(credits(&reason)).await }),
            );
            for outcome in asked.await {
                outcomes.lock().unwrap().note(outcome);
            }
        }
    })
    .await;
    measured.assert_undisturbed("requests for credits");
    let outcomes = outcomes.into_inner().unwrap();
    outcomes.assert_taken(20, "TOO_MANY");
    let grown = world.memory().saturating_sub(before);
    println!("requests for credits: {outcomes:?}, memory grew by {} MB", grown / MEGABYTE);
    assert!(grown < 64 * MEGABYTE, "{grown}");
}

#[tokio::test]
async fn keys_payment_methods_and_invitations_end_at_their_bounds() {
    let world = World::start(&["--max-keys-per-hour", "30"]).await;
    let developer = world.attacker("dev", Role::Developer).await;
    let mut keys = Outcomes::default();
    for no in 0..40 {
        let id = format!("k-{no}");
        let key = Key { organization_id: ORGANIZATION.into(), id, member_id: "dev".into(), ..Key::default() };
        keys.note(developer.keys().create_key(CreateKeyRequest { key: Some(key), ..Default::default() }).await);
        let rotated = RotateKeyRequest {
            organization_id: ORGANIZATION.into(),
            key_id: String::from("k-0"),
            ..RotateKeyRequest::default()
        };
        keys.note(developer.keys().rotate_key(rotated).await);
    }
    keys.assert_taken(30, "RATE_LIMITED");
    let basic = world.attacker("basic", Role::Basic).await;
    let mut methods = Outcomes::default();
    for no in 0..30 {
        let method = PaymentMethod {
            organization_id: ORGANIZATION.into(),
            id: format!("card-{no}"),
            label: "Card".into(),
            provider_token: "tok".into(),
            ..PaymentMethod::default()
        };
        let request = CreatePaymentMethodRequest { payment_method: Some(method), ..Default::default() };
        methods.note(basic.wallets().create_payment_method(request).await);
    }
    methods.assert_taken(20, "TOO_MANY");
    let admin = world.attacker("admin", Role::Admin).await;
    let mut invitations = Outcomes::default();
    for no in 0..110 {
        let invitation = Invitation {
            organization_id: ORGANIZATION.into(),
            email: format!("stranger-{no}@example.org"),
            ..Invitation::default()
        };
        let request = CreateInvitationRequest { invitation: Some(invitation), ..Default::default() };
        invitations.note(admin.members().create_invitation(request).await);
    }
    invitations.assert_taken(100, "RATE_LIMITED");
}

#[tokio::test]
async fn a_stranger_gets_an_invitation_again_three_times_a_day() {
    let world = World::start(&[]).await;
    let admin = world.attacker("admin", Role::Admin).await;
    let invitation = Invitation {
        organization_id: ORGANIZATION.into(),
        id: "stranger".into(),
        email: "stranger@example.org".into(),
        ..Invitation::default()
    };
    let request = CreateInvitationRequest { invitation: Some(invitation), ..Default::default() };
    admin.members().create_invitation(request).await.unwrap();
    let mut outcomes = Outcomes::default();
    for _ in 0..50 {
        let request = ResendInvitationRequest {
            organization_id: ORGANIZATION.into(),
            invitation_id: "stranger".into(),
            ..ResendInvitationRequest::default()
        };
        outcomes.note(admin.members().resend_invitation(request).await);
    }
    outcomes.assert_taken(3, "RATE_LIMITED");
}

fn watch(connection: &Connection) -> impl Future<Output = Result<Streaming<WatchRevocationsResponse>, Status>> {
    let mut quota = connection.quota();
    async move { Ok(quota.watch_revocations(WatchRevocationsRequest { holder: "gpu".into() }).await?.into_inner()) }
}

fn asking(request_id: String) -> ReserveRequest {
    ReserveRequest {
        payer: Some(Payer { payer: Some(By::KeyId(KEY.into())) }),
        request_id,
        model: MODEL.into(),
        usage: Some(Usage { input_tokens: 1, ..Usage::default() }),
        holder: "gpu".into(),
        ..ReserveRequest::default()
    }
}

/// Asks until a busy machine answers.
async fn ask<T>(mut call: impl AsyncFnMut() -> Result<tonic::Response<T>, Status>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer.into_inner(),
            Err(status) if status.code() == Code::Unavailable => tokio::task::yield_now().await,
            Err(status) => panic!("{status:?}"),
        }
    }
}

async fn reserve(world: &World, no: String) -> ReservationRef {
    let mut quota = world.gateway.quota();
    match ask(async || quota.reserve(asking(no.clone())).await).await.decision {
        Some(Decision::Granted(grant)) => {
            ReservationRef { reservation: Some(Reservation::ReservationId(grant.reservation_id)) }
        }
        denied => panic!("{denied:?}"),
    }
}

async fn switch(world: &World, disabled: bool) {
    let key = Key { organization_id: ORGANIZATION.into(), id: KEY.into(), disabled, ..Key::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["disabled".into()] });
    world
        .operator
        .keys()
        .update_key(UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() })
        .await
        .unwrap();
}

#[tokio::test]
async fn watchers_that_read_nothing_are_told_to_ask_anew_and_are_bounded_in_number() {
    const WATCHERS: usize = 200;
    let world = World::start(&["--max-watchers-per-token", "200"]).await;
    // On a connection of their own: what they don't read fills its window, and calls beside them would wait for ever.
    let idle = Connection::open(&world.server.endpoint, &world.service_token).await.unwrap();
    let before = world.memory();
    // The one that reads in the end has a window of its own, too small for what it is told.
    let alone = Endpoint::from_shared(world.server.endpoint.clone()).unwrap().initial_stream_window_size(1024);
    let alone = Connection::over(alone.connect().await.unwrap(), &world.service_token).unwrap();
    let mut watchers = vec![watch(&alone).await.unwrap()];
    for _ in 1..WATCHERS {
        watchers.push(watch(&idle).await.unwrap());
    }
    let refused = watch(&idle).await.unwrap_err();
    assert_eq!(reason(&refused), "RATE_LIMITED");
    for round in 0..4 {
        let mut open = Vec::new();
        for part in 0..15 {
            let asked = (0..40).map(|no| reserve(&world, format!("r-{round}-{part}-{no}")));
            open.extend(join_all(asked).await);
        }
        switch(&world, true).await;
        for part in open.chunks(40) {
            join_all(part.iter().map(|reservation| {
                let mut quota = world.gateway.quota();
                let request = ReleaseRequest { reservation: Some(reservation.clone()), ..ReleaseRequest::default() };
                async move { ask(async || quota.release(request.clone()).await).await }
            }))
            .await;
        }
        switch(&world, false).await;
    }
    let grown = world.memory().saturating_sub(before);
    println!("{WATCHERS} unread watchers of 2,400 revocations: memory grew by {} MB", grown / MEGABYTE);
    assert!(grown < 128 * MEGABYTE, "{grown}");
    let end = loop {
        match watchers[0].message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Aborted, "REVOCATIONS_UNREAD"));
    let _ = reserve(&world, String::from("open")).await;
    switch(&world, true).await;
    drop(watchers);
    // The server learns of it a moment later.
    let mut anew = loop {
        if let Ok(anew) = watch(&world.gateway).await {
            break anew;
        }
        tokio::task::yield_now().await;
    };
    let first = anew.message().await.unwrap().unwrap().revocation.unwrap();
    assert_eq!((first.request_id.as_str(), first.key_id.as_str()), ("open", KEY));
}

#[tokio::test]
async fn an_organizations_own_bounds_are_the_operators_to_set() {
    let world = World::start(&[]).await;
    let owner = world.attacker("owner", Role::Owner).await;
    let update = |open_per_key| {
        let bounds = Some(Bounds { open_per_key: Some(open_per_key), ..Bounds::default() });
        let organization = Some(Organization { id: ORGANIZATION.into(), bounds, ..Organization::default() });
        let update_mask = Some(prost_types::FieldMask { paths: vec!["bounds".into()] });
        UpdateOrganizationRequest { organization, update_mask, ..Default::default() }
    };
    let refused = owner.organizations().update_organization(update(1_000_000)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = world.operator.organizations().update_organization(update(0)).await.unwrap_err();
    assert!(refused.message().starts_with("organization.bounds.open_per_key"), "{refused:?}");
    world.operator.organizations().update_organization(update(1)).await.unwrap();
    let request = GetOrganizationRequest { organization_id: ORGANIZATION.into() };
    let shown = owner.organizations().get_organization(request).await.unwrap().into_inner().organization.unwrap();
    assert_eq!(shown.bounds.unwrap().open_per_key, Some(1));
    reserve(&world, String::from("one")).await;
    let mut quota = world.gateway.quota();
    let answer = ask(async || quota.reserve(asking(String::from("two"))).await).await;
    assert!(matches!(answer.decision, Some(Decision::Denied(_))), "{answer:?}");
}
