//! The operator's word on an organization: its ceiling and its suspension, beside what the organization sets itself.

use super::fixture::*;
use crate::{
    domain::{
        decision::{DenialCode, Violated},
        money::Nanos,
        operation::{Charge, Commit, Extend, Reserve},
        payment::{OrderSource, OrderTerms},
        policy::{Limit, Place, Scope},
        time::Span,
    },
    engine::{
        conflict::Conflict,
        turn::{AutoTopUpChange, Orderer, OrganizationChange},
    },
};

impl World {
    fn ceiling(&mut self, limits: Vec<Limit>) {
        self.set_policy(&Place::Ceiling, limits).unwrap();
    }

    fn own_policy(&mut self, limits: Vec<Limit>) {
        self.set_policy(&Place::Organization, limits).unwrap();
    }

    fn suspend(&mut self, suspended: bool) {
        self.organization(OrganizationChange { suspended: Some(suspended), ..Default::default() });
    }

    /// Scope and id of each limit of the path, in its order.
    fn on_path(&self) -> Vec<(Scope, String)> {
        let key = self.state.keys.place(&crate::domain::id::KeyId::trusted(KEY)).unwrap();
        let states = self.state.path_states(key, &model(MODEL), self.now);
        states.into_iter().filter_map(|state| Some((state.scope, state.limit?.to_string()))).collect()
    }
}

fn used(id: &str, nanos: i64) -> Charge {
    Charge { already_used: true, ..charge(id, cost(nanos)) }
}

#[test]
fn a_ceiling_refuses_beside_the_organizations_own_limits_which_it_outlives() {
    let mut world = World::new();
    world.own_policy(vec![usd("month", 50)]);
    world.ceiling(vec![usd("month", 100), slots("at-once", 1)]);
    let expected = [(Scope::Organization, "month"), (Scope::Ceiling, "month"), (Scope::Ceiling, "at-once")];
    assert_eq!(world.on_path(), expected.map(|(scope, id)| (scope, id.to_owned())));
    let no = world.reserve("a", cost(40));
    let denial = world.refused(cost(70));
    let scopes = denial.violations.iter().map(|violation| match &violation.at {
        Violated::Limit { state, .. } => (violation.code, state.scope, state.scope_id.to_string()),
        Violated::State(..) => panic!("{violation:?}"),
    });
    let acme = || String::from("acme");
    let expected = [
        (DenialCode::ConcurrencyExceeded, Scope::Ceiling, acme()),
        (DenialCode::BudgetExceeded, Scope::Organization, acme()),
        (DenialCode::BudgetExceeded, Scope::Ceiling, acme()),
    ];
    assert_eq!(scopes.collect::<Vec<_>>(), expected);
    world.commit(no, cost(40));
    // Whatever the organization does to its own.
    world.own_policy(Vec::new());
    assert_eq!(world.counted("month"), (40, 0));
    assert_eq!(world.refused(cost(61)).code, DenialCode::BudgetExceeded);
    world.own_policy(vec![usd("month", 1000)]);
    assert_eq!(world.on_path()[0], (Scope::Organization, "month".to_owned()));
    assert_eq!(world.refused(cost(61)).code, DenialCode::BudgetExceeded);
    world.ceiling(vec![usd("month", 101)]);
    world.reserve("b", cost(61));
}

#[test]
fn a_ceiling_grants_in_part_shows_overage_and_slides_like_any_limit() {
    let mut world = World::new();
    world.ceiling(vec![tpm("tokens", 100), usd("cap", 1_000_000)]);
    let part = Reserve { min_output_tokens: Some(1), ..ask("a", tokens(10, 500)) };
    let granted = world.try_reserve(&part).unwrap();
    assert_eq!(granted.output_tokens, 90);
    assert_eq!(world.refused(tokens(1, 0)).code, DenialCode::RateLimitExceeded);
    let charged = world.try_commit(granted.reservation, &Commit { usage: tokens(10, 190), model: None }).unwrap();
    assert_eq!(charged.overage.tokens, 100);
    world.advance(Span::seconds(62));
    world.reserve("b", tokens(10, 0));
}

