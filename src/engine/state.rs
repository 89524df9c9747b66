//! All of one organization, and the one function that changes it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{
    limit::LimitEntry,
    reservation::{Hold, KeptTaken, Reservation, Settlement},
    shared::Recent,
    table::{KeyRow, Row, Shelf, Table},
};
use crate::domain::{
    access::Invitation,
    allocation::{Allocation, CreditRequest},
    decision::LimitState,
    entity::{Member, Membership, Organization, Team, WalletMode},
    event::{LimitNo, Record, Touch},
    fold,
    id::{Holder, InvitationId, MemberId, Model, OrderId, RequestId},
    money::Nanos,
    payment::Correction,
    policy::{AllocationPlace, Limit, Place, Scope, Unit},
    reservation_id::ReservationNo,
    rule::{Hours, Rule},
    time::Timestamp,
    usage::Amounts,
};

mod administer;
mod alerts;
mod allocations;
mod apply;
mod audit;
mod draws;
mod forget;
mod frequency;
mod ordered;
mod overview;
mod payments;
mod retired;
mod rules;
mod staff;
mod standing;
mod tally;

pub use alerts::Alerts;
pub use allocations::{AccountSums, Allocations, TeamAllocation};
pub use apply::Inconsistent;
pub use audit::{Mismatch, window_name};
pub use draws::{CappingPool, Places, Whose};
use forget::{EndedAt, ForgottenAt, Recalled};
pub use frequency::{Counted, Frequencies};
pub use overview::{AccountCredits, Credits, TeamCredits};
pub use payments::Payments;
pub use retired::{MAX_RETIRED, Retired};
pub use rules::{Effective, References, RuleBook};
pub use staff::Staff;
pub use standing::OrganizationLimits;
pub use tally::{RequestCounts, Tally};

/// Epochs to remember: one a start. Reservations of older ones are looked up in the books.
const MAX_EPOCHS: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationState {
    pub organization: Organization,
    pub limits: OrganizationLimits,
    pub teams: Table<Team>,
    pub members: Table<Member>,
    pub memberships: Table<Membership>,
    pub keys: Table<KeyRow>,
    pub rules: RuleBook,
    pub invitations: Shelf<Invitation>,
    pub allocations: Allocations,
    /// The open ones, by their folded address: there is one an address.
    pub invited: HashMap<SmolStr, InvitationId, RandomState>,
    pub credit_requests: Shelf<CreditRequest>,
    /// Requests for credits that await a decision.
    pub undecided: Tally,
    pub request_counts: RequestCounts,
    pub payments: Payments,
    pub alerts: Alerts,
    pub frequencies: Frequencies,
    /// Live members by their folded address.
    emails: HashMap<SmolStr, u32, RandomState>,
    pub staff: Staff,
    /// Places that carry limits.
    pub policies: u32,
    /// By number; a removed limit leaves its place empty for ever, so that a number means one limit only.
    pub(super) entries: Vec<Option<Box<LimitEntry>>>,
    pub retired: Retired,
    #[serde(skip)]
    settings: Recent<Limit>,
    pub wallet: Wallet,
    pub(super) reservations: HashMap<ReservationNo, Reservation, RandomState>,
    /// The open ones.
    pub(super) expiries: BTreeSet<(Timestamp, ReservationNo)>,
    /// Open reservations that are revoked and have a holder.
    revoked: BTreeSet<(Holder, ReservationNo)>,
    pub(super) requests: HashMap<RequestId, Taken, RandomState>,
    /// What may be forgotten, the oldest first.
    pub(super) closed: VecDeque<Closed>,
    /// What of the control plane is over, the oldest first.
    ended: VecDeque<EndedAt>,
    /// Whether any of that was ever forgotten.
    has_forgotten_ended: bool,
    forgotten_at: ForgottenAt,
    /// What of it was taken back for a while, the oldest first.
    #[serde(skip)]
    recalled: Recalled,
    /// Whether a Charge was ever forgotten: only then must the books be asked for an unknown request id.
    pub has_forgotten: bool,
    /// Of the last event.
    pub sequence: u64,
    /// Of the last ledger entry.
    pub entry: u64,
    /// Of the last event: time never runs backwards in a stream.
    pub time: Timestamp,
    /// Each start with the last sequence known of it.
    epochs: Vec<(u32, u64)>,
    /// Those that a crash forgot and a caller named since, with their admission: so that none is taken for forgotten again when
    /// memory has forgotten how it was settled. Kept while they can be settled.
    restored: BTreeMap<ReservationNo, Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wallet {
    pub balance: Nanos,
    pub held: Nanos,
}

/// What a request id was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "KeptTaken", into = "KeptTaken")]
pub enum Taken {
    Reservation(ReservationNo),
    Charge(Arc<Settlement>),
    /// Never forgotten, as corrections aren't.
    Order(OrderId),
    Correction(Box<Correction>),
    /// A creation in the control plane: of what content, and the id that came of it.
    Created {
        fingerprint: u64,
        id: SmolStr,
    },
}

/// Something that is over, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub time: Timestamp,
    pub sequence: u64,
    pub what: ClosedWhat,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosedWhat {
    Reservation(ReservationNo),
    Request(RequestId),
}

/// The places of a key's path.
pub struct Path<'a> {
    pub key: &'a Row<KeyRow>,
    pub membership: &'a Row<Membership>,
    pub member: &'a Row<Member>,
    pub team: &'a Row<Team>,
    organization: &'a [LimitNo],
    /// The rule in force.
    pub rule: Option<Effective<'a>>,
    /// The counter of the rule's cap, while that is switched on.
    cap: Option<LimitNo>,
    /// Count the credits that the membership uses, and the organization.
    allocation: [Option<LimitNo>; 2],
    /// Counts what the membership draws on its team.
    pub(super) pool: Option<LimitNo>,
    /// What the membership has of its own.
    pub(super) own: Allocation,
}

