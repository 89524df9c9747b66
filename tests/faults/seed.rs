//! Two organizations with limits on every scope, each with room for all that the load asks for but on one key.

use quotad::{
    api::proto::{
        AllocationSettings, Budget, Cadence, CreateKeyRequest, CreateMemberRequest, CreateOrganizationRequest,
        CreatePriceRequest, CreateRuleRequest, CreateServiceTokenRequest, CreateTeamRequest, CreditCap, Key, Member,
        Membership, Organization, Period, PeriodKind, Policy, Price, Quota, Rule, ServiceToken, Team, TeamAllocation,
        TopUpRequest, TransactionKind, Unit, UpdateAllocationSettingsRequest, UpdateMembershipRequest,
        UpdateOrganizationRequest, UpdateTeamAllocationRequest,
    },
    client::Connection,
    domain::money::Nanos,
};

use crate::acknowledged::{Acknowledged, Booked};

pub(crate) const ORGANIZATIONS: [&str; 2] = ["acme", "beta"];
pub(crate) const MODEL: &str = "llama";
/// Members of each organization, each with a key of the same number; each caller sets those of its own number.
pub(crate) const MEMBERS: usize = 8;
/// The key with a budget that the load uses up.
pub(crate) const TIGHT: &str = "tight";
pub(crate) const TIGHT_BUDGET: &str = "0.05";
/// The id of the budget that each scope has.
pub(crate) const BUDGET: &str = "all";
pub(crate) const DAILY: &str = "daily";
pub(crate) const MINUTE: &str = "minute";
pub(crate) const IN_FLIGHT: &str = "slots";
const ENOUGH: &str = "1000000";

pub(crate) fn member(number: usize) -> String {
    format!("member-{number}")
}

/// Key ids are unique over all organizations.
pub(crate) fn key(organization: &str, name: impl std::fmt::Display) -> String {
    format!("{organization}-{name}")
}

pub(crate) fn rule(number: usize) -> String {
    format!("rule-{number}")
}

pub(crate) fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

/// A budget that never resets, so that it can be compared with the sum of all entries.
pub(crate) fn policy(max: &str) -> Option<Policy> {
    let budget = |id: &str, unit: Unit, kind: PeriodKind, max: &str| Budget {
        id: id.into(),
        unit: unit.into(),
        max: max.into(),
        period: Some(Period { kind: kind.into(), ..Period::default() }),
        ..Budget::default()
    };
    let mut minute = budget(MINUTE, Unit::Usd, PeriodKind::Every, max);
    minute.period.as_mut().unwrap().interval = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let quota = |id: &str, unit: Unit, max| Quota { id: id.into(), unit: unit.into(), max, ..Quota::default() };
    Some(Policy {
        budgets: vec![
            budget(BUDGET, Unit::Usd, PeriodKind::OneTime, max),
            budget(DAILY, Unit::Credits, PeriodKind::Daily, ENOUGH),
            minute,
        ],
        quotas: vec![quota(IN_FLIGHT, Unit::InFlight, 10_000), quota("rpm", Unit::RequestsPerMinute, 10_000_000)],
    })
}

/// Answers a service token's secret and what was booked.
pub(crate) async fn seed(operator: &Connection) -> (String, Acknowledged) {
    let price = Price {
        model: MODEL.into(),
        input_per_million: "1".into(),
        output_per_million: "2".into(),
        ..Price::default()
    };
    operator.prices().create_price(CreatePriceRequest { price: Some(price) }).await.unwrap();
    let mut acknowledged = Acknowledged::default();
    for organization in ORGANIZATIONS {
        create(operator, organization).await;
        let first = TopUpRequest {
            organization_id: organization.into(),
            amount_usd: ENOUGH.into(),
            request_id: "first".into(),
            ..TopUpRequest::default()
        };
        let order = operator.wallets().top_up(first).await.unwrap().into_inner().order.unwrap();
        let amount = Nanos::parse("amount", ENOUGH).unwrap();
        let booked = Booked { kind: TransactionKind::TopUp, id: "first".into(), amount };
        acknowledged.booked(&(organization.into(), order.entry), &booked);
        people(operator, organization).await;
        credits(operator, organization).await;
    }
    let token = CreateServiceTokenRequest { token: Some(ServiceToken::default()) };
    let service = operator.tokens().create_service_token(token).await.unwrap().into_inner();
    (service.secret, acknowledged)
}