#[test]
fn running_work_stops_where_a_ceiling_is_reached_or_lowered() {
    let mut world = World::new();
    world.ceiling(vec![usd("cap", 100)]);
    let no = world.reserve("a", cost(10));
    world.try_charge(&used("b", 100)).unwrap().unwrap();
    let [revocation] = world.revocations.as_slice() else { panic!("{:?}", world.revocations) };
    assert_eq!((revocation.reservation, revocation.cause.code), (no, DenialCode::BudgetExceeded));
    assert_eq!((revocation.cause.scope, revocation.cause.scope_id.as_str()), (Scope::Ceiling, "acme"));
    assert_eq!(world.commit(no, cost(10)).charged.usd, Nanos::new(10));
    world.ceiling(vec![usd("cap", 200)]);
    let no = world.reserve("c", cost(10));
    world.ceiling(vec![usd("cap", 110)]);
    assert_eq!(world.revocations.iter().map(|r| r.reservation).collect::<Vec<_>>(), [no]);
    assert_eq!(world.extend(no, &renew()).unwrap().unwrap_err().code, DenialCode::Revoked);
}

#[test]
fn a_suspension_refuses_what_is_new_stops_what_runs_and_settles_what_was_done() {
    let mut world = World::new();
    world.wallet(1000);
    let (no, other) = (world.reserve("a", cost(10)), world.reserve("b", cost(10)));
    world.suspend(true);
    let causes: Vec<_> = world.revocations.iter().map(|r| (r.cause.code, r.cause.scope)).collect();
    assert_eq!(causes, [(DenialCode::OrganizationInactive, Scope::Organization); 2]);
    // Whatever the organization says of itself.
    for disabled in [true, false] {
        world.organization(OrganizationChange { disabled: Some(disabled), ..Default::default() });
        assert!(world.revocations.is_empty(), "stopped once");
        assert_eq!(world.refused(cost(1)).code, DenialCode::OrganizationInactive);
    }
    let so_far = Extend { usage_so_far: Some(cost(5)), ..renew() };
    assert_eq!(world.extend(no, &so_far).unwrap().unwrap_err().code, DenialCode::Revoked);
    assert_eq!(world.try_charge(&charge("c", cost(1))).unwrap().unwrap_err().code, DenialCode::OrganizationInactive);
    assert_eq!(world.try_charge(&used("d", 7)).unwrap().unwrap().charged.usd, Nanos::new(7));
    assert_eq!(world.commit(no, cost(12)).charged.usd, Nanos::new(12));
    assert_eq!(world.release(other), Ok(false));
    assert_eq!(world.state.wallet.balance, Nanos::new(981));
    world.suspend(false);
    world.reserve("e", cost(1));
}

#[test]
fn nothing_is_ordered_for_a_suspended_organization_but_what_the_operator_gives() {
    let mut world = World::new();
    world.wallet(10);
    let change = AutoTopUpChange {
        enabled: Some(true),
        threshold: Some(Nanos::new(5)),
        amount: Some(Nanos::new(100)),
        target: None,
        method: None,
        monthly_cap: None,
    };
    let terms = OrderTerms::default();
    world.turn(|turn| turn.update_auto_top_up(&change, None, &terms)).unwrap();
    let member = crate::domain::id::MemberId::trusted("ann");
    let ann = Some(Orderer { member: &member, terms: &terms });
    let before = world.turn(|turn| turn.order_top_up(top_up("before", 3, 1), ann)).unwrap().0;
    world.suspend(true);
    world.try_charge(&used("a", 9)).unwrap().unwrap();
    let automatic = |world: &World| {
        let orders = world.state.payments.orders.live();
        orders.filter(|row| row.entity.source == OrderSource::Automatic).count()
    };
    assert_eq!(automatic(&world), 0);
    assert_eq!(world.state.orders_to_place().count(), 0, "nor is the provider told of what was ordered before");
    let ordered = world.turn(|turn| turn.order_top_up(top_up("during", 3, 1), ann));
    assert_eq!(ordered, Err(Conflict::Suspended));
    let again = world.turn(|turn| turn.order_top_up(top_up("before", 3, 1), ann)).unwrap();
    assert_eq!((again.0.id, again.1), (before.id.clone(), true));
    world.top_up("gift", 1);
    world.suspend(false);
    assert_eq!(world.state.orders_to_place().map(|order| &order.id).collect::<Vec<_>>(), [&before.id]);
    world.refused(cost(50));
    assert_eq!(automatic(&world), 1);
}
