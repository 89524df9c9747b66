//! The engine against the naive model: random operations, steps of time, crashes and recoveries. After each step both must
//! give the same answer and stand the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    fixture::*,
    naive::{Answer, CEILING, DAY, Naive, OPEN, OPEN_PER_KEY, Spot, Use},
};
use crate::{
    domain::{
        decision::{Released, ReservationState},
        ended::EndedName,
        entity::{ExpiryPolicy, WalletMode},
        event::Event,
        id::{DEFAULT_TEAM, KeyId, MemberId, RequestId, TeamId},
        money::{Factor, Nanos},
        operation::{Charge, Commit, Extend, Reserve},
        policy::{Limit, Models, Place, Policy, Unit},
        price::Price,
        reservation_id::ReservationNo,
        time::{Span, Timestamp},
        usage::Usage,
    },
    engine::{
        decide::Ask,
        turn::{Bounds, Forgotten, KeyChange, MemberChange, NewCorrection, OrganizationChange, TeamChange},
    },
};
use answer::{answered, charged, conflicted, decided};
use operation::{MODELS, Operation, PATTERNS, any_limits, any_operation};

mod answer;
mod handing;
mod operation;
mod recovery;

pub(super) const KEY_IDS: [&str; 3] = [KEY, "k2", "k3"];
const MEMBERS: [&str; 2] = ["ann", "bob"];
const TEAMS: [&str; 2] = [DEFAULT_TEAM, "red"];
/// Every place of the organization.
const SPOTS: [Spot; 12] =
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (CEILING, 0)];

/// As soon as a key may leave memory.
const FORGOTTEN_AFTER: Span = Span::seconds(2 * 86_400);

struct Model {
    world: World,
    naive: Naive,
    /// Reservations that a crash forgot.
    lost: Vec<Use>,
    /// How everything was before each of the last steps that a crash may undo: number of records, model.
    undurable: Vec<(usize, Naive)>,
    snapshots: Vec<(usize, Vec<u8>)>,
    steps: usize,
}

fn place((kind, which): Spot) -> Place {
    let (member, team) = super::naive::KEYS[which.min(2)];
    let member_id = |at: usize| MemberId::trusted(MEMBERS[at]);
    let team_id = |at: usize| TeamId::trusted(TEAMS[at]);
    match kind {
        0 => Place::Key(KeyId::trusted(KEY_IDS[which])),
        1 => Place::Membership(team_id(team), member_id(member)),
        2 => Place::Member(member_id(which)),
        3 => Place::Team(team_id(which)),
        CEILING => Place::Ceiling,
        _ => Place::Organization,
    }
}

/// Switches a place off or on: by the operator, the organization itself.
fn switch(world: &mut World, spot: Spot, off: bool) {
    let disabled = Some(off);
    let switched = world.turn(|turn| match place(spot) {
        Place::Key(id) => turn.update_key(&id, KeyChange { disabled, ..Default::default() }, true),
        Place::Member(id) => turn.update_member(&id, MemberChange { disabled, ..Default::default() }),
        Place::Team(id) => turn.update_team(&id, TeamChange { disabled, ..Default::default() }),
        Place::Ceiling => turn.update_organization(OrganizationChange { suspended: disabled, ..Default::default() }),
        _ => turn.update_organization(OrganizationChange { disabled, ..Default::default() }),
    });
    switched.unwrap();
}

impl Model {
    fn new() -> Self {
        let mut world = World::new();
        world.bounds = Bounds { open_per_key: OPEN_PER_KEY, open: OPEN, ..Bounds::default() };
        world.add_team("red");
        world.add_member("bob", &["red"]);
        let (red, ann) = (TeamId::trusted("red"), MemberId::trusted("ann"));
        world.turn(|turn| turn.create_membership(&red, &ann, &Policy::default(), false)).unwrap();
        world.add_key("k2", "ann", "red");
        world.add_key("k3", "bob", "red");
        let naive = Naive::new(NOON);
        let (lost, undurable, snapshots) = (Vec::new(), Vec::new(), Vec::new());
        let mut model = Self { world, naive, lost, undurable, snapshots, steps: 0 };
        model.prepare_handing();
        model.set_price(0, 700_000, 1_300_000, 1);
        model.set_price(1, 0, 0, 0);
        model
    }

