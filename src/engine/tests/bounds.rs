//! Bounds on things that cost their maker nothing.

use super::fixture::*;
use crate::{
    domain::{
        access::{Invitation, InvitationState, Role},
        bounds::OwnBounds,
        decision::DenialCode,
        event::Event,
        id::{Actor, CreditRequestId, DEFAULT_TEAM, InvitationId, KeyId, MemberId, MethodId, TeamId},
        money::Nanos,
        operation::{Charge, Reserve},
        payment::PaymentMethod,
        policy::Policy,
        time::{Span, Timestamp},
    },
    engine::{
        conflict::Conflict,
        turn::{Bounds, OrganizationChange, Outcome},
    },
};

fn ann() -> MemberId {
    MemberId::trusted("ann")
}

impl World {
    /// A world in which ann acts.
    fn of_ann(bounds: Bounds) -> Self {
        let mut world = Self::new();
        world.bounds = bounds;
        world.actor = Actor::member(&ann());
        world
    }

    fn ask_for_credits(&mut self, id: &str) -> Outcome<()> {
        let (id, team) = (CreditRequestId::trusted(id), TeamId::trusted(DEFAULT_TEAM));
        let ann = ann();
        self.turn(|turn| turn.submit_credit_request(id, (&team, &ann), Nanos::units(1), String::new()))
    }

    fn deny(&mut self, id: &str) {
        let id = CreditRequestId::trusted(id);
        self.turn(|turn| turn.deny_credit_request(&id, String::new())).unwrap();
    }

    fn invite(&mut self, id: &str, email: &str) -> Outcome<()> {
        let invitation = Invitation {
            id: InvitationId::trusted(id),
            email: email.to_owned(),
            name: String::new(),
            role: Role::Basic,
            teams: Vec::new(),
            policy: Policy::default(),
            invited_by: self.actor.clone(),
            state: InvitationState::Pending,
            expire_time: self.now + Span::DAY,
            create_time: self.now,
            update_time: self.now,
        };
        self.turn(|turn| turn.invite(invitation))
    }

    fn resend(&mut self, id: &str) -> Outcome<()> {
        let (id, expire_time) = (InvitationId::trusted(id), self.now + Span::DAY + Span::micros(1));
        self.now = self.now + Span::micros(1);
        self.turn(|turn| turn.renew_invitation(&id, expire_time))
    }

    fn rotate(&mut self, prefix: &str) -> Outcome<()> {
        let prefix = prefix.to_owned();
        self.turn(|turn| turn.rotate_key(&KeyId::trusted(KEY), prefix, Timestamp::EPOCH))
    }

    fn add_method(&mut self, id: &str) -> Outcome<()> {
        let method = PaymentMethod {
            id: MethodId::trusted(id),
            member: ann(),
            label: String::new(),
            token: String::new(),
            deleted: false,
            create_time: self.now,
        };
        self.turn(|turn| turn.create_payment_method(method))
    }
}

/// Returns the wait of a refusal that time cures.
fn wait(outcome: Outcome<()>) -> Span {
    match outcome {
        Err(Conflict::Exhausted(exhausted)) => exhausted.retry_after,
        other => panic!("{other:?}"),
    }
}

fn is_too_many(outcome: &Outcome<()>) -> bool {
    matches!(outcome, Err(Conflict::TooMany { .. }))
}

#[test]
fn a_member_has_so_many_undecided_requests_for_credits_and_decided_ones_make_room() {
    let mut world = World::of_ann(Bounds { credit_requests: 2, ..Bounds::default() });
    world.ask_for_credits("a").unwrap();
    world.ask_for_credits("b").unwrap();
    assert!(is_too_many(&world.ask_for_credits("c")));
    world.deny("a");
    world.ask_for_credits("c").unwrap();
    world.actor = Actor::OPERATOR;
    world.ask_for_credits("d").unwrap();
}

