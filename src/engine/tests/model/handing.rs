//! Rules and allocations of the model's world.

use super::{
    super::{
        fixture::NOON,
        naive::{Answer, Naive, NaiveRule},
    },
    KEY_IDS, MEMBERS, Model, TEAMS, conflicted,
};
use crate::{
    domain::{
        allocation::{AllocationSettings, Cadence},
        event::LimitNo,
        id::{KeyId, MemberId, RuleId, TeamId},
        money::Nanos,
        rule::{Cap, CapPeriod, DailyHours, Hours, Rule, Weekdays},
        zone::Zone,
    },
    engine::{
        limit::Counter,
        tests::naive::KEYS,
        turn::{AllocationChange, KeyChange, OrganizationChange, Outcome, RuleChange},
    },
};

const RULES: [&str; 2] = ["r0", "r1"];

fn cap(rule: NaiveRule) -> Option<Cap> {
    let (max, weekly) = rule.cap?;
    let period = if weekly { CapPeriod::Weekly } else { CapPeriod::Daily };
    Some(Cap { enabled: rule.cap_on, max: Nanos::new(max), period })
}

fn hours(rule: NaiveRule) -> Hours {
    let weekdays = Weekdays::checked("weekdays", &[0, 1, 2, 3, 4, 5, 6]).unwrap();
    let daily = DailyHours::parse("hours", "08:00-20:00").unwrap();
    Hours { enabled: rule.hours, weekdays, daily }
}

fn membership(key: usize) -> (TeamId, MemberId) {
    let (member, team) = KEYS[key];
    (TeamId::trusted(TEAMS[team]), MemberId::trusted(MEMBERS[member]))
}

fn done(outcome: Outcome<()>) -> Answer {
    outcome.map_or_else(|conflict| conflicted(&conflict), |()| Answer::Done)
}

impl Model {
    pub(super) fn prepare_handing(&mut self) {
        for id in RULES {
            let rule = Rule {
                id: RuleId::trusted(id),
                name: String::new(),
                description: String::new(),
                enabled: false,
                zone: Zone::UTC,
                cap: None,
                hours: None,
                deleted: false,
                create_time: NOON,
                update_time: NOON,
            };
            self.world.turn(|turn| turn.create_rule(rule)).unwrap();
        }
        self.naive.open_all();
        self.set_total(None).unwrap();
    }

    fn set_total(&mut self, total: Option<i64>) -> Outcome<()> {
        let credits_per_cycle = total.map(Nanos::new);
        let settings =
            AllocationSettings { credits_per_cycle, cadence: Cadence::Hours6, ..AllocationSettings::default() };
        self.world.turn(|turn| turn.set_allocation_settings(settings, false))
    }

    pub(super) fn hand(&mut self, operation: &super::Operation) -> (Answer, Answer) {
        use super::Operation;
        match operation {
            Operation::Rule(which, rule, restart) => {
                let change = RuleChange {
                    enabled: Some(rule.enabled),
                    cap: Some(cap(*rule)),
                    hours: Some(Some(hours(*rule))),
                    restart_spending: *restart,
                    ..RuleChange::default()
                };
                let engine = self.world.turn(|turn| turn.update_rule(&RuleId::trusted(RULES[*which]), change));
                (done(engine), self.naive.set_rule(*which, *rule, *restart))
            }
            Operation::Bind(key, rule) => {
                let bound = rule.map(|rule| RuleId::trusted(RULES[rule]));
                let change = KeyChange { rule: Some(bound), ..Default::default() };
                let engine = self.world.turn(|turn| turn.update_key(&KeyId::trusted(KEY_IDS[*key]), change, true));
                self.naive.handed.bound[*key] = *rule;
                (done(engine), Answer::Done)
            }
            Operation::DefaultRule(rule) => {
                let default_rule = Some(rule.map(|rule| RuleId::trusted(RULES[rule])));
                self.world.organization(OrganizationChange { default_rule, ..Default::default() });
                self.naive.handed.default = *rule;
                (Answer::Done, Answer::Done)
            }
            Operation::Total(total) => {
                let engine = self.set_total(*total);
                (done(engine), self.naive.set_total(*total))
            }
            Operation::Own(key, own, extra) => {
                let (team, member) = membership(*key);
                let monthly = own.map(|own| own.map(Nanos::new));
                let change = AllocationChange { monthly, extra: extra.map(|extra| Some(Nanos::new(extra))) };
                let engine = self.world.turn(|turn| turn.set_member_allocation(&team, &member, change));
                (done(engine), self.naive.set_own(*key, *own, *extra))
            }
            Operation::Team(team, monthly) => {
                let change = AllocationChange { monthly: Some(monthly.map(Nanos::new)), extra: None };
                let id = TeamId::trusted(TEAMS[*team]);
                let engine = self.world.turn(|turn| turn.set_team_allocation(&id, change, None));
                (done(engine), self.naive.set_team(*team, *monthly))
            }
            Operation::Leave(key) => {
                let (team, member) = membership(*key);
                let engine = self.world.turn(|turn| turn.delete_membership(&team, &member));
                (done(engine), self.naive.leave(*key))
            }
            _ => unreachable!("hands out nothing"),
        }
    }

    fn counted(&self, no: Option<LimitNo>, def: usize) {
        let (state, naive) = (&self.world.state, &self.naive);
        let engine = no.and_then(|no| state.limit(no)).map_or((0, 0), |entry| {
            assert!(matches!(entry.counter, Counter::Budget(_)));
            assert_eq!(entry.limit.max(), naive.max_of(def), "the cap at {:?}", naive.defs[def].spot);
            let standing = state.standing(entry, self.world.now);
            (standing.spent, standing.held)
        });
        assert_eq!(engine, naive.standing(def, naive.now), "spent and held at {:?}", naive.defs[def].spot);
    }

    /// The counters of caps and allocations; one that was never opened counted nothing.
    pub(super) fn compare_handing(&self) {
        let (state, naive): (_, &Naive) = (&self.world.state, &self.naive);
        for ((rule, key), def) in &naive.handed.caps {
            let place = state.rules.rules.place(&RuleId::trusted(RULES[*rule])).unwrap();
            let row = &state.keys.find(&KeyId::trusted(KEY_IDS[*key])).unwrap().entity;
            if naive.deleted[*key] && row.counter(place).is_none() {
                continue;
            }
            self.counted(row.counter(place), *def);
        }
        // Between the end of a cycle and the next turn the counters still are of the old one.
        if state.allocations.cycle.contains(self.world.now) {
            self.counted(state.allocations.total_counter(), naive.handed_part(6, 0));
            for key in 0..KEYS.len() {
                let place = state.memberships.place(&membership(key)).unwrap();
                self.counted(state.allocations.counter(place), naive.handed_part(8, key));
            }
            for (at, team) in TEAMS.into_iter().enumerate() {
                let credits = state.credits().team(state.teams.place(&TeamId::trusted(team)).unwrap());
                let drawn = (credits.shared_used.get(), credits.shared_held.get());
                assert_eq!(drawn, naive.pool_standing(at), "drawn on {team}");
                let cap = naive.max_of(naive.handed_part(7, at));
                assert_eq!(credits.available.map(Nanos::get), cap.map(|cap| cap - drawn.0), "available of {team}");
                self.counted(credits.allocated.pool, naive.handed_part(7, at));
            }
        }
    }
}