impl Path<'_> {
    /// Every limit of the path that counts all of a request, from the key up. A pool counts a part.
    pub fn limits(&self) -> impl Iterator<Item = LimitNo> + '_ {
        let above = [&self.membership.limits, &self.member.limits, &self.team.limits];
        let above = above.into_iter().flat_map(|limits| limits.iter()).chain(self.organization).copied();
        self.key.limits.iter().copied().chain(self.cap).chain(above).chain(self.allocation.into_iter().flatten())
    }

    /// Whether the rule in force lets anything in at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.closing_hours(now).is_none()
    }

    /// The rule whose hours are over.
    pub fn closing_hours(&self, now: Timestamp) -> Option<(&Rule, &Hours)> {
        let Effective { rule, memo, .. } = self.rule?;
        let hours = rule.restricting()?;
        (!memo.is_open(hours, rule.zone, now)).then_some((rule, hours))
    }

    /// The rule that restricts the hours, whether it is open or not.
    pub fn restricting_rule(&self) -> Option<(&Rule, &Hours)> {
        let rule = self.rule?.rule;
        Some((rule, rule.restricting()?))
    }

    /// Whose counter isn't open yet, though requests of this key would count in it.
    fn missing_counter(&self) -> Option<Place> {
        let key = &self.key.entity.key;
        if let (Some(Effective { rule, .. }), None) = (self.rule, self.cap)
            && rule.caps()
            && !key.deleted
        {
            return Some(Place::Rule(rule.id.clone(), key.id.clone()));
        }
        let place = match (self.allocation, self.pool) {
            ([None, _], _) => AllocationPlace::Member(key.team.clone(), key.member.clone()),
            (_, None) => AllocationPlace::Pool(key.team.clone()),
            ([_, None], _) => AllocationPlace::Organization,
            _ => return None,
        };
        Some(Place::Allocation(place))
    }
}

impl OrganizationState {
    /// Before its first event, which sets the organization.
    pub fn new(organization: Organization) -> Self {
        Self {
            organization,
            limits: OrganizationLimits::default(),
            teams: Table::default(),
            members: Table::default(),
            memberships: Table::default(),
            keys: Table::default(),
            rules: RuleBook::default(),
            invitations: Shelf::default(),
            allocations: Allocations::default(),
            invited: HashMap::default(),
            credit_requests: Shelf::default(),
            undecided: Tally::default(),
            request_counts: RequestCounts::default(),
            payments: Payments::default(),
            alerts: Alerts::default(),
            frequencies: Frequencies::default(),
            emails: HashMap::default(),
            staff: Staff::default(),
            policies: 0,
            entries: Vec::new(),
            retired: Retired::default(),
            settings: Recent::default(),
            wallet: Wallet::default(),
            reservations: HashMap::default(),
            expiries: BTreeSet::new(),
            revoked: BTreeSet::new(),
            requests: HashMap::default(),
            closed: VecDeque::new(),
            ended: VecDeque::new(),
            has_forgotten_ended: false,
            forgotten_at: ForgottenAt::default(),
            recalled: Recalled::default(),
            has_forgotten: false,
            sequence: 0,
            entry: 0,
            time: Timestamp::EPOCH,
            epochs: Vec::new(),
            restored: BTreeMap::new(),
        }
    }

