//! The control plane's events.

use super::{AT, models};
use crate::domain::{
    access::{AccessToken, Bearer, Invitation, InvitationState, Role},
    alert::{Alert, AlertKind, AlertSettings, BudgetAlerts, Delivery, Threshold, Webhook},
    allocation::{Allocation, AllocationSettings, Cadence, CreditRequest, CreditRequestState, CycleCause, Drawn},
    contact::WebhookSecret,
    event::{EntryKind, Event, LimitNo, NumberedLimit},
    id::{
        Actor, AlertId, CreditRequestId, InvitationId, KeyId, LimitId, MemberId, MethodId, Model, OrderId,
        OrganizationId, RequestId, RuleId, SecretHash, TeamId, TokenId,
    },
    money::Nanos,
    payment::{
        AutoTopUp, CorrectedLimit, CorrectedUsage, Correction, OrderSource, OrderState, PaymentMethod, TopUpOrder,
    },
    period::{Period, Window},
    policy::{AllocationPlace, Budget, BudgetUnit, Limit, Place, Policy, Unit},
    rule::{Cap, CapPeriod, DailyHours, Hours, Rule, Weekdays},
    zone::Zone,
};

fn limit() -> NumberedLimit {
    let window = Window { start: AT, end: AT };
    let limit = Limit::Budget(Budget {
        id: LimitId::trusted("allocation"),
        unit: BudgetUnit::Credits,
        max: Some(Nanos::units(9)),
        soft: None,
        period: Period::Cycle(window),
        models: models(),
        alerts: Some(Box::new(BudgetAlerts {
            thresholds: vec![Threshold::Amount(Nanos::units(3)), Threshold::Percent(80)],
            recipients: vec![String::from("finance@example.org")],
        })),
    });
    NumberedLimit { no: LimitNo(12), limit }
}

fn rule() -> Rule {
    Rule {
        id: RuleId::trusted("office"),
        name: String::from("Office"),
        description: String::from("By day"),
        enabled: true,
        zone: Zone::parse("zone", "UTC+8").unwrap(),
        cap: Some(Cap { enabled: true, max: Nanos::units(50), period: CapPeriod::Weekly }),
        hours: Some(Hours {
            enabled: false,
            weekdays: Weekdays::checked("weekdays", &[0, 4]).unwrap(),
            daily: DailyHours::parse("hours", "22:00-06:00").unwrap(),
        }),
        deleted: false,
        create_time: AT,
        update_time: AT,
    }
}

fn handed_out() -> Vec<Event> {
    let (team, member) = (TeamId::trusted("research"), MemberId::trusted("ann"));
    vec![
        Event::RuleSet(Box::new(rule())),
        Event::CounterOpened {
            place: Place::Rule(RuleId::trusted("office"), KeyId::trusted("key-1")),
            limit: Box::new(limit()),
        },
        Event::CounterOpened { place: Place::Allocation(AllocationPlace::Organization), limit: Box::new(limit()) },
        Event::AllocationSettingsSet(AllocationSettings {
            credits_per_cycle: Some(Nanos::units(100)),
            cadence: Cadence::Hours6,
            zone: Zone::parse("zone", "Europe/Berlin").unwrap(),
            signup_credits: Nanos::units(2),
        }),
        Event::CycleStarted { cycle: Window { start: AT, end: AT }, cause: CycleCause::Reset },
        Event::AllocationSet {
            place: AllocationPlace::Member(team.clone(), member.clone()),
            allocation: Allocation { monthly: Some(Nanos::units(7)), extra: Some(Nanos::units(1)) },
            drawn: Drawn { spent: Nanos::units(3), held: Nanos::units(2) },
        },
        Event::AutoApproveSet { team: team.clone(), reserve: Nanos::units(4) },
        Event::CreditRequestSet(Box::new(CreditRequest {
            id: CreditRequestId::trusted("request-1"),
            member,
            team,
            amount: Nanos::units(5),
            reason: String::from("a launch"),
            state: CreditRequestState::Approved,
            approved: Nanos::units(3),
            note: String::from("in part"),
            decided_by: Some(Actor::OPERATOR),
            create_time: AT,
            decide_time: Some(AT),
        })),
    ]
}

fn token() -> AccessToken {
    AccessToken {
        id: TokenId::trusted("t"),
        name: String::from("laptop"),
        hash: SecretHash::from_bytes([6; 32]),
        bearer: Bearer::Member(vec![(OrganizationId::trusted("acme"), MemberId::trusted("ann"))]),
        create_time: AT,
        expire_time: None,
    }
}

