//! Whatever is set and held: who waits as told is granted, and no sooner.

use proptest::prelude::*;

use super::{
    super::{
        fixture::*,
        rules::{hours, rule},
    },
    *,
};
use crate::{
    domain::{
        decision::Denial,
        id::{Actor, KeyId},
        operation::Charge,
        reservation_id::ReservationNo,
        time::Timestamp,
    },
    engine::{
        reservation::Hold,
        state::OrganizationState,
        turn::{Context, Turn},
    },
};

#[derive(Debug, Clone)]
enum Step {
    Wait(Span),
    Reserve(Usage, Option<u64>, Span),
    /// Many holds that run out together.
    Burst(usize, Span),
    Charge(Usage),
    /// Another member's, who may use a part of it at once.
    Other(Usage, Span, bool),
    Extend(usize, Option<Usage>, Option<(u64, i64)>, Span),
    Commit(usize, Usage),
    ChargeHeld(bool),
    TopUp(i64),
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let cost = prop::option::weighted(0.8, 0..40i64);
    (1..3u64, 0..20u64, 0..20u64, cost).prop_map(|(requests, input_tokens, output_tokens, cost)| Usage {
        requests,
        input_tokens,
        output_tokens,
        cost: cost.map(Nanos::new),
        ..Usage::default()
    })
}

fn any_ttl() -> impl Strategy<Value = Span> {
    prop_oneof![(1..90i64), (1..9000i64), Just(86_400i64)].prop_map(Span::seconds)
}

fn any_step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![3 => 0..40_000i64, 1 => 0..9_000_000i64, 1 => 0..60_000_000i64];
    let more = prop::option::of((0..20u64, 0..30i64));
    prop_oneof![
        3 => wait.prop_map(|millis| Step::Wait(Span::micros(millis * 1000))),
        8 => (any_usage(), prop::option::weighted(0.3, 0..20u64), any_ttl())
            .prop_map(|(usage, least, ttl)| Step::Reserve(usage, least, ttl)),
        1 => (50..90usize, any_ttl()).prop_map(|(count, ttl)| Step::Burst(count, ttl)),
        2 => any_usage().prop_map(Step::Charge),
        3 => (any_usage(), any_ttl(), prop::bool::weighted(0.3)).prop_map(|(usage, ttl, ends)| Step::Other(usage, ttl, ends)),
        4 => (0..6usize, prop::option::of(any_usage()), more, any_ttl())
            .prop_map(|(at, so_far, more, ttl)| Step::Extend(at, so_far, more, ttl)),
        2 => (0..6usize, any_usage()).prop_map(|(at, usage)| Step::Commit(at, usage)),
        1 => any::<bool>().prop_map(Step::ChargeHeld),
        2 => (1..100i64).prop_map(Step::TopUp),
    ]
}

/// Hands out credits by the hour: to the team, to one member of its own, to both some for this cycle only.
fn hand_out(world: &mut World, [has_own, has_pool]: [bool; 2]) {
    world.add_member("bob", &[DEFAULT_TEAM]);
    world.add_key("bobs", "bob", DEFAULT_TEAM);
    if !has_own && !has_pool {
        return;
    }
    let credits_per_cycle = has_own.then_some(Nanos::new(90));
    let settings = AllocationSettings { cadence: Cadence::Hour, credits_per_cycle, ..AllocationSettings::default() };
    world.turn(|turn| turn.set_allocation_settings(settings, true)).unwrap();
    let team = TeamId::trusted(DEFAULT_TEAM);
    let change = |monthly: Option<i64>, extra: i64| AllocationChange {
        monthly: monthly.map(|monthly| Some(Nanos::new(monthly))),
        extra: Some(Some(Nanos::new(extra))),
    };
    let mut allot = |member: &str, change| {
        let member = MemberId::trusted(member);
        world.turn(|turn| turn.set_member_allocation(&team, &member, change)).unwrap();
    };
    if has_pool {
        allot("bob", change(None, 10));
    }
    allot("ann", change(has_own.then_some(30), 30));
    if has_pool {
        world.turn(|turn| turn.set_team_allocation(&team, change(Some(70), 10), None)).unwrap();
    }
}

