//! How much work an operation is, in a small place and in a large one: it must be nearly the same.
//!
//! Nothing is timed. Each test runs itself once more under callgrind, which counts the instructions that the calling thread
//! executes within [`run_counted`] and nowhere else, so that the numbers are the same on every machine under any load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared with benches")]
#[path = "../benches/fixture/organization.rs"]
mod organization;
#[allow(dead_code, reason = "shared with benches")]
#[path = "../benches/fixture/serving.rs"]
mod serving;

use std::{env, fs, hint::black_box, process::Command, sync::Arc, time::Duration};

use futures::FutureExt as _;
use organization::{Beside, START, TEAM};
use quotad::{
    clock::ManualClock,
    domain::{
        access::Role,
        id::{KeyId, MemberId, OrganizationId, TeamId},
        money::Nanos,
        operation::Payer,
        policy::{Models, Policy},
        rule::{Cap, CapPeriod},
        time::Span,
        zone::Zone,
    },
    service::{
        AllocationChange, Caller, Error, KeyFilter, MemberChange, MembershipFilter, NewInvitation, NewKey, NewRule,
        Page, Repeatable,
    },
};
use serving::{OPERATOR, Population, RESERVE, Serving, TOKEN, broke, question, rich};

/// Set in the process under callgrind.
const COUNTING: &str = "QUOTAD_COUNTING";
const OPERATIONS: [&str; 6] = ["authorize", "reserve", "refused reserve", "check", "commit", "release"];
/// What is asked or done about one member.
const OF_A_MEMBER: [&str; 5] = ["list keys", "list memberships", "member budget", "delete membership", "delete member"];
/// What is changed of one of many.
const CONTROL: [&str; 4] = ["invite", "update a member", "allocate to a team", "ask for credits"];
/// Of each kind.
const ROUNDS: usize = 8;
const FEW: usize = 10;
const MANY: usize = 2000;
/// How much more work the large place may be, in percent: a few steps more in trees and tables, never a walk over all.
const MOST_PERCENT: u64 = 110;

/// What a place has, besides the key that pays.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    population: Population,
    open: usize,
    /// Committed reservations whose ids are remembered.
    remembered: usize,
}

/// The only code whose instructions are counted; callgrind knows it by its name.
#[inline(never)]
fn run_counted(operation: &mut dyn FnMut()) {
    operation();
    black_box(());
}

/// A place to count in. Tables grow now and then, at once for all that is in them: both places have been used before, so that
/// none grows meanwhile.
fn furnish(place: &Place) -> (Serving, impl FnMut() -> u64) {
    // So that the writer never runs meanwhile.
    let window = Duration::from_hours(1);
    let serving = Serving::start(&Population { window, ..place.population }, Arc::new(ManualClock::new(START)));
    let mut requests = 0..;
    let mut next = move || requests.next().unwrap_or_default();
    for _ in 0..place.open {
        serving.hold(&rich(0), organization::request(next()));
    }
    for _ in 0..place.remembered.max(2 * OPERATIONS.len() * ROUNDS) {
        let hold = serving.hold(&rich(0), organization::request(next()));
        serving.begin_commit(&hold);
    }
    (serving, next)
}

/// Runs each of [`OPERATIONS`] so often, counted.
fn count(place: &Place) {
    let (serving, mut next) = furnish(place);
    let (rich, broke, question) = (rich(0), broke(0), question());
    let mut reserve = |payer: &Payer, fits: bool| {
        let mut request = Some(organization::request(next()));
        let mut answer = None;
        run_counted(&mut || answer = request.take().map(|request| serving.reserve(payer, request)));
        assert_eq!(answer.map(|decision| decision.is_ok()), Some(fits));
    };
    for _ in 0..ROUNDS {
        run_counted(&mut || assert!(serving.service.authorize(Some(TOKEN), RESERVE).is_ok()));
    }
    for _ in 0..ROUNDS {
        reserve(&rich, true);
    }
    for _ in 0..ROUNDS {
        reserve(&broke, false);
    }
    for _ in 0..ROUNDS {
        run_counted(&mut || assert!(serving.check(&rich, &question).is_ok()));
    }
    let mut holds = (0..2 * ROUNDS).map(|_| serving.hold(&rich, organization::request(next()))).collect::<Vec<_>>();
    for hold in holds.drain(..ROUNDS) {
        run_counted(&mut || serving.begin_commit(&hold));
    }
    for hold in holds {
        run_counted(&mut || serving.begin_release(&hold));
    }
}

