//! Whether a state agrees with itself, and with another one that the same events led to.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
};

use super::{AccountSums, OrganizationState, Staff, staff::Duties};
use crate::{
    domain::{
        access::{Invitation, InvitationState},
        allocation::{CreditRequest, CreditRequestState, Drawn},
        event::LimitNo,
        id::{MemberId, TeamId},
        money::Nanos,
        payment::{OrderState, TopUpOrder},
        policy::Place,
        time::Timestamp,
    },
    engine::{
        limit::{Counter, LimitEntry, amount_in, scope_of},
        table::{Entity, Shelf, Table},
    },
};

/// Something that isn't what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    pub what: String,
    pub expected: String,
    pub found: String,
}

struct Findings(Vec<Mismatch>);

impl Findings {
    fn compare<T: Copy + PartialEq + Display>(&mut self, what: impl FnOnce() -> String, expected: T, found: T) {
        if expected != found {
            self.0.push(Mismatch { what: what(), expected: expected.to_string(), found: found.to_string() });
        }
    }

    /// Of what has no short form.
    fn same<T: PartialEq>(&mut self, what: impl FnOnce() -> String, expected: &T, found: &T) {
        if expected != found {
            self.0.push(Mismatch {
                what: what(),
                expected: String::from("as the journal tells"),
                found: String::from("something else"),
            });
        }
    }

    /// Compares rows by their places. Either side may have forgotten those that `may_be_gone`.
    fn same_rows<E: Entity + PartialEq>(
        &mut self,
        expected: &Table<E>,
        found: &Table<E>,
        may_be_gone: impl Fn(&E) -> bool,
    ) {
        for (place, row) in expected.all() {
            match found.row(place) {
                Some(other) => self.same(|| format!("{} in row {place}", E::KIND), row, other),
                None if may_be_gone(&row.entity) => {}
                None => self.compare(|| format!("{} in row {place}", E::KIND), "one", "none"),
            }
        }
        for (place, row) in found.all() {
            if expected.row(place).is_none() && !may_be_gone(&row.entity) {
                self.compare(|| format!("{} in row {place}", E::KIND), "none", "one");
            }
        }
    }

    /// The same of what leaves memory once it is over.
    fn same_shelf<E: Entity + PartialEq>(
        &mut self,
        expected: &Shelf<E>,
        found: &Shelf<E>,
        is_over: impl Fn(&E) -> bool,
    ) {
        for (_, row) in expected.all() {
            match found.find(&row.entity.id()) {
                Some(other) => self.same(|| String::from(E::KIND), row, other),
                None if is_over(&row.entity) => {}
                None => self.compare(|| String::from(E::KIND), "one that isn't over", "none"),
            }
        }
        for (_, row) in found.all().filter(|(_, row)| !is_over(&row.entity)) {
            if expected.find(&row.entity.id()).is_none() {
                self.compare(|| String::from(E::KIND), "none", "one that isn't over");
            }
        }
    }
}

/// What the members of a team add up to.
#[derive(Default)]
struct TeamSums {
    members: u32,
    used: Nanos,
    distributed: Nanos,
    lasting: Nanos,
    drawn: Drawn,
}

/// As Verify names a budget's window.
pub fn window_name(entry: &LimitEntry, organization: &str, start: Timestamp) -> String {
    let (scope, id) = scope_of(&entry.place, organization);
    format!("budget {}/{id}/{} from {}", scope.name(), entry.limit.id(), start.micros())
}

