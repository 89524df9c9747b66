//! What an inference server does around a request: Reserve before the work, Commit or Release after it.
//!
//! Answers three questions that are easily got wrong. *Did quotad refuse, or is it away?* A denial is an answer and never
//! retried; an outage is retried under the same request id, within deadlines, and then the caller's choice decides
//! ([`WhenUnreachable`]). *Is there a hold?* A Reserve without an answer may have made one: it is settled or given back by
//! payer and request id, never charged beside. *Was the work booked?* What is owed leaves a [`Ticket`] only by being
//! acknowledged, or goes to a bounded queue that is sent when the server is back; cancelled futures change nothing about that.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
use tonic::Status;

use self::{
    debts::{DebtQueue, pay},
    owed::{Debt, Owed},
};
use super::{Retry, code_name, is_transient};
use crate::{
    api::proto::{Denial, DenialCode, ReservationState, ReserveRequest, reserve_response::Decision},
    clock::{Clock, SystemClock},
    domain::time::Timestamp,
};

mod debts;
mod line;
mod owed;
mod ticket;

pub use debts::Debts;
pub use line::Line;
pub use ticket::{Settled, Ticket};

/// What becomes of a request that quotad couldn't be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// It doesn't run: [`GateError::Unreachable`]. No limit is passed; an outage of quotad is one of the service.
    FailClosed,
    /// It runs without a hold, and its usage is charged afterwards, whatever the limits say. An outage of quotad isn't noticed
    /// by users; meanwhile nothing stops them.
    FailOpen,
}

#[derive(Debug, Clone, Copy)]
pub struct GateOptions {
    pub when_unreachable: WhenUnreachable,
    /// Of Reserve and Extend: the user waits for it.
    pub reserve: Retry,
    /// Of Commit and Release. What isn't acknowledged by then is put off.
    pub settle: Retry,
    /// How many settlements are kept while they can't be sent, and as many releases: a few hundred bytes each. They are in
    /// memory only.
    pub max_debts: usize,
    /// What the pauses follow from; chance if unset.
    pub seed: Option<u64>,
}

impl GateOptions {
    /// With [`Retry::WAITED_FOR`] and [`Retry::WORK_IS_DONE`], and 100,000 debts.
    pub fn new(when_unreachable: WhenUnreachable) -> Self {
        Self {
            when_unreachable,
            reserve: Retry::WAITED_FOR,
            settle: Retry::WORK_IS_DONE,
            max_debts: 100_000,
            seed: None,
        }
    }
}

/// Why a request doesn't run, or what it used isn't booked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GateError {
    /// quotad refused. Pass `http_status`, `message` and `retry_after` on to the user; [`when_to_retry`](super::when_to_retry) says
    /// how sure that is. Of an Extend it means: stop the work, and commit what was used.
    #[error("{}: {}", code_of(.0), .0.message)]
    Denied(Box<Denial>),
    /// quotad couldn't be asked within the deadlines. No refusal: answer the user with 503.
    #[error("quotad can't be reached ({}: {})", code_name(.0.code()), .0.message())]
    Unreachable(Status),
    /// The request id was granted before, and that reservation isn't open any more: it stands for another piece of work.
    #[error("request_id was used before, and its reservation is {}; use a new one for a new request", .0.as_str_name())]
    Ended(ReservationState),
    /// The call itself is wrong, or the token: asking again doesn't help.
    #[error("{}: {}", code_name(.0.code()), .0.message())]
    Failed(Status),
    /// The work is done, its usage couldn't be sent, and there is no room left to keep it: book it by hand (the log has it).
    #[error("the usage couldn't be sent ({}: {}) and {max_debts} others wait already", code_name(.status.code()), .status.message())]
    Unsettled { status: Status, max_debts: usize },
}

fn code_of(denial: &Denial) -> &'static str {
    DenialCode::try_from(denial.code).map_or("an unknown denial", |code| code.as_str_name())
}

