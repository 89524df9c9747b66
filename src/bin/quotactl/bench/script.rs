//! What is done next on one connection, and what is open by it. Everything that is reserved is kept in mind until it is settled, also
//! where an answer was lost, so that a run leaves nothing held.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use prost_types::Duration;
use quotad::api::proto::{
    ChargeRequest, CheckRequest, CommitRequest, ExtendRequest, PayerRequest, ReleaseRequest, ReservationRef,
    ReserveRequest, Usage, reservation_ref::Reservation, session_request::Op,
};
use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};

use super::{
    mix::{Kind, Mix, Possible, Rotation},
    outcome::Outcome,
    population::{Choice, Population},
};

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) population: Population,
    pub(super) choice: Choice,
    pub(super) mix: Mix,
    pub(super) model: String,
    pub(super) estimate: Usage,
    /// What a Commit and a Charge report.
    pub(super) used: Usage,
    pub(super) ttl: Duration,
    /// Makes the request ids of this run its own.
    pub(super) run: String,
    pub(super) seed: u64,
}

/// A reservation, by its id or by what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Id(String),
    Request { key: usize, request_id: String },
}

/// An operation under way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    about: Option<Held>,
}

/// Callers on one connection share a script, so that their operations together keep to the mix.
pub(super) type SharedScript = Arc<Mutex<Script>>;

#[derive(Debug)]
pub(super) struct Script {
    traffic: Arc<Traffic>,
    random: Xoshiro256PlusPlus,
    rotation: Rotation,
    /// Which of the run's scripts it is.
    index: usize,
    /// Reservations that may be open at one time; `None` leaves them to expire, and keeps none in mind that nothing will be
    /// done on.
    room: Option<usize>,
    number: u64,
    /// Oldest first, without those that an operation is under way on.
    open: VecDeque<String>,
    /// What may be open: its answer was an error.
    doubtful: VecDeque<Held>,
    /// Reserves and Extends under way.
    opening: usize,
    /// Reservations that weren't kept in mind.
    left: u64,
}