impl OrganizationState {
    /// What differs from `replayed`, the state that the same events lead to. What either may have forgotten, or taken back from
    /// the books, isn't looked at: reservations and request ids that are over.
    pub fn mismatches(&self, replayed: &Self) -> Vec<Mismatch> {
        let mut found = Findings(Vec::new());
        found.compare(|| String::from("sequence"), replayed.sequence, self.sequence);
        found.compare(|| String::from("last entry"), replayed.entry, self.entry);
        found.compare(|| String::from("balance"), replayed.wallet.balance, self.wallet.balance);
        found.compare(|| String::from("held of the balance"), replayed.wallet.held, self.wallet.held);
        self.compare_limits(replayed, &mut found);
        found.compare(|| String::from("open reservations"), replayed.open_count(), self.open_count());
        for (expected, held) in replayed.open().zip(self.open()) {
            found.same(|| format!("open reservation {}-{}", held.no.epoch, held.no.sequence), expected, held);
        }
        found.same(|| String::from("organization"), &replayed.organization, &self.organization);
        found.same_rows(&replayed.teams, &self.teams, |_| false);
        found.same_rows(&replayed.members, &self.members, |_| false);
        found.same_rows(&replayed.memberships, &self.memberships, |_| false);
        found.same_rows(&replayed.keys, &self.keys, |row| row.key.deleted);
        let is_over = |invitation: &Invitation| {
            invitation.state != InvitationState::Pending || self.may_have_expired(replayed, invitation.expire_time)
        };
        found.same_shelf(&replayed.invitations, &self.invitations, is_over);
        let is_over = |request: &CreditRequest| request.state != CreditRequestState::Pending;
        found.same_shelf(&replayed.credit_requests, &self.credit_requests, is_over);
        let is_over = |order: &TopUpOrder| order.state != OrderState::Pending;
        found.same_shelf(&replayed.payments.orders, &self.payments.orders, is_over);
        found.same_shelf(&replayed.payments.methods, &self.payments.methods, |method| method.deleted);
        found.same(|| String::from("counts of credit requests"), &replayed.request_counts, &self.request_counts);
        let have_key = |key: u32| replayed.keys.row(key).is_some() && self.keys.row(key).is_some();
        found.same_rows(&replayed.rules.rules, &self.rules.rules, |rule| rule.deleted);
        let (expected, used) =
            (replayed.rules.used_like(&self.rules, have_key), self.rules.used_like(&replayed.rules, have_key));
        found.same(|| String::from("use of rules"), &expected, &used);
        found.same(|| String::from("allocations"), &replayed.allocations, &self.allocations);
        found.same(|| String::from("payments"), &true, &self.payments.agrees(&replayed.payments));
        found.same(|| String::from("alerts"), &true, &self.alerts.agrees(&replayed.alerts));
        found.same(|| String::from("frequencies"), &replayed.frequencies, &self.frequencies);
        found.0
    }

    fn compare_limits(&self, replayed: &Self, found: &mut Findings) {
        found.compare(|| String::from("limits ever set"), replayed.next_limit_no(), self.next_limit_no());
        for (no, expected) in replayed.all_limits() {
            let Some(entry) = self.limit(no) else {
                // What a key used under a rule is forgotten with it, and isn't taken back with it.
                let is_gone = |key| replayed.keys.place(key).is_none_or(|place| self.keys.row(place).is_none());
                if matches!(&*expected.place, Place::Rule(_, key) if is_gone(key)) {
                    continue;
                }
                found.compare(|| format!("limit {}", no.0), "one that is set", "none");
                continue;
            };
            if let (Counter::Budget(expected), Counter::Budget(windows)) = (&expected.counter, &entry.counter) {
                for (start, counted) in expected.iter() {
                    let name = || window_name(entry, self.organization.id.as_str(), start);
                    found.compare(name, counted.spent, windows.at(start).spent);
                    found.compare(|| format!("held of {}", name()), counted.held, windows.at(start).held);
                }
            }
            found.same(|| format!("limit {}", no.0), expected, entry);
        }
        found.same(|| String::from("counters of removed limits"), &replayed.retired, &self.retired);
    }

    /// What teams, and members in them, have in every cycle.
    pub fn monthly_allocations(&self) -> BTreeMap<(TeamId, Option<MemberId>), Nanos> {
        let teams = self.teams.all().filter_map(|(place, row)| {
            let monthly = self.allocations.team(place).allocation.monthly?;
            Some(((row.entity.id.clone(), None), monthly))
        });
        let members = self.memberships.all().filter_map(|(place, row)| {
            let monthly = self.allocations.member(place).monthly?;
            Some(((row.entity.team.clone(), Some(row.entity.member.clone())), monthly))
        });
        teams.chain(members).collect()
    }

    /// What doesn't follow from the state's own parts: what is held from the open reservations, what a team gave out from what
    /// its members have.
    pub fn inconsistencies(&self) -> Vec<Mismatch> {
        let mut found = Findings(Vec::new());
        let open = self.reservations.values().filter(|reservation| reservation.is_open());
        found.compare(|| String::from("reservations that expire"), open.count(), self.open_count());
        self.check_holds(&mut found);
        self.check_teams(&mut found);
        found.same(|| String::from("keys by what they belong to"), &true, &self.keys.groups_agree());
        found.same(|| String::from("memberships by what they belong to"), &true, &self.memberships.groups_agree());
        found.0
    }

