//! One event of each variant with every field set, to pin how they are encoded.

use std::sync::Arc;

use crate::domain::{
    access::{AccessToken, Bearer, Scopes, Verb},
    bounds::OwnBounds,
    decision::{DenialCode, RevocationCause},
    entity::{ExpiryPolicy, Key, Managed, Member, Membership, Organization, PriceEntry, Team, WalletMode},
    event::{Booked, EntryKind, Event, Extended, LimitNo, NumberedLimit, Reserved, Settled, TopUp, Touch},
    id::{Holder, KeyId, LimitId, MemberId, Model, OrganizationId, RequestId, SecretHash, TeamId, TokenId},
    model::ModelPattern,
    money::{Factor, Nanos},
    period::{Period, Zone},
    policy::{Budget, BudgetUnit, Limit, Models, Place, Quota, QuotaUnit, Scope, Unit},
    price::Price,
    reservation_id::{ReservationNo, SealKey},
    time::Timestamp,
    usage::{Amounts, Usage},
};

mod control;

const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const NO: ReservationNo = ReservationNo { epoch: 2, sequence: 77 };

fn models() -> Models {
    Models::checked("models", vec![ModelPattern::parse("models", "llama-*").unwrap()]).unwrap()
}

fn price() -> Price {
    Price {
        input: Nanos::new(1),
        cached_input: Nanos::new(2),
        cache_write: Nanos::new(3),
        output: Nanos::new(4),
        per_request: Nanos::new(5),
        cache_outside_input: true,
    }
}

fn usage() -> Usage {
    Usage {
        input_tokens: 10,
        cached_input_tokens: 2,
        cache_write_tokens: 3,
        output_tokens: 20,
        requests: 1,
        cost: Some(Nanos::new(99)),
        cache_outside_input: Some(true),
    }
}

fn amounts() -> Amounts {
    Amounts { usd: Nanos::new(99), credits: Nanos::new(990), tokens: 30, requests: 1 }
}

fn touches() -> Arc<[Touch]> {
    Arc::from([
        Touch { limit: LimitNo(0), unit: Unit::Usd, window: AT },
        Touch { limit: LimitNo(300), unit: Unit::InFlight, window: AT },
    ])
}

fn limits() -> Vec<NumberedLimit> {
    let zone = Zone::parse("zone", "Europe/Berlin").unwrap();
    let periods = [
        Period::OneTime,
        Period::Daily { zone },
        Period::Weekly { zone, start: 6 },
        Period::Monthly { zone },
        Period::Every { seconds: 900, anchor: 60 },
    ];
    let budget = |period| {
        Limit::Budget(Budget {
            alerts: None,
            id: LimitId::trusted("budget"),
            unit: BudgetUnit::Credits,
            max: Some(Nanos::units(5)),
            soft: None,
            period,
            models: models(),
        })
    };
    let quota = Limit::Quota(Quota {
        id: LimitId::trusted("quota"),
        unit: QuotaUnit::TokensPerMinute,
        max: 7,
        models: Models::default(),
    });
    let limits = periods.into_iter().map(budget).chain([quota]);
    (0..).zip(limits).map(|(no, limit)| NumberedLimit { no: LimitNo(no), limit }).collect()
}

fn reserved() -> Arc<Reserved> {
    Arc::new(Reserved {
        request: Some(RequestId::trusted("request-1")),
        fingerprint: u64::MAX,
        key: KeyId::trusted("key-1"),
        model: Model::trusted("llama"),
        price: Some(price()),
        factor: Factor::ONE,
        usage: usage(),
        held: amounts(),
        wallet: true,
        drawn: Nanos::new(2),
        touches: touches(),
        narrowed: Box::from([LimitNo(3)]),
        expire_time: AT,
        holder: Some(Holder::trusted("gateway")),
        labels: Some(Arc::from([("team".into(), "red".into())])),
    })
}

fn settled() -> Settled {
    Settled {
        entry: Some(5),
        kind: EntryKind::LateCommit,
        takes_back: false,
        reservation: Some(NO),
        request: None,
        fingerprint: 7,
        occurred_at: AT,
        key: KeyId::trusted("key-1"),
        member: MemberId::trusted("ann"),
        team: TeamId::trusted("default"),
        model: Model::trusted("llama"),
        reserved_model: Some(Model::trusted("qwen")),
        price: None,
        usage: usage(),
        total: amounts(),
        booked: Booked { cost: Nanos::new(-3), output_tokens: -20, ..Booked::default() },
        overage: Amounts::ZERO,
        wallet: Nanos::new(3),
        balance: Nanos::new(1000),
        drawn: crate::domain::allocation::Drawn { spent: Nanos::new(4), held: Nanos::new(-2) },
        touches: touches(),
        labels: None,
        reason: Some("aborted".into()),
    }
}

