//! Any sequence of edits, charges, resets and requests against a naive reference: lists of what happened, added up anew each
//! time a number is asked for.

use proptest::prelude::*;

use super::fixture::*;
use crate::{
    domain::{
        allocation::{AllocationSettings, Cadence, CreditRequestState},
        id::{CreditRequestId, DEFAULT_TEAM, MemberId, TeamId},
        money::Nanos,
        operation::Reserve,
        reservation_id::ReservationNo,
        time::Span,
    },
    engine::turn::AllocationChange,
};

const TEAMS: [&str; 2] = [DEFAULT_TEAM, "t2"];
/// Each in one team: two in the first, two in the second.
const MEMBERS: [(&str, usize); 4] = [("ann", 0), ("m1", 0), ("m2", 1), ("m3", 1)];
const CYCLE: Span = Span::HOUR;

/// What is done to a field: left, unset, or set.
#[allow(clippy::option_option, reason = "as the engine's own changes")]
type Field = Option<Option<i64>>;

#[derive(Debug, Clone)]
enum Step {
    Total(Option<i64>),
    Team {
        team: usize,
        monthly: Field,
        extra: Field,
        reserve: Option<i64>,
    },
    Member {
        member: usize,
        monthly: Field,
        extra: Field,
    },
    Reserve {
        member: usize,
        credits: i64,
    },
    /// Of the oldest that is open: what was used of 10 parts of it.
    Commit {
        parts: i64,
    },
    Reset,
    Pass(i64),
    Submit {
        member: usize,
        credits: i64,
    },
    Approve {
        parts: i64,
    },
    /// Leaves the organization.
    Leave(usize),
    /// Deletes the second team.
    DeleteTeam,
}

fn credits() -> impl Strategy<Value = i64> {
    0..40i64
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![2 => Just(None), 1 => Just(Some(None)), 4 => credits().prop_map(|c| Some(Some(c)))]
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..MEMBERS.len();
    prop_oneof![
        1 => prop::option::of(50..200i64).prop_map(Step::Total),
        3 => (0..2usize, field(), field(), prop::option::of(credits()))
            .prop_map(|(team, monthly, extra, reserve)| Step::Team { team, monthly, extra, reserve }),
        4 => (member.clone(), field(), field())
            .prop_map(|(member, monthly, extra)| Step::Member { member, monthly, extra }),
        8 => (member.clone(), 1..15i64).prop_map(|(member, credits)| Step::Reserve { member, credits }),
        7 => (0..14i64).prop_map(|parts| Step::Commit { parts }),
        1 => Just(Step::Reset),
        1 => (1..4000i64).prop_map(Step::Pass),
        3 => (member, 1..20i64).prop_map(|(member, credits)| Step::Submit { member, credits }),
        2 => (1..11i64).prop_map(|parts| Step::Approve { parts }),
        // The first is the last owner.
        1 => (1..20usize).prop_filter_map("mostly stays", |m| (m < 4).then_some(Step::Leave(m))),
        1 => (0..8usize).prop_filter_map("mostly stays", |n| (n == 0).then_some(Step::DeleteTeam)),
    ]
}

#[derive(Debug, Clone)]
struct Use {
    member: usize,
    cycle: u32,
    held: i64,
    spent: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    monthly: Option<i64>,
    extra: Option<i64>,
}

impl Part {
    /// Extra adds to what there is, and caps nothing.
    fn cap(self) -> Option<i64> {
        self.monthly.map(|monthly| monthly + self.extra.unwrap_or(0))
    }

    fn given(self) -> i64 {
        self.monthly.unwrap_or(0) + self.extra.unwrap_or(0)
    }

    fn changed(self, monthly: Field, extra: Field) -> Self {
        Self { monthly: monthly.unwrap_or(self.monthly), extra: extra.unwrap_or(self.extra) }
    }
}

/// Keeps every use and adds up; knows no counters.
#[derive(Debug, Default)]
struct Reference {
    total: Option<i64>,
    teams: [Part; 2],
    reserves: [i64; 2],
    approved: [i64; 2],
    members: [Part; 4],
    gone: [bool; 4],
    team_gone: bool,
    uses: Vec<Use>,
    cycle: u32,
}

impl Reference {
    fn sum(&self, of: impl Fn(&Use) -> i64, which: impl Fn(&Use) -> bool) -> i64 {
        self.uses.iter().filter(|u| u.cycle == self.cycle && which(u)).map(of).sum()
    }

    fn used(&self, member: usize) -> i64 {
        self.sum(|u| u.spent, |u| u.member == member)
    }

