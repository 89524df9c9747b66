//! Running work is stopped where what it holds on is used up or switched off, and nowhere else.

use super::fixture::*;
use crate::domain::{
    decision::{DenialCode, DenialCode::*, Revocation, Violated},
    entity::WalletMode,
    id::{DEFAULT_TEAM, Holder, KeyId, MemberId, TeamId},
    money::{Factor, Nanos},
    operation::{Charge, Extend, MAX_TTL, Reserve},
    policy::{Place, Scope},
    time::Span,
};
use crate::engine::turn::{KeyChange, MemberChange, OrganizationChange, TeamChange};

fn causes(revocations: &[Revocation]) -> Vec<(DenialCode, Scope)> {
    revocations.iter().map(|revocation| (revocation.cause.code, revocation.cause.scope)).collect()
}

fn used(id: &str, nanos: i64) -> Charge {
    Charge { already_used: true, ..charge(id, cost(nanos)) }
}

#[test]
fn a_budget_that_is_spent_up_stops_who_holds_on_it() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    world.add_key("k2", "ann", DEFAULT_TEAM);
    let holder = Some(Holder::trusted("node-7"));
    let mine = world.try_reserve(&Reserve { holder: holder.clone(), ..ask("a", cost(50)) }).unwrap().reservation;
    world.reserve_as("k2", &ask("other", cost(5))).unwrap().unwrap();
    world.try_charge(&used("c", 99)).unwrap().unwrap();
    assert!(world.revocations.is_empty(), "held and spent exceed the cap, but spent alone doesn't reach it");
    world.try_charge(&used("d", 1)).unwrap().unwrap();
    let [revocation] = world.revocations.as_slice() else { panic!("{:?}", world.revocations) };
    assert_eq!((revocation.reservation, &revocation.holder), (mine, &holder));
    assert_eq!((revocation.cause.code, revocation.cause.scope_id.as_str()), (BudgetExceeded, KEY));
    assert_eq!(revocation.cause.limit.as_ref().unwrap().as_str(), "b");

    let denial = world.extend(mine, &renew()).unwrap().unwrap_err();
    assert_eq!((denial.code, denial.message.as_str()), (Revoked, "Budget exceeded"));
    assert!(matches!(&denial.violations[0].at, Violated::Limit { state, .. } if state.spent == 100));
    assert!(world.revocations.is_empty(), "stopped once");
    assert_eq!(world.commit(mine, cost(60)).charged.usd, Nanos::new(60), "and can still commit");
    assert_eq!(world.counted("b"), (160, 0));
}

#[test]
fn only_holds_in_the_window_that_is_spent_up_are_stopped() {
    let mut world = World::new();
    world.limits(vec![daily("b", 100)]);
    let long = |id, nanos| Reserve { ttl: MAX_TTL, ..ask(id, cost(nanos)) };
    let yesterday = world.try_reserve(&long("a", 10)).unwrap().reservation;
    let another = world.try_reserve(&long("b", 10)).unwrap().reservation;
    world.advance(Span::seconds(13 * 3600));
    let today = world.try_reserve(&long("c", 10)).unwrap().reservation;
    world.try_charge(&used("d", 100)).unwrap().unwrap();
    assert_eq!(world.revocations.iter().map(|r| r.reservation).collect::<Vec<_>>(), [today]);
    world.commit(yesterday, cost(100));
    assert_eq!(world.revocations.iter().map(|r| r.reservation).collect::<Vec<_>>(), [another]);
}

#[test]
fn a_cap_lowered_to_what_is_spent_stops_who_holds_on_it() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    world.charge("c", cost(40));
    world.reserve("a", cost(10));
    world.limits(vec![usd("b", 41)]);
    assert!(world.revocations.is_empty());
    world.limits(vec![usd("b", 40)]);
    assert_eq!(causes(&world.revocations), [(BudgetExceeded, Scope::Key)]);
}

#[test]
fn an_enforced_balance_that_reaches_zero_stops_who_pays_from_it() {
    let mut world = World::new();
    let unpaid = world.reserve("before", cost(5));
    world.wallet(100);
    world.reserve("a", cost(50));
    world.try_charge(&used("c", 99)).unwrap().unwrap();
    assert!(world.revocations.is_empty());
    world.commit(unpaid, cost(500));
    assert!(world.revocations.is_empty(), "what was admitted while the wallet was off doesn't draw on it");
    world.try_charge(&used("d", 1)).unwrap().unwrap();
    assert_eq!(causes(&world.revocations), [(WalletInsufficient, Scope::Wallet)]);
}

