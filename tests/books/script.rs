//! Records to fill books with, as a journal would have them.

use std::{collections::HashMap, sync::Arc};

use quotad::domain::{
    access::{AccessToken, Bearer, Role},
    allocation::{Allocation, CreditRequest, CreditRequestState, Drawn},
    entity::{AccountKind, ExpiryPolicy, Key, Managed, Member, Membership, Organization, PriceEntry, Team, WalletMode},
    event::{Booked, EntryKind, Event, LimitNo, NumberedLimit, Record, Reserved, Settled, Stream, TopUp, Touch},
    id::{
        Actor, CreditRequestId, KeyId, LimitId, MemberId, Model, OrderId, OrganizationId, RequestId, RuleId,
        SecretHash, TeamId, TokenId,
    },
    money::{Factor, Nanos},
    payment::Correction,
    period::{Period, Zone},
    policy::{AllocationPlace, Budget, BudgetUnit, Limit, Models, Place, Policy, Unit},
    price::ListPrice,
    reservation_id::ReservationNo,
    rule::{Cap, Rule},
    time::{Span, Timestamp},
    usage::{Amounts, Usage},
};

/// In November 2023.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) records: Vec<Record>,
    sequences: HashMap<Stream, u64>,
    ledgers: HashMap<OrganizationId, (u64, Nanos)>,
    now: Option<Timestamp>,
}

pub(crate) fn acme() -> OrganizationId {
    OrganizationId::trusted("acme")
}

impl Script {
    /// With the organization `acme`.
    pub(crate) fn new() -> Self {
        let mut script = Self::default();
        script.found(&acme());
        script
    }

    /// Money in, five commits, a charge: 7 entries that cost 67.
    pub(crate) fn busy() -> Self {
        let mut script = Self::new();
        script.top_up(&acme(), "t1", 1_000);
        for i in 0..5 {
            let request = format!("r{i}");
            let no = script.reserve(&acme(), &request);
            script.settle(&acme(), EntryKind::Commit, Some(no), &request, 10 + i);
        }
        script.settle(&acme(), EntryKind::Charge, None, "c1", 7);
        script
    }

    pub(crate) fn last(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now.unwrap_or(START)
    }

    pub(crate) fn wait(&mut self, span: Span) {
        self.now = Some(self.now() + span);
    }

    pub(crate) fn system(&mut self, event: Event) {
        self.push(Stream::System, event);
    }

    pub(crate) fn of(&mut self, organization: &OrganizationId, event: Event) -> ReservationNo {
        self.push(Stream::Organization(organization.clone()), event)
    }

    fn push(&mut self, stream: Stream, event: Event) -> ReservationNo {
        let sequence = self.sequences.entry(stream.clone()).or_default();
        *sequence += 1;
        let (sequence, position, time) = (*sequence, self.records.len() as u64 + 1, self.now());
        self.records.push(Record { position, stream, sequence, epoch: 1, time, actor: Actor::SYSTEM, event });
        ReservationNo { epoch: 1, sequence }
    }

    /// An organization with a team, a member, two keys, and a budget of all.
    pub(crate) fn found(&mut self, id: &OrganizationId) {
        let now = self.now();
        self.of(id, organization(id, "", now));
        self.of(id, team("default", "", now));
        self.of(id, member("ann", now));
        let (team, member) = (TeamId::trusted("default"), MemberId::trusted("ann"));
        let of = Membership { overrides: false, team, member, deleted: false, create_time: now, update_time: now };
        self.of(id, Event::MembershipSet(Box::new(of)));
        for no in [1, 2] {
            self.of(id, key(no, now));
        }
        self.of(id, policy(Place::Organization, 0, "all", Some(5)));
    }

    pub(crate) fn reserve(&mut self, organization: &OrganizationId, request: &str) -> ReservationNo {
        let event = Event::Reserved(Arc::new(reserved(request, self.now())));
        self.of(organization, event)
    }

    fn book(&mut self, organization: &OrganizationId, moved: Nanos) -> (u64, Nanos) {
        let (entry, balance) = self.ledgers.entry(organization.clone()).or_default();
        *entry += 1;
        *balance += moved;
        (*entry, *balance)
    }

