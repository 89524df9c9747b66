//! One request that may run.

use tonic::Status;

use super::{
    GateError,
    owed::{Closed, Debt, End},
};
use crate::{
    api::proto::{CommitResponse, ExtendRequest, Grant, Usage, extend_response::Decision},
    client::is_transient,
};

/// The right to run one request. Commit it with what was used, or release it if it never ran.
///
/// Dropping it, as a cancelled future does, commits what it was told of by [`Self::used`]; if that was nothing, it is released.
pub struct Ticket {
    debt: Debt,
    grant: Option<Grant>,
    used: Option<Usage>,
    model: String,
}

/// What a Commit came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// On quotad's disk.
    Charged(Box<CommitResponse>),
    /// quotad is out of reach: kept in this process, and sent when it is back.
    Later,
}

impl Ticket {
    pub(super) fn new(debt: Debt, grant: Option<Grant>) -> Self {
        Self { debt, grant, used: None, model: String::new() }
    }

    /// `None` for a request that runs without a hold, because quotad couldn't be asked.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// What was used so far, in all: never less than before. Tell it as tokens are generated, so that work that breaks off is
    /// neither free nor charged whole.
    pub fn used(&mut self, usage: Usage) {
        self.used = Some(usage.clone());
        self.debt.set_end(End::Commit { usage, model: self.model.clone() });
    }

    /// Another model than reserved runs: its price applies.
    pub fn ran_on(&mut self, model: impl Into<String>) {
        self.model = model.into();
        if let Some(usage) = self.used.take() {
            self.used(usage);
        }
    }

    /// Keeps the hold alive for its time to live, from now, and reports what was [`used`](Self::used); may raise the estimate. Without a
    /// hold there is nothing to keep.
    ///
    /// # Errors
    /// [`GateError::Denied`]: stop the work, and commit what was used. [`GateError::Unreachable`] if there was no answer; the
    /// hold stands until its `expire_time`, and a Commit is taken for a day, so going on is safe.
    pub async fn extend(&mut self, estimate: Option<Usage>) -> Result<(), GateError> {
        let Some(owed) = self.debt.owed().filter(|owed| owed.is_held()) else { return Ok(()) };
        let request = ExtendRequest {
            reservation: Some(owed.reservation()),
            ttl: owed.request.ttl,
            usage_so_far: self.used.clone(),
            estimate,
        };
        let gate = &self.debt.gate;
        let (line, seed) = (&gate.shared.line, gate.seed());
        let answer = gate.shared.options.reserve.run(seed, || line.extend(request.clone())).await;
        match answer.map(|answer| answer.decision) {
            Ok(Some(Decision::Granted(grant))) => {
                self.grant = Some(grant);
                Ok(())
            }
            Ok(Some(Decision::Denied(denial))) => Err(GateError::Denied(Box::new(denial))),
            Ok(None) => Err(GateError::Failed(Status::internal("the answer to Extend holds no decision"))),
            Err(status) if is_transient(&status) => Err(GateError::Unreachable(status)),
            Err(status) => Err(GateError::Failed(status)),
        }
    }

    /// The work is done, and this is what it used. Without a hold it is not waited for: the answer is `Later`.
    ///
    /// # Errors
    /// [`GateError::Unsettled`] if it can be neither sent nor kept; `Denied` and `Failed` where quotad won't have it, such as a
    /// key that it doesn't know.
    pub async fn commit(mut self, usage: Usage) -> Result<Settled, GateError> {
        self.used(usage);
        match self.settle().await? {
            Some(Closed::Charged(charged)) => Ok(Settled::Charged(Box::new(charged))),
            Some(Closed::Refused(denial)) => Err(GateError::Denied(Box::new(denial))),
            Some(Closed::Released) | None => Ok(Settled::Later),
        }
    }

    /// The work never ran. If quotad is out of reach the hold is given back later.
    ///
    /// # Errors
    /// [`GateError::Failed`] where there is nothing to give back any more, because the hold expired and was charged.
    pub async fn release(mut self, reason: impl Into<String>) -> Result<(), GateError> {
        self.debt.set_end(End::Release { reason: reason.into() });
        match self.settle().await {
            // A hold that can't be given back expires.
            Ok(_) | Err(GateError::Unsettled { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `None` where it was put off. Until it is answered the debt stands, also if this future is dropped.
    async fn settle(&mut self) -> Result<Option<Closed>, GateError> {
        let gate = self.debt.gate.clone();
        let (line, options) = (&gate.shared.line, &gate.shared.options);
        let full = |status| GateError::Unsettled { status, max_debts: options.max_debts };
        let Some(owed) = self.debt.owed().filter(|owed| owed.is_held()) else {
            let status = Status::unavailable("quotad was out of reach at Reserve");
            return if self.debt.put_off() { Ok(None) } else { Err(full(status)) };
        };
        match options.settle.run(gate.seed(), || owed.settle(line)).await {
            Ok(closed) => {
                self.debt.forgive();
                Ok(Some(closed))
            }
            Err(status) if is_transient(&status) => {
                if self.debt.put_off() {
                    Ok(None)
                } else {
                    Err(full(status))
                }
            }
            Err(status) => {
                self.debt.forgive();
                Err(GateError::Failed(status))
            }
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the payer: it may be a secret.
        formatter.debug_struct("Ticket").field("grant", &self.grant).field("used", &self.used).finish_non_exhaustive()
    }
}
