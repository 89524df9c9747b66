//! Who pays: payment methods that end, and automatic top-up with them.

use super::fixture::*;
use crate::{
    domain::{
        alert::AlertKind,
        entity::Member,
        id::{KeyId, MemberId, MethodId},
        money::Nanos,
        operation::Charge,
        payment::{AutoTopUp, OrderSource, PaymentMethod},
        time::Timestamp,
    },
    engine::turn::{MemberChange, Outcome},
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

    /// As somebody sets it who doesn't own the card.
    fn fill(&mut self, enabled: bool) -> Outcome<()> {
        let auto = AutoTopUp {
            enabled,
            threshold: Nanos::new(5),
            amount: Nanos::new(100),
            method: Some(card()),
            monthly_cap: None,
            declines: 0,
            pause_until: None,
            disabled_reason: String::new(),
            update_time: Timestamp::EPOCH,
        };
        let by = MemberId::trusted("bob");
        let known = self.state.payments.auto.is_some();
        self.turn(|turn| turn.set_auto_top_up(auto, known.then_some(&by)))
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
    world.turn_unreplayed(|turn| turn.charge(key, &Charge { already_used: true, ..used }, 1)).unwrap().unwrap();
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
fn a_payment_method_known_before_may_be_switched_on_by_others_while_its_owner_is_active() {
    let mut world = World::paying();
    world.fill(false).unwrap();
    world.fill(true).unwrap();
    world.member(MemberChange { disabled: Some(true), ..Default::default() });
    let refused = world.fill(true).unwrap_err().to_string();
    assert!(refused.contains("no active member"), "{refused}");
    world.member(MemberChange { disabled: Some(false), ..Default::default() });
    world.fill(true).unwrap();
}
