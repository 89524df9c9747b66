//! The history as the disk tells it, followed record by record: what must always hold, and what memory must come to.

use std::collections::{BTreeMap, BTreeSet};

use quotad::{
    domain::{
        decision::Charged,
        event::{EntryKind, Event, LimitNo, Record, Settled, Stream},
        id::{OrganizationId, RequestId},
        money::Nanos,
        policy::Unit,
        reservation_id::ReservationNo,
        time::Timestamp,
        usage::Amounts,
    },
    engine::{limit::Counter, reservation::Reservation, state::OrganizationState, system::SystemState},
};

use crate::{
    answers::charges,
    promises::{Named, Promise, Told},
};

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    pub(crate) system: SystemState,
    pub(crate) organizations: BTreeMap<OrganizationId, Followed>,
    marks: BTreeSet<String>,
}

/// One organization, and what its records said one by one.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) state: OrganizationState,
    balance: Nanos,
    entries: u64,
    spent: BTreeMap<(LimitNo, Timestamp), Nanos>,
    committed: BTreeMap<ReservationNo, Charged>,
    /// Of each request, the reservations that it made.
    made: BTreeMap<RequestId, Vec<ReservationNo>>,
    expired: BTreeSet<ReservationNo>,
    released: BTreeMap<ReservationNo, Amounts>,
    reported: BTreeSet<(ReservationNo, u64)>,
    charged: BTreeMap<RequestId, Charged>,
    ordered: BTreeMap<RequestId, Nanos>,
    corrected: BTreeMap<RequestId, (u64, Nanos)>,
    created: BTreeSet<RequestId>,
}

fn told(settled: &Settled) -> Charged {
    Charged {
        charged: settled.total,
        overage: settled.overage,
        late: settled.kind == EntryKind::LateCommit,
        replayed: false,
        entry: settled.entry.unwrap_or(0),
        balance: settled.balance,
    }
}

impl History {
    /// What was durable stays durable, as it was; what is new is followed.
    pub(crate) fn follow(&mut self, records: Vec<Record>) {
        let known = self.records.len();
        assert!(records.len() >= known, "the history got shorter: {known} records, now {}", records.len());
        assert!(records[..known] == self.records, "the history changed");
        for record in &records[known..] {
            self.add(record);
        }
        self.records = records;
    }

    /// All beyond this position was given up.
    pub(crate) fn cut(&mut self, records: Vec<Record>) {
        *self = Self::default();
        self.follow(records);
    }

    fn add(&mut self, record: &Record) {
        self.marks.extend(mark(&record.event));
        let Stream::Organization(id) = &record.stream else {
            self.system.apply(record).unwrap();
            return;
        };
        let followed = self.organizations.entry(id.clone()).or_insert_with(|| {
            let Event::OrganizationSet(organization) = &record.event else {
                panic!("{id} begins with {:?}", record.event);
            };
            Followed::new(OrganizationState::new((**organization).clone()))
        });
        followed.add(record);
    }

    /// Whether a promise was kept, and as it was told.
    pub(crate) fn keeps(&self, promise: &Promise, told: &Told) -> bool {
        let of = |id: &OrganizationId| self.organizations.get(id);
        match (promise, told) {
            (Promise::Marked(mark), _) => self.marks.contains(mark),
            (Promise::Committed(id, named), Told::Charged(told)) => {
                of(id).is_some_and(|of| of.named(named).any(|no| of.committed.get(&no) == Some(told)))
            }
            (Promise::Released(id, named), Told::Amounts(told)) => of(id).is_some_and(|of| {
                // Of one that had expired nothing is left to release.
                of.named(named).any(|no| match of.released.get(&no) {
                    Some(released) => released == told,
                    None => of.expired.contains(&no) && *told == Amounts::ZERO,
                })
            }),
            (Promise::Reported(id, named, tokens), _) => {
                of(id).is_some_and(|of| of.named(named).any(|no| of.reported.contains(&(no, *tokens))))
            }
            (Promise::Charged(id, request), Told::Charged(told)) => {
                of(id).is_some_and(|of| of.charged.get(request) == Some(told))
            }
            (Promise::Ordered(id, request), Told::Order(_, amount)) => {
                of(id).is_some_and(|of| of.ordered.get(request) == Some(amount))
            }
            (Promise::Corrected(id, request), Told::Entry(entry, amount)) => {
                of(id).is_some_and(|of| of.corrected.get(request) == Some(&(*entry, *amount)))
            }
            _ => panic!("{promise:?} was told {told:?}"),
        }
    }
}

