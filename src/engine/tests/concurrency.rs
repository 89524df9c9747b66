//! N concurrent callers never pass a hard cap together: one short lock an organization.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::fixture::*;
use crate::{
    domain::{
        id::{Actor, DEFAULT_TEAM, KeyId, SecretHash},
        operation::Payer,
        policy::{Limit, Place},
        usage::Usage,
    },
    engine::{
        directory::{Cell, Directory, Route},
        turn::{Context, Turn},
    },
};

const CALLERS: usize = 8;
const EACH: usize = 250;

/// How many of 2,000 requests over four keys, of 3 tokens and 7 nano-USD each, pass a limit of the organization together.
fn granted_under(limit: Limit) -> usize {
    let mut world = World::new();
    world.set_policy(&Place::Organization, vec![limit]).unwrap();
    let keys: Vec<_> = (0..4).map(|i| format!("many-{i}")).collect();
    for key in &keys {
        world.add_key(key, "ann", DEFAULT_TEAM);
    }
    let cell = Arc::new(Cell::new(world.state.clone(), 0));
    let directory = Directory::default();
    directory.insert(Arc::clone(&cell)).unwrap();
    for key in &keys {
        let id = KeyId::trusted(key.as_str());
        let place = world.state.keys.place(&id).unwrap();
        let secret = SecretHash::of(key);
        directory.add_key(id, secret, Route { cell: Arc::clone(&cell), key: place });
    }
    let (granted, start, prices) = (AtomicUsize::new(0), Barrier::new(CALLERS), &world.prices);
    let run = |caller: usize| {
        start.wait();
        for i in 0..EACH {
            let request = ask(&format!("{caller}-{i}"), Usage { input_tokens: 3, ..cost(7) });
            let payer = Payer::Key(KeyId::trusted(keys[(caller + i) % 4].as_str()));
            let route = directory.route(&payer, NOON).unwrap();
            let context = Context {
                bounds: crate::engine::turn::Bounds::default(),
                now: NOON,
                epoch: 1,
                actor: &Actor::SYSTEM,
                prices,
            };
            let mut inner = route.cell.lock();
            let answer = Turn::new(&mut inner.state, context).reserve(route.key, &request, 1).unwrap();
            granted.fetch_add(usize::from(answer.is_ok()), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let run = &run;
            scope.spawn(move || run(caller));
        }
    });
    granted.into_inner()
}

#[test]
fn concurrent_callers_never_pass_a_hard_cap_together() {
    assert_eq!(granted_under(usd("b", 7 * 1000 + 6)), 1000);
    assert_eq!(granted_under(credits("c", 7 * 1000)), 1000);
    assert_eq!(granted_under(tpm("t", 3 * 1000 + 2)), 1000);
    assert_eq!(granted_under(rpm("r", 1000)), 1000);
    assert_eq!(granted_under(slots("s", 1000)), 1000);
}

/// What the lock is for: two who decide on the same state, before either's hold stands, are both let in, and together they
/// pass the cap. In turns only the first is.
#[test]
fn deciding_before_the_others_hold_stands_would_pass_the_cap() {
    let mut world = World::new();
    world.limits(vec![usd("cap", 10)]);
    let (first, second) = (ask("first", cost(7)), ask("second", cost(7)));
    let (mut seen_by_first, mut seen_by_second) = (world.state.clone(), world.state.clone());
    let place = world.state.keys.place(&KeyId::trusted(KEY)).unwrap();
    let context = Context {
        bounds: crate::engine::turn::Bounds::default(),
        now: NOON,
        epoch: 1,
        actor: &Actor::SYSTEM,
        prices: &world.prices,
    };
    let without_lock = [(&mut seen_by_first, &first), (&mut seen_by_second, &second)]
        .map(|(state, request)| Turn::new(state, context).reserve(place, request, 1).unwrap().is_ok());
    assert_eq!(without_lock, [true, true]);
    let in_turns = [&first, &second].map(|request| world.try_reserve(request).is_ok());
    assert_eq!(in_turns, [true, false]);
}