    fn held(&self, member: usize) -> i64 {
        self.sum(|u| u.held, |u| u.member == member)
    }

    fn members_of(team: usize) -> impl Iterator<Item = usize> {
        (0..4).filter(move |member| MEMBERS[*member].1 == team)
    }

    fn distributed(&self, team: usize) -> i64 {
        Self::members_of(team).map(|m| self.members[m].given()).sum()
    }

    /// Returns what the members have or used, whichever is more of each; those that left used.
    fn committed(&self, team: usize) -> i64 {
        Self::members_of(team).map(|m| self.members[m].given().max(self.used(m))).sum()
    }

    fn committed_and_held(&self, team: usize) -> i64 {
        Self::members_of(team).map(|m| self.members[m].given().max(self.used(m) + self.held(m))).sum()
    }

    /// D6 as M12 says it: monthly + extra − Σ max(monthly + extra, used).
    fn available(&self, team: usize) -> Option<i64> {
        self.teams[team].cap().map(|cap| cap - self.committed(team))
    }

    fn taken(&self, team: usize, part: Part) -> i64 {
        part.given().max(self.committed(team))
    }

    fn account_available(&self) -> Option<i64> {
        self.total.map(|total| total - self.taken(0, self.teams[0]) - self.taken(1, self.teams[1]))
    }

    fn fits(free: Option<i64>, more: i64) -> bool {
        more <= 0 || free.is_none_or(|free| more <= free)
    }

    fn set_team(&mut self, team: usize, monthly: Field, extra: Field) -> bool {
        let (before, next) = (self.teams[team], self.teams[team].changed(monthly, extra));
        let distributed = self.distributed(team);
        if team == 1 && self.team_gone {
            return false;
        }
        if next.cap().is_some_and(|total| total < distributed)
            && (next.monthly, next.extra) != (before.monthly, before.extra)
        {
            return false;
        }
        if !Self::fits(self.account_available(), self.taken(team, next) - self.taken(team, before)) {
            return false;
        }
        self.teams[team] = next;
        true
    }

    fn set_member(&mut self, member: usize, next: Part) -> bool {
        let before = self.members[member];
        if self.gone[member] {
            return false;
        }
        if (next.monthly, next.extra) == (before.monthly, before.extra) {
            return true;
        }
        let fits = self.member_fits(member, next);
        if fits {
            self.members[member] = next;
        }
        fits
    }

    fn member_fits(&self, member: usize, next: Part) -> bool {
        let (team, before) = (MEMBERS[member].1, self.members[member]);
        let (used, all) = (self.used(member), self.used(member) + self.held(member));
        let grows = |at_least: i64| next.given().max(at_least) - before.given().max(at_least);
        if let Some(cap) = self.teams[team].cap() {
            Self::fits(Some(cap - self.committed_and_held(team)), grows(all))
        } else {
            let own = self.teams[team].given();
            let after = own.max(self.committed(team) + grows(used));
            Self::fits(self.account_available(), after - self.taken(team, self.teams[team]))
        }
    }

    fn with_extra(&self, member: usize, credits: i64) -> Part {
        let own = self.members[member];
        Part { extra: Some(own.extra.unwrap_or(0) + credits), ..own }
    }

    fn reserve(&mut self, member: usize, credits: i64) -> bool {
        let (team, own) = (MEMBERS[member].1, self.members[member]);
        let (used, held) = (self.used(member), self.held(member));
        let admits = |cap: Option<i64>, spent: i64, held: i64, credits: i64| {
            cap.is_none_or(|cap| spent < cap && spent + held + credits <= cap)
        };
        let beyond = |sum: i64| (sum - own.given()).max(0);
        let drawn = beyond(used + held + credits) - beyond(used + held);
        let is_asked = own.monthly.is_none() && (drawn > 0 || used >= own.given());
        let pool = self.teams[team].cap().map(|cap| cap - self.distributed(team));
        let spent = self.committed(team) - self.distributed(team);
        let on_hold = self.committed_and_held(team) - self.committed(team);
        let granted = !self.gone[member]
            && admits(own.cap(), used, held, credits)
            && (!is_asked || admits(pool, spent, on_hold, drawn))
            && admits(self.total, self.sum(|u| u.spent, |_| true), self.sum(|u| u.held, |_| true), credits);
        if granted {
            self.uses.push(Use { member, cycle: self.cycle, held: credits, spent: 0 });
        }
        granted
    }

    fn begin(&mut self) {
        self.cycle += 1;
        self.approved = [0; 2];
        for part in self.teams.iter_mut().chain(&mut self.members) {
            part.extra = None;
        }
    }

