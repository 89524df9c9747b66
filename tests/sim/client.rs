//! One client: asks at random, asks again under the same ids where it got no answer, and now and then after it did.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quotad::{
    domain::{
        id::{Model, RequestId},
        operation::{Commit, Extend},
        reservation_id::ReservationNo,
        time::Span,
    },
    engine::conflict::Conflict,
    service::{Caller, Question, Service},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    chance::Chance,
    operation::{Answer, Change, Hold, Numbers, Operation, ask, usage},
    place::{MODELS, Place},
    promises::Promises,
};

/// Open holds that a client has at most.
const MAX_HOLDS: usize = 5;
const MAX_DONE: usize = 12;

pub(crate) struct Client {
    numbers: Numbers,
    chance: Chance,
    holds: Vec<Hold>,
    /// Asked and not answered.
    pending: Option<(Operation, u32)>,
    /// Answered; asked again at times.
    done: Vec<Operation>,
    rules: Vec<u64>,
}

/// What all clients of one life share.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) service: Arc<Service>,
    pub(crate) caller: Caller,
    pub(crate) chance: Chance,
    pub(crate) promises: Arc<Mutex<Promises>>,
    /// Calls whose callers have given up.
    pub(crate) abandoned: Arc<Mutex<JoinSet<()>>>,
}

impl Client {
    pub(crate) fn new(client: u64, chance: &Chance) -> Self {
        let (numbers, chance) = (Numbers { client, next: 0 }, chance.clone());
        Self { numbers, chance, holds: Vec::new(), pending: None, done: Vec::new(), rules: Vec::new() }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_none()
    }

    /// What is asked next: what was asked before, until it is answered.
    fn next(&mut self) -> Operation {
        if let Some((operation, times)) = &mut self.pending {
            *times += 1;
            return operation.clone();
        }
        let operation = match self.chance.below(100) {
            0..=6 if !self.done.is_empty() => self.chance.pick(&self.done).clone(),
            0..=34 if self.holds.len() < MAX_HOLDS => self.reserve(),
            0..=64 if !self.holds.is_empty() => self.settle(),
            0..=77 => self.charge(),
            78..=81 => self.check(),
            82..=85 => {
                let organization = self.place().organization;
                Operation::top_up(&mut self.numbers, organization)
            }
            86..=87 => {
                let (organization, entry) = (self.place().organization, self.chance.between(1, 12));
                Operation::refund(&mut self.numbers, organization, entry)
            }
            _ => self.change(),
        };
        self.pending = Some((operation.clone(), 1));
        operation
    }

    fn place(&self) -> Place {
        Place::any(&self.chance)
    }

    fn reserve(&mut self) -> Operation {
        let (place, tokens, seconds) = (self.place(), self.chance.between(100, 9000), self.chance.between(1, 40));
        Operation::reserve(&mut self.numbers, place, tokens, seconds)
    }

    fn charge(&mut self) -> Operation {
        let (place, tokens) = (self.place(), self.chance.between(100, 6000));
        let already_used = self.chance.one_in(3);
        Operation::charge(&mut self.numbers, place, tokens, already_used)
    }

    fn check(&self) -> Operation {
        let (model, usage) = (Model::trusted(MODELS[0]), usage(self.chance.between(1, 9000)));
        Operation::Check(self.place(), Question { model, usage, min_output_tokens: None })
    }

    fn settle(&mut self) -> Operation {
        let at = usize::try_from(self.chance.below(self.holds.len() as u64)).unwrap();
        let hold = &mut self.holds[at];
        match self.chance.below(10) {
            0..=5 => {
                let model = self.chance.one_in(8).then(|| Model::trusted(MODELS[1]));
                Operation::Commit(hold.clone(), Commit { usage: usage(self.chance.between(1, 9000)), model })
            }
            6..=7 => Operation::Release(hold.clone()),
            _ => {
                hold.used += self.chance.between(1, 2000);
                let used = usage(hold.used);
                let estimate = self.chance.one_in(2).then(|| usage(hold.used * 2 + 9000));
                let usage_so_far = (estimate.is_none() || self.chance.one_in(2)).then_some(used);
                let ttl = Span::seconds(i64::try_from(self.chance.between(1, 60)).unwrap());
                Operation::Extend(hold.clone(), Extend { ttl, usage_so_far, estimate })
            }
        }
    }