fn crowded(mask: u16) -> World {
    let zone = Zone::parse("zone", "Europe/Berlin").unwrap();
    let mut world = World::new();
    // A token costs one or two nano-USD.
    world.set_price(
        MODEL,
        crate::domain::price::Price {
            input: Nanos::new(1_000_000),
            output: Nanos::new(2_000_000),
            ..Default::default()
        },
    );
    let on = |bit: u16| mask & (1 << bit) != 0;
    let every = Period::Every { seconds: 5400, anchor: 17 };
    let of_key =
        [rpm("r", 6), tpm("t", 100), budget("e", BudgetUnit::Usd, 100, every), usd("once", 300), slots("s", 4)];
    world.limits(of_key.into_iter().zip(0..).filter(|(_, bit)| on(*bit)).map(|(limit, _)| limit).collect());
    let weekly = budget("w", BudgetUnit::Credits, 400, Period::Weekly { zone, start: 0 });
    let all = [daily("d", 200), weekly, rpm("q", 8), credits("c", 350)];
    let all = all.into_iter().zip(5..).filter(|(_, bit)| on(*bit)).map(|(limit, _)| limit).collect();
    world.set_policy(&Place::Organization, all).unwrap();
    if on(9) {
        world.create_rule(rule("h", None, Some(hours(&[0, 1, 2, 4], "08:00-13:00"))));
        world.bind(KEY, Some("h"));
    }
    if on(10) {
        world.wallet(200);
    }
    hand_out(&mut world, [on(11), on(12)]);
    world
}

/// Everything that may be refused and asked again.
enum Asked {
    Reserve(Reserve),
    Charge(Charge),
    Extend(ReservationNo, Extend),
}

impl Asked {
    /// Returns whether it is granted at an instant up to which only time has passed.
    fn is_granted(&self, world: &World, at: Timestamp) -> bool {
        let mut state: OrganizationState = world.state.clone();
        let actor = Actor::SYSTEM;
        let mut act = |now: Timestamp, act: &mut dyn FnMut(&mut Turn<'_>) -> bool| {
            let context = Context { bounds: world.bounds, now, epoch: 1, actor: &actor, prices: &world.prices };
            act(&mut Turn::new(&mut state, context));
            state.next_expiry()
        };
        // As the timer does.
        let mut next = world.state.next_expiry();
        while let Some(due) = next.filter(|due| *due <= at) {
            next = act(due.max(world.now), &mut |turn| turn.expire_due(None));
        }
        let mut granted = false;
        act(at, &mut |turn| {
            let key = turn.state.keys.place(&KeyId::trusted(KEY)).unwrap();
            granted = match self {
                Self::Reserve(reserve) => turn.reserve(key, reserve, 0).unwrap().is_ok(),
                Self::Charge(charge) => turn.charge(key, charge).unwrap().is_ok(),
                Self::Extend(no, extend) => turn.extend(*no, extend).is_ok_and(|decided| decided.is_ok()),
            };
            granted
        });
        granted
    }

    fn check(&self, world: &World, denial: &Denial) -> Result<(), TestCaseError> {
        let ends: Vec<_> = world.state.open().map(Hold::expire_time).take(80).collect();
        let Some(Retry { after, may_be_sooner, at_least }) = denial.retry else {
            let later =
                [1, 61, 3600, 5400, 86_400, 3 * 86_400, 8 * 86_400].map(|seconds| world.now + Span::seconds(seconds));
            for at in ends.into_iter().chain(later).filter(|at| *at > world.now) {
                prop_assert!(!self.is_granted(world, at), "at {at}, though no wait helps: {denial:?}");
            }
            return Ok(());
        };
        let then = world.now + after;
        prop_assert!(after > Span::ZERO && (at_least || self.is_granted(world, then)), "then: {denial:?}");
        let is_slot = denial.violations.iter().any(|violation| violation.code == ConcurrencyExceeded);
        let is_backlog = world.state.next_expiry().is_some_and(|due| due <= world.now);
        let middle = world.now + Span::micros(after.as_micros() / 2);
        let before = ends.into_iter().chain([middle, then - Span::micros(1)]);
        for at in before.filter(|at| (world.now + Span::micros(1)..then).contains(at)) {
            // Whoever holds a slot may end within the second.
            let is_unknown = may_be_sooner && (is_slot || is_backlog || world.state.open_count() > 64);
            prop_assert!(is_unknown || !self.is_granted(world, at), "before, at {at}: {denial:?}");
        }
        Ok(())
    }
}