    fn set_price(&mut self, at: usize, input: i64, output: i64, per_request: i64) {
        // Of the second model the provider counts its cache beside the input.
        let cache_outside_input = at == 1;
        let (input, output, per_request) = (Nanos::new(input), Nanos::new(output), Nanos::new(per_request));
        let cached_input = Nanos::new(100_000);
        let price = Price { input, cached_input, cache_write: input, output, per_request, cache_outside_input };
        self.world.set_price(MODELS[at], price);
        self.naive.prices.insert(MODELS[at], price);
    }

    fn step(&mut self, operation: &Operation) {
        self.steps += 1;
        let before = (self.world.records.len(), self.naive.clone());
        for id in KEY_IDS {
            self.world.recall(&EndedName::Key(KeyId::trusted(id)));
        }
        let (engine, naive) = self.run(operation);
        assert_eq!(engine, naive, "left the engine, right the model, of {operation:?}");
        self.compare();
        if !operation.is_durable() {
            self.undurable.push(before);
        } else if !matches!(operation, Operation::Crash(_) | Operation::Snapshot) {
            self.undurable.clear();
        }
    }

    fn run(&mut self, operation: &Operation) -> (Answer, Answer) {
        match operation {
            Operation::Wait(micros) => {
                self.world.advance(Span::micros(*micros));
                self.naive.now += micros;
                (Answer::Done, Answer::Done)
            }
            Operation::Forget => {
                self.world.advance(FORGOTTEN_AFTER);
                self.naive.now += FORGOTTEN_AFTER.as_micros();
                self.world.turn(|turn| turn.expire_due(None));
                self.naive.expire(None);
                self.world.forget_ended_after(FORGOTTEN_AFTER, self.world.state.sequence);
                (Answer::Done, Answer::Done)
            }
            Operation::Reserve { key, ask } => {
                let request = RequestId::trusted(format!("r{}", self.steps));
                let checked = self.check(*key, ask);
                let answers = self.reserve(*key, &Reserve { request, ..ask.clone() });
                let mut reserved = answers.0.clone();
                if let Answer::Granted { expire, .. } = &mut reserved {
                    *expire = 0;
                }
                assert_eq!(checked, reserved, "left what Check said before");
                answers
            }
            Operation::Again { which, altered } => self.again(*which, *altered),
            Operation::Commit { which, commit, repeat } => {
                self.on(*which, |model, no| model.commit(no, commit, *repeat))
            }
            Operation::Release { which, reason } => self.on(*which, |model, no| model.release(no, *reason)),
            Operation::Extend { which, ttl, so_far, more } => {
                self.on(*which, |model, no| model.extend(no, *ttl, *so_far, *more))
            }
            Operation::Charge { key, charge, back } => {
                let occurred_at = back.map(|back| self.world.now - Span::micros(back));
                let request = RequestId::trusted(format!("c{}", self.steps));
                self.charge(*key, &Charge { request, occurred_at, ..charge.clone() })
            }
            Operation::TopUp(amount) => {
                let request = RequestId::trusted(format!("t{}", self.steps));
                let answer = self
                    .world
                    .turn(|turn| turn.order_top_up(super::fixture::top_up(request.as_str(), *amount, 1), None))
                    .unwrap();
                let engine = Answer::ToppedUp { balance: self.world.state.wallet.balance.get(), replayed: answer.1 };
                (engine, self.naive.top_up(&request, *amount))
            }
            Operation::Correct { which, amount, by_operator } => self.correct(*which, *amount, *by_operator),
            Operation::Crash(lose) => self.crash(*lose),
            Operation::Snapshot => {
                let bytes = postcard::to_allocvec(&self.world.state).unwrap();
                self.snapshots.push((self.world.records.len(), bytes));
                (Answer::Done, Answer::Done)
            }
            Operation::Bind(key, _) if self.naive.deleted[*key] => (Answer::Done, Answer::Done),
            Operation::Policy((1, key), ..) if self.naive.handed.left[*key] => (Answer::Done, Answer::Done),
            handing if handing.hands_out() => {
                let answers = self.hand(operation);
                self.naive.stop();
                answers
            }
            control => self.control(control),
        }
    }

