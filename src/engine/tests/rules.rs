//! Access rules: caps that count per key, hours, and the chain of key, default, none.

use super::fixture::*;
use crate::{
    domain::{
        decision::{DenialCode, Violated},
        id::{KeyId, RuleId},
        money::{Factor, Nanos},
        policy::Scope,
        rule::{Cap, CapPeriod, DailyHours, Hours, Rule, Weekdays},
        time::Span,
        zone::Zone,
    },
    engine::{
        conflict::Conflict,
        turn::{KeyChange, OrganizationChange, Outcome, RuleChange},
    },
};

fn cap(max: i64) -> Cap {
    Cap { enabled: true, max: Nanos::new(max), period: CapPeriod::Daily }
}

pub(super) fn hours(days: &[u8], daily: &str) -> Hours {
    let weekdays = Weekdays::checked("weekdays", days).unwrap();
    Hours { enabled: true, weekdays, daily: DailyHours::parse("hours", daily).unwrap() }
}

pub(super) fn rule(id: &str, cap: Option<Cap>, hours: Option<Hours>) -> Rule {
    Rule {
        id: RuleId::trusted(id),
        name: String::new(),
        description: String::new(),
        enabled: true,
        zone: Zone::UTC,
        cap,
        hours,
        deleted: false,
        create_time: NOON,
        update_time: NOON,
    }
}

impl World {
    pub(super) fn create_rule(&mut self, rule: Rule) {
        self.turn(|turn| turn.create_rule(rule)).unwrap();
    }

    fn change_rule(&mut self, id: &str, change: RuleChange) {
        self.turn(|turn| turn.update_rule(&RuleId::trusted(id), change)).unwrap();
    }

    pub(super) fn bind(&mut self, key: &str, rule: Option<&str>) {
        let change = KeyChange { rule: Some(rule.map(RuleId::trusted)), ..Default::default() };
        self.turn(|turn| turn.update_key(&KeyId::trusted(key), change, true)).unwrap();
    }

    fn default_rule(&mut self, rule: &str) {
        let rule = Some(Some(RuleId::trusted(rule)));
        self.organization(OrganizationChange { default_rule: rule, ..Default::default() });
    }

    fn delete_rule(&mut self, id: &str) -> Outcome<()> {
        self.turn(|turn| turn.delete_rule(&RuleId::trusted(id)))
    }

    fn grants_as(&mut self, key: &str, id: &str, nanos: i64) -> bool {
        self.reserve_as(key, &ask(id, cost(nanos))).unwrap().is_ok()
    }

    fn references(&self, rule: &str) -> (u32, u32) {
        let of = self.state.rules.references(&RuleId::trusted(rule), self.state.keys.live_count());
        (of.bound, of.inherited)
    }
}

#[test]
fn a_cap_counts_each_key_apart() {
    let mut world = World::new();
    world.add_key("k2", "ann", "default");
    world.create_rule(rule("r", Some(cap(10)), None));
    world.default_rule("r");
    world.charge("a", cost(10));
    let denial = world.refused(cost(1));
    assert_eq!((denial.code, named(&denial)), (DenialCode::BudgetExceeded, vec![String::from("cap")]));
    assert_eq!(denial.retry_after(), Some(Span::seconds(12 * 3600)), "until midnight");
    assert!(world.grants_as("k2", "b", 10));
    world.advance(Span::seconds(12 * 3600));
    world.charge("next day", cost(10));
}

#[test]
fn a_keys_own_rule_comes_before_the_default_and_one_that_is_off_is_skipped() {
    let mut world = World::new();
    world.create_rule(rule("own", Some(cap(5)), None));
    world.create_rule(rule("default", Some(cap(7)), None));
    world.default_rule("default");
    world.bind(KEY, Some("own"));
    assert!(!world.grants_as(KEY, "a", 6));
    world.change_rule("own", RuleChange { enabled: Some(false), ..Default::default() });
    assert!(world.grants_as(KEY, "b", 6), "the chain goes on");
    assert!(!world.grants_as(KEY, "c", 2), "to the default");
    world.change_rule("default", RuleChange { enabled: Some(false), ..Default::default() });
    assert!(world.grants_as(KEY, "d", 100), "and to none");
    world.change_rule("own", RuleChange { enabled: Some(true), ..Default::default() });
    assert!(world.grants_as(KEY, "e", 5), "what was used under another rule isn't used under this one");
}