    pub(crate) fn settle(
        &mut self,
        organization: &OrganizationId,
        kind: EntryKind,
        no: Option<ReservationNo>,
        request: &str,
        cost: i64,
    ) {
        let now = self.now();
        self.settle_of(organization, kind, no, request, (cost, now));
    }

    /// The same, of what was used at some time.
    pub(crate) fn settle_of(
        &mut self,
        organization: &OrganizationId,
        kind: EntryKind,
        no: Option<ReservationNo>,
        request: &str,
        (cost, used): (i64, Timestamp),
    ) {
        let (entry, balance) = self.book(organization, -Nanos::new(cost));
        let settled = Settled { entry: Some(entry), balance, ..settled(kind, no, request, cost, used) };
        self.of(organization, Event::Settled(Arc::new(settled)));
    }

    pub(crate) fn top_up(&mut self, organization: &OrganizationId, request: &str, amount: i64) {
        let amount = Nanos::new(amount);
        let (entry, balance) = self.book(organization, amount);
        let (request, order) = (RequestId::trusted(request), OrderId::trusted("order-1"));
        let reason = String::from("invoice \\ \"7\"\n\tat once: größer");
        let top_up = TopUp { order, member: None, entry, request, fingerprint: 7, amount, balance, reason };
        self.of(organization, Event::ToppedUp(Box::new(top_up)));
    }

    pub(crate) fn correct(&mut self, organization: &OrganizationId, request: &str, amount: i64, corrects: u64) {
        let amount = Nanos::new(amount);
        let (entry, balance) = self.book(organization, amount);
        self.of(
            organization,
            Event::Corrected(Box::new(Correction {
                entry,
                kind: EntryKind::Refund,
                request: RequestId::trusted(request),
                fingerprint: 8,
                amount,
                of_ceiling: Nanos::ZERO,
                wallet: amount,
                balance,
                corrects,
                reason: String::from("as agreed"),
                usage: None,
            })),
        );
    }
}

pub(crate) fn organization(id: &OrganizationId, name: &str, now: Timestamp) -> Event {
    Event::OrganizationSet(Box::new(Organization {
        kind: AccountKind::Team,
        default_rule: None,
        id: id.clone(),
        name: name.to_owned(),
        credit_factor: Factor::ONE,
        wallet_mode: WalletMode::Enforced,
        expiry_policy: ExpiryPolicy::Release,
        disabled: false,
        suspended: false,
        deleted: false,
        create_time: now,
        update_time: now,
        bounds: None,
    }))
}

pub(crate) fn team(id: &str, name: &str, now: Timestamp) -> Event {
    Event::TeamSet(Box::new(Team {
        member_policy: Policy::default(),
        id: TeamId::trusted(id),
        name: name.to_owned(),
        disabled: false,
        deleted: false,
        create_time: now,
        update_time: now,
    }))
}

fn member(id: &str, now: Timestamp) -> Event {
    Event::MemberSet(Box::new(Member {
        role: Role::Developer,
        id: MemberId::trusted(id),
        name: String::from("Ann"),
        email: String::from("ann@example.org"),
        disabled: false,
        deleted: false,
        create_time: now,
        update_time: now,
    }))
}

fn key(no: u32, now: Timestamp) -> Event {
    Event::KeySet(Box::new(Key {
        rule: None,
        previous_until: None,
        managed: Managed::default(),
        id: KeyId::trusted(format!("key-{no}")),
        member: MemberId::trusted("ann"),
        team: TeamId::trusted("default"),
        name: String::new(),
        secret_prefix: String::from("qk_"),
        disabled: false,
        deleted: false,
        expire_time: (no == 2).then_some(Timestamp::NEVER),
        models: Models::default(),
        create_time: now,
        update_time: now,
    }))
}

pub(crate) fn policy(place: Place, no: u32, id: &str, max: Option<i64>) -> Event {
    narrowed(place, no, id, max, (Period::OneTime, Models::default()))
}

