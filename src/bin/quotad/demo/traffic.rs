//! A few hundred requests as a gateway would send them, the same at every run.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use parking_lot::Mutex;
use quotad::{
    api::proto::{
        CommitRequest, Denial, ExtendRequest, Payer, ReservationRef, ReserveRequest, Usage, WatchRevocationsRequest,
        extend_response, payer, reservation_ref, reserve_response,
    },
    client::{Connection, Gate, GateError, GateOptions, Retry, Settled, WhenUnreachable},
};

use super::{
    DemoError,
    board::Board,
    seed::{CODER, KEYS, LARGE, REASONER},
};

pub(super) const REQUESTS: u64 = 360;
const IN_FLIGHT: usize = 12;
/// The name under which the demo hears of revocations.
const HOLDER: &str = "demo-gateway";

/// One request of the plan.
#[derive(Debug, Clone, Copy)]
struct Step {
    number: u64,
    key: usize,
    model: &'static str,
    input: u64,
    /// Allowed, and really generated.
    output: (u64, u64),
    /// The client went away before anything ran.
    aborted: bool,
    generates: Duration,
}

/// A sequence that looks random and is the same everywhere (the multiplier is Knuth's).
fn scatter(number: u64, salt: u64, below: u64) -> u64 {
    let mixed = (number * 16 + salt + 1).wrapping_mul(6_364_136_223_846_793_005);
    (mixed >> 33) % below
}

fn step(number: u64) -> Step {
    let key = match scatter(number, 0, 20) {
        0..7 => 0,
        7..12 => 1,
        12..15 => 2,
        15..18 => 3,
        18 => 4,
        _ => 5,
    };
    let model = match scatter(number, 1, 24) {
        _ if key == 3 && scatter(number, 1, 8) > 0 => CODER,
        0..13 => LARGE,
        13..19 => CODER,
        19..23 => REASONER,
        _ => "gpt-unpriced",
    };
    let allowed = 200 + scatter(number, 2, 1400);
    Step {
        number,
        key,
        model,
        input: 300 + scatter(number, 3, 6000),
        output: (allowed, allowed * (40 + scatter(number, 4, 70)) / 100),
        aborted: scatter(number, 5, 25) == 0,
        generates: Duration::from_millis(60 + scatter(number, 6, 180)),
    }
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

fn by_id(reservation_id: &str) -> ReservationRef {
    let id = reservation_ref::Reservation::ReservationId(reservation_id.to_owned());
    ReservationRef { reservation: Some(id) }
}

fn reserve_request(request_id: String, key: usize, model: &str, usage: Usage) -> ReserveRequest {
    ReserveRequest {
        payer: Some(Payer { payer: Some(payer::Payer::KeyId(KEYS[key].0.to_owned())) }),
        request_id,
        model: model.to_owned(),
        usage: Some(usage),
        holder: HOLDER.to_owned(),
        ..ReserveRequest::default()
    }
}

/// Sends the whole plan, some requests at a time.
pub(super) async fn drive(connection: &Connection, board: &Arc<Mutex<Board>>) -> Result<(), DemoError> {
    // Nobody waits for these answers: a machine that is busy with other things is no outage.
    let options = GateOptions { reserve: Retry::WORK_IS_DONE, ..GateOptions::new(WhenUnreachable::FailClosed) };
    let gate = Gate::new(connection.clone(), options);
    let mut running =
        futures::stream::iter((0..REQUESTS).map(|number| run(&gate, board, step(number)))).buffer_unordered(IN_FLIGHT);
    while let Some(outcome) = running.next().await {
        outcome?;
    }
    Ok(())
}

async fn run(gate: &Gate, board: &Arc<Mutex<Board>>, step: Step) -> Result<(), DemoError> {
    let estimate = usage(step.input, step.output.0);
    let request = reserve_request(format!("demo-{}", step.number), step.key, step.model, estimate);
    let ticket = match gate.enter(request).await {
        Ok(ticket) => ticket,
        Err(GateError::Denied(denial)) => {
            board.lock().denied(step.key, &denial);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    board.lock().granted(step.key);
    tokio::time::sleep(step.generates).await;
    if step.aborted {
        ticket.release("client went away").await?;
        board.lock().released(step.key);
        return Ok(());
    }
    match ticket.commit(usage(step.input, step.output.1)).await? {
        Settled::Charged(committed) => board.lock().committed(step.key, &committed),
        Settled::Later => Err(DemoError::Incomplete("acknowledgement of a commit")),
    }
}

/// A request that runs away passes its key's budget; the one that still runs on the same budget is told to stop.
pub(super) async fn run_away(connection: &Connection, board: &Arc<Mutex<Board>>) -> Result<(), DemoError> {
    let (crawler, mut quota) = (4, connection.quota());
    let mut watch = quota.watch_revocations(WatchRevocationsRequest { holder: HOLDER.to_owned() }).await?.into_inner();
    let mut reservations = Vec::new();
    for name in ["long-running", "run-away"] {
        let request = reserve_request(format!("demo-{name}"), crawler, LARGE, usage(1000, 500));
        let answer = quota.reserve(request).await?.into_inner();
        match answer.decision.ok_or(DemoError::Incomplete("decision"))? {
            reserve_response::Decision::Granted(granted) => reservations.push(granted.reservation_id),
            reserve_response::Decision::Denied(denial) => return Err(DemoError::refused(&denial)),
        }
        board.lock().granted(crawler);
    }
    let [long_running, run_away] = &reservations[..] else { return Err(DemoError::Incomplete("reservations")) };
    let request = CommitRequest {
        reservation: Some(by_id(run_away)),
        usage: Some(usage(1000, 1_200_000)),
        ..CommitRequest::default()
    };
    let committed = quota.commit(request).await?.into_inner();
    board.lock().committed(crawler, &committed)?;
    let revocation = tokio::time::timeout(Duration::from_secs(5), watch.message())
        .await
        .map_err(|_| DemoError::Incomplete("revocation"))??;
    let revocation = revocation.and_then(|answer| answer.revocation).ok_or(DemoError::Incomplete("revocation"))?;
    board.lock().revoked(crawler, &revocation);
    let extend = ExtendRequest { reservation: Some(by_id(long_running)), ..ExtendRequest::default() };
    let answer = quota.extend(extend).await?.into_inner();
    let Some(extend_response::Decision::Denied(denial)) = answer.decision else {
        return Err(DemoError::Incomplete("denial of a revoked reservation"));
    };
    board.lock().stopped(&denial);
    let request = CommitRequest {
        reservation: Some(by_id(long_running)),
        usage: Some(usage(1000, 120)),
        ..CommitRequest::default()
    };
    let committed = quota.commit(request).await?.into_inner();
    board.lock().committed(crawler, &committed)
}

impl DemoError {
    fn refused(denial: &Denial) -> Self {
        Self::Refused(denial.message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_has_every_kind_of_request() {
        let steps: Vec<Step> = (0..REQUESTS).map(step).collect();
        for (key, (name, ..)) in KEYS.iter().enumerate() {
            assert!(steps.iter().any(|step| step.key == key), "{name}");
        }
        assert!(steps.iter().any(|step| step.aborted));
        assert!(steps.iter().any(|step| step.output.1 > step.output.0), "some generate more than they asked for");
        assert!(steps.iter().any(|step| step.model == "gpt-unpriced"));
    }
}