#[test]
fn an_edit_holds_for_the_next_request_and_keeps_what_was_used() {
    let mut world = World::new();
    world.create_rule(rule("r", Some(cap(10)), None));
    world.bind(KEY, Some("r"));
    world.charge("a", cost(6));
    world.change_rule("r", RuleChange { cap: Some(Some(cap(20))), ..Default::default() });
    assert_eq!(world.counted("cap"), (6, 0));
    assert!(!world.grants_as(KEY, "b", 15));
    let weekly = Cap { period: CapPeriod::Weekly, ..cap(20) };
    let change = RuleChange { cap: Some(Some(weekly)), ..Default::default() };
    let refused = world.turn(|turn| turn.update_rule(&RuleId::trusted("r"), change.clone())).unwrap_err();
    assert!(matches!(refused, Conflict::WouldRestartSpending(_)), "{refused}");
    world.change_rule("r", RuleChange { restart_spending: true, ..change });
    assert!(world.grants_as(KEY, "c", 15), "another period begins at zero");
    let off = Cap { enabled: false, ..weekly };
    world.change_rule("r", RuleChange { cap: Some(Some(off)), ..Default::default() });
    assert!(world.grants_as(KEY, "d", 1000));
    world.change_rule("r", RuleChange { cap: Some(Some(weekly)), ..Default::default() });
    assert_eq!(world.counted("cap"), (0, 15), "what was used while it was off isn't counted");
}

#[test]
fn what_a_key_used_under_a_rule_is_there_when_it_comes_back() {
    let mut world = World::new();
    world.create_rule(rule("r", Some(cap(10)), None));
    world.create_rule(rule("other", Some(cap(10)), None));
    world.bind(KEY, Some("r"));
    let open = world.reserve("a", cost(4));
    world.bind(KEY, Some("other"));
    world.open_counters(KEY);
    assert_eq!(world.counted("cap"), (0, 0));
    world.commit(open, cost(9));
    assert_eq!(world.counted("cap"), (0, 0), "it counts where it was admitted");
    world.bind(KEY, Some("r"));
    assert_eq!(world.counted("cap"), (9, 0));
}

#[test]
fn a_cap_that_is_reached_or_lowered_stops_running_work() {
    let mut world = World::new();
    world.create_rule(rule("r", Some(cap(10)), None));
    world.bind(KEY, Some("r"));
    let (first, _second) = (world.reserve("a", cost(1)), world.reserve("b", cost(1)));
    world.commit(first, cost(10));
    assert_eq!(world.revocations.len(), 1);
    let cause = &world.revocations[0].cause;
    assert_eq!((cause.scope, cause.scope_id.as_str()), (Scope::Rule, "r"));
    let mut world = World::new();
    world.create_rule(rule("r", Some(cap(10)), None));
    world.bind(KEY, Some("r"));
    world.charge("a", cost(5));
    world.reserve("b", cost(1));
    world.change_rule("r", RuleChange { cap: Some(Some(cap(5))), ..Default::default() });
    assert_eq!(world.revocations.len(), 1);
}