/// Fails unless every operation is about as much work in the one place as in the other. Called by a test that has
/// nothing else to do: under callgrind it is what is run again.
fn compare(test: &str, small: &Place, large: &Place) {
    compare_all(test, &OPERATIONS, (small, large), count);
}

/// The same of the operations that `count` runs.
fn compare_all(test: &str, operations: &[&str], (small, large): (&Place, &Place), count: impl Fn(&Place)) {
    if env::var_os(COUNTING).is_some() {
        count(small);
        count(large);
        return;
    }
    let counts = under_callgrind(test, operations.len());
    let (small, large) = counts.split_at(counts.len() / 2);
    let mut wrong = Vec::new();
    for ((name, small), large) in operations.iter().zip(small.chunks(ROUNDS)).zip(large.chunks(ROUNDS)) {
        let (small, large) = (middle(small), middle(large));
        assert!(small > 1000, "{name}: nothing was counted");
        println!("{test}: {name}: {small} instructions in the small place, {large} in the large one");
        if large * 100 > small * MOST_PERCENT {
            wrong.push(format!("{name}: {large} instructions instead of {small}"));
        }
    }
    assert!(wrong.is_empty(), "work grows with what it shouldn't depend on: {wrong:#?}");
}

fn middle(counts: &[u64]) -> u64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// The instructions of each counted call, in order: callgrind writes a file after each.
fn under_callgrind(test: &str, operations: usize) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("counted");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(["--toggle-collect=complexity::run_counted", "--dump-after=complexity::run_counted"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(COUNTING, "yes")
        .output()
        .expect("valgrind counts the instructions; install it (`apt-get install valgrind`)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    let expected = 2 * operations * ROUNDS;
    let counts = (1..=expected).map(|no| instructions(&file.with_extension(no.to_string())));
    counts.collect()
}

fn instructions(file: &std::path::Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    total.and_then(|total| total.trim().parse().ok()).unwrap_or_else(|| panic!("no total in {text}"))
}

fn with(population: Population) -> Place {
    Place { population, ..Place::default() }
}

#[test]
fn other_keys_of_the_organization_make_no_operation_more_work() {
    let place = |keys| with(Population { beside: Beside { keys, ..Beside::default() }, ..Population::default() });
    compare("other_keys_of_the_organization_make_no_operation_more_work", &place(FEW), &place(MANY));
}

#[test]
fn limits_in_other_places_make_no_operation_more_work() {
    let beside = |many| Beside { members: many / 2, teams: many / 2, ..Beside::default() };
    let place = |many| with(Population { beside: beside(many), ..Population::default() });
    compare("limits_in_other_places_make_no_operation_more_work", &place(FEW), &place(MANY));
}

#[test]
fn longer_lists_of_patterns_make_no_operation_more_work() {
    let place =
        |patterns| with(Population { beside: Beside { patterns, ..Beside::default() }, ..Population::default() });
    compare("longer_lists_of_patterns_make_no_operation_more_work", &place(FEW), &place(64));
}

#[test]
fn other_organizations_make_no_operation_more_work() {
    let place = |idle| with(Population { idle, ..Population::default() });
    compare("other_organizations_make_no_operation_more_work", &place(FEW), &place(MANY));
}

#[test]
fn other_tokens_make_no_operation_more_work() {
    let place = |tokens| with(Population { tokens, ..Population::default() });
    compare("other_tokens_make_no_operation_more_work", &place(FEW), &place(MANY));
}

#[test]
fn open_reservations_make_no_operation_more_work() {
    let place = |open| Place { open, ..Place::default() };
    compare("open_reservations_make_no_operation_more_work", &place(FEW), &place(MANY));
}

#[test]
fn remembered_ids_make_no_operation_more_work() {
    let place = |remembered| Place { remembered, ..Place::default() };
    compare("remembered_ids_make_no_operation_more_work", &place(FEW), &place(MANY));
}

/// Members whose work is counted, two of each round.
fn member(no: usize) -> MemberId {
    MemberId::trusted(format!("member-{no}"))
}

/// An organization whose members are in a team; those that are asked about have a key each, under a rule with a cap.
fn furnish_members(place: &Place) -> (Serving, Caller, OrganizationId) {
    let (serving, _) = furnish(place);
    let operator = serving.service.authorize(Some(OPERATOR), "/quotad.v1.KeyService/ListKeys").unwrap();
    let (organization, team) = (OrganizationId::trusted("org-0"), TeamId::trusted(TEAM));
    for no in 0..place.population.beside.members {
        let (none, member) = (Policy::default(), member(no));
        let joined = serving.service.create_membership(
            &operator,
            &organization,
            (&team, &member),
            (&none, false),
            Repeatable::default(),
        );
        assert!(serving.runtime.block_on(joined).is_ok());
    }
    let rule = NewRule {
        id: None,
        name: String::from("capped"),
        description: String::new(),
        enabled: true,
        zone: Zone::UTC,
        cap: Some(Cap { enabled: true, max: Nanos::units(10), period: CapPeriod::Daily }),
        hours: None,
    };
    let made = serving.service.create_rule(&operator, &organization, rule, Repeatable::default());
    assert!(serving.runtime.block_on(made).is_ok());
    for no in 0..2 * ROUNDS {
        let key = NewKey {
            id: Some(KeyId::trusted(format!("of-member-{no}"))),
            member: Some(member(no)),
            team: team.clone(),
            name: String::new(),
            disabled: false,
            expire_time: None,
            models: Models::default(),
            rule: None,
            policy: Policy::default(),
        };
        let made = serving.service.create_key(&operator, &organization, key, Repeatable::default());
        assert!(serving.runtime.block_on(made).is_ok());
    }
    (serving, operator, organization)
}

/// Runs each of [`OF_A_MEMBER`] so often, counted.
fn count_of_a_member(place: &Place) {
    let (serving, operator, organization) = furnish_members(place);
    let (service, team, page) = (&serving.service, TeamId::trusted(TEAM), Page { from: None, limit: 100 });
    for no in 0..ROUNDS {
        let filter = KeyFilter { member: Some(member(no)), ..KeyFilter::default() };
        run_counted(&mut || {
            let listed = service.list_keys(&operator, &organization, &filter, page).unwrap();
            assert_eq!((listed.items.len(), listed.next), (1, None));
        });
    }
    for no in 0..ROUNDS {
        let filter = MembershipFilter { member: Some(member(no)), ..MembershipFilter::default() };
        run_counted(&mut || {
            let listed = service.list_memberships(&organization, &filter, page).unwrap();
            assert_eq!((listed.items.len(), listed.next), (1, None));
        });
    }
    for no in 0..ROUNDS {
        let member = member(no);
        run_counted(&mut || {
            let budgets = service.member_budgets(&organization, &member).now_or_never();
            assert!(budgets.is_some_and(|budgets| budgets.is_ok()), "a read waits for nothing");
        });
    }
    for no in 0..ROUNDS {
        let key = KeyId::trusted(format!("of-member-{no}"));
        let deleted = service.delete_key(&operator, &organization, &key, None);
        assert!(serving.runtime.block_on(deleted).is_ok());
        let member = member(no);
        run_counted(&mut || {
            let left = service.delete_membership(&operator, &organization, &team, &member);
            assert!(left.now_or_never().is_none_or(|left| left.is_ok()), "done, and waiting for the disk");
        });
    }
    for no in ROUNDS..2 * ROUNDS {
        let member = member(no);
        run_counted(&mut || {
            let gone = service.delete_member(&operator, &organization, &member, None);
            assert!(gone.now_or_never().is_none_or(|gone| gone.is_ok()), "done, and waiting for the disk");
        });
    }
}

#[test]
fn other_keys_and_members_make_nothing_about_one_member_more_work() {
    let beside = |many| Beside { keys: many, members: many, ..Beside::default() };
    let place = |many| with(Population { beside: beside(many), ..Population::default() });
    // Tables of few rows are walked.
    compare_all(
        "other_keys_and_members_make_nothing_about_one_member_more_work",
        &OF_A_MEMBER,
        (&place(100), &place(MANY)),
        count_of_a_member,
    );
}

/// Changes the control plane as [`CONTROL`] says, so often, counted.
fn count_control(place: &Place) {
    let (serving, _) = furnish(place);
    let (service, organization) = (&serving.service, OrganizationId::trusted("org-0"));
    let operator = service.authorize(Some(OPERATOR), "/quotad.v1.MemberService/UpdateMember").unwrap();
    let (team, member) = (TeamId::trusted(TEAM), MemberId::trusted("ann"));
    let repeatable = || Repeatable { request: None, fingerprint: 0 };
    for no in 0..ROUNDS {
        let new = NewInvitation {
            id: None,
            email: format!("guest-{no}@example.org"),
            name: String::new(),
            role: Role::Basic,
            teams: Vec::new(),
            policy: Policy::default(),
            ttl: Span::DAY,
        };
        count_change(service.create_invitation(&operator, &organization, new, repeatable()));
    }
    for no in 0..ROUNDS {
        let role = if no % 2 == 0 { Role::Basic } else { Role::Admin };
        let change = MemberChange { role: Some(role), ..MemberChange::default() };
        count_change(service.update_member(&operator, &organization, &member, change, None));
    }
    for no in 0..8 {
        let change = AllocationChange { monthly: Some(Some(Nanos::units(1 + no))), extra: None };
        count_change(service.update_team_allocation(&operator, &organization, &team, change, None));
    }
    for _ in 0..ROUNDS {
        let asked = (Nanos::new(1), String::new());
        let by = (team.clone(), Some(member.clone()));
        count_change(service.submit_credit_request(&operator, &organization, by, asked, repeatable()));
    }
}

/// Counts what is done until the disk is waited for, which the writer may be faster than.
fn count_change<T>(change: impl Future<Output = Result<T, Error>>) {
    let mut change = std::pin::pin!(change);
    let mut answer = None;
    run_counted(&mut || answer = change.as_mut().now_or_never());
    if let Some(Err(error)) = answer {
        panic!("{error}");
    }
}

/// Issue 18, finding 4: no change of one member, team or request walks all members or teams under the lock.
#[test]
fn other_members_and_teams_make_no_change_of_one_more_work() {
    let beside = |many| Beside { members: many / 2, teams: many / 2, ..Beside::default() };
    let place = |many| with(Population { beside: beside(many), ..Population::default() });
    let test = "other_members_and_teams_make_no_change_of_one_more_work";
    compare_all(test, &CONTROL, (&place(FEW), &place(MANY)), count_control);
}

#[test]
fn orders_of_a_month_whose_cap_is_reached_make_no_operation_more_work() {
    let beside = |orders| Beside { orders, ..Beside::default() };
    let place = |orders| with(Population { beside: beside(orders), ..Population::default() });
    compare("orders_of_a_month_whose_cap_is_reached_make_no_operation_more_work", &place(FEW), &place(MANY));
}

#[test]
fn open_reservations_beside_a_pool_that_is_used_up_make_no_operation_more_work() {
    let beside = Beside { used_up_pool: true, ..Beside::default() };
    let place = |open| Place { open, ..with(Population { beside, ..Population::default() }) };
    compare("open_reservations_beside_a_pool_that_is_used_up_make_no_operation_more_work", &place(FEW), &place(MANY));
}