async fn create(operator: &Connection, id: &str) {
    let organization = Organization {
        id: id.into(),
        credit_factor: if id == ORGANIZATIONS[0] { "1".into() } else { "100".into() },
        policy: policy(ENOUGH),
        ..Organization::default()
    };
    let create = CreateOrganizationRequest { organization: Some(organization), request_id: String::new() };
    operator.organizations().create_organization(create).await.unwrap();
    let team = Team { organization_id: id.into(), id: "research".into(), policy: policy(ENOUGH), ..Team::default() };
    operator.teams().create_team(CreateTeamRequest { team: Some(team), request_id: String::new() }).await.unwrap();
    for number in 0..MEMBERS {
        let rule = Rule {
            organization_id: id.into(),
            id: rule(number),
            name: "0".into(),
            enabled: true,
            cap: Some(CreditCap { enabled: true, max_credits: ENOUGH.into(), period: PeriodKind::Monthly.into() }),
            ..Rule::default()
        };
        operator.rules().create_rule(CreateRuleRequest { rule: Some(rule), request_id: String::new() }).await.unwrap();
    }
    let organization = Organization { id: id.into(), default_rule_id: rule(0), ..Organization::default() };
    let update = UpdateOrganizationRequest {
        organization: Some(organization),
        update_mask: mask(&["default_rule_id"]),
        ..Default::default()
    };
    operator.organizations().update_organization(update).await.unwrap();
}

async fn people(operator: &Connection, organization: &str) {
    let organization_id = organization.to_owned();
    for number in 0..MEMBERS {
        let new = Member {
            organization_id: organization_id.clone(),
            id: member(number),
            policy: policy(ENOUGH),
            ..Member::default()
        };
        let create =
            CreateMemberRequest { member: Some(new), team_ids: vec!["research".into()], request_id: String::new() };
        operator.members().create_member(create).await.unwrap();
        let membership = Membership {
            organization_id: organization_id.clone(),
            team_id: "research".into(),
            member_id: member(number),
            policy: policy(ENOUGH),
            ..Membership::default()
        };
        let update = UpdateMembershipRequest {
            membership: Some(membership),
            update_mask: mask(&["policy"]),
            ..Default::default()
        };
        operator.teams().update_membership(update).await.unwrap();
        create_key(operator, organization, &number.to_string(), number, ENOUGH).await;
    }
    create_key(operator, organization, TIGHT, 0, TIGHT_BUDGET).await;
}

async fn create_key(operator: &Connection, organization: &str, name: &str, of: usize, max: &str) {
    let key = Key {
        organization_id: organization.into(),
        id: key(organization, name),
        member_id: member(of),
        team_id: "research".into(),
        policy: policy(max),
        ..Key::default()
    };
    operator.keys().create_key(CreateKeyRequest { key: Some(key), request_id: String::new() }).await.unwrap();
}

async fn credits(operator: &Connection, organization: &str) {
    let settings = AllocationSettings {
        organization_id: organization.into(),
        credits_per_cycle: "100000000".into(),
        cadence: Cadence::CalendarMonth.into(),
        ..AllocationSettings::default()
    };
    let update = UpdateAllocationSettingsRequest {
        settings: Some(settings),
        update_mask: mask(&["credits_per_cycle", "cadence"]),
        validate_only: false,
        ..Default::default()
    };
    operator.allocations().update_allocation_settings(update).await.unwrap();
    let allocation = TeamAllocation {
        organization_id: organization.into(),
        team_id: "research".into(),
        monthly: "90000000".into(),
        ..TeamAllocation::default()
    };
    let update = UpdateTeamAllocationRequest { allocation: Some(allocation), update_mask: mask(&["monthly"]) };
    operator.allocations().update_team_allocation(update).await.unwrap();
}