fn entities() -> Vec<Event> {
    let (team, member) = (TeamId::trusted("default"), MemberId::trusted("ann"));
    let (create_time, update_time) = (AT, AT);
    let (disabled, deleted, name) = (true, false, String::from("A name"));
    vec![
        Event::OrganizationSet(Box::new(Organization {
            kind: crate::domain::entity::AccountKind::Team,
            default_rule: None,
            id: OrganizationId::trusted("acme"),
            name: name.clone(),
            credit_factor: Factor::ONE,
            wallet_mode: WalletMode::Off,
            expiry_policy: ExpiryPolicy::ChargeHeld,
            disabled,
            suspended: true,
            deleted,
            create_time,
            update_time,
            bounds: Some(Box::new(OwnBounds { open: Some(9), ..OwnBounds::default() })),
        })),
        Event::TeamSet(Box::new(Team {
            member_policy: crate::domain::policy::Policy::default(),
            id: team.clone(),
            name: name.clone(),
            disabled,
            deleted,
            create_time,
            update_time,
        })),
        Event::MemberSet(Box::new(Member {
            role: crate::domain::access::Role::Developer,
            id: member.clone(),
            name: name.clone(),
            email: String::from("ann@acme.example"),
            disabled,
            deleted,
            create_time,
            update_time,
        })),
        Event::MembershipSet(Box::new(Membership {
            overrides: false,
            team: team.clone(),
            member: member.clone(),
            deleted,
            create_time,
            update_time,
        })),
        Event::KeySet(Box::new(Key {
            rule: None,
            previous_until: None,
            managed: Managed { disabled: false, expire_time: true, models: true },
            id: KeyId::trusted("key-1"),
            member: member.clone(),
            team: team.clone(),
            name,
            secret_prefix: String::from("qk_12"),
            disabled,
            deleted,
            expire_time: Some(AT),
            models: models(),
            create_time,
            update_time,
        })),
        Event::PolicySet {
            place: Place::Membership(team, member),
            limits: limits(),
            retired: Box::new(vec![LimitNo(9)]),
        },
    ]
}

pub(super) fn events() -> Vec<Event> {
    let mut events = entities();
    let cause = RevocationCause {
        code: DenialCode::BudgetExceeded,
        scope: Scope::Team,
        scope_id: "default".into(),
        limit: Some(LimitId::trusted("budget")),
    };
    events.extend([
        Event::RequestTaken { request: RequestId::trusted("r"), fingerprint: 1, created: "key-1".into() },
        Event::Reserved(reserved()),
        Event::Extended(Box::new(Extended {
            reservation: NO,
            expire_time: AT,
            usage: usage(),
            held: amounts(),
            drawn: Nanos::new(-2),
            progress: Some((usage(), amounts())),
        })),
        Event::Released { reservation: NO, reason: "unused".into(), drawn: Nanos::new(-3) },
        Event::Settled(Arc::new(settled())),
        Event::Expired { reservation: NO, drawn: Nanos::ZERO },
        Event::Revoked { reservation: NO, cause: Box::new(cause) },
        Event::ToppedUp(Box::new(TopUp {
            order: crate::domain::id::OrderId::trusted("order-1"),
            member: None,
            entry: 1,
            request: RequestId::trusted("invoice-7"),
            fingerprint: 3,
            amount: Nanos::units(25),
            balance: Nanos::units(30),
            reason: String::from("paid"),
        })),
        Event::Initialized { seal: SealKey::new([7; 32]) },
        Event::PriceSet(Box::new(PriceEntry {
            model: Model::trusted("llama"),
            price: price().into(),
            update_time: AT,
        })),
        Event::PriceDeleted(Model::trusted("llama")),
        Event::TokenSet(Box::new(AccessToken {
            bearer: Bearer::Service(Scopes::new(
                vec![OrganizationId::trusted("acme")],
                vec![Verb::Reserve, Verb::Commit],
            )),
            id: TokenId::trusted("gateway"),
            name: String::from("Gateway"),
            hash: SecretHash::from_bytes([9; 32]),
            create_time: AT,
            expire_time: Some(AT),
        })),
        Event::TokenDeleted(TokenId::trusted("gateway")),
        Event::KeyRegistered {
            key: KeyId::trusted("key-1"),
            organization: OrganizationId::trusted("acme"),
            hash: SecretHash::from_bytes([8; 32]),
            previous: Some(Box::new((SecretHash::from_bytes([7; 32]), AT))),
        },
        Event::Restored { reservation: NO, admit_time: AT, reserved: reserved() },
        Event::Started,
    ]);
    events.extend(control::events());
    events
}
