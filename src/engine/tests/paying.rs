//! Who pays: payment methods that end, and automatic top-up with them.

use super::fixture::*;
use crate::{
    domain::{
        access::Role,
        alert::{AlertKind, AlertSettings},
        entity::{Member, WalletMode},
        id::{KeyId, MemberId, MethodId},
        money::Nanos,
        operation::{Charge, Commit, DEFAULT_TTL, Extend, Reserve},
        payment::{OrderSource, OrderState, OrderTerms, PaymentMethod, PaymentOutcome, TopUpOrder},
        reservation_id::ReservationNo,
        time::Span,
    },
    engine::{
        conflict::Conflict,
        turn::{AutoTopUpChange, MemberChange, OrganizationChange, Outcome},
    },
};

const CARD: &str = "card";

fn ann() -> MemberId {
    MemberId::trusted("ann")
}

fn card() -> MethodId {
    MethodId::trusted(CARD)
}

impl World {
    /// A wallet of 10, filled with 100 by ann's card below 5.
    fn paying() -> Self {
        let mut world = Self::new();
        world.wallet(10);
        world.member(MemberChange { role: Some(Role::Admin), ..Default::default() });
        let method = PaymentMethod {
            id: card(),
            member: ann(),
            label: String::new(),
            token: String::from("tok_ann"),
            deleted: false,
            create_time: NOON,
        };
        world.turn(|turn| turn.create_payment_method(method)).unwrap();
        world.fill(true).unwrap();
        world
    }

    /// As ann sets it.
    fn fill(&mut self, enabled: bool) -> Outcome<()> {
        let change = AutoTopUpChange {
            enabled: Some(enabled),
            threshold: Some(Nanos::new(5)),
            amount: Some(Nanos::new(100)),
            target: None,
            method: Some(Some(card())),
            monthly_cap: None,
        };
        self.set(&change, Some(&ann()))
    }

    fn set(&mut self, change: &AutoTopUpChange, by: Option<&MemberId>) -> Outcome<()> {
        self.turn(|turn| turn.update_auto_top_up(change, by, &OrderTerms::default()))
    }

    fn ordered(&self) -> usize {
        let orders = self.state.payments.orders.live();
        orders.filter(|row| row.entity.source == OrderSource::Automatic).count()
    }

    /// Whether it is on, and why not.
    fn auto(&self) -> (bool, &str) {
        let auto = self.state.payments.auto.as_deref().unwrap();
        (auto.enabled, &auto.disabled_reason)
    }

    fn told(&self) -> usize {
        self.state.alerts.all().filter(|alert| alert.kind == AlertKind::AutoTopUpDisabled).count()
    }
}

#[test]
fn a_member_that_is_removed_takes_its_payment_methods_and_automatic_top_up_by_them_with_it() {
    let mut world = World::paying();
    world.add_member("bob", &["default"]);
    world.add_key("bobs", "bob", "default");
    world.turn(|turn| turn.delete_member(&ann())).unwrap();
    let method = &world.state.payments.methods.find(&card()).unwrap().entity;
    assert_eq!((method.deleted, method.token.as_str()), (true, ""));
    assert_eq!(world.auto(), (false, "the payment method's owner is no active member any more"));
    assert_eq!(world.told(), 1);
    let open = world.reserve_as("bobs", &ask("a", cost(9))).unwrap().unwrap().reservation;
    world.commit(open, cost(9));
    assert_eq!(world.ordered(), 0);
}

#[test]
fn a_member_that_is_disabled_pays_no_more() {
    let mut world = World::paying();
    world.add_member("bob", &["default"]);
    world.add_key("bobs", "bob", "default");
    world.member(MemberChange { disabled: Some(true), ..Default::default() });
    assert_eq!(world.auto(), (false, "the payment method's owner is no active member any more"));
    assert_eq!(world.told(), 1);
    let open = world.reserve_as("bobs", &ask("a", cost(9))).unwrap().unwrap().reservation;
    world.commit(open, cost(9));
    assert_eq!(world.ordered(), 0);
    world.member(MemberChange { disabled: Some(false), ..Default::default() });
    assert!(!world.auto().0, "somebody has to want it again");
    world.fill(true).unwrap();
    assert_eq!(world.ordered(), 1);
}