pub(crate) fn narrowed(place: Place, no: u32, id: &str, max: Option<i64>, (period, models): (Period, Models)) -> Event {
    let limit = Limit::Budget(Budget {
        alerts: None,
        id: LimitId::trusted(id),
        unit: BudgetUnit::Usd,
        max: max.map(Nanos::units),
        soft: Some(Nanos::new(1)),
        period,
        models,
    });
    Event::PolicySet { place, limits: vec![NumberedLimit { no: LimitNo(no), limit }], retired: Box::default() }
}

fn touches(at: Timestamp) -> Arc<[Touch]> {
    let day = Timestamp::from_micros(at.micros() / 86_400_000_000 * 86_400_000_000);
    Arc::from([Touch { limit: LimitNo(0), unit: Unit::Usd, window: day }])
}

pub(crate) fn reserved(request: &str, now: Timestamp) -> Reserved {
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
        drawn: Nanos::ZERO,
        touches: touches(now),
        narrowed: Box::default(),
        expire_time: now + Span::seconds(600),
        holder: None,
        labels: None,
    }
}

pub(crate) fn settled(kind: EntryKind, no: Option<ReservationNo>, request: &str, cost: i64, now: Timestamp) -> Settled {
    let cost = Nanos::new(cost);
    Settled {
        entry: None,
        kind,
        reservation: no,
        request: Some(RequestId::trusted(request)),
        fingerprint: 11,
        takes_back: false,
        occurred_at: now,
        key: KeyId::trusted("key-1"),
        member: MemberId::trusted("ann"),
        team: TeamId::trusted("default"),
        model: Model::trusted("llama"),
        reserved_model: None,
        price: None,
        usage: Usage { input_tokens: 10, output_tokens: 3, requests: 1, ..Usage::default() },
        total: Amounts { usd: cost, ..Amounts::ZERO },
        booked: Booked { cost, credits: cost, input_tokens: 10, output_tokens: 3, requests: 1, ..Booked::default() },
        overage: Amounts::ZERO,
        wallet: -cost,
        drawn: Drawn::default(),
        balance: Nanos::ZERO,
        touches: touches(now),
        labels: Some(Arc::from([("team".into(), "r\u{e9}d \"\\\n".into())])),
        reason: None,
    }
}

pub(crate) fn token(id: &str, bearer: Bearer, now: Timestamp) -> AccessToken {
    AccessToken {
        id: TokenId::trusted(id),
        name: String::from("laptop"),
        hash: SecretHash::of(id),
        bearer,
        create_time: now,
        expire_time: None,
    }
}

pub(crate) fn price(model: &str, nanos: i64, now: Timestamp) -> Event {
    let price = ListPrice { input: Nanos::new(nanos), output: Nanos::units(nanos), ..ListPrice::default() };
    Event::PriceSet(Box::new(PriceEntry { model: Model::trusted(model), price, update_time: now }))
}

pub(crate) fn allocation(place: AllocationPlace, monthly: Option<i64>) -> Event {
    let allocation = Allocation { monthly: monthly.map(Nanos::new), extra: None };
    Event::AllocationSet { place, allocation, drawn: Drawn::default() }
}

pub(crate) fn credit_request(no: u64, state: CreditRequestState, now: Timestamp) -> Event {
    Event::CreditRequestSet(Box::new(CreditRequest {
        id: CreditRequestId::trusted(format!("request-{no}")),
        member: MemberId::trusted("ann"),
        team: TeamId::trusted("default"),
        amount: Nanos::units(3),
        reason: String::from("tests"),
        state,
        approved: Nanos::ZERO,
        note: String::new(),
        decided_by: None,
        create_time: now,
        decide_time: None,
    }))
}

pub(crate) fn rule(id: &str, zone: Zone, cap: Option<Cap>, now: Timestamp) -> Rule {
    Rule {
        id: RuleId::trusted(id),
        name: String::new(),
        description: String::new(),
        enabled: true,
        zone,
        cap,
        hours: None,
        deleted: false,
        create_time: now,
        update_time: now,
    }
}