#[test]
fn a_wallet_that_is_off_stops_nobody() {
    let mut world = World::new();
    world.wallet(100);
    let (a, _) = (world.reserve("a", cost(50)), world.reserve("b", cost(50)));
    world.organization(OrganizationChange { wallet_mode: Some(WalletMode::Off), ..Default::default() });
    world.commit(a, cost(100));
    assert_eq!(world.state.wallet.balance, Nanos::ZERO, "an open hold is paid as it was admitted");
    assert!(world.revocations.is_empty());
    world.organization(OrganizationChange { wallet_mode: Some(WalletMode::Enforced), ..Default::default() });
    assert_eq!(causes(&world.revocations), [(WalletInsufficient, Scope::Wallet)], "now the empty balance is enforced");
}

#[test]
fn a_credit_cap_that_does_not_bind_stops_nobody() {
    let mut world = World::new();
    world.limits(vec![credits("c", 100)]);
    let (a, b) = (world.reserve("a", cost(10)), world.reserve("b", cost(10)));
    let factor = |factor| OrganizationChange { credit_factor: Some(factor), ..Default::default() };
    world.organization(factor(Factor::OFF));
    assert_eq!(world.commit(a, cost(150)).overage.credits, Nanos::ZERO);
    assert!(world.revocations.is_empty());
    world.extend(b, &Extend { estimate: Some(cost(11)), ..renew() }).unwrap().unwrap();
    world.organization(factor(Factor::ONE));
    assert_eq!(causes(&world.revocations), [(BudgetExceeded, Scope::Key)], "now it binds");
}

#[test]
#[allow(clippy::redundant_closure_for_method_calls, reason = "the method's lifetime is not general enough")]
fn switching_off_any_place_of_the_path_stops_its_work() {
    type Switch = fn(&mut World);
    let switches: [(Switch, DenialCode, Scope); 7] = [
        (|w| w.key(KeyChange { disabled: Some(true), ..Default::default() }), KeyDisabled, Scope::Key),
        (|w| w.turn(|turn| turn.delete_key(&KeyId::trusted(KEY))).unwrap(), KeyUnknown, Scope::Key),
        (|w| w.member(MemberChange { disabled: Some(true), ..Default::default() }), MemberInactive, Scope::Member),
        (|w| w.turn(|turn| turn.delete_member(&MemberId::trusted("ann"))).unwrap(), MemberInactive, Scope::Member),
        (|w| w.team(TeamChange { disabled: Some(true), ..Default::default() }), TeamInactive, Scope::Team),
        (
            |w| w.organization(OrganizationChange { disabled: Some(true), ..Default::default() }),
            OrganizationInactive,
            Scope::Organization,
        ),
        (|w| w.turn(|turn| turn.delete_organization()).unwrap(), OrganizationInactive, Scope::Organization),
    ];
    for (switch, code, scope) in switches {
        let mut world = World::new();
        let no = world.reserve("r", cost(5));
        switch(&mut world);
        assert_eq!(causes(&world.revocations), [(code, scope)]);
        assert_eq!(world.extend(no, &renew()).unwrap().unwrap_err().code, Revoked);
        assert_eq!(world.commit(no, cost(5)).charged.usd, Nanos::new(5));
    }
}

#[test]
fn deleting_a_team_stops_its_work_and_no_other() {
    let mut world = World::new();
    world.add_team("red");
    world.add_member("bob", &["red"]);
    world.add_key("k2", "bob", "red");
    world.reserve("home", cost(5));
    let red = world.reserve_as("k2", &ask("red", cost(5))).unwrap().unwrap().reservation;
    world.turn(|turn| turn.delete_team(&TeamId::trusted("red"))).unwrap();
    assert_eq!(causes(&world.revocations), [(TeamInactive, Scope::Team)]);
    assert_eq!(world.revocations[0].reservation, red);
}

#[test]
fn quotas_and_slots_never_stop_running_work() {
    let mut world = World::new();
    world.limits(vec![rpm("r", 5), tpm("t", 50), slots("s", 5)]);
    let no = world.reserve("a", tokens(5, 5));
    world.charge("c", tokens(5, 5));
    world.try_charge(&Charge { already_used: true, ..charge("d", tokens(500, 500)) }).unwrap().unwrap();
    assert!(world.revocations.is_empty());
    world.limits(vec![rpm("r", 0), tpm("t", 0), slots("s", 0)]);
    assert!(world.revocations.is_empty());
    world.extend(no, &renew()).unwrap().unwrap();
}

#[test]
fn an_expiry_that_spends_a_budget_up_stops_the_others() {
    let mut world = World::new();
    world.set_policy(&Place::Organization, vec![usd("b", 100)]).unwrap();
    let a = world.reserve("a", cost(10));
    world.extend(a, &Extend { usage_so_far: Some(cost(60)), ..renew() }).unwrap().unwrap();
    world.try_reserve(&Reserve { ttl: MAX_TTL, ..ask("b", cost(5)) }).unwrap();
    world.charge("c", cost(35));
    world.try_charge(&used("d", 5)).unwrap().unwrap();
    world.advance(Span::seconds(600));
    world.expire_due();
    assert_eq!(causes(&world.revocations), [(BudgetExceeded, Scope::Organization)]);
}