    fn change(&mut self) -> Operation {
        let Place { organization, key } = self.place();
        let mark = self.numbers.next();
        let change = match self.chance.below(14) {
            0 => Change::Team(mark),
            1 => Change::Member(mark),
            2..=3 => Change::Key(key, mark, self.chance.one_in(3)),
            4 => Change::NewKey(mark),
            5 => Change::Rotate(key),
            6..=7 => Change::Budgets(mark),
            8 => {
                self.rules.push(mark);
                Change::Rule(mark)
            }
            9 => Change::DefaultRule(self.rules.last().copied().filter(|_| self.chance.one_in(2))),
            10..=11 => Change::Allocation(mark),
            12 => Change::Cycle,
            _ => Change::Price(Model::trusted(MODELS[1]), mark),
        };
        Operation::Change(organization, change)
    }

    /// What follows from an answer for what this client does next.
    fn hear(&mut self, operation: &Operation, answer: &Answer) {
        let Some((_, times)) = self.pending.take() else { return };
        match (operation, answer) {
            (Operation::Reserve(place, reserve), Answer::Lost) if times > 2 && self.chance.one_in(3) => {
                // It goes on without the answer.
                self.hold(place, reserve.request.clone(), None);
                return;
            }
            (_, Answer::Lost) => {
                self.pending = Some((operation.clone(), times));
                return;
            }
            (Operation::Reserve(place, reserve), Answer::Granted { no, id, .. }) => {
                self.hold(place, reserve.request.clone(), Some((*no, id.clone())));
            }
            // Some try the other too, which must be refused.
            (Operation::Commit(hold, _) | Operation::Release(hold), Answer::Charged(_) | Answer::Released(_))
                if !self.chance.one_in(12) =>
            {
                self.drop_hold(hold);
            }
            (
                Operation::Commit(hold, _) | Operation::Release(hold) | Operation::Extend(hold, _),
                Answer::Refused(_),
            ) => {
                self.drop_hold(hold);
            }
            _ => {}
        }
        if self.chance.one_in(3) && !matches!(answer, Answer::Denied | Answer::Refused(_)) {
            if self.done.len() == MAX_DONE {
                self.done.remove(0);
            }
            self.done.push(operation.clone());
        }
    }

    fn hold(&mut self, place: &Place, request: RequestId, granted: Option<(ReservationNo, String)>) {
        // A repeat of what was granted before.
        if self.holds.iter().any(|hold| hold.request == request) {
            return;
        }
        self.holds.push(Hold { place: place.clone(), request, granted, used: 0 });
    }

    fn drop_hold(&mut self, gone: &Hold) {
        self.holds.retain(|hold| hold.request != gone.request);
    }
}

/// Asks so many times, then ends; what was asked last may stay unanswered.
pub(crate) async fn run(client: Arc<Mutex<Client>>, line: Line, times: u64) {
    for _ in 0..times {
        let operation = client.lock().unwrap().next();
        let answer = line.attempt(&operation).await;
        client.lock().unwrap().hear(&operation, &answer);
        let pause = match line.chance.below(24) {
            0..=11 => 0,
            12..=20 => line.chance.between(1, 60),
            21..=22 => line.chance.between(100, 2000),
            _ => line.chance.between(3000, 20_000),
        };
        sleep(Duration::from_millis(pause)).await;
    }
}

impl Line {
    /// Asks once, and waits for the answer as long as it likes.
    async fn attempt(&self, operation: &Operation) -> Answer {
        let patience = Duration::from_millis(self.chance.between(1, 30));
        match self.chance.below(16) {
            0 => {
                // The caller gives up, the call goes on.
                let (line, operation) = (self.clone(), operation.clone());
                self.abandoned.lock().unwrap().spawn(async move { drop(line.ask(&operation).await) });
                sleep(patience).await;
                Answer::Lost
            }
            // The caller hangs up, and the call ends where it stands.
            1 => timeout(patience, self.ask(operation)).await.unwrap_or(Answer::Lost),
            2 => {
                let (one, other) = futures::join!(self.ask(operation), self.ask(operation));
                if one == Answer::Lost { other } else { one }
            }
            _ => self.ask(operation).await,
        }
    }

    async fn ask(&self, operation: &Operation) -> Answer {
        let answer = ask(&self.service, &self.caller, operation).await;
        let mut promises = self.promises.lock().unwrap();
        match (operation, &answer) {
            (Operation::Charge(..) | Operation::TopUp(..), Answer::Refused(Conflict::RequestReused(_))) => {
                promises.broken(format!("{operation:?} is taken for another one"));
            }
            (Operation::Commit(hold, _) | Operation::Release(hold), Answer::Refused(Conflict::ReservationUnknown))
                if hold.granted.is_some() =>
            {
                promises.broken(format!("{operation:?} isn't known any more"));
            }
            _ => promises.note(operation, &answer),
        }
        answer
    }
}
