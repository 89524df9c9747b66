//! Many callers at once, each with one piece of work after the other, until they are told to finish.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use parking_lot::Mutex;
use quotad::{
    api::proto::{ChargeRequest, ReserveRequest},
    clock::Stopwatch,
};
use tokio::{sync::watch, task::JoinSet};
use tonic::Status;

use crate::{
    acknowledged::Acknowledged,
    caller::{Caller, LAST_RETRY, PATIENCE, Shared, is_late},
    quota::Work,
    seed::{MEMBERS, ORGANIZATIONS},
    world::World,
};

pub(crate) struct Load {
    callers: JoinSet<()>,
    closer: Caller,
    shared: Arc<Shared>,
}

impl Load {
    /// Callers at work, on top of what is known already.
    pub(crate) async fn start(world: &World, known: Acknowledged) -> Self {
        let operator = world.operator().await;
        let gateway = operator.with_token(&world.service_token).unwrap();
        let shared = Arc::new(Shared {
            next: known.begun.into(),
            stop: false.into(),
            acknowledged: Mutex::new(known),
            answered: watch::Sender::new(0),
            failed: watch::Sender::new(0),
        });
        let caller = |number| Caller {
            number,
            operator: operator.clone(),
            gateway: gateway.clone(),
            shared: Arc::clone(&shared),
        };
        let mut callers = JoinSet::new();
        for number in 0..MEMBERS {
            callers.spawn(work(caller(number)));
        }
        callers.spawn(correct(caller(MEMBERS)));
        Self { callers, closer: caller(0), shared }
    }

    /// Waits until this many more calls are answered.
    pub(crate) async fn answered(&mut self, more: u64) {
        let answered = self.shared.answered.subscribe();
        self.reached(answered, more).await;
    }

    /// Waits until this many more calls have failed.
    pub(crate) async fn failed(&mut self, more: u64) {
        let failed = self.shared.failed.subscribe();
        self.reached(failed, more).await;
    }

    async fn reached(&mut self, mut counted: watch::Receiver<u64>, more: u64) {
        let goal = *counted.borrow() + more;
        tokio::select! {
            reached = counted.wait_for(|count| *count >= goal) => drop(reached.unwrap()),
            // A caller ends early only by a failed assertion.
            ended = self.callers.join_next() => ended.unwrap().unwrap(),
        }
    }

    pub(crate) fn known<T>(&self, look: impl FnOnce(&Acknowledged) -> T) -> T {
        look(&self.shared.acknowledged.lock())
    }

    /// A reservation that isn't settled by the load.
    pub(crate) async fn hold(&self) -> (Work, String) {
        let work = Work::next(&self.shared);
        (work, self.closer.reserve(work, false).await.unwrap())
    }

    /// A Reserve to ask once, whatever the answer.
    pub(crate) fn one_more(&self) -> ReserveRequest {
        let work = Work::next(&self.shared);
        self.closer.note(|known| known.open.push((work.key(), work.request_id())));
        work.reserve_request()
    }

    /// Asks for an answer, whatever it is; that the turn came too late isn't one.
    pub(crate) async fn try_reserve(&self) -> Result<(), Status> {
        let (asked, request) = (Stopwatch::start(), self.one_more());
        loop {
            match self.closer.gateway.quota().reserve(request.clone()).await {
                Err(status) if is_late(&status) => {
                    self.closer.note(|known| known.late += 1);
                    assert!(asked.elapsed() < PATIENCE, "its turn always comes too late: {status:?}");
                    tokio::time::sleep(LAST_RETRY).await;
                }
                answer => return answer.map(|_| ()),
            }
        }
    }

    /// Asks once, to charge what was used already or not.
    pub(crate) async fn try_charge(&self, already_used: bool) -> Result<(), Status> {
        let work = Work::next(&self.shared);
        self.closer.note(|known| known.doubt(work.request_id()));
        let request = ChargeRequest { already_used, ..work.charge_request(&work.key()) };
        self.closer.gateway.quota().charge(request).await.map(|_| ())
    }

    pub(crate) async fn settle(&self, (work, reservation): (Work, String)) {
        self.closer.commit(work, &reservation).await;
    }

    /// Lets every caller finish what it has begun, gives back what may still be held, and answers what was acknowledged.
    pub(crate) async fn finish(mut self) -> Acknowledged {
        self.shared.stop.store(true, SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        let open = std::mem::take(&mut self.shared.acknowledged.lock().open);
        for (key, request_id) in open {
            self.closer.close(&key, &request_id).await;
        }
        let mut known = std::mem::take(&mut *self.shared.acknowledged.lock());
        known.begun = self.shared.next.load(SeqCst);
        known
    }
}

impl Work {
    fn next(shared: &Shared) -> Self {
        let number = shared.next.fetch_add(1, SeqCst);
        let spread = usize::try_from(number).unwrap();
        Self { number, organization: ORGANIZATIONS[spread % 2], key: spread / 2 % MEMBERS }
    }
}

async fn work(caller: Caller) {
    while !caller.shared.stop.load(SeqCst) {
        let work = Work::next(&caller.shared);
        // Not a multiple of what keys and organizations go by: each gets some of everything.
        match work.number % 17 {
            0..=3 => caller.charge_own(work).await,
            4..=8 => caller.reserve_and_commit(work, false).await,
            9 | 10 => caller.reserve_and_commit(work, true).await,
            11 | 12 => caller.reserve_and_release(work).await,
            13 => caller.charge_tight(work).await,
            14 => caller.top_up(work).await,
            15 => caller.make_key(work).await,
            _ => caller.set(work).await,
        }
    }
}

/// A caller of its own, because corrections wait for the books: nobody else shall.
async fn correct(caller: Caller) {
    while !caller.shared.stop.load(SeqCst) {
        caller.correct(Work::next(&caller.shared)).await;
    }
}