    /// What Check says; it doesn't know of a time to live.
    fn check(&mut self, key: usize, ask: &Reserve) -> Answer {
        let key = self.world.state.keys.place(&KeyId::trusted(KEY_IDS[key])).unwrap();
        let Reserve { model, usage, min_output_tokens, .. } = ask;
        let ask = Ask { key, model, usage, min_output_tokens: *min_output_tokens };
        let checked = self.world.turn(|turn| turn.check(&ask));
        answered(checked.map(|decision| {
            decision.map(|plan| {
                let (output, state) = (plan.usage.output_tokens, ReservationState::Open);
                Answer::Granted { held: plan.held, expire: 0, output, replayed: false, state }
            })
        }))
    }

    fn reserve(&mut self, key: usize, ask: &Reserve) -> (Answer, Answer) {
        let engine = self.world.reserve_as(KEY_IDS[key], ask);
        let no = engine.as_ref().ok().and_then(|decision| decision.as_ref().ok()).map(|granted| granted.reservation);
        let naive = self.naive.reserve(key, ask, no);
        if let (Answer::Granted { replayed: true, .. }, Some(no)) = (&naive, no) {
            let used = &self.naive.uses[self.naive.find(no).unwrap()];
            assert_eq!(used.reserve.as_ref().unwrap().1.request, ask.request, "a replay of the same reservation");
        }
        (decided(engine), naive)
    }

    fn charge(&mut self, key: usize, charge: &Charge) -> (Answer, Answer) {
        let id = KeyId::trusted(KEY_IDS[key]);
        let at = self.world.state.keys.place(&id).unwrap();
        let engine = self.world.turn(|turn| turn.charge(at, charge));
        (answered(engine.map(|decision| decision.map(|answer| charged(&answer)))), self.naive.charge(key, charge))
    }

    /// A request id that was used before, with its content or other.
    fn again(&mut self, which: usize, altered: bool) -> (Answer, Answer) {
        let all = &self.naive.uses;
        let Some(used) = all.iter().rev().nth(which % all.len().max(1)) else { return (Answer::Done, Answer::Done) };
        if let Some((key, mut ask)) = used.reserve.clone() {
            ask.usage.input_tokens += u64::from(altered);
            self.reserve(key, &ask)
        } else if let Some((key, mut charge)) = used.charge.clone() {
            charge.usage.input_tokens += u64::from(altered);
            self.charge(key, &charge)
        } else {
            (Answer::Done, Answer::Done)
        }
    }

    /// An operation on a reservation, restored first where a crash forgot it.
    fn on(&mut self, which: usize, act: impl FnOnce(&mut Self, ReservationNo) -> (Answer, Answer)) -> (Answer, Answer) {
        let lost = self.lost.iter().filter_map(|used| used.no);
        let known = self.naive.uses.iter().filter_map(|used| used.no);
        let all: Vec<_> = lost.chain(known).collect();
        let Some(no) = all.iter().rev().nth(which % all.len().max(1)).copied() else {
            return (Answer::Done, Answer::Done);
        };
        let is_lost = self.naive.find(no).is_none();
        assert_eq!(self.world.state.reservation(no).is_none(), is_lost);
        let admitted = self.lost.iter().chain(&self.naive.uses).find(|used| used.no == Some(no)).unwrap().admit;
        // What is too old can't be restored: whether it was before need not be remembered.
        if self.naive.now - admitted <= DAY {
            assert_eq!(self.world.state.was_forgotten(no, self.world.epoch), is_lost);
        }
        if is_lost {
            let used = self.lost.iter().find(|used| used.no == Some(no)).unwrap().clone();
            let forgotten = Forgotten {
                no,
                key: KeyId::trusted(KEY_IDS[used.key]),
                model: used.model.clone(),
                admit_time: Timestamp::from_micros(used.admit),
            };
            let engine = self.world.turn(|turn| turn.restore(&forgotten)).map_err(|e| conflicted(&e));
            let naive = self.naive.restore(&used);
            assert_eq!(engine, naive);
            if let (Err(engine), Err(naive)) = (engine, naive) {
                return (engine, naive);
            }
        }
        act(self, no)
    }