fn take(world: &mut World, asked: &Asked) -> Result<Option<ReservationNo>, TestCaseError> {
    let decided = match asked {
        Asked::Reserve(reserve) => world.try_reserve(reserve).map(|granted| Some(granted.reservation)),
        Asked::Charge(charge) => world.try_charge(charge).unwrap().map(|_| None),
        Asked::Extend(no, extend) => match world.extend(*no, extend) {
            Ok(decided) => decided.map(|_| None),
            // It shrinks, or has ended.
            Err(_) => return Ok(None),
        },
    };
    match decided {
        Ok(no) => Ok(no),
        Err(denial) if matches!(denial.code, Revoked | ReservationExpired) => {
            prop_assert_eq!(denial.retry, None);
            Ok(None)
        }
        Err(denial) => asked.check(world, &denial).map(|()| None),
    }
}

fn run(world: &mut World, open: &mut Vec<ReservationNo>, name: &str, step: &Step) -> Result<(), TestCaseError> {
    let asked = match *step {
        Step::Wait(span) => {
            world.advance(span);
            return Ok(());
        }
        Step::ChargeHeld(on) => {
            world.expiry(if on { ExpiryPolicy::ChargeHeld } else { ExpiryPolicy::Release });
            return Ok(());
        }
        Step::TopUp(amount) => {
            world.top_up(name, amount);
            return Ok(());
        }
        Step::Burst(count, ttl) => {
            for i in 0..count {
                let usage = Usage { requests: 0, ..cost(1) };
                let _ = world.try_reserve(&Reserve { ttl, ..ask(&format!("{name}-{i}"), usage) });
            }
            return Ok(());
        }
        Step::Commit(at, usage) if at < open.len() => {
            let _ = world.try_commit(open.swap_remove(at), &crate::domain::operation::Commit { usage, model: None });
            return Ok(());
        }
        Step::Reserve(usage, least, ttl) => {
            let min_output_tokens = least.filter(|least| *least <= usage.output_tokens);
            Asked::Reserve(Reserve { min_output_tokens, ttl, ..ask(name, usage) })
        }
        Step::Other(usage, ttl, ends) => {
            let granted = world.reserve_as("bobs", &Reserve { ttl, ..ask(name, usage) }).unwrap();
            match granted.map(|granted| granted.reservation) {
                Ok(no) if ends => drop(world.commit(no, usage)),
                Ok(no) => open.push(no),
                Err(_) => {}
            }
            return Ok(());
        }
        Step::Charge(usage) => Asked::Charge(charge(name, usage)),
        Step::Extend(at, usage_so_far, more, ttl) if at < open.len() => {
            let Some(usage) = world.state.hold(open[at]).map(Hold::usage) else {
                return Ok(());
            };
            let estimate = more.map(|(tokens, nanos)| Usage {
                output_tokens: usage.output_tokens + tokens,
                cost: usage.cost.map(|cost| cost + Nanos::new(nanos)),
                ..usage
            });
            Asked::Extend(open[at], Extend { ttl, usage_so_far, estimate })
        }
        Step::Commit(..) | Step::Extend(..) => return Ok(()),
    };
    open.extend(take(world, &asked)?);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_caller_that_waits_as_told_is_granted_and_no_sooner(
        mask in any::<u16>(),
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let (mut world, mut open) = (crowded(mask), Vec::new());
        for (i, step) in steps.into_iter().enumerate() {
            run(&mut world, &mut open, &i.to_string(), &step)?;
        }
    }
}