    fn submit(&mut self, member: usize, credits: i64) -> bool {
        let team = MEMBERS[member].1;
        let within = self.approved[team] + credits <= self.reserves[team];
        let next = self.with_extra(member, credits);
        let granted = within && self.member_fits(member, next);
        if granted {
            self.approved[team] += credits;
            self.members[member] = next;
        }
        granted
    }

    fn leave(&mut self, member: usize) {
        self.gone[member] = true;
        self.members[member] = Part::default();
    }
}

struct Both {
    world: World,
    reference: Reference,
    open: Vec<(ReservationNo, usize, i64)>,
    pending: Vec<(CreditRequestId, usize, i64)>,
    steps: usize,
    cycle_end: crate::domain::time::Timestamp,
}

fn change(monthly: Field, extra: Field) -> AllocationChange {
    let nanos = |field: Field| field.map(|value| value.map(Nanos::new));
    AllocationChange { monthly: nanos(monthly), extra: nanos(extra) }
}

impl Both {
    fn new() -> Self {
        let mut world = World::new();
        world.add_team("t2");
        for (member, team) in &MEMBERS[1..] {
            world.add_member(member, &[TEAMS[*team]]);
            world.add_key(&format!("key-{member}"), member, TEAMS[*team]);
        }
        let mut both = Self {
            world,
            reference: Reference::default(),
            open: Vec::new(),
            pending: Vec::new(),
            steps: 0,
            cycle_end: NOON,
        };
        both.set_total(None);
        both
    }

    fn set_total(&mut self, total: Option<i64>) {
        let credits_per_cycle = total.map(Nanos::new);
        let settings =
            AllocationSettings { credits_per_cycle, cadence: Cadence::Hour, ..AllocationSettings::default() };
        self.world.turn(|turn| turn.set_allocation_settings(settings, true)).unwrap();
        self.reference.total = total;
        self.cycle_end = self.world.state.allocations.cycle.end;
    }

    fn key(member: usize) -> String {
        if member == 0 { KEY.to_owned() } else { format!("key-{}", MEMBERS[member].0) }
    }

    fn step(&mut self, step: &Step) {
        self.steps += 1;
        self.world.advance(Span::SECOND);
        if self.world.now >= self.cycle_end {
            self.reference.begin();
            let past = (self.world.now - self.cycle_end).as_micros() / CYCLE.as_micros();
            self.cycle_end = self.cycle_end + Span::micros((past + 1) * CYCLE.as_micros());
        }
        match step {
            Step::Total(total) => self.set_total(*total),
            Step::Team { team, monthly, extra, reserve } => {
                let id = TeamId::trusted(TEAMS[*team]);
                let nanos = reserve.map(Nanos::new);
                let set = self.world.turn(|turn| turn.set_team_allocation(&id, change(*monthly, *extra), nanos));
                let expected = self.reference.set_team(*team, *monthly, *extra);
                assert_eq!(set.is_ok(), expected, "{set:?}");
                if expected && let Some(reserve) = reserve {
                    self.reference.reserves[*team] = *reserve;
                }
            }
            Step::Member { member, monthly, extra } => {
                let (name, team) = MEMBERS[*member];
                let (team, id) = (TeamId::trusted(TEAMS[team]), MemberId::trusted(name));
                let set = self.world.turn(|turn| turn.set_member_allocation(&team, &id, change(*monthly, *extra)));
                let next = self.reference.members[*member].changed(*monthly, *extra);
                assert_eq!(set.is_ok(), self.reference.set_member(*member, next), "{set:?}");
            }
            Step::Reserve { member, credits } => self.reserve(*member, *credits),
            Step::Commit { parts } => self.commit(*parts),
            Step::Reset => {
                self.world.reset_cycle();
                self.reference.begin();
                self.cycle_end = self.world.now + CYCLE;
            }
            Step::Pass(seconds) => self.world.advance(Span::seconds(*seconds)),
            Step::Submit { member, credits } => self.submit(*member, *credits),
            Step::Approve { parts } => self.approve(*parts),
            Step::Leave(member) => self.leave(*member),
            Step::DeleteTeam => self.delete_team(),
        }
        if !matches!(step, Step::Pass(_)) {
            self.world.tick();
            self.compare();
        }
    }

    fn reserve(&mut self, member: usize, credits: i64) {
        let request = Reserve { ttl: Span::DAY, ..ask(&format!("r{}", self.steps), cost(credits)) };
        let granted = self.world.reserve_as(&Self::key(member), &request).unwrap();
        assert_eq!(granted.is_ok(), self.reference.reserve(member, credits), "{granted:?}");
        if let Ok(granted) = granted {
            self.open.push((granted.reservation, self.reference.uses.len() - 1, credits));
        }
    }