/// What tells a change of the control plane from all others.
fn mark(event: &Event) -> Vec<String> {
    match event {
        Event::TeamSet(team) => vec![team.name.clone()],
        Event::MemberSet(member) => vec![member.name.clone()],
        Event::KeySet(key) => vec![key.name.clone(), key.id.to_string()],
        Event::OrganizationSet(organization) => vec![organization.name.clone()],
        Event::RuleSet(rule) => vec![rule.name.clone()],
        Event::AllocationSet { allocation, .. } => allocation.monthly.iter().map(ToString::to_string).collect(),
        Event::PriceSet(entry) => vec![entry.price.per_request.to_string()],
        _ => Vec::new(),
    }
}

impl Followed {
    fn new(state: OrganizationState) -> Self {
        Self {
            state,
            balance: Nanos::ZERO,
            entries: 0,
            spent: BTreeMap::new(),
            committed: BTreeMap::new(),
            made: BTreeMap::new(),
            expired: BTreeSet::new(),
            released: BTreeMap::new(),
            reported: BTreeSet::new(),
            charged: BTreeMap::new(),
            ordered: BTreeMap::new(),
            corrected: BTreeMap::new(),
            created: BTreeSet::new(),
        }
    }

    fn named(&self, named: &Named) -> impl Iterator<Item = ReservationNo> {
        match named {
            Named::No(no) => vec![*no],
            Named::Request(request) => self.made.get(request).cloned().unwrap_or_default(),
        }
        .into_iter()
    }

    fn add(&mut self, record: &Record) {
        assert!(record.time >= self.state.time, "time runs backwards at {}", record.position);
        self.check_holds(record);
        match &record.event {
            Event::Reserved(reserved) => {
                let no = ReservationNo { epoch: record.epoch, sequence: record.sequence };
                if let Some(request) = &reserved.request {
                    self.made.entry(request.clone()).or_default().push(no);
                }
            }
            Event::Extended(extended) => {
                if let Some((usage, _)) = extended.progress {
                    self.reported.insert((extended.reservation, usage.input_tokens));
                }
            }
            Event::Released { reservation, .. } => {
                let held = self.state.hold(*reservation).unwrap().held();
                assert!(self.released.insert(*reservation, held).is_none(), "{reservation:?} is released twice");
            }
            Event::Expired { reservation, .. } => {
                assert!(self.expired.insert(*reservation), "{reservation:?} expires twice");
            }
            Event::Settled(settled) => self.settle(settled),
            Event::ToppedUp(top_up) => {
                self.book(top_up.entry, top_up.amount, top_up.balance);
                let before = self.ordered.insert(top_up.request.clone(), top_up.amount);
                assert!(before.is_none(), "{} is paid in twice", top_up.request);
            }
            Event::Corrected(correction) => {
                self.book(correction.entry, correction.wallet, correction.balance);
                for limit in correction.usage.iter().flat_map(|usage| usage.limits.iter()) {
                    *self.spent.entry((limit.limit, limit.window)).or_default() += limit.amount;
                }
                let entry = (correction.entry, correction.amount);
                let before = self.corrected.insert(correction.request.clone(), entry);
                assert!(before.is_none(), "{} corrects twice", correction.request);
            }
            Event::RequestTaken { request, .. } => {
                assert!(self.created.insert(request.clone()), "{request} creates twice");
            }
            _ => {}
        }
        self.state.apply(record).unwrap();
    }

