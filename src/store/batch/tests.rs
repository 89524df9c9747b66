//! Records to fill books with, and what they come to.

use super::*;
use crate::domain::{
    entity::{ExpiryPolicy, WalletMode},
    event::{Booked, Touch},
    id::{Actor, LimitId, RequestId},
    money::Factor,
    period::Period,
    policy::{Budget, BudgetUnit, Limit, Models},
    usage::Usage,
};

/// Makes the records of one organization `acme` with a team, a member, a key and a budget.
pub(crate) struct Script {
    pub records: Vec<Record>,
    sequence: u64,
    entry: u64,
    balance: Nanos,
}

const DAY: Timestamp = Timestamp::from_seconds(1_700_000_000);

impl Script {
    pub(crate) fn new() -> Self {
        let mut script = Self { records: Vec::new(), sequence: 0, entry: 0, balance: Nanos::ZERO };
        let (team, member) = (TeamId::trusted("default"), MemberId::trusted("ann"));
        let times = (DAY, DAY);
        script.push(Event::OrganizationSet(Box::new(Organization {
            kind: crate::domain::entity::AccountKind::Team,
            default_rule: None,
            id: acme(),
            name: String::from("Acme"),
            credit_factor: Factor::ONE,
            wallet_mode: WalletMode::Enforced,
            expiry_policy: ExpiryPolicy::Release,
            disabled: false,
            deleted: false,
            create_time: times.0,
            update_time: times.1,
        })));
        script.push(Event::TeamSet(Box::new(Team {
            member_policy: crate::domain::policy::Policy::default(),
            id: team.clone(),
            name: String::new(),
            disabled: false,
            deleted: false,
            create_time: times.0,
            update_time: times.1,
        })));
        script.push(Event::MemberSet(Box::new(Member {
            role: crate::domain::access::Role::Developer,
            id: member.clone(),
            name: String::new(),
            email: String::new(),
            disabled: false,
            deleted: false,
            create_time: times.0,
            update_time: times.1,
        })));
        script.push(Event::MembershipSet(Box::new(Membership {
            overrides: false,
            team: team.clone(),
            member: member.clone(),
            deleted: false,
            create_time: times.0,
            update_time: times.1,
        })));
        script.push(Event::KeySet(Box::new(Key {
            rule: None,
            previous_until: None,
            id: KeyId::trusted("key-1"),
            member,
            team,
            name: String::new(),
            secret_prefix: String::new(),
            disabled: false,
            deleted: false,
            expire_time: None,
            models: Models::default(),
            create_time: times.0,
            update_time: times.1,
        })));
        script.push(Event::PolicySet {
            place: Place::Organization,
            limits: vec![NumberedLimit { no: LimitNo(0), limit: budget() }],
        });
        script
    }

    pub(crate) fn push(&mut self, event: Event) -> ReservationNo {
        self.sequence += 1;
        self.records.push(Record {
            position: self.sequence,
            stream: Stream::Organization(acme()),
            sequence: self.sequence,
            epoch: 1,
            time: DAY,
            actor: Actor::SYSTEM,
            event,
        });
        ReservationNo { epoch: 1, sequence: self.sequence }
    }

    pub(crate) fn reserve(&mut self, request: &str) -> ReservationNo {
        self.push(Event::Reserved(Arc::new(reserved(request))))
    }

    pub(crate) fn settle(&mut self, kind: EntryKind, no: Option<ReservationNo>, request: &str, cost: i64) {
        self.entry += 1;
        self.balance -= Nanos::new(cost);
        let settled = Settled { entry: Some(self.entry), balance: self.balance, ..settled(kind, no, request, cost) };
        self.push(Event::Settled(Arc::new(settled)));
    }

    pub(crate) fn top_up(&mut self, request: &str, amount: i64) {
        self.entry += 1;
        self.balance += Nanos::new(amount);
        self.push(Event::ToppedUp(Box::new(TopUp {
            order: crate::domain::id::OrderId::trusted("order-1"),
            member: None,
            entry: self.entry,
            request: RequestId::trusted(request),
            fingerprint: 7,
            amount: Nanos::new(amount),
            balance: self.balance,
            reason: String::from("invoice 7"),
        })));
    }
}