    fn check_teams(&self, found: &mut Findings) {
        let mut sums: HashMap<u32, TeamSums> = HashMap::new();
        let mut of_members: HashMap<u32, Nanos> = HashMap::new();
        for (place, row) in self.memberships.all() {
            let Some(team) = self.teams.place(&row.entity.team) else { continue };
            let own = self.allocations.member(place);
            let drawn = self.drawn_with(place, own);
            let sum = sums.entry(team).or_default();
            sum.members += u32::from(!row.entity.deleted);
            let used = self.credits_of(place).spent;
            sum.used += used;
            if let Some(member) = self.members.place(&row.entity.member) {
                *of_members.entry(member).or_default() += used;
            }
            sum.distributed += own.given();
            sum.lasting += own.monthly.unwrap_or_default();
            sum.drawn = sum.drawn.plus(drawn);
        }
        for (place, row) in self.members.all() {
            let used = of_members.get(&place).copied().unwrap_or_default();
            let name = || format!("credits used by member {}", row.entity.id);
            found.compare(name, used, self.allocations.used_by(place));
        }
        let mut account = AccountSums::default();
        for (place, row) in self.teams.all() {
            let sum = sums.remove(&place).unwrap_or_default();
            let (stands, id) = (self.allocations.team(place), &row.entity.id);
            let pool = self.counted_in(stands.pool, self.allocations.cycle);
            found.compare(|| format!("members of team {id}"), sum.members, stands.members);
            found.compare(|| format!("credits used by team {id}"), sum.used, stands.used);
            found.compare(|| format!("credits distributed in team {id}"), sum.distributed, stands.distributed);
            found.compare(|| format!("lasting credits in team {id}"), sum.lasting, stands.lasting);
            found.compare(|| format!("credits drawn on the pool of team {id}"), sum.drawn.spent, pool.spent);
            found.compare(|| format!("credits held by the pool of team {id}"), sum.drawn.held, pool.held);
            account.follow(AccountSums::default(), AccountSums::of(&stands, pool.spent));
        }
        found.same(|| String::from("sums of the teams' credits"), &account, &self.allocations.sums());
        self.check_staff(found);
    }

    fn check_staff(&self, found: &mut Findings) {
        let mut staff = Staff::default();
        for (place, row) in self.members.all() {
            staff.follow(place, Duties::default(), Duties::of(&row.entity));
        }
        found.same(|| String::from("members who look after the organization"), &staff, &self.staff);
    }

    fn check_holds(&self, found: &mut Findings) {
        let mut wallet = Nanos::ZERO;
        let mut budgets: HashMap<(LimitNo, Timestamp), i64> = HashMap::new();
        let mut slots: HashMap<LimitNo, i64> = HashMap::new();
        let mut of_keys: HashMap<&str, u32> = HashMap::new();
        for hold in self.open() {
            if hold.reserved.wallet {
                wallet += hold.held().usd;
            }
            *of_keys.entry(hold.reserved.key.as_str()).or_default() += 1;
            for touch in hold.reserved.touches.iter() {
                *slots.entry(touch.limit).or_default() += 1;
                *budgets.entry((touch.limit, touch.window)).or_default() += amount_in(touch.unit, hold.held());
            }
        }
        found.compare(|| String::from("held of the balance by open reservations"), wallet, self.wallet.held);
        for (place, row) in self.keys.all() {
            let id = row.entity.key.id.as_str();
            let open = of_keys.get(id).copied().unwrap_or_default();
            found.compare(|| format!("open reservations of key {id}"), open, self.open_count_of(place));
        }
        for (no, entry) in self.all_counters() {
            match &entry.counter {
                // Compared with its members above.
                Counter::Budget(_) if entry.is_pool() => {}
                Counter::Budget(windows) => {
                    for (start, counted) in windows.iter() {
                        let held = budgets.get(&(no, start)).copied().unwrap_or_default();
                        let name = || window_name(entry, self.organization.id.as_str(), start);
                        found.compare(
                            || format!("held of {} by open reservations", name()),
                            Nanos::new(held),
                            counted.held,
                        );
                    }
                }
                Counter::InFlight(open) => {
                    let taken = slots.get(&no).copied().unwrap_or_default();
                    found.compare(|| format!("slots of limit {} taken by open reservations", no.0), taken, *open);
                }
                Counter::Rate(_) => {}
            }
        }
    }
}
