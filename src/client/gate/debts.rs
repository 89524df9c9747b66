//! What couldn't be said yet: kept in memory, bounded, and sent when the server is back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::Status;

use super::{
    Line,
    owed::{Closed, End, Owed},
};
use crate::{
    api::proto::{Payer, ReserveRequest},
    client::{Retry, code_name, is_transient},
};

/// Sent at a time: enough for one write of the server's disk to take many.
const BATCH: usize = 64;

/// What a gate put off.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Debts {
    /// Kept, or just being sent.
    pub waiting: usize,
    /// Acknowledged later than asked.
    pub settled: u64,
    /// Usage that there was no room to keep. The log has each.
    pub dropped: u64,
    /// Usage that quotad won't have. The log has each, with the reason.
    pub refused: u64,
    /// Holds that weren't given back; they expire.
    pub left_to_expire: u64,
}

pub(super) struct DebtQueue {
    state: watch::Sender<State>,
    max: usize,
}

/// Two queues, so that holds that merely expire never take the room of work that was done.
#[derive(Default)]
struct State {
    commits: VecDeque<Owed>,
    /// By request id, to be found again. Of two payers' with the same one, the later.
    releases: BTreeMap<String, Owed>,
    under_way: Vec<UnderWay>,
    counts: Debts,
    closed: bool,
}

/// What is just being sent.
struct UnderWay {
    payer: Option<Payer>,
    request_id: String,
    is_commit: bool,
}

impl State {
    fn waiting(&self) -> usize {
        self.commits.len() + self.releases.len() + self.under_way.len()
    }

    /// Gives it back where there is no room.
    fn add(&mut self, owed: Owed, max: usize) -> Option<Owed> {
        let commits = self.under_way.iter().filter(|sent| sent.is_commit).count();
        match owed.end {
            End::Commit { .. } if self.commits.len() + commits < max => self.commits.push_back(owed),
            End::Release { .. } if self.releases.len() < max => {
                self.counts.left_to_expire +=
                    u64::from(self.releases.insert(owed.request.request_id.clone(), owed).is_some());
            }
            End::Commit { .. } | End::Release { .. } => return Some(owed),
        }
        None
    }

    fn take(&mut self) -> Vec<Owed> {
        let commits = self.commits.len().min(BATCH);
        let mut batch: Vec<_> = self.commits.drain(..commits).collect();
        while batch.len() < BATCH
            && let Some((_, owed)) = self.releases.pop_first()
        {
            batch.push(owed);
        }
        let under_way = |owed: &Owed| UnderWay {
            payer: owed.request.payer.clone(),
            request_id: owed.request.request_id.clone(),
            is_commit: matches!(owed.end, End::Commit { .. }),
        };
        self.under_way = batch.iter().map(under_way).collect();
        batch
    }
}

impl DebtQueue {
    pub(super) fn new(max: usize) -> Self {
        Self { state: watch::Sender::default(), max }
    }

    /// False, and told, where there is no room.
    pub(super) fn add(&self, owed: Owed) -> bool {
        let mut kept = true;
        self.state.send_modify(|state| {
            let Some(owed) = state.add(owed, self.max) else { return };
            kept = false;
            if tell(&owed, "there is no room to keep it") {
                state.counts.dropped += 1;
            } else {
                state.counts.left_to_expire += 1;
            }
        });
        kept
    }

    /// Nothing is given back any more of what this request may hold: it is asked for anew. Whether there was something to give
    /// back; `None` if just that is under way.
    pub(super) fn reclaim(&self, request: &ReserveRequest) -> Option<bool> {
        if self.state.borrow().waiting() == 0 {
            return Some(false);
        }
        let ReserveRequest { payer, request_id, .. } = request;
        let mut reclaimed = None;
        self.state.send_modify(|state| {
            if state.under_way.iter().any(|sent| sent.request_id == *request_id && sent.payer == *payer) {
                return;
            }
            let is_owed = state.releases.get(request_id).is_some_and(|owed| owed.request.payer == *payer);
            if is_owed {
                state.releases.remove(request_id);
            }
            reclaimed = Some(is_owed);
        });
        reclaimed
    }

    pub(super) fn counts(&self) -> Debts {
        let state = self.state.borrow();
        Debts { waiting: state.waiting(), ..state.counts }
    }

    pub(super) async fn drained(&self) {
        // An error would mean that the sender is gone, which `self` holds.
        let _ = self.state.subscribe().wait_for(|state| state.waiting() == 0).await;
    }

    /// The payer ends when nothing is left.
    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// What was sent is off the list, or back at its front.
    fn sent(&self, batch: Vec<(Owed, Result<Closed, Status>)>) -> bool {
        let mut all = true;
        self.state.send_modify(|state| {
            state.under_way.clear();
            for (owed, answer) in batch.into_iter().rev() {
                let refused = match answer {
                    Ok(Closed::Charged(_) | Closed::Released) => {
                        state.counts.settled += 1;
                        continue;
                    }
                    Ok(Closed::Refused(denial)) => denial.message,
                    Err(status) if is_transient(&status) => {
                        all = false;
                        match owed.end {
                            End::Commit { .. } => state.commits.push_front(owed),
                            End::Release { .. } => drop(state.releases.insert(owed.request.request_id.clone(), owed)),
                        }
                        continue;
                    }
                    Err(status) => format!("{}: {}", code_name(status.code()), status.message()),
                };
                if tell(&owed, &refused) {
                    state.counts.refused += 1;
                } else {
                    state.counts.left_to_expire += 1;
                }
            }
        });
        all
    }
}

/// Sends what comes into the queue until that is closed and empty.
pub(super) async fn pay(queue: Arc<DebtQueue>, line: Line, retry: Retry, seed: u64) {
    let mut state = queue.state.subscribe();
    let mut backoff = retry.backoff(seed);
    loop {
        let Ok(closed) = state.wait_for(|state| state.closed || state.waiting() > 0).await.map(|state| state.closed)
        else {
            return;
        };
        let mut batch = Vec::new();
        queue.state.send_modify(|state| batch = state.take());
        if batch.is_empty() && closed {
            return;
        }
        let sent = batch.into_iter().map(async |owed| {
            let answer = timeout(retry.attempt, owed.settle(&line)).await;
            (owed, answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))))
        });
        if queue.sent(join_all(sent).await) {
            backoff = retry.backoff(seed);
        } else {
            sleep(backoff.pause()).await;
        }
    }
}

/// What is lost goes to the log, so that it can be booked by hand. False for a hold, which costs nobody anything.
fn tell(owed: &Owed, why: &str) -> bool {
    let End::Commit { usage, model } = &owed.end else { return false };
    let ReserveRequest { request_id, model: reserved, .. } = &owed.request;
    let model = if model.is_empty() { reserved } else { model };
    tracing::error!(%request_id, %model, ?usage, why, "usage isn't booked");
    true
}
