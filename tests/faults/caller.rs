//! One of many callers: asks until it is answered, with the same request ids, and keeps what it was told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use parking_lot::Mutex;
use quotad::{
    client::{Connection, code_name, is_transient, reason},
    clock::Stopwatch,
};
use tokio::sync::watch;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::acknowledged::Acknowledged;

/// No outage of a test lasts so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const FIRST_RETRY: Duration = Duration::from_millis(2);
pub(crate) const LAST_RETRY: Duration = Duration::from_millis(50);

/// What all callers of a load share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) next: AtomicU64,
    pub(crate) stop: AtomicBool,
    pub(crate) acknowledged: Mutex<Acknowledged>,
    /// Calls answered and calls failed.
    pub(crate) answered: watch::Sender<u64>,
    pub(crate) failed: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) number: usize,
    pub(crate) operator: Connection,
    pub(crate) gateway: Connection,
    pub(crate) shared: Arc<Shared>,
}

/// Whether the call may have reached the server or not, and may be made again.
fn may_pass(status: &Status) -> bool {
    let broken = matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Internal) && reason(status).is_none();
    is_transient(status) || broken
}

/// Whether the machine stood still for longer than new work may wait for its turn: what any busy machine does, and no fault here.
pub(crate) fn is_late(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.metadata.get("cause").is_some_and(|cause| cause == "turn"))
}

impl Caller {
    /// Asks until there is an answer. Only what can't pass is an error.
    pub(crate) async fn ask<T, F>(&self, method: &'static str, call: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let asked = Stopwatch::start();
        let mut retry = FIRST_RETRY;
        loop {
            match self.attempt(method, call().await)? {
                Ok(answer) => return Ok(answer),
                Err(status) => assert!(asked.elapsed() < PATIENCE, "{method} isn't answered: {status:?}"),
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    }

    /// Asks once; `None` if the answer was lost.
    pub(crate) async fn ask_once<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        self.attempt(method, call.await).unwrap().ok()
    }

    fn attempt<T>(
        &self,
        method: &'static str,
        answer: Result<Response<T>, Status>,
    ) -> Result<Result<T, Status>, Status> {
        match answer {
            Ok(answer) => {
                self.shared.acknowledged.lock().operations += 1;
                self.shared.answered.send_modify(|answered| *answered += 1);
                Ok(Ok(answer.into_inner()))
            }
            Err(status) if may_pass(&status) => {
                if is_late(&status) {
                    assert_eq!(method, "Reserve", "what runs is settled, however late");
                    self.note(|known| known.late += 1);
                } else {
                    let why = reason(&status).unwrap_or_else(|| code_name(status.code()).to_owned());
                    self.note(|known| *known.failures.entry((method, why)).or_default() += 1);
                    self.shared.failed.send_modify(|failed| *failed += 1);
                }
                Ok(Err(status))
            }
            Err(status) => Err(status),
        }
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Acknowledged)) {
        note(&mut self.shared.acknowledged.lock());
    }
}
