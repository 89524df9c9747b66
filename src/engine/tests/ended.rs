//! Ended things of the control plane leave memory after a while, and come back from the books when they are named.

use super::fixture::*;
use crate::{
    domain::{
        access::{Invitation, InvitationState, Role},
        ended::{Ended, EndedName},
        id::{Actor, CreditRequestId, DEFAULT_TEAM, InvitationId, MemberId, MethodId, TeamId},
        money::Nanos,
        payment::PaymentMethod,
        policy::Policy,
        time::Span,
    },
    engine::{
        conflict::Conflict,
        state::{Counted, Taken},
        turn::Outcome,
    },
};

const DAY: i64 = 86_400;

fn ann() -> MemberId {
    MemberId::trusted("ann")
}

fn id(id: &str) -> CreditRequestId {
    CreditRequestId::trusted(id)
}

impl World {
    /// Requests `a`, which is denied, and `b`, which isn't decided.
    fn asked() -> Self {
        let mut world = Self::new();
        let team = TeamId::trusted(DEFAULT_TEAM);
        for request in ["a", "b"] {
            let ask = (Nanos::units(1), String::new());
            world.turn(|turn| turn.submit_credit_request(id(request), (&team, &ann()), ask.0, ask.1)).unwrap();
        }
        world.turn(|turn| turn.deny_credit_request(&id("a"), String::new())).unwrap();
        world
    }

    fn days(&mut self, days: i64) {
        self.advance(Span::seconds(days * DAY));
        self.forget_ended(self.state.sequence);
    }

    fn knows(&self, request: &str) -> bool {
        self.state.credit_requests.find(&id(request)).is_some()
    }

    fn add_card(&mut self) -> Outcome<()> {
        let method = PaymentMethod {
            id: MethodId::trusted("card"),
            member: ann(),
            label: String::new(),
            token: String::new(),
            deleted: false,
            create_time: self.now,
        };
        self.turn(|turn| turn.create_payment_method(method))
    }
}

#[test]
fn a_decided_request_leaves_memory_after_thirty_days_and_an_undecided_one_stays() {
    let mut world = World::asked();
    world.days(29);
    assert!(world.knows("a"));
    world.advance(Span::seconds(DAY));
    world.forget_ended(0);
    assert!(world.knows("a"), "the books don't have it yet");
    world.days(0);
    assert!(!world.knows("a") && world.knows("b"));
    assert_eq!(world.state.mismatches(&world.replayed()), []);
    assert!(world.state.may_have_ended(&EndedName::CreditRequest(id("a"))));
    assert!(!world.state.may_have_ended(&EndedName::CreditRequest(id("b"))));
    world.turn(|turn| turn.deny_credit_request(&id("b"), String::new())).unwrap();
}

#[test]
fn one_that_is_taken_back_from_the_books_is_known_for_a_minute() {
    let mut world = World::asked();
    let request = world.state.credit_requests.find(&id("a")).unwrap().entity.clone();
    world.days(31);
    world.state.recall_ended(Ended::CreditRequest(Box::new(request)), world.now);
    assert!(world.knows("a"));
    let again = world.turn(|turn| turn.approve_credit_request(&id("a"), None, String::new()));
    assert!(matches!(again, Err(Conflict::Precondition(problem)) if problem.contains("decided already")));
    assert_eq!(world.state.credit_requests.all().count(), 1, "it stands in no list");
    world.advance(Span::seconds(59));
    world.days(0);
    assert!(world.knows("a"));
    world.advance(Span::seconds(1));
    world.days(0);
    assert!(!world.knows("a"));
}

#[test]
fn an_order_takes_its_request_id_with_it_and_brings_it_back() {
    let mut world = World::new();
    world.top_up("first", 5);
    let taken = |world: &World| world.state.taken(&request("first")).cloned();
    let Some(Taken::Order(order)) = taken(&world) else { panic!("no order") };
    let whole = world.state.payments.order(&order).unwrap().clone();
    world.days(31);
    assert!(taken(&world).is_some(), "a month may last so long");
    world.days(1);
    assert_eq!((taken(&world), world.state.payments.order(&order)), (None, None));
    assert!(world.state.may_have_ordered(&request("first")));
    world.state.recall_ended(Ended::Order(Box::new(whole)), world.now);
    assert_eq!(taken(&world), Some(Taken::Order(order.clone())));
    world.advance(Span::seconds(60));
    world.days(0);
    assert_eq!((taken(&world), world.state.payments.order(&order)), (None, None));
}

