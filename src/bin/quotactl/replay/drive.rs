//! One row against the server: Reserve, then Commit, each repeated while the server is out of reach.

use std::{future::Future, str::FromStr as _, time::Duration};

use quotad::{
    api::proto::{
        CommitRequest, CommitResponse, Payer, ReservationRef, ReserveRequest, Usage,
        quota_service_client::QuotaServiceClient, reservation_ref::Reservation, reserve_response::Decision,
    },
    client::{Authenticated, Retry},
    clock::Stopwatch,
};
use rust_decimal::Decimal;
use tonic::{Response, Status};

use super::trace::Row;
use crate::names::code;

const RETRY: Retry = Retry {
    attempt: Duration::from_secs(30),
    overall: Duration::ZERO,
    first_pause: Duration::from_millis(50),
    longest_pause: Duration::from_secs(2),
};

pub(super) struct Drive {
    pub(super) client: QuotaServiceClient<Authenticated>,
    /// Never empty; rows take turns.
    pub(super) payers: Vec<Payer>,
    pub(super) model: String,
    /// Makes the request ids of this run its own.
    pub(super) run: String,
    pub(super) max_output: u64,
    /// For how long a call is repeated.
    pub(super) patience: Duration,
}

/// What became of one row.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How long the call that was answered took; none where none was.
    pub(super) reserve: Option<Duration>,
    pub(super) commit: Option<Duration>,
    pub(super) retries: u64,
    pub(super) end: End,
}

#[derive(Debug)]
pub(super) enum End {
    Committed(Settled),
    Refused { code: String },
    Failed { granted: bool, error: CallError },
}

impl Default for End {
    fn default() -> Self {
        Self::Failed { granted: false, error: CallError::default() }
    }
}

/// A call that failed for good.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct CallError {
    /// Call, code and reason: what to count by.
    pub(super) kind: String,
    pub(super) message: String,
}

impl CallError {
    fn of(call: &str, status: &Status) -> Self {
        let reason = quotad::client::reason(status).map(|reason| format!(" {reason}")).unwrap_or_default();
        Self { kind: format!("{call} {:?}{reason}", status.code()), message: status.message().to_owned() }
    }

    fn answer(call: &str, message: impl Into<String>) -> Self {
        Self { kind: format!("{call} answer"), message: message.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) input: u64,
    pub(super) output: u64,
    /// USD.
    pub(super) cost: Decimal,
    pub(super) overage: bool,
    pub(super) late: bool,
}

impl Drive {
    pub(super) async fn row(&self, row: &Row) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.end = match self.reserve_and_commit(row, &mut outcome).await {
            Ok(end) => end,
            Err(error) => End::Failed { granted: outcome.reserve.is_some(), error },
        };
        outcome
    }

    async fn reserve_and_commit(&self, row: &Row, outcome: &mut Outcome) -> Result<End, CallError> {
        let request = self.reserve_request(row);
        let (answer, took) = self
            .persist(row, &mut outcome.retries, || {
                let (mut client, request) = (self.client.clone(), request.clone());
                async move { client.reserve(request).await }
            })
            .await
            .map_err(|status| CallError::of("Reserve", &status))?;
        let grant = match answer.decision {
            Some(Decision::Granted(grant)) => grant,
            Some(Decision::Denied(denial)) => {
                outcome.reserve = Some(took);
                return Ok(End::Refused { code: code(denial.code) });
            }
            None => return Err(CallError::answer("Reserve", "no decision")),
        };
        outcome.reserve = Some(took);

        let request = CommitRequest {
            reservation: Some(ReservationRef { reservation: Some(Reservation::ReservationId(grant.reservation_id)) }),
            usage: Some(Usage { input_tokens: row.input, output_tokens: row.output, requests: 1, ..Usage::default() }),
            ..CommitRequest::default()
        };
        let (answer, took) = self
            .persist(row, &mut outcome.retries, || {
                let (mut client, request) = (self.client.clone(), request.clone());
                async move { client.commit(request).await }
            })
            .await
            .map_err(|status| CallError::of("Commit", &status))?;
        outcome.commit = Some(took);
        settled(row, &answer).map(End::Committed)
    }

    fn reserve_request(&self, row: &Row) -> ReserveRequest {
        let turn = usize::try_from(row.number.saturating_sub(1)).unwrap_or_default() % self.payers.len().max(1);
        ReserveRequest {
            payer: self.payers.get(turn).cloned(),
            request_id: format!("{}-{}", self.run, row.number),
            model: self.model.clone(),
            usage: Some(Usage {
                input_tokens: row.input,
                output_tokens: self.max_output,
                requests: 1,
                ..Usage::default()
            }),
            holder: format!("replay-{}", self.run),
            labels: [("replay".to_owned(), self.run.clone())].into(),
            ..ReserveRequest::default()
        }
    }

    /// Repeats an idempotent call while its errors are transient. Answers how long the last one took.
    async fn persist<T, F>(&self, row: &Row, retries: &mut u64, call: impl Fn() -> F) -> Result<(T, Duration), Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let retry = Retry { overall: self.patience, ..RETRY };
        let mut calls = 0;
        let answer = retry.run(row.number, || {
            calls += 1;
            let (watch, call) = (Stopwatch::start(), call());
            async move { Ok((call.await?.into_inner(), watch.elapsed())) }
        });
        let answer = answer.await;
        *retries += calls - 1;
        answer
    }
}

fn settled(row: &Row, answer: &CommitResponse) -> Result<Settled, CallError> {
    let charged = answer.charged.clone().unwrap_or_default();
    let cost = Decimal::from_str(&charged.usd)
        .map_err(|_| CallError::answer("Commit", format!("{:?} charged is no amount", charged.usd)))?;
    let overage = answer.overage.clone().unwrap_or_default();
    let over = |amount: &str| Decimal::from_str(amount).is_ok_and(|amount| !amount.is_zero());
    let overage = over(&overage.usd) || over(&overage.credits) || overage.tokens > 0 || overage.requests > 0;
    Ok(Settled { input: row.input, output: row.output, cost, overage, late: answer.late })
}