pub(crate) fn acme() -> OrganizationId {
    OrganizationId::trusted("acme")
}

fn budget() -> Limit {
    Limit::Budget(Budget {
        alerts: None,
        id: LimitId::trusted("all"),
        unit: BudgetUnit::Usd,
        max: Some(Nanos::units(5)),
        soft: None,
        period: Period::OneTime,
        models: Models::default(),
    })
}

fn touches() -> Arc<[Touch]> {
    Arc::from([Touch { limit: LimitNo(0), unit: Unit::Usd, window: Timestamp::EPOCH }])
}

pub(crate) fn reserved(request: &str) -> Reserved {
    Reserved {
        request: Some(RequestId::trusted(request)),
        fingerprint: 9,
        key: KeyId::trusted("key-1"),
        model: Model::trusted("llama"),
        price: None,
        factor: Factor::ONE,
        usage: Usage { input_tokens: 10, requests: 1, ..Usage::default() },
        held: Amounts { usd: Nanos::new(100), ..Amounts::ZERO },
        wallet: true,
        touches: touches(),
        expire_time: DAY,
        holder: None,
        labels: None,
    }
}

pub(crate) fn settled(kind: EntryKind, no: Option<ReservationNo>, request: &str, cost: i64) -> Settled {
    let cost = Nanos::new(cost);
    Settled {
        entry: None,
        kind,
        reservation: no,
        request: Some(RequestId::trusted(request)),
        fingerprint: 11,
        occurred_at: DAY,
        key: KeyId::trusted("key-1"),
        member: MemberId::trusted("ann"),
        team: TeamId::trusted("default"),
        model: Model::trusted("llama"),
        reserved_model: None,
        price: None,
        usage: Usage { input_tokens: 10, output_tokens: 3, requests: 1, ..Usage::default() },
        total: Amounts { usd: cost, ..Amounts::ZERO },
        booked: Booked { cost, input_tokens: 10, output_tokens: 3, requests: 1, ..Booked::default() },
        overage: Amounts::ZERO,
        wallet: -cost,
        balance: Nanos::ZERO,
        touches: touches(),
        labels: Some(Arc::from([("team".into(), "red".into())])),
    }
}

#[test]
fn a_reservation_opened_and_committed_within_a_batch_leaves_no_row() {
    let mut script = Script::new();
    let no = script.reserve("r1");
    script.settle(EntryKind::Commit, Some(no), "r1", 40);
    let batch = Batch::of(&script.records);
    assert!(batch.reservations.is_empty());
    assert_eq!(batch.entries.len(), 1);
    let later = Batch::of(&script.records[script.records.len() - 1..]);
    assert_eq!(later.reservations[&(acme(), no)], ReservationChange::Gone, "one of an earlier batch has a row to drop");
}

#[test]
fn deltas_of_a_window_are_added_up() {
    let mut script = Script::new();
    for (request, cost) in [("a", 40), ("b", 2)] {
        script.settle(EntryKind::Charge, None, request, cost);
    }
    let batch = Batch::of(&script.records);
    assert_eq!(batch.windows[&(acme(), (LimitNo(0), Timestamp::EPOCH))], Nanos::new(42));
}

#[test]
fn changes_to_a_row_are_merged_whether_it_is_new_or_not() {
    let mut script = Script::new();
    let no = script.reserve("r1");
    let held = Amounts { usd: Nanos::new(200), ..Amounts::ZERO };
    script.push(Event::Extended(Box::new(Extended {
        reservation: no,
        expire_time: Timestamp::NEVER,
        usage: Usage::default(),
        held,
        progress: None,
    })));
    script.push(Event::Released { reservation: no, reason: "unused".into() });
    let whole = Batch::of(&script.records);
    let ReservationChange::New(row) = &whole.reservations[&(acme(), no)] else { panic!("no row") };
    assert_eq!((row.state, row.held, row.reason.as_deref()), ("released", held, Some("unused")));
    let tail = Batch::of(&script.records[script.records.len() - 2..]);
    let ReservationChange::Old(patch) = &tail.reservations[&(acme(), no)] else { panic!("no patch") };
    assert_eq!((patch.state, patch.held, patch.expire_time), (Some("released"), Some(held), Some(Timestamp::NEVER)));
}
