//! Deleted keys and rules leave memory after a while, and what names them goes on as before.

use super::{fixture::*, rules::rule};
use crate::{
    domain::{
        decision::DenialCode,
        ended::EndedName,
        entity::Key,
        id::{KeyId, RuleId},
        money::Nanos,
        operation::{Charge, Commit},
        policy::Policy,
        rule::{Cap, CapPeriod},
        time::Span,
    },
    engine::{
        conflict::Conflict,
        state::OrganizationState,
        turn::{AllocationChange, KeyChange},
    },
};

const DAY: Span = Span::seconds(86_400);

fn id(id: &str) -> KeyId {
    KeyId::trusted(id)
}

impl World {
    /// Deletes a key, after which so many days go by.
    fn delete_key(&mut self, key: &str, days: i64) {
        self.turn(|turn| turn.delete_key(&id(key))).unwrap();
        self.days_go_by(days);
    }

    fn days_go_by(&mut self, days: i64) {
        self.advance(Span::seconds(days * 86_400));
        self.expire_due();
        self.tick();
        self.forget_ended(self.state.sequence);
    }

    fn has_key(&self, key: &str) -> bool {
        self.state.keys.find(&id(key)).is_some()
    }

    fn recall_key(&mut self, key: &str) {
        self.recall(&EndedName::Key(id(key)));
    }

    /// Books usage of a key that is charged whatever the limits say.
    fn used(&mut self, request: &str, nanos: i64) -> Result<crate::domain::decision::Charged, DenialCode> {
        let charge = Charge { already_used: true, ..charge(request, cost(nanos)) };
        self.try_charge(&charge).unwrap().map_err(|denial| denial.code)
    }
}

#[test]
fn a_deleted_key_leaves_memory_after_thirty_days_with_all_that_it_counted() {
    let mut world = World::new();
    world.limits(vec![usd("own", 100), rpm("rate", 9)]);
    let cap = Cap { enabled: true, max: Nanos::new(50), period: CapPeriod::Monthly };
    world.create_rule(rule("r", Some(cap), None));
    world.bind(KEY, Some("r"));
    world.charge("a", cost(7));
    world.add_key("k2", "ann", "default");
    let counters = |world: &World| world.state.all_counters().count();
    let before = counters(&world);
    world.delete_key(KEY, 29);
    assert!(world.has_key(KEY));
    world.advance(DAY);
    world.forget_ended(0);
    assert!(world.has_key(KEY), "the books don't have it yet");
    world.days_go_by(0);
    assert!(!world.has_key(KEY) && world.has_key("k2"));
    assert_eq!(counters(&world), before - 3, "its own limits and its counter of the rule");
    assert_eq!(world.state.keys.place(&id("k2")), Some(1), "the others keep their places");
    assert!(world.state.may_have_ended(&EndedName::Key(id(KEY))));
    world.add_key("k3", "ann", "default");
    assert_eq!(world.state.keys.place(&id("k3")), Some(2), "no place is given twice");
}

#[test]
fn the_id_of_a_forgotten_key_stays_taken() {
    let mut world = World::new();
    let key = world.state.keys.find(&id(KEY)).unwrap().entity.key.clone();
    world.delete_key(KEY, 31);
    world.recall_key(KEY);
    assert_eq!(world.state.mismatches(&world.replayed()), [], "its counters don't come back with it");
    let again = world.turn(|turn| turn.create_key(Key { deleted: false, ..key }, &Policy::default()));
    assert!(matches!(again, Err(Conflict::Deleted { .. })), "{again:?}");
    let gone = world.turn(|turn| turn.delete_key(&id(KEY)));
    assert!(matches!(gone, Err(Conflict::Gone { .. })), "it was deleted: {gone:?}");
    world.advance(Span::seconds(61));
    world.days_go_by(0);
    assert!(!world.has_key(KEY), "what was taken back goes again");
}

#[test]
fn usage_of_a_forgotten_key_counts_where_its_member_and_team_count() {
    let mut world = World::new();
    let monthly = Some(Some(Nanos::new(1000)));
    let team = crate::domain::id::TeamId::trusted("default");
    world
        .turn(|turn| turn.set_team_allocation(&team, AllocationChange { monthly, ..Default::default() }, None))
        .unwrap();
    world.used("before", 5).unwrap();
    world.delete_key(KEY, 31);
    world.recall_key(KEY);
    let charged = world.used("late", 7).unwrap();
    assert_eq!(charged.charged.usd, Nanos::new(7));
    let place = world.state.teams.place(&team).unwrap();
    let credits = world.state.credits().team(place);
    assert_eq!(credits.shared_used, Nanos::new(7), "in the team's pool, in this cycle");
    assert_eq!(world.state.allocations.used_by(0), Nanos::new(7));
    // Every world compares that with a replay in which the key is unknown.
    assert!(world.used("late", 7).unwrap().replayed);
}