/// Cheap to clone; clones share the line and the debts.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    line: Line,
    options: GateOptions,
    clock: Arc<dyn Clock>,
    seeds: Mutex<Xoshiro256PlusPlus>,
    debts: Arc<DebtQueue>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.debts.close();
    }
}

impl Gate {
    /// Over a pool, a session or one connection. Starts a task that sends what was put off, so it needs a runtime.
    pub fn new(line: impl Into<Line>, options: GateOptions) -> Self {
        Self::with_clock(line, options, Arc::new(SystemClock::start(Timestamp::EPOCH)))
    }

    /// With a clock of the caller's: it tells when what is charged afterwards was used.
    pub fn with_clock(line: impl Into<Line>, options: GateOptions, clock: Arc<dyn Clock>) -> Self {
        let line = line.into();
        // Without chance all clients pause alike, which is no reason to fail.
        let seed = options.seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        let mut seeds = Xoshiro256PlusPlus::seed_from_u64(seed);
        let debts = Arc::new(DebtQueue::new(options.max_debts));
        tokio::spawn(pay(Arc::clone(&debts), line.clone(), options.settle, seeds.next_u64()));
        Self { shared: Arc::new(Shared { line, options, clock, seeds: Mutex::new(seeds), debts }) }
    }

    /// Asks for a hold. The ticket is to be committed or released; one that is dropped settles what it was told of by
    /// [`Ticket::used`], and gives its hold back if that was nothing.
    ///
    /// `request.request_id` must be the piece of work's own: every retry, Commit or Charge about it goes by this id.
    ///
    /// # Errors
    /// [`GateError`]. After `Unreachable` try again under another id: a hold that an answer was lost of is given back. Under the
    /// same id it is found again, or if it was given back already, [`GateError::Ended`] with `RELEASED`.
    pub async fn enter(&self, request: ReserveRequest) -> Result<Ticket, GateError> {
        let Some(may_be_held) = self.shared.debts.reclaim(&request) else {
            let message = "an earlier attempt under this request_id is just being given back; try again";
            return Err(GateError::Unreachable(Status::unavailable(message)));
        };
        let entered = self.shared.clock.now();
        let mut debt = Debt::new(self.clone(), Owed::new(request, entered, may_be_held));
        let answer = self.shared.options.reserve.run(self.seed(), || debt.reserve()).await;
        let fail_open = self.shared.options.when_unreachable == WhenUnreachable::FailOpen;
        let error = match answer.map(|answer| answer.decision) {
            Ok(Some(Decision::Granted(grant))) if grant.state() == ReservationState::Open => {
                debt.hold(&grant);
                return Ok(Ticket::new(debt, Some(grant)));
            }
            // Nobody's hold any more; but one that is only to be stopped is given back if an answer was lost that granted it.
            Ok(Some(Decision::Granted(grant))) => {
                if grant.state() != ReservationState::Revoked {
                    debt.forgive();
                }
                GateError::Ended(grant.state())
            }
            // Had an earlier attempt been granted, this one would be told so.
            Ok(Some(Decision::Denied(denial))) => {
                debt.forgive();
                GateError::Denied(Box::new(denial))
            }
            Ok(None) => GateError::Failed(Status::internal("the answer to Reserve holds no decision")),
            Err(status) if is_transient(&status) && fail_open => return Ok(Ticket::new(debt, None)),
            Err(status) if is_transient(&status) => GateError::Unreachable(status),
            Err(status) => GateError::Failed(status),
        };
        // Dropping the debt gives back what may be held.
        Err(error)
    }

    /// What was put off, and what became of it. Worth a metric: `dropped` and `refused` are usage that nobody pays for.
    pub fn debts(&self) -> Debts {
        self.shared.debts.counts()
    }

    /// Waits until nothing that was put off is left: before the process ends, within whatever time it has.
    pub async fn drain(&self) {
        self.shared.debts.drained().await;
    }

    fn seed(&self) -> u64 {
        self.shared.seeds.lock().next_u64()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gate").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
