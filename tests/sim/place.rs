//! The organizations that are simulated, and what is set in them.

use std::sync::Arc;

use quotad::{
    domain::{
        access::Role,
        allocation::Cadence,
        entity::{AccountKind, ExpiryPolicy, WalletMode},
        id::{KeyId, LimitId, MemberId, Model, OrganizationId, RequestId, RuleId, TeamId},
        money::{Factor, Nanos},
        operation::Payer,
        period::{Period, Zone},
        policy::{Budget, BudgetUnit, Limit, Models, Policy, Quota, QuotaUnit},
        price::Price,
        rule::{Cap, CapPeriod},
    },
    service::{
        Caller, NewKey, NewMember, NewOrganization, NewRule, NewTeam, NewTopUp, Repeatable, Service, SettingsChange,
    },
};

use crate::chance::Chance;

pub(crate) const MODELS: [&str; 2] = ["small", "large"];
pub(crate) const ORGANIZATIONS: u64 = 2;
pub(crate) const KEYS: u64 = 2;

/// Who pays: a key in its organization.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) organization: OrganizationId,
    pub(crate) key: KeyId,
}

impl Place {
    pub(crate) fn payer(&self) -> Payer {
        Payer::Key(self.key.clone())
    }

    pub(crate) fn any(chance: &Chance) -> Self {
        let (organization, key) = (chance.below(ORGANIZATIONS), chance.below(KEYS));
        Self { organization: self::organization(organization), key: self::key(organization, key) }
    }
}

pub(crate) fn organization(number: u64) -> OrganizationId {
    OrganizationId::trusted(format!("org-{number}"))
}

pub(crate) fn key(organization: u64, number: u64) -> KeyId {
    KeyId::trusted(format!("key-{organization}-{number}"))
}

pub(crate) fn member(number: u64) -> MemberId {
    MemberId::trusted(format!("member-{number}"))
}

/// A small amount that is told from any other.
pub(crate) fn marked(mark: u64) -> Nanos {
    Nanos::new(i64::try_from(1_000_000 + mark).unwrap())
}

pub(crate) fn new_key(id: KeyId, of: u64, team: &str) -> NewKey {
    NewKey {
        id: Some(id),
        member: Some(member(of)),
        team: TeamId::trusted(team),
        name: String::new(),
        disabled: false,
        expire_time: None,
        models: Models::default(),
        rule: None,
        policy: Policy::default(),
    }
}

fn budget(id: &str, unit: BudgetUnit, max: Nanos, period: Period) -> Limit {
    let (id, max, soft, models) = (LimitId::trusted(id), Some(max), Some(max), Models::default());
    Limit::Budget(Budget { id, unit, max, soft, period, models, alerts: None })
}

fn quota(id: &str, unit: QuotaUnit, max: u64) -> Limit {
    Limit::Quota(Quota { id: LimitId::trusted(id), unit, max, models: Models::default() })
}

/// Caps that are reached now and then.
pub(crate) fn policy(mark: u64) -> Policy {
    let max = Nanos::units(1 + i64::try_from(mark % 5).unwrap());
    let limits = vec![
        budget("month", BudgetUnit::Usd, max, Period::Monthly { zone: Zone::UTC }),
        budget("minute", BudgetUnit::Usd, Nanos::units(1), Period::Every { seconds: 60, anchor: 0 }),
        budget("credits", BudgetUnit::Credits, Nanos::units(40), Period::OneTime),
        quota("requests", QuotaUnit::RequestsPerMinute, 40),
        quota("tokens", QuotaUnit::TokensPerMinute, 200_000),
        quota("at-once", QuotaUnit::InFlight, 6),
    ];
    Policy::checked(limits).unwrap()
}

pub(crate) fn rule(mark: u64) -> NewRule {
    NewRule {
        id: Some(RuleId::trusted(format!("rule-{mark}"))),
        name: format!("mark-{mark}"),
        description: String::new(),
        enabled: true,
        zone: Zone::UTC,
        cap: Some(Cap { enabled: true, max: Nanos::units(20), period: CapPeriod::Daily }),
        hours: None,
    }
}

/// Makes everything that clients work with.
pub(crate) async fn set_up(service: &Arc<Service>, caller: &Caller, chance: &Chance) {
    for (model, per_request) in MODELS.into_iter().zip([Nanos::new(1_000_000), Nanos::new(5_000_000)]) {
        let each = Nanos::units(20);
        let input = each;
        let price =
            Price { input, cached_input: each, cache_write: each, output: each, per_request, ..Price::default() };
        service.create_price(caller, Model::trusted(model), price.into()).await.unwrap();
    }
    for number in 0..ORGANIZATIONS {
        set_up_one(service, caller, chance, number).await;
    }
}

async fn set_up_one(service: &Arc<Service>, caller: &Caller, chance: &Chance, number: u64) {
    let id = organization(number);
    let once = Repeatable::default();
    let new = NewOrganization {
        id: Some(id.clone()),
        name: String::new(),
        kind: AccountKind::Team,
        credit_factor: Factor::ONE,
        wallet_mode: if chance.one_in(3) { WalletMode::Off } else { WalletMode::Enforced },
        expiry_policy: if chance.one_in(3) { ExpiryPolicy::ChargeHeld } else { ExpiryPolicy::Release },
        bounds: None,
        disabled: false,
        suspended: false,
        ceiling: Policy::default(),
        policy: policy(number),
    };
    service.create_organization(caller, new, once).await.unwrap();
    let team = NewTeam {
        id: Some(TeamId::trusted("red")),
        name: String::new(),
        disabled: false,
        policy: Policy::checked(vec![quota("team-at-once", QuotaUnit::InFlight, 5)]).unwrap(),
        member_policy: Policy::default(),
    };
    service.create_team(caller, &id, team, once).await.unwrap();
    for of in 0..KEYS {
        let new = NewMember {
            id: Some(member(of)),
            name: String::new(),
            email: format!("member-{of}@example.org"),
            role: Role::Developer,
            disabled: false,
            policy: Policy::default(),
            teams: vec![TeamId::trusted("default"), TeamId::trusted("red")],
        };
        service.create_member(caller, &id, new, once).await.unwrap();
        let team = if of == 0 { "red" } else { "default" };
        service.create_key(caller, &id, new_key(key(number, of), of, team), once).await.unwrap();
    }
    let settings = SettingsChange {
        credits_per_cycle: Some(Some(Nanos::units(60))),
        cadence: Some(Cadence::Hour),
        ..SettingsChange::default()
    };
    service.update_allocation_settings(caller, &id, settings, (false, false)).await.unwrap();
    let (request, amount) = (RequestId::trusted(format!("first-{number}")), Nanos::units(3));
    let first = NewTopUp { request, amount, reason: String::from("first"), method: None };
    service.top_up(caller, &id, first).await.unwrap();
}
