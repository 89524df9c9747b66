//! Callers that wait for each answer before they ask again: as many as may be under way on a connection.

use std::{sync::Arc, time::Duration};

use quotad::api::proto::{session_request::Op, session_response::Result as Answer};
use tonic::Status;

use super::{
    drive::Load,
    outcome::{Fault, Outcome, judge},
    script::SharedScript,
    wire::Wire,
};

/// Before a caller asks again that found no server.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the end.
pub(super) async fn call(wire: Arc<Wire>, script: SharedScript, load: Arc<Load>, shard: usize) {
    while let Some(begun) = load.pace.next().await {
        let (step, op) = script.lock().next();
        load.recorder.begin();
        let outcome = match send(&wire, op).await {
            Ok(answer) => judge(answer),
            Err(status) => Outcome::Failed(Fault::of(&status)),
        };
        load.recorder.end(shard, step.kind, begun, load.pace.elapsed(), &outcome);
        script.lock().end(step, &outcome);
        // A schedule goes on whatever happens; without one, callers would spin.
        let lost = matches!(&outcome, Outcome::Failed(fault) if fault.lost);
        if lost && !load.pace.is_open_loop() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn send(wire: &Wire, op: Op) -> Result<Answer, Status> {
    Ok(match op {
        Op::Reserve(request) => Answer::Reserve(wire.call("/quotad.v1.QuotaService/Reserve", &request).await?),
        Op::Commit(request) => Answer::Commit(wire.call("/quotad.v1.QuotaService/Commit", &request).await?),
        Op::Release(request) => Answer::Release(wire.call("/quotad.v1.QuotaService/Release", &request).await?),
        Op::Extend(request) => Answer::Extend(wire.call("/quotad.v1.QuotaService/Extend", &request).await?),
        Op::Charge(request) => Answer::Charge(wire.call("/quotad.v1.QuotaService/Charge", &request).await?),
        Op::Check(request) => Answer::Check(wire.call("/quotad.v1.QuotaService/Check", &request).await?),
    })
}