#[test]
fn automatic_top_up_by_the_card_of_somebody_who_is_gone_already_orders_nothing() {
    let mut world = World::paying();
    let member = world.state.members.find(&ann()).unwrap().entity.clone();
    // As removing a member once left it.
    world.state.members.set(Member { deleted: true, ..member });
    let (key, used) = (world.state.keys.place(&KeyId::trusted(KEY)).unwrap(), charge("a", cost(9)));
    world.turn_unreplayed(|turn| turn.charge(key, &Charge { already_used: true, ..used })).unwrap().unwrap();
    assert_eq!((world.ordered(), world.auto().0, world.told()), (0, false, 1));
}

#[test]
fn automatic_top_up_is_not_switched_on_with_a_payment_method_that_is_gone() {
    let mut world = World::paying();
    world.fill(false).unwrap();
    world.turn(|turn| turn.delete_payment_method(&ann(), &card())).unwrap();
    world.charge("a", cost(9));
    world.fill(false).unwrap();
    let refused = world.fill(true).unwrap_err().to_string();
    assert!(refused.contains("the payment method was deleted; choose another"), "{refused}");
    assert_eq!((world.ordered(), world.auto().0), (0, false));
}

#[test]
fn nobody_but_its_owner_enlarges_what_a_card_is_charged() {
    let mut world = World::paying();
    world.add_member("bob", &["default"]);
    let bob = MemberId::trusted("bob");
    let capped = AutoTopUpChange { monthly_cap: Some(Some(Nanos::new(300))), ..Default::default() };
    world.set(&capped, Some(&ann())).unwrap();
    let larger = [
        AutoTopUpChange { amount: Some(Nanos::new(101)), ..Default::default() },
        AutoTopUpChange { threshold: Some(Nanos::new(6)), ..Default::default() },
        AutoTopUpChange { monthly_cap: Some(Some(Nanos::new(301))), ..Default::default() },
        AutoTopUpChange { monthly_cap: Some(None), ..Default::default() },
    ];
    let before = world.state.payments.auto.clone();
    for change in &larger {
        for by in [Some(&bob), None] {
            assert!(matches!(world.set(change, by), Err(Conflict::NotYours(_))), "{change:?}");
        }
    }
    assert_eq!(world.state.payments.auto, before);
    let smaller = AutoTopUpChange {
        enabled: Some(false),
        threshold: Some(Nanos::new(4)),
        amount: Some(Nanos::new(99)),
        monthly_cap: Some(Some(Nanos::new(299))),
        target: None,
        method: None,
    };
    world.set(&smaller, Some(&bob)).unwrap();
    let on = AutoTopUpChange { enabled: Some(true), ..Default::default() };
    for by in [Some(&bob), None] {
        assert!(matches!(world.set(&on, by), Err(Conflict::NotYours(_))));
    }
    world.set(&on, Some(&ann())).unwrap();
    for change in &larger {
        world.set(change, Some(&ann())).unwrap();
    }
}

#[test]
fn a_card_is_charged_by_no_terms_that_somebody_else_set() {
    let mut world = World::paying();
    world.add_member("bob", &["default"]);
    let bob = MemberId::trusted("bob");
    let by_none = AutoTopUpChange { method: Some(None), amount: Some(Nanos::new(9000)), ..Default::default() };
    world.set(&by_none, Some(&bob)).unwrap();
    let by_card = AutoTopUpChange { method: Some(Some(card())), ..Default::default() };
    assert!(matches!(world.set(&by_card, Some(&bob)), Err(Conflict::NotFound { .. })));
    assert!(matches!(world.set(&by_card, None), Err(Conflict::NotFound { .. })));
    assert!(matches!(world.set(&by_card, Some(&ann())), Err(Conflict::Invalid(_))));
    world.fill(true).unwrap();
    assert_eq!(world.state.payments.auto.as_deref().unwrap().amount, Nanos::new(100));
}