#[test]
fn the_id_of_a_payment_method_stays_taken() {
    let mut world = World::new();
    world.add_card().unwrap();
    world.turn(|turn| turn.delete_payment_method(&ann(), &MethodId::trusted("card"))).unwrap();
    let deleted = world.state.payments.methods.find(&MethodId::trusted("card")).unwrap().entity.clone();
    world.days(31);
    assert!(world.state.payments.methods.find(&MethodId::trusted("card")).is_none());
    assert!(world.state.may_have_ended(&EndedName::PaymentMethod(MethodId::trusted("card"))));
    world.state.recall_ended(Ended::PaymentMethod(Box::new(deleted)), world.now);
    assert!(matches!(world.add_card(), Err(Conflict::Deleted { .. })));
}

fn guest(world: &World, days: i64) -> Invitation {
    Invitation {
        id: InvitationId::trusted("guest"),
        email: String::from("guest@example.com"),
        name: String::new(),
        role: Role::Developer,
        teams: Vec::new(),
        policy: Policy::default(),
        invited_by: world.actor.clone(),
        state: InvitationState::Pending,
        expire_time: world.now + Span::seconds(days * DAY),
        create_time: world.now,
        update_time: world.now,
    }
}

impl World {
    fn knows_guest(&self) -> bool {
        self.state.invitations.find(&InvitationId::trusted("guest")).is_some()
    }
}

#[test]
fn an_invitation_leaves_memory_a_month_after_it_expired_though_no_event_says_so() {
    let mut world = World::new();
    let invitation = guest(&world, 7);
    world.turn(|turn| turn.invite(invitation)).unwrap();
    world.days(30);
    assert!(world.knows_guest(), "it has been over for 23 days");
    world.days(30);
    assert!(!world.knows_guest());
    assert!(world.state.invited.is_empty(), "its address can be invited again");
    assert_eq!(world.state.mismatches(&world.replayed()), []);
    assert!(world.state.may_have_ended(&EndedName::Invitation(InvitationId::trusted("guest"))));
    let again = guest(&world, 7);
    world.recall(&EndedName::Invitation(InvitationId::trusted("guest")));
    let again = world.turn(|turn| turn.invite(again));
    assert!(matches!(again, Err(Conflict::Exists { .. })), "its id stays taken: {again:?}");
}

#[test]
fn an_invitation_that_was_revoked_stays_for_a_month_from_then_on() {
    let mut world = World::new();
    let (invitation, id) = (guest(&world, 29), InvitationId::trusted("guest"));
    world.turn(|turn| turn.invite(invitation)).unwrap();
    world.days(28);
    world.turn(|turn| turn.revoke_invitation(&id)).unwrap();
    world.days(29);
    assert!(world.knows_guest());
    world.days(1);
    assert!(!world.knows_guest());
}

#[test]
fn an_expired_invitation_that_memory_forgot_is_sent_again_and_counts_as_sent_again() {
    let mut world = World::new();
    world.actor = Actor::member(&ann());
    let (invitation, id) = (guest(&world, 7), InvitationId::trusted("guest"));
    world.turn(|turn| turn.invite(invitation)).unwrap();
    world.days(30);
    world.days(30);
    // Every turn is compared with a replay in which it isn't taken back.
    world.recall(&EndedName::Invitation(id.clone()));
    let until = world.now + Span::seconds(7 * DAY);
    world.turn(|turn| turn.renew_invitation(&id, until)).unwrap();
    assert!(world.knows_guest() && world.state.invited.len() == 1);
    let resends = Counted::resends_to("guest@example.com");
    assert!(world.state.frequencies.wait(&resends, 1, 1, world.now).is_some());
    world.days(1);
    assert!(world.knows_guest(), "it can be accepted");
    world.turn(|turn| turn.accept_invitation(&id, MemberId::trusted("guest"), None)).unwrap();
}

#[test]
fn of_two_invitations_to_one_address_the_forgotten_one_is_neither_sent_again_nor_changed() {
    let mut world = World::new();
    let invitation = guest(&world, 7);
    world.turn(|turn| turn.invite(invitation)).unwrap();
    world.days(30);
    world.days(30);
    let other = Invitation { id: InvitationId::trusted("other"), ..guest(&world, 7) };
    world.turn(|turn| turn.invite(other)).unwrap();
    let id = InvitationId::trusted("guest");
    world.recall(&EndedName::Invitation(id.clone()));
    let until = world.now + Span::seconds(7 * DAY);
    let refused = world.turn(|turn| turn.renew_invitation(&id, until));
    assert!(matches!(&refused, Err(Conflict::Precondition(problem)) if problem.contains("as other")), "{refused:?}");
    let refused = world.turn(|turn| turn.set_invitation_policy(&id, Policy::default()));
    assert!(matches!(&refused, Err(Conflict::Precondition(problem)) if problem.contains("as other")), "{refused:?}");
}