#[test]
fn a_member_submits_so_many_requests_for_credits_in_a_day() {
    let mut world = World::of_ann(Bounds { credit_requests_per_day: 2, ..Bounds::default() });
    for id in ["a", "b"] {
        world.ask_for_credits(id).unwrap();
        world.deny(id);
    }
    let wait = wait(world.ask_for_credits("c"));
    assert!(wait > Span::seconds(23 * 3600) && wait <= Span::seconds(25 * 3600), "{wait:?}");
    world.advance(Span::micros(wait.as_micros() - 1));
    assert!(world.ask_for_credits("c").is_err(), "not a moment before it was told");
    world.advance(Span::micros(1));
    world.ask_for_credits("c").unwrap();
}

#[test]
fn what_was_done_of_late_is_known_after_a_restart() {
    let mut world = World::of_ann(Bounds { credit_requests_per_day: 1, keys_per_hour: 1, ..Bounds::default() });
    world.ask_for_credits("a").unwrap();
    world.rotate("qk-2").unwrap();
    world.deny("a");
    world.crash(world.records.len());
    wait(world.ask_for_credits("b"));
    wait(world.rotate("qk-3"));
    let bytes = postcard::to_stdvec(&world.state).unwrap();
    world.state = postcard::from_bytes(&bytes).unwrap();
    wait(world.ask_for_credits("b"));
}

#[test]
fn a_member_creates_and_rotates_so_many_keys_in_an_hour() {
    let mut world = World::of_ann(Bounds { keys_per_hour: 3, ..Bounds::default() });
    world.add_key("new", "ann", DEFAULT_TEAM);
    world.rotate("qk-2").unwrap();
    world.rotate("qk-3").unwrap();
    let wait = wait(world.rotate("qk-4"));
    assert!(wait <= Span::seconds(3750), "{wait:?}");
    world.actor = Actor::member(&MemberId::trusted("bob"));
    world.rotate("qk-4").unwrap();
    world.actor = Actor::member(&ann());
    world.advance(wait);
    world.rotate("qk-5").unwrap();
}

#[test]
fn what_changes_no_secret_counts_as_no_key() {
    let mut world = World::of_ann(Bounds { keys_per_hour: 1, ..Bounds::default() });
    for name in ["a", "b", "c"] {
        world.key(crate::engine::turn::KeyChange { name: Some(name.to_owned()), ..Default::default() });
    }
    world.rotate("qk-2").unwrap();
}

#[test]
fn a_member_has_so_many_payment_methods_and_deleted_ones_make_room() {
    let mut world = World::of_ann(Bounds { payment_methods: 2, ..Bounds::default() });
    world.add_method("a").unwrap();
    world.add_method("b").unwrap();
    assert!(is_too_many(&world.add_method("c")));
    world.turn(|turn| turn.delete_payment_method(&ann(), &MethodId::trusted("a"))).unwrap();
    world.add_method("c").unwrap();
    assert!(is_too_many(&world.add_method("d")));
}

#[test]
fn an_organization_sends_so_many_invitations_in_an_hour() {
    let mut world = World::of_ann(Bounds { invitations_per_hour: 3, ..Bounds::default() });
    world.invite("a", "a@example.org").unwrap();
    world.invite("b", "b@example.org").unwrap();
    world.resend("a").unwrap();
    let wait = wait(world.invite("c", "c@example.org"));
    self::wait(world.resend("b"));
    world.advance(wait);
    world.invite("c", "c@example.org").unwrap();
}

#[test]
fn one_address_is_invited_again_so_often_in_a_day_whatever_the_invitation() {
    let mut world = World::of_ann(Bounds { resends_per_day: 2, ..Bounds::default() });
    world.invite("a", "Bob@example.org").unwrap();
    world.resend("a").unwrap();
    world.turn(|turn| turn.revoke_invitation(&InvitationId::trusted("a"))).unwrap();
    world.invite("b", "bob@Example.org").unwrap();
    let wait = wait(world.resend("b"));
    assert!(wait > Span::seconds(23 * 3600), "{wait:?}");
    world.invite("c", "carl@example.org").unwrap();
    world.advance(wait);
    world.resend("b").unwrap();
}