impl Script {
    pub(super) fn new(traffic: Arc<Traffic>, index: usize, room: Option<usize>) -> Self {
        // Apart in more than their last bits, which is what generators want of their seeds.
        let stream = u64::try_from(index).unwrap_or_default().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(traffic.seed ^ stream),
            rotation: Rotation::new(traffic.mix),
            traffic,
            index,
            room: room.map(|room| room.max(1)),
            number: 0,
            open: VecDeque::new(),
            doubtful: VecDeque::new(),
            opening: 0,
            left: 0,
        }
    }

    /// The next operation. Its end is to be told by [`Self::end`].
    pub(super) fn next(&mut self) -> (Step, Op) {
        let known = self.open.len() + self.doubtful.len() + self.opening;
        let possible = Possible { reserve: self.room.is_none_or(|room| known < room), settle: !self.open.is_empty() };
        match self.rotation.next(possible) {
            Some(kind) if kind.needs_reservation() => match self.open.pop_front() {
                Some(id) => self.on_reservation(kind, Held::Id(id)),
                None => self.reserve(),
            },
            Some(Kind::Charge) => self.charge(),
            Some(Kind::Check) => self.check(),
            Some(_) => self.reserve(),
            None => match self.doubtful.pop_front() {
                Some(held) => self.on_reservation(Kind::Release, held),
                None => self.reserve(),
            },
        }
    }

    pub(super) fn end(&mut self, step: Step, outcome: &Outcome) {
        let Step { kind, about } = step;
        if matches!(kind, Kind::Reserve | Kind::Extend) {
            self.opening -= 1;
        }
        match (kind, outcome, about) {
            (Kind::Reserve, Outcome::Done(Some(_)), _) if self.forgets() => self.left += 1,
            (Kind::Reserve, Outcome::Done(Some(id)), _) => self.open.push_back(id.clone()),
            // An error that the server chose holds nothing.
            (Kind::Reserve, Outcome::Failed(fault), Some(held)) if fault.lost => self.doubtful.push_back(held),
            (Kind::Extend, _, Some(Held::Id(id))) => self.open.push_back(id),
            (Kind::Commit | Kind::Release, Outcome::Failed(fault), Some(held)) if !fault.closed => {
                self.doubtful.push_back(held);
            }
            _ => {}
        }
    }

    fn forgets(&self) -> bool {
        self.room.is_none() && !self.traffic.mix.settles()
    }

    /// How many reservations are, or may be, open still, where they are to stay so.
    pub(super) fn leave(&mut self) -> u64 {
        self.left + u64::try_from(self.take_leftovers().len()).unwrap_or(u64::MAX)
    }

    /// What is, or may be, open still.
    pub(super) fn take_leftovers(&mut self) -> Vec<Held> {
        self.open.drain(..).map(Held::Id).chain(self.doubtful.drain(..)).collect()
    }

    fn request_id(&mut self) -> String {
        self.number += 1;
        format!("{}-{}-{}", self.traffic.run, self.index, self.number)
    }

    fn reserve(&mut self) -> (Step, Op) {
        let key = self.traffic.choice.draw(&mut self.random);
        let request_id = self.request_id();
        self.opening += 1;
        let traffic = &self.traffic;
        let op = Op::Reserve(ReserveRequest {
            payer: traffic.population.payer(key),
            request_id: request_id.clone(),
            model: traffic.model.clone(),
            usage: Some(traffic.estimate.clone()),
            ttl: Some(traffic.ttl),
            ..ReserveRequest::default()
        });
        (Step { kind: Kind::Reserve, about: Some(Held::Request { key, request_id }) }, op)
    }

    fn charge(&mut self) -> (Step, Op) {
        let key = self.traffic.choice.draw(&mut self.random);
        let request_id = self.request_id();
        let traffic = &self.traffic;
        let op = Op::Charge(ChargeRequest {
            payer: traffic.population.payer(key),
            request_id,
            model: traffic.model.clone(),
            usage: Some(traffic.used.clone()),
            ..ChargeRequest::default()
        });
        (Step { kind: Kind::Charge, about: None }, op)
    }

    fn check(&mut self) -> (Step, Op) {
        let key = self.traffic.choice.draw(&mut self.random);
        let traffic = &self.traffic;
        let op = Op::Check(CheckRequest {
            payer: traffic.population.payer(key),
            model: traffic.model.clone(),
            usage: Some(traffic.estimate.clone()),
            min_output_tokens: None,
        });
        (Step { kind: Kind::Check, about: None }, op)
    }

    fn on_reservation(&mut self, kind: Kind, held: Held) -> (Step, Op) {
        let traffic = &self.traffic;
        let reservation = Some(traffic.reference(&held));
        let op = match kind {
            Kind::Extend => {
                self.opening += 1;
                Op::Extend(ExtendRequest { reservation, ttl: Some(traffic.ttl), ..ExtendRequest::default() })
            }
            Kind::Commit => {
                let usage = Some(traffic.used.clone());
                Op::Commit(CommitRequest { reservation, usage, ..CommitRequest::default() })
            }
            _ => Op::Release(ReleaseRequest { reservation, reason: String::new() }),
        };
        (Step { kind, about: Some(held) }, op)
    }
}

impl Traffic {
    pub(super) fn reference(&self, held: &Held) -> ReservationRef {
        let reservation = match held {
            Held::Id(id) => Reservation::ReservationId(id.clone()),
            Held::Request { key, request_id } => Reservation::PayerRequest(PayerRequest {
                payer: self.population.payer(*key),
                request_id: request_id.clone(),
            }),
        };
        ReservationRef { reservation: Some(reservation) }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{mix::parse_mix, outcome::Fault},
        *,
    };

    fn script(mix: &str, room: usize) -> Script {
        let population = Population::new(vec!["k1".into(), "k2".into()], false).unwrap();
        let traffic = Traffic {
            choice: Choice::new(population.len(), None).unwrap(),
            population,
            mix: parse_mix(mix).unwrap(),
            model: "m".into(),
            estimate: Usage::default(),
            used: Usage::default(),
            ttl: Duration::default(),
            run: "run".into(),
            seed: 1,
        };
        Script::new(Arc::new(traffic), 3, Some(room))
    }