    fn settle(&mut self, settled: &Settled) {
        match settled.entry {
            Some(entry) => self.book(entry, settled.wallet, settled.balance),
            None => assert!(settled.booked.is_nothing(), "what was booked has no entry"),
        }
        for (limit, window, amount) in charges(settled) {
            *self.spent.entry((limit, window)).or_default() += amount;
        }
        match (settled.kind, settled.reservation, &settled.request) {
            (EntryKind::Charge, None, Some(request)) => {
                let before = self.charged.insert(request.clone(), told(settled));
                assert!(before.is_none(), "{request} is charged twice");
            }
            (EntryKind::Expiry, Some(no), _) if settled.takes_back => assert!(self.expired.contains(&no), "{no:?}"),
            (EntryKind::Expiry, Some(no), _) => assert!(self.expired.insert(no), "{no:?} expires twice"),
            (EntryKind::Release, Some(no), _) => {
                let held = self.state.hold(no).unwrap().held();
                let freed = held.minus(settled.total).max(Amounts::ZERO);
                assert!(self.released.insert(no, freed).is_none(), "{no:?} is released twice");
            }
            (EntryKind::Commit | EntryKind::LateCommit, Some(no), _) => {
                assert!(self.committed.insert(no, told(settled)).is_none(), "{no:?} is committed twice");
                assert!(!self.released.contains_key(&no), "{no:?} is released and committed");
                let late = settled.kind == EntryKind::LateCommit;
                assert_eq!(late, self.expired.contains(&no), "{no:?} is late: {late}");
            }
            other => panic!("a settlement is {other:?}"),
        }
    }

    fn book(&mut self, entry: u64, moved: Nanos, balance: Nanos) {
        self.entries += 1;
        self.balance += moved;
        assert_eq!((entry, balance), (self.entries, self.balance), "entry and balance");
    }

    /// No request holds twice.
    fn check_holds(&self, record: &Record) {
        let Event::Reserved(reserved) = &record.event else { return };
        let Some(request) = &reserved.request else { return };
        let before = self.made.get(request).into_iter().flatten();
        let open = before.filter(|no| self.state.reservation(**no).is_some_and(Reservation::is_open)).count();
        assert_eq!(open, 0, "{request} holds twice");
    }

    /// Counters are what the open holds and the settlements add up to.
    pub(crate) fn check_sums(&self) {
        let mut held: BTreeMap<(LimitNo, Timestamp), Nanos> = BTreeMap::new();
        let mut slots: BTreeMap<LimitNo, i64> = BTreeMap::new();
        let mut wallet = Nanos::ZERO;
        for hold in self.state.open() {
            if hold.reserved.wallet {
                wallet += hold.held().usd;
            }
            for touch in hold.reserved.touches.iter() {
                match touch.unit {
                    Unit::Usd => *held.entry((touch.limit, touch.window)).or_default() += hold.held().usd,
                    Unit::Credits => *held.entry((touch.limit, touch.window)).or_default() += hold.held().credits,
                    Unit::InFlight => *slots.entry(touch.limit).or_default() += 1,
                    Unit::RequestsPerMinute | Unit::TokensPerMinute => {}
                }
            }
        }
        assert_eq!(self.state.wallet.held, wallet, "held on the wallet");
        assert_eq!(self.state.wallet.balance, self.balance);
        // A pool counts a part of what its members use: the state compares it with them itself.
        for (no, entry) in self.state.all_limits().filter(|(_, entry)| !entry.is_pool()) {
            match &entry.counter {
                Counter::Budget(windows) => {
                    for (window, counted) in windows.iter() {
                        let of = |sums: &BTreeMap<_, Nanos>| sums.get(&(no, window)).copied().unwrap_or_default();
                        let expected = (of(&self.spent), of(&held));
                        assert_eq!((counted.spent, counted.held), expected, "{:?} {}", entry.place, entry.limit.id());
                    }
                }
                Counter::InFlight(open) => {
                    assert_eq!(*open, slots.get(&no).copied().unwrap_or(0), "{:?} slots", entry.place);
                }
                Counter::Rate(_) => {}
            }
        }
    }

    /// A state that memory came to, which may have forgotten what is over.
    pub(crate) fn check_state(&self, memory: &OrganizationState) {
        let (own, id) = (&self.state, &self.state.organization.id);
        assert_eq!(own.sequence, memory.sequence, "{id}: sequence");
        assert_eq!((own.entry, own.time, own.wallet), (memory.entry, memory.time, memory.wallet), "{id}");
        assert!(own.organization == memory.organization && own.limits == memory.limits, "{id}: organization");
        assert!(own.teams == memory.teams && own.members == memory.members, "{id}: teams and members");
        assert!(own.memberships == memory.memberships && own.keys == memory.keys, "{id}: keys");
        assert!(own.rules == memory.rules && own.allocations == memory.allocations, "{id}: rules");
        assert!(own.payments == memory.payments && own.alerts == memory.alerts, "{id}: payments and alerts");
        assert!(own.open().eq(memory.open()), "{id}: open reservations");
        assert!(own.all_limits().eq(memory.all_limits()), "{id}: limits");
    }
}
