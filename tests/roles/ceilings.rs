//! The operator's word on an organization: ceilings and suspension, which the tenant sees and can't change.

use quotad::{
    api::proto::{self, DenialCode, Organization, Scope, Unit},
    client::Connection,
};
use tonic::Code;

use crate::{
    calling::{ROLES, Stage},
    messages::{
        Failure, budget, charge, check, codes, commit, extend, failed, mask, policy, quota, release, reserve, usd,
        wrong_field,
    },
    people::outcome,
    rpc::{about, method, methods, name, set},
    world::{ACME, Place, World},
};

async fn update(by: &Connection, organization: Organization, fields: &[&str]) -> Result<Organization, Failure> {
    let organization = Organization { id: ACME.into(), ..organization };
    let update = proto::UpdateOrganizationRequest {
        organization: Some(organization),
        update_mask: mask(fields),
        ..Default::default()
    };
    Ok(outcome(by.organizations().update_organization(update).await)?.organization.unwrap())
}

async fn read(by: &Connection) -> Organization {
    let get = proto::GetOrganizationRequest { organization_id: ACME.into() };
    outcome(by.organizations().get_organization(get).await).unwrap().organization.unwrap()
}

async fn suspend(world: &World, suspended: bool) {
    world.update_organization(Organization { suspended, ..Organization::default() }, &["suspended"]).await;
}

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

#[tokio::test]
async fn a_tenant_sees_its_ceiling_and_suspension_and_lifts_neither() {
    let mut stage = Stage::new().await;
    let ceiling = policy(vec![budget("most", "5")], vec![quota("rate", Unit::RequestsPerMinute, 100)]);
    stage.world.limit(Place::Ceiling, ceiling.clone()).await;
    stage.world.limit(Place::Organization, policy(vec![budget("own", "1")], Vec::new())).await;
    for _ in 0..2 {
        for (who, _) in ROLES {
            let by = stage.world.access(ACME, who).await;
            assert_eq!(update(&by, Organization::default(), &["ceiling"]).await, Err(denied()), "{who}");
            assert_eq!(update(&by, Organization::default(), &["policy", "ceiling"]).await, Err(denied()), "{who}");
            assert_eq!(update(&by, Organization::default(), &["suspended"]).await, Err(denied()), "{who}");
        }
        let owner = stage.world.access(ACME, "owner").await;
        let seen = read(&owner).await;
        assert_eq!(seen.ceiling, ceiling);
        let scopes = seen.limits.iter().map(|limit| (limit.scope(), limit.limit_id.as_str()));
        let expected = [(Scope::Organization, "own"), (Scope::Ceiling, "most"), (Scope::Ceiling, "rate")];
        assert_eq!(scopes.collect::<Vec<_>>(), expected);
        stage.world.restart().await;
    }
    // What the organization set itself, it takes away; the operator's stays.
    let owner = stage.world.access(ACME, "owner").await;
    let left = update(&owner, Organization::default(), &["policy", "disabled"]).await.unwrap();
    assert_eq!((left.policy, left.ceiling), (policy(Vec::new(), Vec::new()), ceiling));
    let denial = stage.world.reserve(reserve("k1", "r", usd("6"))).await.unwrap_err();
    assert_eq!(codes(&denial), (DenialCode::BudgetExceeded, vec![DenialCode::BudgetExceeded]));
    let limit = denial.violations[0].limit.as_ref().unwrap();
    assert_eq!((limit.scope(), limit.scope_id.as_str(), limit.limit_id.as_str()), (Scope::Ceiling, ACME, "most"));
    stage.world.charge(charge("k1", "c", usd("5"))).await.unwrap().unwrap();
    assert_eq!(stage.world.standing("k1", "most").await.spent, "5");
    stage.world.verify().await;
    let list = proto::ListAuditEventsRequest {
        organization_id: ACME.into(),
        kind: "policy".into(),
        id: "ceiling".into(),
        ..Default::default()
    };
    let events = outcome(owner.organizations().list_audit_events(list).await).unwrap().events;
    assert_eq!(events.iter().map(|event| event.actor.as_str()).collect::<Vec<_>>(), ["operator"]);
}

#[tokio::test]
async fn a_ceiling_is_of_usd_and_quotas_and_no_longer_than_a_policy() {
    let world = World::new().await;
    let refused = async |ceiling: Option<proto::Policy>| {
        let organization = Some(Organization { id: ACME.into(), ceiling, ..Organization::default() });
        let update =
            proto::UpdateOrganizationRequest { organization, update_mask: mask(&["ceiling"]), ..Default::default() };
        wrong_field(&world.operator.organizations().update_organization(update).await.unwrap_err())
    };
    let credits = proto::Budget { unit: Unit::Credits.into(), ..budget("c", "1") };
    assert_eq!(
        refused(policy(vec![budget("b", "1"), credits.clone()], Vec::new())).await,
        "organization.ceiling.budgets[1].unit"
    );
    let budgets = |count| (0..count).map(|no| budget(&format!("b{no}"), "1")).collect();
    let quotas = (0..16).map(|no| quota(&format!("q{no}"), Unit::RequestsPerMinute, 1)).collect();
    assert_eq!(refused(policy(budgets(33), Vec::new())).await, "organization.ceiling.budgets");
    assert_eq!(refused(policy(budgets(17), quotas)).await, "organization.ceiling");
    let new = |ceiling| {
        let organization = Organization { id: "lab".into(), suspended: true, ceiling, ..Organization::default() };
        proto::CreateOrganizationRequest { organization: Some(organization), request_id: String::new() }
    };
    let status = world.operator.organizations().create_organization(new(policy(vec![credits], Vec::new()))).await;
    assert_eq!(wrong_field(&status.unwrap_err()), "organization.ceiling.budgets[0].unit");
    let made = outcome(
        world.operator.organizations().create_organization(new(policy(vec![budget("b", "1")], Vec::new()))).await,
    );
    let made = made.unwrap().organization.unwrap();
    assert_eq!((made.suspended, made.ceiling.unwrap().budgets.len(), made.limits.len()), (true, 1, 1));
}