    /// Of one of the entries that were booked.
    fn correct(&mut self, which: usize, amount: i64, by_operator: bool) -> (Answer, Answer) {
        let settled: Vec<_> = self
            .world
            .records
            .iter()
            .filter_map(|record| match &record.event {
                Event::Settled(settled) if settled.entry.is_some() => Some(Arc::clone(settled)),
                _ => None,
            })
            .collect();
        let Some(of) = settled.iter().rev().nth(which % settled.len().max(1)) else {
            return (Answer::Done, Answer::Done);
        };
        let found = self.world.correctable(of.entry.unwrap());
        let same = found.booked.iter().filter(|same| same.model == of.model);
        let sums = same
            .fold((0, 0), |(usd, credits), same| (usd + same.booked.cost.get(), credits + same.booked.credits.get()));
        let new = NewCorrection { by_operator, ..correction(&format!("x{}", self.steps), amount) };
        let engine = self.world.turn(|turn| turn.correct(new, &found));
        let engine = engine.map_or_else(
            |e| conflicted(&e),
            |(correction, replayed)| Answer::ToppedUp { balance: correction.balance.get(), replayed },
        );
        let is_it = |used: &Use| match of.reservation {
            Some(no) => used.no == Some(no),
            None => used.charge.as_ref().map(|(_, charge)| &charge.request) == of.request.as_ref(),
        };
        let at = self.naive.uses.iter().position(is_it).unwrap();
        let entry = found.booked.iter().position(|settled| settled.entry == of.entry).unwrap();
        (engine, self.naive.correct((at, entry), (&of.model, sums), amount, by_operator))
    }

    fn commit(&mut self, no: ReservationNo, commit: &Commit, repeat: bool) -> (Answer, Answer) {
        let used = &self.naive.uses[self.naive.find(no).unwrap()];
        let before = used.settled.as_ref().and_then(|(commit, _)| commit.clone()).filter(|_| repeat);
        let commit = before.unwrap_or_else(|| commit.clone());
        let engine = self.world.try_commit(no, &commit);
        (engine.map_or_else(|e| conflicted(&e), |answer| charged(&answer)), self.naive.commit(no, &commit))
    }

    fn release(&mut self, no: ReservationNo, reason: bool) -> (Answer, Answer) {
        let text = if reason { "why" } else { "" };
        let engine = self.world.turn(|turn| turn.release(no, &text.into()));
        let engine = engine.map_or_else(
            |e| conflicted(&e),
            |Released { released, charged, entry, replayed, balance: _ }| Answer::Released {
                released,
                charged,
                entry,
                replayed,
            },
        );
        (engine, self.naive.release(no, reason))
    }

    fn extend(
        &mut self,
        no: ReservationNo,
        ttl: Span,
        so_far: Option<Usage>,
        more: Option<(u64, u64)>,
    ) -> (Answer, Answer) {
        let used = &self.naive.uses[self.naive.find(no).unwrap()];
        let grown = |(input, output): (u64, u64)| Usage {
            input_tokens: used.usage.input_tokens + input,
            output_tokens: (used.usage.output_tokens + output).saturating_sub(1),
            cost: used.usage.cost.map(|cost| cost + Nanos::new(i64::try_from(input).unwrap())),
            requests: used.usage.requests.max(1),
            ..used.usage
        };
        let extend = Extend { ttl, usage_so_far: so_far, estimate: more.map(grown) };
        let engine = self.world.extend(no, &extend);
        let naive = self.naive.extend(no, &extend);
        (decided(engine), naive)
    }