/// A reservation of the free model whose progress expiry charged, and which another model may still be named for.
fn expired(world: &mut World, nanos: i64) -> ReservationNo {
    let ask = Reserve { model: model(FREE), ..ask("late", cost(nanos)) };
    let no = world.try_reserve(&ask).unwrap().reservation;
    world.extend(no, &Extend { usage_so_far: Some(cost(nanos)), ..renew() }).unwrap().unwrap();
    world.advance(DEFAULT_TTL);
    world.expire_due();
    no
}

fn ran_other(world: &mut World, no: ReservationNo, nanos: i64) {
    world.try_commit(no, &Commit { usage: cost(nanos), model: Some(model(MODEL)) }).unwrap();
}

#[test]
fn a_charge_that_is_taken_back_and_made_anew_tells_nobody_in_between() {
    let mut world = World::new();
    world.wallet(10);
    let settings = AlertSettings { low_balance: Some(Nanos::new(5)), ..AlertSettings::default() };
    world.turn(|turn| turn.set_alert_settings(settings)).unwrap();
    let low = |world: &World| world.state.alerts.all().filter(|alert| alert.kind == AlertKind::WalletLow).count();
    let no = expired(&mut world, 6);
    assert_eq!((world.state.wallet.balance, low(&world)), (Nanos::new(4), 1));
    ran_other(&mut world, no, 7);
    assert_eq!((world.state.wallet.balance, low(&world)), (Nanos::new(3), 1), "it was low all the time");
}

#[test]
fn a_charge_that_is_taken_back_and_made_anew_ends_no_shortfall_in_between() {
    let mut world = World::paying();
    let small = AutoTopUpChange { threshold: Some(Nanos::new(50)), amount: Some(Nanos::new(1)), ..Default::default() };
    world.fill(false).unwrap();
    world.top_up("more", 50);
    world.set(&small, Some(&ann())).unwrap();
    world.set(&AutoTopUpChange { enabled: Some(true), ..Default::default() }, Some(&ann())).unwrap();
    let no = expired(&mut world, 55);
    let order = world.state.payments.pending_auto.clone().unwrap();
    world.turn(|turn| turn.decide_order(&order, PaymentOutcome::Settled, String::new(), "")).unwrap();
    assert_eq!((world.state.wallet.balance, world.ordered()), (Nanos::new(6), 1), "ordered when it was held");
    ran_other(&mut world, no, 56);
    assert_eq!((world.state.wallet.balance, world.ordered()), (Nanos::new(5), 1), "one order for one shortfall");
}

#[test]
fn what_is_ordered_for_a_charge_that_was_made_anew_is_of_all_of_it() {
    let mut world = World::paying();
    let enabled = |enabled| AutoTopUpChange { enabled: Some(enabled), ..Default::default() };
    world.set(&enabled(false), Some(&ann())).unwrap();
    let low = AutoTopUpChange { threshold: Some(Nanos::new(8)), amount: Some(Nanos::new(1)), ..Default::default() };
    world.set(&low, Some(&ann())).unwrap();
    world.set(&enabled(true), Some(&ann())).unwrap();
    let no = expired(&mut world, 3);
    let order = world.state.payments.pending_auto.clone().unwrap();
    world.turn(|turn| turn.decide_order(&order, PaymentOutcome::SoftDeclined, String::new(), "")).unwrap();
    world.try_charge(&Charge { already_used: true, ..charge("c", cost(4)) }).unwrap().unwrap();
    world.advance(Span::HOUR);
    ran_other(&mut world, no, 7);
    let order = world.state.payments.order(world.state.payments.pending_auto.as_ref().unwrap()).unwrap();
    assert_eq!((world.state.wallet.balance, order.amount), (Nanos::new(-1), Nanos::new(9)));
}

