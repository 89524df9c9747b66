//! Callers that wait for each answer before they ask again: as many as may be under way on a connection.

use std::{sync::Arc, time::Duration};

use quotad::{
    api::proto::{quota_service_client::QuotaServiceClient, session_request::Op, session_response::Result as Answer},
    client::Authenticated,
};
use tonic::Status;

use super::{
    drive::Load,
    outcome::{Fault, Outcome, judge},
    script::SharedScript,
};

/// Before a caller asks again that found no server.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the end.
pub(super) async fn call(
    mut client: QuotaServiceClient<Authenticated>,
    script: SharedScript,
    load: Arc<Load>,
    shard: usize,
) {
    while let Some(begun) = load.pace.next().await {
        let (step, op) = script.lock().next();
        load.recorder.begin();
        let outcome = match send(&mut client, op).await {
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

async fn send(client: &mut QuotaServiceClient<Authenticated>, op: Op) -> Result<Answer, Status> {
    Ok(match op {
        Op::Reserve(request) => Answer::Reserve(client.reserve(request).await?.into_inner()),
        Op::Commit(request) => Answer::Commit(client.commit(request).await?.into_inner()),
        Op::Release(request) => Answer::Release(client.release(request).await?.into_inner()),
        Op::Extend(request) => Answer::Extend(client.extend(request).await?.into_inner()),
        Op::Charge(request) => Answer::Charge(client.charge(request).await?.into_inner()),
        Op::Check(request) => Answer::Check(client.check(request).await?.into_inner()),
    })
}
