//! How often an operation of the data plane allocates: exactly so often, and no more often in a large place than in a small one.
//!
//! In a binary of its own, because the counting allocator is everybody's. It counts what the calling thread does, so
//! not what the journal's writer does behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared with benches")]
#[path = "../benches/fixture/organization.rs"]
mod organization;
#[allow(dead_code, reason = "shared with benches")]
#[path = "../benches/fixture/serving.rs"]
mod serving;

use std::{collections::VecDeque, fmt::Write as _, sync::Arc, time::Duration};

use organization::{Account, Beside, START};
use quotad::clock::ManualClock;
use serving::{Population, RESERVE, Serving, TOKEN, broke, question, rich};

/// What each operation allocates: in the engine's turn alone, and through the service, up to the answer without its protobuf.
/// One that allocates less is entered too: what is gained is kept.
const ALLOCATIONS: [(&str, u64, u64); 6] = [
    ("authorize", 0, 0),
    ("reserve", 3, 5),
    ("refused reserve", 3, 3),
    ("check", 0, 3),
    ("commit", 2, 4),
    ("release", 1, 3),
];

const HOW_TO_LOOK: &str = "To see where they come from, run this binary with `valgrind --tool=dhat`: below `of_the_engine` and `of_the_service` \
                           each place that allocates has a multiple of 301 blocks. What is meant to be so goes into ALLOCATIONS";

/// Of one kind each; odd, so that there is one in the middle.
const ROUNDS: usize = 301;
/// What growing tables, trees and queues may add to all of them: less than one in two.
const GROWTH: u64 = 120;
const MANY: usize = 10_000;

/// How often one of the operations allocated, in the middle: now and then one has a table grow.
fn counted(name: &str, mut operations: impl FnMut(&mut dyn FnMut(&mut dyn FnMut()))) -> u64 {
    let mut counts = Vec::new();
    for _ in 0..ROUNDS {
        operations(&mut |operation| counts.push(allocation_counter::measure(operation).count_total));
    }
    assert_eq!(counts.len(), ROUNDS, "{name} is measured once a round");
    counts.sort_unstable();
    let (middle, all) = (counts[ROUNDS / 2], counts.iter().sum::<u64>());
    assert!(all <= middle * ROUNDS as u64 + GROWTH, "{name}: {all} allocations in {ROUNDS} times {middle}: {counts:?}");
    middle
}

/// In the order of [`ALLOCATIONS`]; authorizing is no matter of the engine's.
fn of_the_engine(account: &mut Account) -> [u64; 6] {
    let next = |account: &mut Account| {
        account.prepare();
        account.reserve().0
    };
    let reserve = counted("reserve", |measure| {
        account.prepare();
        measure(&mut || drop(account.reserve()));
    });
    let refused = counted("refused reserve", |measure| {
        account.prepare();
        measure(&mut || drop(account.be_refused()));
    });
    let check = counted("check", |measure| measure(&mut || drop(account.check())));
    let commit = counted("commit", |measure| {
        let no = next(account);
        measure(&mut || drop(account.commit(no)));
    });
    let release = counted("release", |measure| {
        let no = next(account);
        measure(&mut || drop(account.release(no)));
    });
    [0, reserve, refused, check, commit, release]
}

fn of_the_service(serving: &Serving) -> [u64; 6] {
    let (rich, broke, question) = (rich(0), broke(0), question());
    let mut requests = (MANY as u64 * 10..).map(organization::request);
    let mut next = || requests.next().unwrap();
    let authorize = counted("authorize", |measure| {
        measure(&mut || drop(serving.service.authorize(Some(TOKEN), RESERVE)));
    });
    let reserve = counted("reserve", |measure| {
        let mut request = Some(next());
        measure(&mut || drop(serving.reserve(&rich, request.take().unwrap())));
    });
    let refused = counted("refused reserve", |measure| {
        let mut request = Some(next());
        measure(&mut || assert!(serving.reserve(&broke, request.take().unwrap()).is_err()));
    });
    let check = counted("check", |measure| measure(&mut || assert!(serving.check(&rich, &question).is_ok())));
    let commit = counted("commit", |measure| {
        let hold = serving.hold(&rich, next());
        measure(&mut || serving.commit(&hold));
    });
    let release = counted("release", |measure| {
        let hold = serving.hold(&rich, next());
        measure(&mut || serving.release(&hold));
    });
    [authorize, reserve, refused, check, commit, release]
}

fn serving(population: &Population) -> Serving {
    // So that the writer takes records only when somebody waits for them: with the operation, not at some time.
    let window = Duration::from_hours(1);
    Serving::start(&Population { window, ..*population }, Arc::new(ManualClock::new(START)))
}

#[track_caller]
fn check(place: &str, engine: [u64; 6], service: [u64; 6]) {
    let found: VecDeque<_> = ALLOCATIONS.iter().zip(engine).zip(service).map(|((row, e), s)| (row.0, e, s)).collect();
    if found == ALLOCATIONS {
        return;
    }
    let mut rows = String::new();
    for row in &found {
        writeln!(rows, "    {row:?},").unwrap();
    }
    panic!("{place} these are the allocations now:\n{rows}{HOW_TO_LOOK}");
}

#[test]
fn an_operation_allocates_exactly_so_often() {
    let mut account = Account::new("acme", Beside::default());
    check("with nothing beside", of_the_engine(&mut account), of_the_service(&serving(&Population::default())));
}

#[test]
fn an_operation_allocates_no_more_often_where_limits_are_narrowed_to_many_patterns() {
    let beside = Beside { patterns: 64, ..Beside::default() };
    let mut account = Account::new("acme", beside);
    let population = Population { beside, ..Population::default() };
    check("with long lists of patterns", of_the_engine(&mut account), of_the_service(&serving(&population)));
}

#[test]
fn an_operation_allocates_no_more_often_where_there_is_more() {
    let beside = Beside { keys: MANY, members: 100, teams: 100, ..Beside::default() };
    let mut account = Account::new("acme", beside);
    for _ in 0..MANY {
        for ended in [false, true] {
            account.prepare();
            let (no, _) = account.reserve();
            if ended {
                account.commit(no);
            }
        }
    }
    let population = Population { beside, idle: MANY, tokens: MANY, ..Population::default() };
    let serving = serving(&population);
    let mut requests = (1..).map(organization::request);
    for request in requests.by_ref().take(MANY) {
        serving.hold(&rich(0), request);
    }
    for request in requests.take(MANY) {
        let hold = serving.hold(&rich(0), request);
        serving.commit(&hold);
    }
    check("with many of everything beside", of_the_engine(&mut account), of_the_service(&serving));
}

/// Of what deleted keys took in memory, a row with a limit each, hardly anything is left once they were forgotten.
#[test]
fn keys_that_were_made_and_deleted_leave_no_memory_behind() {
    let mut account = Account::new("acme", Beside::default());
    let made = allocation_counter::measure(|| account.add_keys(MANY));
    let gone = allocation_counter::measure(|| account.delete_keys(MANY));
    let left = made.bytes_current + gone.bytes_current;
    println!("{MANY} keys took {} bytes, of which {left} are left", made.bytes_current);
    assert!(made.bytes_current > 4_000_000, "{}", made.bytes_current);
    // A bit and the number of a limit for each, in what grows by doubling.
    assert!(usize::try_from(left).is_ok_and(|left| left < 32 * MANY), "{left}");
    assert_eq!(account.state.keys.row_count(), 2);
}