#[test]
fn outside_its_hours_a_rule_refuses_and_says_when_it_opens() {
    let mut world = World::new();
    // It is Monday, noon.
    world.create_rule(rule("r", None, Some(hours(&[0, 1], "08:00-12:00"))));
    world.bind(KEY, Some("r"));
    let denial = world.refused(cost(1));
    assert_eq!((denial.code, denial.message.as_str()), (DenialCode::OutsideTimeWindow, "Outside the allowed hours"));
    assert_eq!(denial.code.http_status(), 403);
    assert_eq!(denial.violations[0].at, Violated::State(Scope::Rule, "r".into()));
    assert_eq!(denial.retry_after(), Some(Span::seconds(20 * 3600)), "Tuesday, 08:00");
    world.advance(Span::seconds(20 * 3600));
    let open = world.reserve("a", cost(1));
    world.advance(Span::seconds(4 * 3600));
    assert_eq!(world.refused(cost(1)).retry_after(), Some(Span::seconds((5 * 24 + 20) * 3600)), "next Monday");
    assert!(world.revocations.is_empty(), "closing hours never stop running work");
    world.commit(open, cost(1));
    let off = Hours { enabled: false, ..hours(&[0, 1], "08:00-12:00") };
    world.change_rule("r", RuleChange { hours: Some(Some(off)), ..Default::default() });
    world.reserve("b", cost(1));
}

#[test]
fn changed_hours_and_zones_hold_for_the_next_request_within_the_same_minute() {
    let mut world = World::new();
    // It is Monday, noon.
    world.create_rule(rule("r", None, Some(hours(&[0], "08:00-13:00"))));
    world.bind(KEY, Some("r"));
    assert!(world.grants_as(KEY, "a", 1));
    let closed = RuleChange { hours: Some(Some(hours(&[0], "08:00-12:00"))), ..Default::default() };
    world.change_rule("r", closed);
    assert_eq!(world.refused(cost(1)).code, DenialCode::OutsideTimeWindow);
    let zone = Some(Zone::parse("zone", "UTC-01:00").unwrap());
    world.change_rule("r", RuleChange { zone, ..Default::default() });
    assert!(world.grants_as(KEY, "b", 1), "it is 11:00 there");
}

#[test]
fn while_credits_are_not_tracked_a_cap_does_not_bind_and_cannot_be_set() {
    let mut world = World::new();
    world.create_rule(rule("r", Some(cap(10)), None));
    world.bind(KEY, Some("r"));
    world.organization(OrganizationChange { credit_factor: Some(Factor::OFF), ..Default::default() });
    assert!(world.grants_as(KEY, "a", 1000));
    let refused = world.turn(|turn| turn.create_rule(rule("other", Some(cap(10)), None)));
    assert!(matches!(refused, Err(Conflict::Precondition(_))));
}

#[test]
fn references_tell_keys_that_are_bound_from_those_that_inherit() {
    let mut world = World::new();
    for key in ["k2", "k3", "k4"] {
        world.add_key(key, "ann", "default");
    }
    world.create_rule(rule("r", None, None));
    world.create_rule(rule("other", None, None));
    world.bind("k2", Some("r"));
    world.bind("k3", Some("other"));
    assert_eq!((world.references("r"), world.references("other")), ((1, 0), (1, 0)));
    world.default_rule("r");
    assert_eq!(world.references("r"), (1, 2), "k1 and k4 inherit it");
    world.change_rule("other", RuleChange { enabled: Some(false), ..Default::default() });
    assert_eq!(world.references("r"), (1, 3), "k3's own is skipped");
    world.turn(|turn| turn.delete_key(&KeyId::trusted("k2"))).unwrap();
    assert_eq!(world.references("r"), (0, 3));
}

#[test]
fn a_rule_in_use_is_not_deleted() {
    let mut world = World::new();
    world.create_rule(rule("r", None, None));
    world.bind(KEY, Some("r"));
    let refused = world.delete_rule("r").unwrap_err().to_string();
    assert!(refused.contains("in use by 1 key;"), "{refused}");
    world.bind(KEY, None);
    world.default_rule("r");
    assert!(world.delete_rule("r").is_err(), "the default is in use");
    world.organization(OrganizationChange { default_rule: Some(None), ..Default::default() });
    world.delete_rule("r").unwrap();
    let bound = KeyChange { rule: Some(Some(RuleId::trusted("r"))), ..Default::default() };
    assert!(world.turn(|turn| turn.update_key(&KeyId::trusted(KEY), bound, true)).is_err());
}