#[test]
fn what_a_month_may_still_order_follows_each_order_as_it_is_made_and_decided() {
    let mut world = World::paying();
    world.fill(false).unwrap();
    let mut threshold = 100;
    let outcomes =
        [PaymentOutcome::Settled, PaymentOutcome::SoftDeclined, PaymentOutcome::Settled, PaymentOutcome::Settled];
    for day in 0..70 {
        threshold += 1000;
        let change = AutoTopUpChange {
            enabled: Some(true),
            threshold: Some(Nanos::new(threshold)),
            amount: Some(Nanos::new(100 + day)),
            ..Default::default()
        };
        world.set(&change, Some(&ann())).unwrap();
        let id = world.state.payments.pending_auto.clone().unwrap();
        let mut decide = |outcome| world.turn(|turn| turn.decide_order(&id, outcome, String::new(), "")).unwrap();
        let outcome = outcomes[usize::try_from(day).unwrap() % outcomes.len()];
        decide(outcome);
        if day % 3 == 0 {
            // Paid late, or taken back: it was ordered all the same.
            decide(if outcome == PaymentOutcome::Settled { PaymentOutcome::Reversed } else { PaymentOutcome::Settled });
        }
        for days in 0..31 {
            let start = NOON - Span::seconds(12 * 3600) + Span::seconds((day - days) * 86_400);
            let orders = world.state.payments.orders.live().map(|row| &row.entity);
            let counts = |order: &&TopUpOrder| {
                order.source == OrderSource::Automatic
                    && order.state != OrderState::Failed
                    && order.create_time >= start
            };
            let all: Nanos = orders.filter(counts).map(|order| order.amount).sum();
            assert_eq!(world.state.payments.ordered.since(start), all, "{days} days before day {day}");
        }
        world.advance(Span::DAY);
    }
}

#[test]
fn a_shortfall_that_was_answered_is_answered_anew_where_its_owner_lets_more_be_charged() {
    let mut world = World::paying();
    world.set(&AutoTopUpChange { threshold: Some(Nanos::new(5000)), ..Default::default() }, Some(&ann())).unwrap();
    let order = world.state.payments.pending_auto.clone().unwrap();
    world.turn(|turn| turn.decide_order(&order, PaymentOutcome::Settled, String::new(), "")).unwrap();
    assert_eq!((world.state.wallet.balance, world.ordered()), (Nanos::new(1010), 1), "short still, and answered");
    world.set(&AutoTopUpChange { amount: Some(Nanos::new(90)), ..Default::default() }, Some(&ann())).unwrap();
    assert_eq!(world.ordered(), 1, "less");
    world.set(&AutoTopUpChange { amount: Some(Nanos::new(200)), ..Default::default() }, Some(&ann())).unwrap();
    assert_eq!(world.ordered(), 2);
}

#[test]
fn a_wallet_that_is_switched_on_is_looked_at_at_once() {
    let mut world = World::paying();
    world.organization(OrganizationChange { wallet_mode: Some(WalletMode::Off), ..Default::default() });
    world.fill(true).unwrap();
    let settings = AlertSettings { low_balance: Some(Nanos::new(20)), ..AlertSettings::default() };
    world.turn(|turn| turn.set_alert_settings(settings)).unwrap();
    world.set(&AutoTopUpChange { threshold: Some(Nanos::new(20)), ..Default::default() }, Some(&ann())).unwrap();
    let low = |world: &World| world.state.alerts.all().filter(|alert| alert.kind == AlertKind::WalletLow).count();
    assert_eq!((low(&world), world.ordered()), (0, 0), "off says off");
    world.organization(OrganizationChange { wallet_mode: Some(WalletMode::Enforced), ..Default::default() });
    assert_eq!((low(&world), world.ordered()), (1, 1));
}

#[test]
fn an_owner_that_may_not_set_it_any_more_is_not_charged_by_it() {
    let mut world = World::paying();
    world.member(MemberChange { role: Some(Role::FinanceAdmin), ..Default::default() });
    assert_eq!(world.auto(), (false, "the payment method's owner is neither owner nor admin any more"));
    assert_eq!(world.told(), 1);
    world.charge("a", cost(9));
    assert_eq!(world.ordered(), 0);
    world.member(MemberChange { role: Some(Role::Admin), ..Default::default() });
    assert!(!world.auto().0, "its owner has to want it again");
}

#[test]
fn a_payment_method_that_automatic_top_up_pays_by_is_deleted_all_the_same() {
    let mut world = World::paying();
    world.turn(|turn| turn.delete_payment_method(&ann(), &card())).unwrap();
    assert_eq!(world.auto(), (false, "the payment method was deleted"));
    assert_eq!(world.told(), 1);
}