    fn control(&mut self, operation: &Operation) -> (Answer, Answer) {
        let (world, naive) = (&mut self.world, &mut self.naive);
        let gone = |key: usize| naive.deleted[key];
        match operation {
            Operation::Policy((0, key), ..)
            | Operation::Switch((0, key), _)
            | Operation::KeyEnd(key, _)
            | Operation::KeyModels(key, _)
            | Operation::DeleteKey(key)
                if gone(*key) =>
            {
                let gone = world.turn(|turn| turn.delete_key(&KeyId::trusted(KEY_IDS[*key])));
                return (conflicted(&gone.unwrap_err()), Answer::Conflict("entity"));
            }
            Operation::DeleteKey(key) => {
                world.turn(|turn| turn.delete_key(&KeyId::trusted(KEY_IDS[*key]))).unwrap();
                naive.deleted[*key] = true;
                naive.policies.remove(&(0, *key));
                naive.retired.remove(&(0, *key));
            }
            Operation::Policy(spot, limits, restart) => {
                let mut limits = limits.clone();
                // Refused at the edge: the operator's limits count no credits.
                limits.retain(|limit| spot.0 != CEILING || limit.unit() != Unit::Credits);
                let engine = world.replace_policy(&place(*spot), limits.clone(), *restart);
                let engine = engine.map_or_else(|e| conflicted(&e), |()| Answer::Done);
                return (engine, naive.set_policy(*spot, limits.clone(), *restart));
            }
            Operation::Switch(spot, off) => {
                switch(world, *spot, *off);
                naive.off.insert(*spot, *off);
            }
            Operation::KeyEnd(key, after) => {
                let end = after.map(|after| world.now + Span::micros(after));
                let change = KeyChange { expire_time: Some(end), ..Default::default() };
                world.turn(|turn| turn.update_key(&KeyId::trusted(KEY_IDS[*key]), change, true)).unwrap();
                naive.key_ends[*key] = end.map(Timestamp::micros);
            }
            Operation::KeyModels(key, models) => {
                let models =
                    Models::checked("models", models.iter().map(|at| pattern(PATTERNS[*at])).collect()).unwrap();
                let change = KeyChange { models: Some(models.clone()), ..Default::default() };
                world.turn(|turn| turn.update_key(&KeyId::trusted(KEY_IDS[*key]), change, true)).unwrap();
                naive.key_models[*key] = models;
            }
            Operation::Factor(nanos) => {
                let credit_factor = Some(Factor::trusted(Nanos::new(*nanos)));
                world.organization(OrganizationChange { credit_factor, ..Default::default() });
                naive.factor = *nanos;
            }
            Operation::Wallet(on) => {
                let mode = if *on { WalletMode::Enforced } else { WalletMode::Off };
                world.organization(OrganizationChange { wallet_mode: Some(mode), ..Default::default() });
                naive.enforced = *on;
            }
            Operation::ChargeHeld(on) => {
                let policy = if *on { ExpiryPolicy::ChargeHeld } else { ExpiryPolicy::Release };
                world.organization(OrganizationChange { expiry_policy: Some(policy), ..Default::default() });
                naive.charge_held = *on;
            }
            Operation::Price(at, input, output) => self.set_price(*at, *input, *output, 1),
            _ => unreachable!("no operation of the control plane"),
        }
        self.naive.stop();
        (Answer::Done, Answer::Done)
    }

    /// Both stand the same.
    fn compare(&self) {
        let (state, naive) = (&self.world.state, &self.naive);
        for spot in SPOTS {
            let numbers = state.limits_of(&place(spot)).iter().copied();
            let engine: Vec<_> = state.limit_states(numbers, None, self.world.now).map(|l| (l.spent, l.held)).collect();
            let defs = naive.policies.get(&spot).cloned().unwrap_or_default();
            let expected: Vec<_> = defs.iter().map(|def| naive.standing(*def, naive.now)).collect();
            assert_eq!(engine, expected, "spent and held at {spot:?}");
        }
        self.compare_handing();
        assert_eq!(state.wallet.balance.get(), naive.balance());
        assert_eq!(state.wallet.held.get(), naive.wallet_held());
        assert_eq!(state.entry, naive.entry);
        let open: Vec<_> = naive.uses.iter().filter(|used| used.state == ReservationState::Open).collect();
        assert_eq!(state.open_count(), open.len());
        for used in open {
            let hold = state.hold(used.no.unwrap()).unwrap();
            assert_eq!(hold.held(), used.held);
            assert_eq!(hold.expire_time().micros(), used.expire);
            assert_eq!(hold.revoked().map(|revoked| revoked.0.code), used.revoked);
        }
    }
}

fn any_world() -> impl Strategy<Value = (Vec<Vec<Limit>>, bool, Vec<Operation>)> {
    let policies = prop::collection::vec(any_limits(), SPOTS.len());
    (policies, any::<bool>(), prop::collection::vec(any_operation(), 1..90))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_naive_model_does((policies, wallet, operations) in any_world()) {
        let mut model = Model::new();
        for (spot, limits) in SPOTS.into_iter().zip(policies) {
            model.step(&Operation::Policy(spot, limits, false));
        }
        model.step(&Operation::TopUp(300));
        model.step(&Operation::Wallet(wallet));
        for operation in &operations {
            model.step(operation);
        }
        model.step(&Operation::Crash(0));
        model.audit();
    }
}
