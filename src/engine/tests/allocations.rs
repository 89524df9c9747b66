//! Credits handed out per cycle: what teams and members have of their own, pools, requests, and cycles that end.

use super::fixture::*;
use crate::{
    domain::{
        alert::AlertKind,
        allocation::{AllocationSettings, Cadence, CreditRequestState},
        decision::{DenialCode, Violated},
        entity::AccountKind,
        id::{CreditRequestId, DEFAULT_TEAM, MemberId, TeamId},
        money::Nanos,
        policy::{Policy, Scope},
        time::Span,
        zone::Zone,
    },
    engine::{
        conflict::Conflict,
        state::{AccountCredits, TeamCredits},
        turn::{AllocationChange, Outcome},
    },
};

const TEAM: &str = DEFAULT_TEAM;

fn monthly(credits: i64) -> AllocationChange {
    AllocationChange { monthly: Some(Some(Nanos::new(credits))), extra: None }
}

fn none() -> AllocationChange {
    AllocationChange { monthly: Some(None), extra: Some(None) }
}

impl World {
    fn settings(&mut self, settings: AllocationSettings) {
        self.turn(|turn| turn.set_allocation_settings(settings, true)).unwrap();
    }

    /// Credits per cycle, of a day.
    fn cycle(&mut self, credits: Option<i64>) {
        let credits_per_cycle = credits.map(Nanos::new);
        self.settings(AllocationSettings { credits_per_cycle, cadence: Cadence::Day, ..AllocationSettings::default() });
    }

    fn allot_team(&mut self, change: AllocationChange) -> Outcome<()> {
        self.turn(|turn| turn.set_team_allocation(&TeamId::trusted(TEAM), change, None))
    }

    fn allot(&mut self, member: &str, change: AllocationChange) -> Outcome<()> {
        self.turn(|turn| turn.set_member_allocation(&TeamId::trusted(TEAM), &MemberId::trusted(member), change))
    }

    fn reserve_of(&mut self, reserve: i64) {
        let reserve = Some(Nanos::new(reserve));
        self.turn(|turn| turn.set_team_allocation(&TeamId::trusted(TEAM), AllocationChange::default(), reserve))
            .unwrap();
    }

    fn submit(&mut self, id: &str, member: &str, amount: i64) -> CreditRequestState {
        let (team, member) = (TeamId::trusted(TEAM), MemberId::trusted(member));
        let named = CreditRequestId::trusted(id);
        let asked = Nanos::new(amount);
        self.turn(|turn| turn.submit_credit_request(named.clone(), (&team, &member), asked, String::new())).unwrap();
        self.state.credit_requests.find(&named).unwrap().entity.state
    }

    fn approve(&mut self, id: &str, amount: Option<i64>) -> Outcome<()> {
        let id = CreditRequestId::trusted(id);
        self.turn(|turn| turn.approve_credit_request(&id, amount.map(Nanos::new), String::new()))
    }

    fn team_credits(&self) -> TeamCredits {
        self.state.credits().team(self.state.teams.place(&TeamId::trusted(TEAM)).unwrap())
    }

    fn available(&self) -> Option<i64> {
        self.team_credits().available.map(Nanos::get)
    }

    fn account(&self) -> AccountCredits {
        self.state.credits().account()
    }

    /// Returns what a member has of its own, and used of whatever.
    fn own(&self, member: &str) -> (i64, i64) {
        let id = (TeamId::trusted(TEAM), MemberId::trusted(member));
        let place = self.state.memberships.place(&id).unwrap();
        (self.state.allocations.member(place).given().get(), self.state.credits_of(place).spent.get())
    }

    fn pool(&self) -> (i64, i64) {
        let TeamCredits { shared_used, shared_held, .. } = self.team_credits();
        (shared_used.get(), shared_held.get())
    }

    fn bob(&mut self) {
        self.add_member("bob", &[TEAM]);
        self.add_key("bobs", "bob", TEAM);
    }

