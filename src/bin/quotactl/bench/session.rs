//! One stream with many operations under way, matched by correlation id. A stream that breaks is opened again.

use std::{sync::Arc, time::Duration};

use quotad::{
    api::proto::{
        SessionRequest, SessionResponse, quota_service_client::QuotaServiceClient, session_response::Result as Answer,
    },
    client::Authenticated,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    drive::Load,
    outcome::{Fault, Outcome, judge},
    script::{SharedScript, Step},
};

/// Before a stream is opened again.
const PAUSE: Duration = Duration::from_millis(100);

/// An operation under way, and since when its latency counts.
type Pending = (Step, Duration);

struct Caller {
    load: Arc<Load>,
    script: SharedScript,
    shard: usize,
    /// By correlation id − 1: 0 is a revocation's.
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
}

/// Asks until the end with up to `depth` operations under way.
pub(super) async fn call(
    mut client: QuotaServiceClient<Authenticated>,
    script: SharedScript,
    load: Arc<Load>,
    shard: usize,
    depth: usize,
) {
    let pending = (0..depth).map(|_| None).collect();
    let mut caller = Caller { load, script, shard, pending, free: (0..depth).rev().collect() };
    while !caller.load.pace.has_ended() {
        // Never full: no more is in it than is under way.
        let (requests, stream) = mpsc::channel(depth);
        let fault = match client.session(ReceiverStream::new(stream)).await {
            Ok(answers) => match caller.converse(requests, answers.into_inner()).await {
                Ok(()) => break,
                Err(fault) => fault,
            },
            Err(status) => Fault::of(&status),
        };
        caller.broken(&fault).await;
    }
}

impl Caller {
    /// Until the end of the run; an error where the stream ends before.
    async fn converse(
        &mut self,
        requests: mpsc::Sender<SessionRequest>,
        mut answers: Streaming<SessionResponse>,
    ) -> Result<(), Fault> {
        let load = Arc::clone(&self.load);
        let mut more = true;
        loop {
            let (room, waiting) = (!self.free.is_empty(), self.free.len() < self.pending.len());
            tokio::select! {
                biased;
                answer = answers.message(), if waiting => self.answered(answer)?,
                begun = load.pace.next(), if more && room => match begun {
                    Some(begun) => self.ask(&requests, begun)?,
                    None => more = false,
                },
                else => return Ok(()),
            }
        }
    }

    fn ask(&mut self, requests: &mpsc::Sender<SessionRequest>, begun: Duration) -> Result<(), Fault> {
        let Some(slot) = self.free.pop() else { return Ok(()) };
        let (step, op) = self.script.lock().next();
        self.load.recorder.begin();
        self.pending[slot] = Some((step, begun));
        let correlation_id = u64::try_from(slot).unwrap_or(u64::MAX).saturating_add(1);
        let request = SessionRequest { correlation_id, op: Some(op) };
        requests.try_send(request).map_err(|error| Fault::new("session ended", error.to_string()))
    }

    fn answered(&mut self, answer: Result<Option<SessionResponse>, Status>) -> Result<(), Fault> {
        let answer = answer.map_err(|status| Fault::of(&status))?;
        let SessionResponse { correlation_id, result } =
            answer.ok_or_else(|| Fault::new("session ended", "the server closed the stream"))?;
        let Some(result) = result else { return Err(Fault::new("answer without a result", "")) };
        if matches!(result, Answer::Revocation(_)) {
            // Of reservations; they are settled like any other.
            return Ok(());
        }
        let slot = correlation_id.checked_sub(1).and_then(|slot| usize::try_from(slot).ok());
        let asked = slot.and_then(|slot| Some((slot, self.pending.get_mut(slot)?.take()?)));
        let Some((slot, pending)) = asked else {
            return Err(Fault::new("answer to nothing", format!("correlation id {correlation_id} isn't under way")));
        };
        self.free.push(slot);
        self.end(pending, &judge(result));
        Ok(())
    }

    fn end(&mut self, (step, begun): Pending, outcome: &Outcome) {
        self.load.recorder.end(self.shard, step.kind, begun, self.load.pace.elapsed(), outcome);
        self.script.lock().end(step, outcome);
    }

    /// Everything under way has failed; so has the one operation for which there was no stream.
    async fn broken(&mut self, fault: &Fault) {
        let failed = Outcome::Failed(Fault { lost: true, closed: false, ..fault.clone() });
        if self.free.len() == self.pending.len()
            && let Some(begun) = self.load.pace.next().await
        {
            let (step, _) = self.script.lock().next();
            self.load.recorder.begin();
            self.end((step, begun), &failed);
        }
        for slot in 0..self.pending.len() {
            if let Some(pending) = self.pending[slot].take() {
                self.free.push(slot);
                self.end(pending, &failed);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