    fn commit(&mut self, parts: i64) {
        if self.open.is_empty() {
            return;
        }
        let (no, place, held) = self.open.remove(0);
        let spent = held * parts / 10;
        self.world.commit(no, cost(spent));
        let used = &mut self.reference.uses[place];
        (used.held, used.spent) = (0, spent);
    }

    fn leave(&mut self, member: usize) {
        if !self.reference.gone[member] {
            self.world.turn(|turn| turn.delete_member(&MemberId::trusted(MEMBERS[member].0))).unwrap();
            self.reference.leave(member);
        }
    }

    fn delete_team(&mut self) {
        let deleted = self.world.turn(|turn| turn.delete_team(&TeamId::trusted(TEAMS[1])));
        assert_eq!(deleted.is_err(), self.reference.team_gone);
        self.reference.team_gone = true;
        self.reference.teams[1] = Part::default();
        for member in Reference::members_of(1) {
            self.reference.leave(member);
        }
    }

    fn submit(&mut self, member: usize, credits: i64) {
        if self.reference.gone[member] {
            return;
        }
        let (name, team) = MEMBERS[member];
        let (team, id) = (TeamId::trusted(TEAMS[team]), MemberId::trusted(name));
        let request = CreditRequestId::trusted(format!("q{}", self.steps));
        let asked = Nanos::new(credits);
        self.world
            .turn(|turn| turn.submit_credit_request(request.clone(), (&team, &id), asked, String::new()))
            .unwrap();
        let state = self.world.state.credit_requests.find(&request).unwrap().entity.state;
        let granted = self.reference.submit(member, credits);
        assert_eq!(state == CreditRequestState::AutoApproved, granted);
        if !granted {
            self.pending.push((request, member, credits));
        }
    }

    fn approve(&mut self, parts: i64) {
        if self.pending.is_empty() {
            return;
        }
        let (request, member, asked) = self.pending.remove(0);
        let granted = asked * parts / 10;
        let done =
            self.world.turn(|turn| turn.approve_credit_request(&request, Some(Nanos::new(granted)), String::new()));
        let next = self.reference.with_extra(member, granted);
        let expected = granted <= asked && !self.reference.gone[member] && self.reference.member_fits(member, next);
        assert_eq!(done.is_ok(), expected, "{done:?}");
        if expected {
            self.reference.members[member] = next;
        }
    }

    fn compare(&self) {
        let (state, reference) = (&self.world.state, &self.reference);
        for (at, team) in TEAMS.iter().enumerate() {
            let credits = state.credits().team(state.teams.place(&TeamId::trusted(*team)).unwrap());
            assert_eq!(credits.allocated.distributed.get(), reference.distributed(at), "distributed of {team}");
            assert_eq!(credits.available.map(Nanos::get), reference.available(at), "available of {team}");
            let used = reference.sum(|u| u.spent, |u| MEMBERS[u.member].1 == at);
            assert_eq!(credits.allocated.used.get(), used, "used by {team}");
            let (committed, held) = (reference.committed(at), reference.committed_and_held(at));
            let shared = (committed - reference.distributed(at), held - committed);
            assert_eq!((credits.shared_used.get(), credits.shared_held.get()), shared, "drawn on {team}");
        }
        for (at, (member, team)) in MEMBERS.iter().enumerate() {
            let id = (TeamId::trusted(TEAMS[*team]), MemberId::trusted(*member));
            let place = state.memberships.place(&id).unwrap();
            let own = state.allocations.member(place);
            assert_eq!(own.cap().map(Nanos::get), reference.members[at].cap(), "{member}'s own");
            assert_eq!(own.given().get(), reference.members[at].given(), "{member}'s own");
            assert_eq!(state.credits_of(place).spent.get(), reference.used(at), "used by {member}");
            assert_eq!(state.credits_of(place).held.get(), reference.held(at), "held by {member}");
        }
        assert_eq!(state.inconsistencies(), []);
        let account = state.credits().account();
        assert_eq!(account.used.get(), reference.sum(|u| u.spent, |_| true), "used by all");
        assert_eq!(account.available.map(Nanos::get), reference.account_available(), "available to all");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_edits_charges_resets_and_requests_adds_up(steps in prop::collection::vec(step(), 1..120)) {
        let mut both = Both::new();
        for step in &steps {
            both.step(step);
        }
    }
}