#[tokio::test]
async fn an_update_of_something_read_before_the_operator_spoke_is_stale() {
    let stage = Stage::new().await;
    let owner = stage.world.access(ACME, "owner").await;
    let mut etags = vec![read(&owner).await.etag];
    stage.world.limit(Place::Ceiling, policy(vec![budget("most", "5")], Vec::new())).await;
    etags.push(read(&owner).await.etag);
    suspend(&stage.world, true).await;
    for etag in etags {
        let outdated = update(&owner, Organization { etag, ..Organization::default() }, &["name"]).await;
        assert_eq!(outdated, Err(failed(Code::Aborted, "ETAG_STALE")));
    }
}

#[tokio::test]
async fn a_suspended_organization_settles_reads_and_deletes_but_begins_and_orders_nothing() {
    let mut stage = Stage::new().await;
    let owner = stage.world.access(ACME, "owner").await;
    stage.world.key("k2", "ada", "default").await;
    let held =
        async |request: &str| stage.world.reserve(reserve("k1", request, usd("1"))).await.unwrap().reservation_id;
    let (first, second) = (held("a").await, held("b").await);
    let card = proto::PaymentMethod {
        organization_id: ACME.into(),
        label: "Visa".into(),
        provider_token: "tok_1".into(),
        ..Default::default()
    };
    let new = proto::CreatePaymentMethodRequest { payment_method: Some(card), request_id: String::new() };
    let card = outcome(owner.wallets().create_payment_method(new).await).unwrap().payment_method.unwrap().id;
    suspend(&stage.world, true).await;
    // The tenant's own switch is another.
    update(&owner, Organization::default(), &["disabled"]).await.unwrap();
    stage.world.restart().await;
    let (world, owner) = (&stage.world, stage.world.access(ACME, "owner").await);
    let inactive = |denial: proto::Denial| codes(&denial).0 == DenialCode::OrganizationInactive;
    assert!(inactive(world.reserve(reserve("k1", "c", usd("1"))).await.unwrap_err()));
    assert!(inactive(world.check(check("k1", usd("1"))).await.0.unwrap_err()));
    assert!(inactive(world.charge(charge("k1", "d", usd("1"))).await.unwrap().unwrap_err()));
    let stopped = world.extend(extend(&first)).await.unwrap().unwrap_err();
    assert_eq!(stopped.code(), DenialCode::Revoked);
    world.commit(commit(&first, usd("1"))).await.unwrap();
    world.release(release(&second)).await.unwrap();
    let done = proto::ChargeRequest { already_used: true, ..charge("k1", "e", usd("2")) };
    world.charge(done).await.unwrap().unwrap();
    let order = proto::TopUpRequest {
        organization_id: ACME.into(),
        amount_usd: "5".into(),
        request_id: "order".into(),
        payment_method_id: card,
        ..Default::default()
    };
    let ordered = outcome(owner.wallets().top_up(order.clone()).await).map(drop);
    assert_eq!(ordered, Err(failed(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")));
    world.top_up("gift", "5").await.unwrap();
    assert!(read(&owner).await.suspended);
    let list = proto::ListTransactionsRequest { organization_id: ACME.into(), ..Default::default() };
    assert_eq!(outcome(owner.ledger().list_transactions(list).await).unwrap().transactions.len(), 3);
    let delete = proto::DeleteKeyRequest { organization_id: ACME.into(), key_id: "k2".into(), ..Default::default() };
    outcome(owner.keys().delete_key(delete).await).unwrap();
    suspend(world, false).await;
    world.reserve(reserve("k1", "c", usd("1"))).await.unwrap();
    outcome(owner.wallets().top_up(order).await).unwrap();
    world.verify().await;
}

/// Every method answers as it did before: a suspension takes no right away.
#[tokio::test]
async fn a_suspension_lets_in_whoever_was_let_in_before() {
    let (plain, suspended) = (Stage::new().await, Stage::new().await);
    suspend(&suspended.world, true).await;
    let mut other = Vec::new();
    for method in methods() {
        let Some(message) = about(&method, ACME) else { continue };
        if name(&method).ends_with("/DeleteOrganization") {
            continue;
        }
        for (who, _) in ROLES {
            let codes = [plain.call(who, &method, &message).await, suspended.call(who, &method, &message).await];
            if codes[0] != codes[1] {
                other.push(format!("{} by {who}: {codes:?}", name(&method)));
            }
        }
    }
    assert_eq!(other, [""; 0]);
    let delete = method("KeyService/DeleteKey");
    let mut message = about(&delete, ACME).unwrap();
    set(&mut message, "key_id", "k1");
    assert_eq!(suspended.call("admin", &delete, &message).await, Code::Ok);
}