    fn granted(step: &Step) -> Outcome {
        match &step.about {
            Some(Held::Request { request_id, .. }) => Outcome::Done(Some(format!("id of {request_id}"))),
            _ => Outcome::Done(None),
        }
    }

    fn lost() -> Outcome {
        Outcome::Failed(Fault::new("UNAVAILABLE", "gone"))
    }

    #[test]
    fn what_is_left_is_what_was_reserved_and_not_settled() {
        let mut script = script("reserve=3,commit=1,release=1,extend=2,check=1,charge=1", 1000);
        let (mut reserved, mut settled) = (0, 0);
        for _ in 0..900 {
            let (step, _) = script.next();
            reserved += usize::from(step.kind == Kind::Reserve);
            settled += usize::from(matches!(step.kind, Kind::Commit | Kind::Release));
            let outcome = granted(&step);
            script.end(step, &outcome);
        }
        assert_eq!((reserved, settled), (300, 200));
        assert_eq!(script.take_leftovers().len(), 100);
    }

    #[test]
    fn no_more_is_open_than_there_is_room_for() {
        let mut script = script("reserve=1", 10);
        for _ in 0..1000 {
            let (step, _) = script.next();
            let outcome = granted(&step);
            script.end(step, &outcome);
            assert!(script.open.len() <= 10);
        }
        assert_eq!(script.take_leftovers().len(), 10);
    }

    #[test]
    fn two_operations_are_never_under_way_on_one_reservation() {
        let mut script = script("reserve=1,extend=1,commit=1", 8);
        let mut under_way: VecDeque<Step> = VecDeque::new();
        for _ in 0..1000 {
            if under_way.len() == 8 {
                let step = under_way.pop_front().unwrap();
                let outcome = granted(&step);
                script.end(step, &outcome);
            }
            let (step, _) = script.next();
            assert!(under_way.iter().all(|other| other.about != step.about), "{step:?}");
            under_way.push_back(step);
        }
    }

    #[test]
    fn a_reserve_whose_answer_was_lost_may_be_open_and_one_that_was_refused_is_not() {
        let mut script = script("reserve=1,commit=1", 10);
        let (step, _) = script.next();
        script.end(step, &lost());
        let (step, _) = script.next();
        script.end(step, &Outcome::Denied(12));
        let (step, _) = script.next();
        script.end(step, &Outcome::Failed(Fault { lost: false, ..Fault::new("UNAVAILABLE OVERLOADED", "") }));
        let left = script.take_leftovers();
        assert!(matches!(&left[..], [Held::Request { request_id, .. }] if request_id == "run-3-1"), "{left:?}");
    }

    #[test]
    fn a_commit_that_failed_is_settled_again_once_there_is_no_room() {
        let mut script = script("reserve=1,commit=1", 1);
        let (step, _) = script.next();
        let outcome = granted(&step);
        script.end(step, &outcome);
        let (step, _) = script.next();
        assert_eq!(step.kind, Kind::Commit);
        script.end(step, &lost());
        let (step, op) = script.next();
        assert!(matches!(op, Op::Release(_)), "{op:?}");
        script.end(step, &Outcome::Done(None));
        assert_eq!(script.next().0.kind, Kind::Reserve);
    }

    #[test]
    fn scripts_draw_keys_of_their_own_and_the_same_in_every_run() {
        let keys = |index| {
            let mut script = script("check=1", 1);
            script = Script::new(Arc::clone(&script.traffic), index, Some(1));
            let drawn = (0..64).map(|_| match script.next().1 {
                Op::Check(check) => check.payer,
                other => panic!("{other:?}"),
            });
            drawn.collect::<Vec<_>>()
        };
        assert_eq!(keys(1), keys(1));
        assert_ne!(keys(1), keys(2));
    }
}