    pub fn path(&self, key: u32) -> Option<Path<'_>> {
        let key = self.keys.row(key)?;
        let KeyRow { membership, member, team, rule, .. } = key.entity;
        let rule = self.rules.effective(rule);
        // What a deleted key uses under a rule is nobody's to see: its counter leaves memory with it.
        let capping = rule.filter(|rule| rule.rule.caps() && !key.entity.key.deleted);
        let cap = capping.and_then(|rule| key.entity.counter(rule.place));
        Some(Path {
            key,
            membership: self.memberships.row(membership)?,
            member: self.members.row(member)?,
            team: self.teams.row(team)?,
            organization: self.limits.all(),
            rule,
            cap,
            allocation: [self.allocations.counter(membership), self.allocations.total_counter()],
            pool: self.allocations.team(team).pool,
            own: self.allocations.member(membership),
        })
    }

    /// A counter that this key's requests would count in and that isn't open yet, as the limit that it is.
    pub fn missing_counter(&self, key: u32) -> Option<(Place, Limit)> {
        if !self.organization.credit_factor.is_on() {
            return None;
        }
        let path = self.path(key)?;
        let place = path.missing_counter()?;
        let KeyRow { team, membership, .. } = path.key.entity;
        let limit = match &place {
            Place::Allocation(AllocationPlace::Organization) => {
                self.allocations.limit(self.allocations.settings.credits_per_cycle)
            }
            Place::Allocation(AllocationPlace::Pool(_)) => self.allocations.limit(self.allocations.team(team).shared()),
            Place::Allocation(AllocationPlace::Member(..)) => {
                self.allocations.limit(self.allocations.member(membership).cap())
            }
            _ => path.rule?.rule.limit()?,
        };
        Some((place, limit))
    }

    /// What limits are set to.
    pub fn settings_of(&self, limits: &[LimitNo]) -> Vec<Limit> {
        limits.iter().filter_map(|no| self.limit(*no)).map(|entry| Limit::clone(&entry.limit)).collect()
    }

    /// The same, shared with the limits.
    pub fn shared_settings_of(&self, limits: &[LimitNo]) -> Vec<Arc<Limit>> {
        limits.iter().filter_map(|no| self.limit(*no)).map(|entry| Arc::clone(&entry.limit)).collect()
    }

    /// Lets those share what they are set to that were read one by one.
    pub fn share_settings(&mut self) {
        let mut places = Recent::default();
        for entry in self.entries.iter_mut().flatten() {
            places.replace(&mut entry.place);
            self.settings.replace(&mut entry.limit);
        }
    }

    pub fn limit(&self, no: LimitNo) -> Option<&LimitEntry> {
        self.entries.get(no.0 as usize)?.as_deref()
    }

    /// The same, also where it was removed and still counts.
    pub fn counter(&self, no: LimitNo) -> Option<&LimitEntry> {
        self.limit(no).or_else(|| self.retired.find(no))
    }

    /// Every limit that is set, by number.
    pub fn all_limits(&self) -> impl Iterator<Item = (LimitNo, &LimitEntry)> {
        (0..).zip(&self.entries).filter_map(|(no, entry)| Some((LimitNo(no), entry.as_deref()?)))
    }

    /// The same with those that were removed and still count.
    pub fn all_counters(&self) -> impl Iterator<Item = (LimitNo, &LimitEntry)> {
        self.all_limits().chain(self.retired.iter())
    }

    /// How many rows it consists of, each of some hundred bytes: what a copy of it takes.
    pub fn row_count(&self) -> usize {
        let tables =
            self.teams.row_count() + self.members.row_count() + self.memberships.row_count() + self.keys.row_count();
        let others = self.invitations.row_count() + self.credit_requests.row_count();
        tables + others + self.entries.len() + self.retired.count() + self.reservations.len() + self.requests.len()
    }

    /// Returns the live keys of a member, from a place on, in the order in which they were made.
    pub fn keys_of<'a>(
        &'a self,
        member: &MemberId,
        from: u32,
    ) -> impl Iterator<Item = (u32, &'a Row<KeyRow>)> + use<'a> {
        let place = self.members.place(member);
        place.into_iter().flat_map(move |member| self.keys.of_member(member, from))
    }

    /// The limits of one place, in the order they were set.
    pub fn limits_of(&self, place: &Place) -> &[LimitNo] {
        match place {
            Place::Key(key) => self.keys.find(key).map(|row| &*row.limits),
            Place::Membership(team, member) => {
                self.memberships.find(&(team.clone(), member.clone())).map(|row| &*row.limits)
            }
            Place::Member(member) => self.members.find(member).map(|row| &*row.limits),
            Place::Team(team) => self.teams.find(team).map(|row| &*row.limits),
            Place::Organization => Some(self.limits.policy()),
            Place::Ceiling => Some(self.limits.ceiling()),
            Place::Rule(..) | Place::Allocation(_) => None,
        }
        .unwrap_or_default()
    }

    fn set_limits_of(&mut self, place: &Place, numbers: Box<[LimitNo]>) {
        let limits = match place {
            Place::Key(key) => {
                let at = self.keys.place(key);
                at.and_then(|at| self.keys.row_mut(at)).map(|row| &mut row.limits)
            }
            Place::Membership(team, member) => {
                let at = self.memberships.place(&(team.clone(), member.clone()));
                at.and_then(|at| self.memberships.row_mut(at)).map(|row| &mut row.limits)
            }
            Place::Member(member) => {
                let at = self.members.place(member);
                at.and_then(|at| self.members.row_mut(at)).map(|row| &mut row.limits)
            }
            Place::Team(team) => {
                let at = self.teams.place(team);
                at.and_then(|at| self.teams.row_mut(at)).map(|row| &mut row.limits)
            }
            Place::Organization => return self.limits.set_policy(&numbers),
            Place::Ceiling => return self.limits.set_ceiling(&numbers),
            Place::Rule(..) | Place::Allocation(_) => None,
        };
        if let Some(limits) = limits {
            *limits = numbers;
        }
    }

    /// Addresses differ by more than their case.
    pub fn member_by_email(&self, email: &str) -> Option<&Member> {
        let place = self.emails.get(&fold::address(email))?;
        self.members.row(*place).map(|row| &row.entity)
    }

    /// The first number that no limit ever had.
    pub fn next_limit_no(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Whether a limit in this unit binds now: credits don't while they aren't tracked.
    pub fn binds(&self, unit: Unit) -> bool {
        unit != Unit::Credits || self.organization.credit_factor.is_on()
    }

    pub fn wallet_binds(&self) -> bool {
        self.organization.wallet_mode == WalletMode::Enforced
    }

    pub fn reservation(&self, no: ReservationNo) -> Option<&Reservation> {
        self.reservations.get(&no)
    }

    /// The same, where it can still be settled.
    pub fn hold(&self, no: ReservationNo) -> Option<&Hold> {
        match self.reservation(no)? {
            Reservation::Hold(hold) => Some(hold),
            Reservation::Ended(_) => None,
        }
    }

    pub(super) fn hold_mut(&mut self, no: ReservationNo) -> Option<&mut Hold> {
        match self.reservations.get_mut(&no)? {
            Reservation::Hold(hold) => Some(hold),
            Reservation::Ended(_) => None,
        }
    }

    /// What a request id was used for, as far as memory knows.
    pub fn taken(&self, request: &RequestId) -> Option<&Taken> {
        self.requests.get(request)
    }

    /// The open reservations, those that expire first before the others.
    pub fn open(&self) -> impl Iterator<Item = &Hold> {
        self.expiries.iter().filter_map(|(_, no)| self.hold(*no))
    }

    pub fn open_count(&self) -> usize {
        self.expiries.len()
    }

    /// The open reservations of a holder that are revoked, by number, from behind `after` on.
    pub fn revoked_of<'a>(
        &'a self,
        holder: &'a Holder,
        after: Option<ReservationNo>,
    ) -> impl Iterator<Item = ReservationNo> + 'a {
        let first = ReservationNo { epoch: 0, sequence: 0 };
        let from = after.map_or((holder.clone(), first), |after| (holder.clone(), after));
        let of_holder = self.revoked.range(from..).take_while(move |(of, _)| of == holder).map(|(_, no)| *no);
        of_holder.skip_while(move |no| Some(*no) == after)
    }

    /// Of the key at this place.
    pub fn open_count_of(&self, key: u32) -> u32 {
        self.keys.row(key).map_or(0, |row| row.entity.open)
    }

    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(time, _)| *time)
    }

    /// Whether a reservation of this number, which its seal proves was granted, was lost in a crash: the epoch is over and
    /// nothing from this sequence on was recovered of it. Once restored, it isn't forgotten any more, while it isn't too old.
    pub fn was_forgotten(&self, no: ReservationNo, current_epoch: u32) -> bool {
        if no.epoch >= current_epoch || self.was_restored(no) {
            return false;
        }
        self.epochs.iter().rev().find(|(epoch, _)| *epoch <= no.epoch).is_some_and(|(_, last)| no.sequence > *last)
    }

    pub(super) fn was_restored(&self, no: ReservationNo) -> bool {
        self.restored.contains_key(&no)
    }

    /// As it stands now, with or without a model that narrows it.
    pub fn limit_states<'a>(
        &'a self,
        limits: impl Iterator<Item = LimitNo> + 'a,
        model: Option<&'a Model>,
        now: Timestamp,
    ) -> impl Iterator<Item = LimitState> + 'a {
        limits
            .filter_map(|no| self.limit(no))
            .filter(move |entry| model.is_none_or(|model| entry.limit.models().include(model)))
            .map(move |entry| {
                let binding = self.binds(entry.limit.unit());
                entry.state(&self.standing(entry, now), self.organization.id.as_str(), binding)
            })
    }

    /// Returns how the cap of the rule in force for a key stands; nothing is counted before its first request.
    pub fn cap_state(&self, key: u32, now: Timestamp) -> Option<LimitState> {
        let path = self.path(key)?;
        let rule = path.rule.map(|effective| effective.rule).filter(|rule| rule.caps())?;
        let (organization, binding) = (self.organization.id.as_str(), self.binds(Unit::Credits));
        if let Some(entry) = path.cap.and_then(|no| self.limit(no)) {
            return Some(entry.state(&entry.standing(now), organization, binding));
        }
        let place = Place::Rule(rule.id.clone(), path.key.entity.key.id.clone());
        let entry = LimitEntry::new(Arc::new(place), Arc::new(rule.limit()?));
        Some(entry.state(&entry.standing(now), organization, binding))
    }

    /// Every limit that a request of this key for this model meets, the wallet last.
    pub fn path_states(&self, key: u32, model: &Model, now: Timestamp) -> Vec<LimitState> {
        let Some(path) = self.path(key) else { return Vec::new() };
        // Who has no cap of its own is bound by its team's.
        let pool = path.pool.filter(|_| path.own.cap().is_none());
        let mut states: Vec<_> = self.limit_states(path.limits().chain(pool), Some(model), now).collect();
        // Where no allocation is set its counter only counts.
        states.retain(|state| state.scope != Scope::Allocation || state.max.is_some());
        states.push(self.wallet_state());
        states
    }

    /// The wallet in the shape of a limit: nothing is spent of a balance that already went down.
    pub fn wallet_state(&self) -> LimitState {
        LimitState {
            scope: Scope::Wallet,
            scope_id: self.organization.id.as_str().into(),
            limit: None,
            unit: Unit::Usd,
            period: None,
            max: Some(self.wallet.balance.get()),
            soft: None,
            spent: 0,
            held: self.wallet.held.get(),
            reset_time: None,
            binding: self.wallet_binds(),
        }
    }

    fn note_record(&mut self, record: &Record) {
        self.sequence = record.sequence;
        self.time = self.time.max(record.time);
        match self.epochs.last_mut() {
            Some((epoch, last)) if *epoch == record.epoch => *last = record.sequence,
            _ => {
                if self.epochs.len() == MAX_EPOCHS {
                    self.epochs.remove(0);
                }
                self.epochs.push((record.epoch, record.sequence));
            }
        }
    }

    /// Takes a hold from the limits that it stands on and counts what is charged on those that it is charged on. A limit that is
    /// among both is changed by the difference at once: of a rate whose second has slid out, a surplus alone counts.
    fn replace_hold(
        &mut self,
        (held_on, held): (&[Touch], Amounts),
        (on, charged): (&[Touch], Amounts),
        now: Timestamp,
    ) {
        let freed = Amounts::ZERO.minus(held);
        if std::ptr::eq(held_on, on) || held_on == on {
            return self.touch(on, charged, freed, -1, now);
        }
        for touch in held_on {
            let charged = if on.contains(touch) { charged } else { Amounts::ZERO };
            self.touch(std::slice::from_ref(touch), charged, freed, -1, now);
        }
        for touch in on.iter().filter(|touch| !held_on.contains(touch)) {
            self.touch(std::slice::from_ref(touch), charged, Amounts::ZERO, 0, now);
        }
    }

    /// Changes what limits count of one request.
    fn touch(&mut self, touches: &[Touch], spent: Amounts, held: Amounts, slots: i64, now: Timestamp) {
        for touch in touches {
            if let Some(entry) = self.counter_mut(touch.limit) {
                entry.add(touch, spent, held, slots, now);
            }
        }
    }

    fn counter_mut(&mut self, no: LimitNo) -> Option<&mut LimitEntry> {
        let entry = self.entries.get_mut(no.0 as usize).and_then(Option::as_deref_mut);
        entry.or_else(|| self.retired.find_mut(no))
    }
}