#[test]
fn an_address_that_was_invited_is_found_whatever_its_case() {
    let mut world = World::of_ann(Bounds::default());
    world.invite("a", "Bob@example.org").unwrap();
    assert!(matches!(world.invite("b", "bob@example.org"), Err(Conflict::Precondition(_))));
    world.turn(|turn| turn.revoke_invitation(&InvitationId::trusted("a"))).unwrap();
    world.invite("b", "bob@example.org").unwrap();
}

#[test]
fn open_reservations_of_a_key_and_of_the_organization_are_bounded_by_the_server() {
    let mut world = World::new();
    world.add_key("k2", "ann", DEFAULT_TEAM);
    world.bounds = Bounds { open_per_key: 2, open: 3, ..Bounds::default() };
    let first = world.reserve("a", cost(1));
    world.reserve("b", cost(1));
    let denial = world.refused(cost(1));
    assert_eq!((denial.code, named(&denial)), (DenialCode::ConcurrencyExceeded, vec![String::from("server")]));
    assert_eq!(denial.retry_after(), Some(Span::SECOND));
    world.reserve_as("k2", &ask("c", cost(1))).unwrap().unwrap();
    let denial = world.reserve_as("k2", &ask("d", cost(1))).unwrap().unwrap_err();
    let at = &denial.violations[0].at;
    assert!(matches!(at, crate::domain::decision::Violated::Limit { state, .. } if state.scope_id == "acme"), "{at:?}");
    world.charge("charged", cost(1));
    world.release(first).unwrap();
    world.reserve("e", cost(1));
}

#[test]
fn the_operator_gives_an_organization_bounds_of_its_own() {
    let mut world = World::new();
    let own = OwnBounds { open: Some(1), label_bytes: Some(8), ..OwnBounds::default() };
    world.organization(OrganizationChange { bounds: Some(Some(own)), ..Default::default() });
    world.reserve("a", cost(1));
    assert_eq!(world.refused(cost(1)).code, DenialCode::ConcurrencyExceeded);
    world.organization(OrganizationChange { bounds: Some(None), ..Default::default() });
    world.reserve("b", cost(1));
}

#[test]
fn labels_are_bounded_together() {
    let mut world = World::new();
    world.bounds = Bounds { label_bytes: 8, ..Bounds::default() };
    let labels = |value: &str| Some([("team".into(), value.into())].as_slice().into());
    let reserve = |value| Reserve { labels: labels(value), ..ask("r", cost(1)) };
    assert!(is_invalid(&world.reserve_as(KEY, &reserve("red.1")), "labels"));
    let charged = Charge { labels: labels("red.1"), ..charge("c", cost(1)) };
    assert!(is_invalid(&world.try_charge(&charged), "labels"));
    world.reserve_as(KEY, &reserve("red.")).unwrap().unwrap();
}

#[test]
fn those_revoked_of_a_holder_are_known_until_they_end() {
    let mut world = World::new();
    let holder = crate::domain::id::Holder::trusted("gpu-1");
    let held = |id: &str| Reserve { holder: Some(holder.clone()), ..ask(id, cost(1)) };
    let nos: Vec<_> = ["a", "b", "c"].iter().map(|id| world.try_reserve(&held(id)).unwrap().reservation).collect();
    world.reserve("of nobody", cost(1));
    world.organization(OrganizationChange { disabled: Some(true), ..Default::default() });
    assert!(world.records.iter().any(|record| matches!(record.event, Event::Revoked { .. })));
    let of = |world: &World, after| world.state.revoked_of(&holder, after).collect::<Vec<_>>();
    assert_eq!(of(&world, None), nos);
    assert_eq!(of(&world, Some(nos[0])), nos[1..]);
    world.release(nos[1]).unwrap();
    assert_eq!(of(&world, Some(nos[0])), nos[2..]);
    assert_eq!(of(&world, Some(nos[1])), nos[2..], "behind one that ended meanwhile");
    world.advance(Span::DAY);
    world.expire_due();
    assert_eq!(of(&world, None), []);
}