    fn spend_as(&mut self, key: &str, id: &str, credits: i64) -> bool {
        let granted = self.reserve_as(key, &ask(id, cost(credits))).unwrap();
        let Ok(granted) = granted else { return false };
        self.commit(granted.reservation, cost(credits));
        true
    }
}

fn refused(outcome: &Outcome<()>) -> String {
    match outcome {
        Err(Conflict::Precondition(problem)) => problem.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_organizations_credits_cap_everybody_together() {
    let mut world = World::new();
    world.bob();
    world.cycle(Some(10));
    assert!(world.spend_as(KEY, "a", 6));
    let denial = world.reserve_as("bobs", &ask("b", cost(5))).unwrap().unwrap_err();
    assert_eq!(denial.code, DenialCode::BudgetExceeded);
    assert_eq!(denial.retry_after(), Some(Span::DAY), "until the cycle ends");
    assert!(world.spend_as("bobs", "c", 4));
    assert_eq!(world.account().balance, Some(Nanos::ZERO));
}

#[test]
fn what_was_used_before_a_total_was_set_counts() {
    let mut world = World::new();
    world.reserve("open", cost(3));
    world.charge("a", cost(4));
    let settings = AllocationSettings { credits_per_cycle: Some(Nanos::new(10)), ..AllocationSettings::default() };
    world.settings(settings);
    assert_eq!((world.account().used, world.account().balance), (Nanos::new(4), Some(Nanos::new(6))));
    assert!(world.try_reserve(&ask("b", cost(4))).is_err(), "3 are held");
    world.reserve("c", cost(3));
}

#[test]
fn members_without_an_allocation_share_their_teams_pool() {
    let mut world = World::new();
    world.bob();
    world.cycle(None);
    world.allot_team(monthly(100)).unwrap();
    world.allot("ann", monthly(30)).unwrap();
    assert_eq!(world.available(), Some(70));
    let denial = world.reserve_as(KEY, &ask("a", cost(31))).unwrap().unwrap_err();
    assert_eq!(named(&denial), ["allocation"]);
    assert!(world.spend_as("bobs", "b", 50));
    assert_eq!((world.available(), world.team_credits().allocated.used), (Some(20), Nanos::new(50)));
    assert!(!world.spend_as("bobs", "c", 21), "ann's part isn't the pool's");
    assert!(world.spend_as(KEY, "d", 30));
    assert!(!world.spend_as(KEY, "e", 1), "whose own is used up does not fall back to the pool");
    assert!(world.spend_as("bobs", "f", 20));
}

#[test]
fn nothing_beyond_what_there_is_is_given_out() {
    let mut world = World::new();
    world.bob();
    world.cycle(Some(100));
    let problem = refused(&world.allot_team(monthly(101)));
    assert!(problem.contains("0.000000101") && problem.contains("0.0000001 available"), "{problem}");
    world.allot_team(monthly(80)).unwrap();
    world.allot("ann", monthly(50)).unwrap();
    let problem = refused(&world.allot("bob", monthly(31)));
    assert!(problem.contains("team default has 0.00000003 available"), "{problem}");
    let problem = refused(&world.allot_team(monthly(49)));
    assert!(problem.contains("given out to its members"), "{problem}");
    assert!(world.spend_as("bobs", "a", 20));
    let problem = refused(&world.allot("bob", monthly(31)));
    assert!(problem.contains("0.000000011 more"), "what it used is its own already: {problem}");
    world.allot("bob", monthly(30)).unwrap();
    assert_eq!(world.available(), Some(0));
}

#[test]
fn a_total_below_what_is_given_out_blocks_new_distribution() {
    let mut world = World::new();
    world.cycle(Some(100));
    world.allot_team(monthly(80)).unwrap();
    world.cycle(Some(50));
    assert_eq!(world.account().available, Some(Nanos::new(-30)));
    refused(&world.allot_team(monthly(81)));
    world.allot_team(monthly(60)).unwrap();
    assert_eq!(world.account().available, Some(Nanos::new(-10)), "less is always possible");
}

#[test]
fn zero_means_nothing_and_unset_means_no_cap() {
    let mut world = World::new();
    world.cycle(None);
    world.allot_team(monthly(0)).unwrap();
    assert!(!world.spend_as(KEY, "a", 1));
    assert!(!world.spend_as(KEY, "free", 0), "used up means refused, even for a free request");
    world.allot_team(none()).unwrap();
    assert!(world.spend_as(KEY, "b", 1000));
    assert_eq!(world.available(), None);
}

#[test]
fn what_a_member_used_beyond_a_lowered_allocation_its_pool_bears() {
    let mut world = World::new();
    world.bob();
    world.cycle(None);
    world.allot_team(monthly(100)).unwrap();
    world.allot("ann", monthly(50)).unwrap();
    assert!(world.spend_as(KEY, "a", 40));
    world.allot("ann", monthly(10)).unwrap();
    assert_eq!((world.own("ann"), world.available()), ((10, 40), Some(60)), "100 − 10 − 30 beyond its own");
    world.allot("ann", none()).unwrap();
    assert_eq!(world.available(), Some(60), "all 40 are the pool's");
    world.allot("ann", monthly(45)).unwrap();
    assert_eq!((world.own("ann"), world.available()), ((45, 40), Some(55)));
    assert!(world.spend_as(KEY, "b", 5));
    assert!(world.spend_as("bobs", "c", 55), "together exactly what the team had");
    assert!(!world.spend_as("bobs", "d", 1));
}

#[test]
fn a_cycle_that_ends_starts_from_zero_and_takes_extra_credits_with_it() {
    let mut world = World::new();
    world.cycle(Some(100));
    world.allot_team(monthly(50)).unwrap();
    world
        .allot("ann", AllocationChange { monthly: Some(Some(Nanos::new(10))), extra: Some(Some(Nanos::new(5))) })
        .unwrap();
    assert!(world.spend_as(KEY, "a", 15));
    assert!(!world.spend_as(KEY, "b", 1));
    world.advance(Span::DAY);
    assert!(world.spend_as(KEY, "c", 10), "works again without anyone doing anything");
    assert!(!world.spend_as(KEY, "d", 1), "the extra is gone");
    assert_eq!((world.available(), world.team_credits().allocated.used), (Some(40), Nanos::new(10)));
    assert_eq!(world.account().used, Nanos::new(10));
}

#[test]
fn what_was_admitted_before_a_cycle_ended_counts_in_it() {
    let mut world = World::new();
    world.cycle(Some(100));
    let open = world.reserve("a", cost(30));
    world.advance(Span::SECOND);
    world.reset_cycle();
    assert_eq!(world.account().used, Nanos::ZERO);
    world.commit(open, cost(40));
    assert_eq!(world.account().used, Nanos::ZERO, "it counts in the cycle that was reset");
    assert!(world.spend_as(KEY, "b", 100));
}

#[test]
fn a_reset_counts_the_next_end_from_this_moment() {
    let mut world = World::new();
    world.cycle(Some(100));
    assert!(world.spend_as(KEY, "a", 100));
    world.advance(Span::HOUR);
    let cycle = world.reset_cycle();
    assert_eq!((cycle.start, cycle.end), (world.now, world.now + Span::DAY));
    assert!(world.spend_as(KEY, "b", 100));
}

#[test]
fn another_cadence_starts_a_cycle_at_once() {
    let mut world = World::new();
    world.cycle(Some(100));
    assert!(world.spend_as(KEY, "a", 100));
    world.advance(Span::HOUR);
    let settings = world.state.allocations.settings;
    world.settings(AllocationSettings { cadence: Cadence::Hours6, ..settings });
    assert_eq!(world.account().cycle.end, world.now + Span::seconds(6 * 3600));
    assert!(world.spend_as(KEY, "b", 100));
    world.settings(AllocationSettings {
        cadence: Cadence::CalendarMonth,
        zone: Zone::parse("z", "Asia/Tokyo").unwrap(),
        ..settings
    });
    assert_eq!(world.account().cycle.end.to_string(), "2026-03-31T15:00:00Z", "the end of the month in Tokyo");
}

#[test]
fn an_allocation_that_is_used_up_stops_running_work() {
    let mut world = World::new();
    world.cycle(None);
    world.allot("ann", monthly(10)).unwrap();
    let (first, _) = (world.reserve("a", cost(2)), world.reserve("b", cost(2)));
    world.commit(first, cost(10));
    assert_eq!(world.revocations.len(), 1);
    let cause = &world.revocations[0].cause;
    assert_eq!((cause.scope, cause.scope_id.as_str()), (Scope::Allocation, "default/ann"));
    world.allot("ann", monthly(100)).unwrap();
    world.reserve("c", cost(1));
    world.allot("ann", monthly(10)).unwrap();
    assert_eq!(world.revocations.len(), 1, "a cap lowered to what is spent");
}

#[test]
fn a_request_that_fits_the_auto_approve_reserve_is_granted_at_once() {
    let mut world = World::new();
    world.cycle(None);
    world.allot_team(monthly(100)).unwrap();
    assert_eq!(world.submit("r0", "ann", 5), CreditRequestState::Pending, "reserve 0: always by hand");
    world.reserve_of(10);
    assert_eq!(world.submit("r1", "ann", 6), CreditRequestState::AutoApproved);
    assert_eq!((world.own("ann"), world.available()), ((6, 0), Some(94)));
    assert_eq!(world.submit("r2", "ann", 5), CreditRequestState::Pending, "the reserve is a ceiling over the cycle");
    assert_eq!(world.submit("r3", "ann", 4), CreditRequestState::AutoApproved);
    world.advance(Span::DAY);
    world.expire_due();
    assert_eq!(world.submit("r4", "ann", 10), CreditRequestState::AutoApproved, "and counts anew in the next one");
}

#[test]
fn a_request_is_decided_once_and_never_grants_more_than_was_asked() {
    let mut world = World::new();
    world.cycle(None);
    world.allot_team(monthly(100)).unwrap();
    world.submit("r", "ann", 20);
    assert!(refused(&world.approve("r", Some(21))).contains("0.00000002 asked for"));
    world.approve("r", Some(15)).unwrap();
    assert_eq!((world.own("ann"), world.available()), ((15, 0), Some(85)));
    assert!(refused(&world.approve("r", None)).contains("decided already: approved"));
    let denied = world.turn(|turn| turn.deny_credit_request(&CreditRequestId::trusted("r"), String::new()));
    assert!(refused(&denied).contains("decided already"));
    world.submit("big", "ann", 90);
    assert!(refused(&world.approve("big", None)).contains("has 0.000000085 available"));
}

#[test]
fn a_new_member_gets_its_signup_credits_out_of_the_default_team() {
    let mut world = World::new();
    world.cycle(None);
    world.allot_team(monthly(10)).unwrap();
    let settings = world.state.allocations.settings;
    world.settings(AllocationSettings { signup_credits: Nanos::new(6), ..settings });
    world.bob();
    assert_eq!((world.own("bob"), world.available()), ((6, 0), Some(4)));
    world.add_member("cat", &[TEAM]);
    assert_eq!(world.own("cat"), (0, 0), "no room: none");
    assert_eq!(world.state.alerts.all().next().unwrap().kind, AlertKind::SignupCreditsMissing);
}

#[test]
fn signup_credits_are_paid_once_a_member_however_often_it_joins() {
    let mut world = World::new();
    world.cycle(None);
    world.allot_team(monthly(100)).unwrap();
    let settings = world.state.allocations.settings;
    world.settings(AllocationSettings { signup_credits: Nanos::new(10), ..settings });
    world.add_member("bob", &[TEAM; 20]);
    assert_eq!((world.own("bob"), world.available()), ((10, 0), Some(90)), "named twenty times, a member once");
    let (team, bob) = (TeamId::trusted(TEAM), MemberId::trusted("bob"));
    for _ in 0..3 {
        world.turn(|turn| turn.delete_membership(&team, &bob)).unwrap();
        world.turn(|turn| turn.create_membership(&team, &bob, &Policy::default(), false)).unwrap();
        assert_eq!((world.own("bob"), world.available()), ((0, 0), Some(100)), "back, but new no more");
    }
    world.add_team("research");
    world.add_member("cat", &["research"]);
    world.turn(|turn| turn.create_membership(&team, &MemberId::trusted("cat"), &Policy::default(), false)).unwrap();
    assert_eq!((world.own("cat"), world.available()), ((10, 0), Some(90)), "new in this team");
}

#[test]
fn who_leaves_gives_its_credits_back() {
    let mut world = World::new();
    world.bob();
    world.cycle(None);
    world.allot_team(monthly(100)).unwrap();
    world.allot("bob", monthly(40)).unwrap();
    assert!(world.spend_as("bobs", "a", 10));
    world.turn(|turn| turn.delete_member(&MemberId::trusted("bob"))).unwrap();
    assert_eq!(world.available(), Some(90), "all but what it used");
}

#[test]
fn what_was_used_is_not_given_out_again_where_the_team_has_nothing_itself() {
    let mut world = World::new();
    world.bob();
    world.cycle(Some(100));
    world.allot("ann", monthly(50)).unwrap();
    world.allot("bob", monthly(20)).unwrap();
    assert!(world.spend_as(KEY, "a", 50) && world.spend_as("bobs", "b", 20));
    world.allot("ann", monthly(0)).unwrap();
    assert_eq!(world.account().available, Some(Nanos::new(30)), "her 50 are used all the same");
    world.turn(|turn| turn.delete_member(&MemberId::trusted("bob"))).unwrap();
    assert_eq!(world.account().available, Some(Nanos::new(30)), "and so are his 20, when he is gone");
    assert!(refused(&world.allot("ann", monthly(81))).contains("0.00000003 available"));
    world.allot("ann", monthly(80)).unwrap();
    assert_eq!(world.account().available, Some(Nanos::ZERO), "what she had used is hers again, and 30 more");
    world.allot("ann", monthly(0)).unwrap();
    refused(&world.allot_team(monthly(101)));
    world.allot_team(monthly(75)).unwrap();
    assert_eq!(world.account().available, Some(Nanos::new(25)), "what the team used is part of what it has");
}

#[test]
fn a_team_that_is_deleted_leaves_what_it_used() {
    let mut world = World::new();
    let research = TeamId::trusted("research");
    world.add_team("research");
    world.add_member("bob", &["research"]);
    world.add_member("cat", &["research"]);
    world.add_key("bobs", "bob", "research");
    world.add_key("cats", "cat", "research");
    world.cycle(Some(100));
    world.turn(|turn| turn.set_team_allocation(&research, monthly(90), None)).unwrap();
    world.turn(|turn| turn.set_member_allocation(&research, &MemberId::trusted("bob"), monthly(40))).unwrap();
    assert!(world.spend_as("bobs", "a", 40) && world.spend_as("cats", "b", 30));
    assert_eq!(world.account().available, Some(Nanos::new(10)));
    world.turn(|turn| turn.delete_team(&research)).unwrap();
    assert_eq!(world.account().available, Some(Nanos::new(30)));
}

#[test]
fn a_personal_account_hands_out_nothing() {
    let mut world = World::new();
    let mut personal = world.state.organization.clone();
    personal.kind = AccountKind::Personal;
    world.state.organization = personal;
    let refused = world.turn_unreplayed(|turn| turn.set_allocation_settings(AllocationSettings::default(), true));
    assert_eq!(refused, Err(Conflict::TeamAccountRequired { what: "the allocation of credits" }));
}

fn extra(credits: i64) -> AllocationChange {
    AllocationChange { monthly: None, extra: Some(Some(Nanos::new(credits))) }
}

fn pool_of(credits: i64) -> World {
    let mut world = World::new();
    world.bob();
    world.cycle(None);
    world.allot_team(monthly(credits)).unwrap();
    world
}

/// M11.
#[test]
fn extra_credits_add_to_the_pool_and_are_used_first() {
    let mut world = pool_of(100);
    world.allot("ann", extra(5)).unwrap();
    assert_eq!(world.available(), Some(95));
    assert!(!world.spend_as(KEY, "a", 101), "5 of her own and 95 of the pool");
    assert!(world.spend_as(KEY, "b", 3));
    assert_eq!((world.own("ann"), world.pool(), world.available()), ((5, 3), (0, 0), Some(95)));
    assert!(world.spend_as(KEY, "c", 90), "one request spans both");
    assert_eq!((world.own("ann"), world.pool(), world.available()), ((5, 93), (88, 0), Some(7)));
    assert!(!world.spend_as("bobs", "d", 8));
    assert!(world.spend_as("bobs", "e", 7));
    let denial = world.reserve_as(KEY, &ask("f", cost(1))).unwrap().unwrap_err();
    let Violated::Limit { state, asked } = &denial.violations[0].at else { panic!("{denial:?}") };
    assert_eq!((state.scope_id.as_str(), state.max, state.spent, *asked), ("default", Some(95), 95, 1));
}

#[test]
fn an_extra_is_there_while_the_pool_is_used_up() {
    let mut world = pool_of(20);
    world.allot("ann", extra(5)).unwrap();
    assert!(world.spend_as("bobs", "a", 15));
    assert!(!world.spend_as("bobs", "nothing", 0), "used up means refused, even for a free request");
    assert!(world.spend_as(KEY, "hers", 0), "her own isn't");
    assert!(!world.spend_as(KEY, "b", 6));
    assert!(world.spend_as(KEY, "c", 5));
    assert!(!world.spend_as(KEY, "again", 0), "now it is");
}

#[test]
fn what_is_given_back_returns_to_the_pool_first() {
    let mut world = pool_of(100);
    world.allot("ann", extra(10)).unwrap();
    let (first, second) = (world.reserve("a", cost(8)), world.reserve("b", cost(8)));
    assert_eq!(world.pool(), (0, 6), "10 of her own and 6 of the pool");
    world.commit(first, cost(1));
    assert_eq!(world.pool(), (0, 0), "the split is made anew");
    world.commit(second, cost(14));
    assert_eq!((world.own("ann"), world.pool()), ((10, 15), (5, 0)));
    let third = world.reserve("c", cost(4));
    assert_eq!(world.pool(), (5, 4));
    world.release(third).unwrap();
    assert_eq!(world.pool(), (5, 0));
}

#[test]
fn an_extra_caps_nobody() {
    let mut world = World::new();
    world.bob();
    world.cycle(None);
    world.allot("ann", extra(5)).unwrap();
    assert!(world.spend_as(KEY, "a", 1000), "neither she nor her team has a cap");
    world.allot_team(extra(5)).unwrap();
    assert!(world.spend_as("bobs", "b", 1000));
    assert_eq!(world.available(), None);
    let settings = world.state.allocations.settings;
    world.settings(AllocationSettings { signup_credits: Nanos::new(3), ..settings });
    world.add_member("cat", &[TEAM]);
    world.add_key("cats", "cat", TEAM);
    assert!(world.spend_as("cats", "c", 1000), "signup credits make nobody poorer");
}

/// M12.
#[test]
fn used_is_one_number_whatever_it_drew_on() {
    let mut world = pool_of(100);
    assert!(world.spend_as(KEY, "a", 27));
    world.allot("ann", monthly(30)).unwrap();
    assert_eq!((world.own("ann"), world.pool(), world.available()), ((30, 27), (0, 0), Some(70)));
    assert!(!world.spend_as(KEY, "b", 4));
    assert!(world.spend_as(KEY, "c", 3));
    world.allot("ann", none()).unwrap();
    assert_eq!((world.own("ann"), world.pool(), world.available()), ((0, 30), (30, 0), Some(70)));
    world.allot("ann", monthly(40)).unwrap();
    assert_eq!((world.own("ann"), world.pool(), world.available()), ((40, 30), (0, 0), Some(60)));
    let settings = world.state.allocations.settings;
    world.settings(AllocationSettings { credits_per_cycle: Some(Nanos::new(200)), ..settings });
    world.turn(|turn| turn.delete_member(&MemberId::trusted("ann"))).unwrap();
    assert_eq!((world.available(), world.account().available), (Some(70), Some(Nanos::new(100))), "she used it");
}

#[test]
fn running_work_moves_with_the_allocation_that_bears_it() {
    let mut world = pool_of(100);
    let open = world.reserve("a", cost(20));
    assert_eq!(world.pool(), (0, 20));
    world.allot("ann", monthly(30)).unwrap();
    assert_eq!((world.pool(), world.available()), ((0, 0), Some(70)));
    world.commit(open, cost(35));
    assert_eq!((world.own("ann"), world.pool(), world.available()), ((30, 35), (5, 0), Some(65)), "beyond her own");
}

#[test]
fn a_cycle_that_ended_shows_no_overage_and_stops_nothing() {
    let mut world = pool_of(100);
    world
        .allot("ann", AllocationChange { monthly: Some(Some(Nanos::new(10))), extra: Some(Some(Nanos::new(90))) })
        .unwrap();
    let first = world.reserve("a", cost(50));
    let second = world.reserve("b", cost(40));
    world.advance(Span::DAY);
    assert_eq!(world.commit(first, cost(50)).overage.credits, Nanos::ZERO, "her 90 extra were there");
    assert_eq!(world.revocations.len(), 0);
    world.allot("ann", monthly(5)).unwrap();
    assert_eq!(world.revocations.len(), 0);
    assert_eq!(world.commit(second, cost(70)).overage.credits, Nanos::ZERO);
    assert_eq!((world.own("ann"), world.pool()), ((5, 0), (0, 0)), "nothing of it counts in this one");
}

#[test]
fn a_pool_that_is_used_up_stops_those_that_draw_on_it() {
    let mut world = pool_of(20);
    world.allot("ann", extra(10)).unwrap();
    let (hers, his) = (world.reserve("a", cost(2)), world.reserve_as("bobs", &ask("b", cost(3))).unwrap().unwrap());
    let last = world.reserve_as("bobs", &ask("c", cost(3))).unwrap().unwrap();
    world.commit(last.reservation, cost(10));
    let stopped: Vec<_> = world.revocations.iter().map(|revocation| revocation.reservation).collect();
    assert_eq!(stopped, [his.reservation], "she has credits of her own");
    assert_eq!(world.revocations[0].cause.scope_id, "default");
    let another = world.reserve("d", cost(5));
    world.commit(another, cost(10));
    let stopped: Vec<_> = world.revocations.iter().map(|revocation| revocation.reservation).collect();
    assert_eq!(stopped, [hers], "now they are used up, and the pool is");
}

#[test]
fn two_cycles_never_begin_in_the_same_instant() {
    let mut world = pool_of(100);
    assert!(world.spend_as(KEY, "a", 100));
    let (first, second) = (world.reset_cycle(), world.reset_cycle());
    assert!(first.start < second.start);
    assert!(world.spend_as(KEY, "b", 100));
    world.reset_cycle();
    assert_eq!((world.own("ann"), world.available()), ((0, 0), Some(100)));
}

/// M17.
#[test]
fn nothing_is_given_out_while_credits_arent_tracked() {
    let mut world = pool_of(100);
    world.submit("r", "ann", 5);
    let off = Some(crate::domain::money::Factor::trusted(Nanos::ZERO));
    world.organization(crate::engine::turn::OrganizationChange { credit_factor: off, ..Default::default() });
    for outcome in [world.approve("r", None), world.allot("ann", extra(5)), world.allot_team(monthly(200))] {
        assert!(refused(&outcome).contains("aren't tracked"));
    }
    let reserve = Some(Nanos::new(5));
    let outcome =
        world.turn(|turn| turn.set_team_allocation(&TeamId::trusted(TEAM), AllocationChange::default(), reserve));
    assert!(refused(&outcome).contains("aren't tracked"));
    assert_eq!(world.submit("s", "ann", 5), CreditRequestState::Pending);
    world.turn(|turn| turn.deny_credit_request(&CreditRequestId::trusted("r"), String::new())).unwrap();
}