fn invited() -> Vec<Event> {
    vec![
        Event::TokenSet(Box::new(token())),
        Event::InvitationSet(Box::new(Invitation {
            id: InvitationId::trusted("invitation-1"),
            email: String::from("bob@example.org"),
            name: String::from("Bob"),
            role: Role::FinanceAdmin,
            teams: vec![TeamId::trusted("research")],
            policy: Policy { limits: vec![limit().limit] },
            invited_by: Actor::member(&MemberId::trusted("ann")),
            state: InvitationState::Accepted(MemberId::trusted("bob")),
            expire_time: AT,
            create_time: AT,
            update_time: AT,
        })),
    ]
}

fn paid() -> Vec<Event> {
    let method = MethodId::trusted("method-1");
    vec![
        Event::PaymentMethodSet(Box::new(PaymentMethod {
            id: method.clone(),
            member: MemberId::trusted("ann"),
            label: String::from("Visa …4242"),
            token: String::from("pm_1"),
            deleted: false,
            create_time: AT,
        })),
        Event::OrderSet(Box::new(TopUpOrder {
            id: OrderId::trusted("order-9"),
            request: RequestId::trusted("\u{1}auto-9"),
            fingerprint: 4,
            amount: Nanos::units(20),
            source: OrderSource::Automatic,
            method: Some(method.clone()),
            actor: Actor::SYSTEM,
            reason: String::from("automatic"),
            state: OrderState::Reversed,
            reference: String::from("ch_1"),
            failure: String::from("no funds"),
            placed: true,
            entry: Some(8),
            create_time: AT,
            update_time: AT,
        })),
        Event::AutoTopUpSet(Box::new(AutoTopUp {
            target: Some(Nanos::units(60)),
            enabled: true,
            threshold: Nanos::units(5),
            amount: Nanos::units(20),
            method: Some(method),
            monthly_cap: Some(Nanos::units(100)),
            declines: 1,
            pause_until: Some(AT),
            disabled_reason: String::from("declined"),
            update_time: AT,
        })),
        Event::Corrected(Box::new(Correction {
            entry: 10,
            kind: EntryKind::Refund,
            request: RequestId::trusted("refund-1"),
            fingerprint: 5,
            amount: Nanos::units(1),
            of_ceiling: Nanos::new(7),
            wallet: Nanos::units(1),
            balance: Nanos::units(6),
            corrects: 8,
            reason: String::from("twice"),
            usage: Some(Box::new(corrected())),
        })),
    ]
}

fn corrected() -> CorrectedUsage {
    CorrectedUsage {
        occurred_at: AT,
        key: KeyId::trusted("k1"),
        member: MemberId::trusted("ann"),
        team: TeamId::trusted("default"),
        model: Model::trusted("m"),
        labels: None,
        cost: Nanos::units(-1),
        credits: Nanos::units(-2),
        limits: [CorrectedLimit { limit: LimitNo(3), unit: Unit::Credits, window: AT, amount: Nanos::units(-2) }]
            .into(),
        drawn: Drawn { spent: Nanos::units(-1), held: Nanos::ZERO },
    }
}

fn told() -> Vec<Event> {
    vec![
        Event::AlertSettingsSet(Box::new(AlertSettings {
            recipients: vec![String::from("ops@example.org")],
            webhook: Some(Webhook {
                url: String::from("https://hooks.example.org"),
                secret: WebhookSecret::from_random([5; 24]),
            }),
            low_balance: Some(Nanos::units(5)),
        })),
        Event::AlertSet(Box::new(Alert {
            id: AlertId::trusted("alert-3"),
            kind: AlertKind::WalletLow,
            subject: String::from("The balance is low"),
            facts: vec![("balance".into(), String::from("4.00 USD"))],
            recipients: vec![String::from("ops@example.org")],
            mail: Delivery::Pending {
                attempts: 2,
                next: AT,
                problem: String::from("refused"),
                left: vec![String::from("ops@example.org")],
            },
            webhook: Delivery::Delivered(AT),
            create_time: AT,
            acknowledged: Some((Actor::OPERATOR, AT)),
        })),
        Event::AlertCaused { cause: "wallet-low".into(), until: AT },
    ]
}

pub(super) fn events() -> Vec<Event> {
    let removed = Event::GrantRemoved {
        organization: OrganizationId::trusted("lab"),
        member: MemberId::trusted("ann2"),
        left: Box::new(token()),
    };
    [handed_out(), invited(), paid(), told(), vec![removed]].concat()
}