#[test]
fn an_entry_of_a_forgotten_key_is_corrected_where_it_counted() {
    let mut world = World::new();
    world.set_policy(&crate::domain::policy::Place::Organization, vec![usd("whole", 100)]).unwrap();
    let charged = world.charge("a", cost(10));
    world.delete_key(KEY, 31);
    let place = world.state.limits_of(&crate::domain::policy::Place::Organization)[0];
    let spent = |state: &OrganizationState, now| state.limit(place).unwrap().standing(now).spent;
    assert_eq!(spent(&world.state, world.now), 10);
    let found = world.correctable(charged.entry);
    world.turn(|turn| turn.correct(correction("x", 4), &found)).unwrap();
    assert_eq!(spent(&world.state, world.now), 6);
}

#[test]
fn a_key_stays_while_a_reservation_of_it_is_open_or_may_be_settled() {
    let mut world = World::new();
    let no = world.reserve("a", tokens(1, 1));
    world.turn(|turn| turn.delete_key(&id(KEY))).unwrap();
    world.advance(Span::seconds(4 * 3600));
    world.forget_ended_after(Span::ZERO, world.state.sequence);
    assert!(world.has_key(KEY), "however soon what ended is forgotten");
    world.commit(no, tokens(1, 1));
    world.advance(Span::seconds(3 * 86_400));
    world.forget_ended_after(Span::ZERO, world.state.sequence);
    assert!(!world.has_key(KEY));
    let late = world.try_commit(no, &Commit { usage: tokens(2, 1), model: None });
    assert!(matches!(late, Err(Conflict::ReservationTooOld)), "{late:?}");
}

#[test]
fn a_key_stays_while_the_secret_before_its_last_one_is_taken() {
    let mut world = World::new();
    let until = world.now + Span::seconds(20 * 86_400);
    world.turn(|turn| turn.rotate_key(&id(KEY), String::new(), until)).unwrap();
    world.turn(|turn| turn.delete_key(&id(KEY))).unwrap();
    world.advance(Span::seconds(19 * 86_400));
    world.forget_ended_after(Span::ZERO, world.state.sequence);
    assert!(world.has_key(KEY));
    world.advance(DAY);
    world.forget_ended_after(Span::ZERO, world.state.sequence);
    assert!(!world.has_key(KEY));
}

#[test]
fn a_rule_that_is_changed_passes_over_the_counters_of_forgotten_keys() {
    let mut world = World::new();
    let cap = Cap { enabled: true, max: Nanos::new(50), period: CapPeriod::Monthly };
    world.create_rule(rule("r", Some(cap), None));
    world.add_key("k2", "ann", "default");
    for key in [KEY, "k2"] {
        world.bind(key, Some("r"));
        world.open_counters(key);
    }
    world.delete_key(KEY, 31);
    let change =
        crate::engine::turn::RuleChange { cap: Some(Some(Cap { max: Nanos::new(70), ..cap })), ..Default::default() };
    world.turn(|turn| turn.update_rule(&crate::domain::id::RuleId::trusted("r"), change)).unwrap();
    assert_eq!(world.state.rules.counters(0).count(), 1);
    assert_eq!(world.state.mismatches(&world.replayed()), []);
}

#[test]
fn a_deleted_rule_leaves_memory_and_the_keys_that_were_under_it_stay_under_none() {
    let mut world = World::new();
    for name in ["old", "new"] {
        let cap = Cap { enabled: true, max: Nanos::new(50), period: CapPeriod::Monthly };
        world.create_rule(rule(name, Some(cap), None));
    }
    let (old, name) = (RuleId::trusted("old"), EndedName::Rule(RuleId::trusted("old")));
    world.add_key("k2", "ann", "default");
    for key in [KEY, "k2"] {
        world.bind(key, Some("old"));
        world.open_counters(key);
    }
    world.turn(|turn| turn.delete_key(&id("k2"))).unwrap();
    world.bind(KEY, Some("new"));
    world.turn(|turn| turn.delete_rule(&old)).unwrap();
    world.days_go_by(29);
    assert!(world.state.rules.rules.find(&old).is_some());
    world.days_go_by(1);
    assert!(world.state.rules.rules.find(&old).is_none() && world.state.rules.rules.row_count() == 1);
    world.charge("a", cost(50));
    assert_eq!(named(&world.refused(cost(1))), ["cap"], "the other one keeps its place, and its counter");
    world.recall(&name);
    let again = world.turn(|turn| turn.create_rule(rule("old", None, None)));
    assert!(matches!(again, Err(Conflict::Deleted { .. })), "{again:?}");
    let change = KeyChange { rule: Some(Some(old)), ..KeyChange::default() };
    let bound = world.turn(|turn| turn.update_key(&id(KEY), change, true));
    assert!(matches!(bound, Err(Conflict::Gone { .. })), "{bound:?}");
}
