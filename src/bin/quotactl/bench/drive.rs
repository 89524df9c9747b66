//! Runs the callers, watches them, and settles what they leave open.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use quotad::{api::proto::ReleaseRequest, client::Connection};
use tokio::task::JoinSet;

use super::{
    outcome::Fault,
    pace::Pace,
    record::{Recorder, Sample},
    script::{Held, Script, SharedScript, Traffic},
    session, unary,
    wire::Wire,
};
use crate::{
    failure::Failure,
    format::{latency, thousands},
};

/// How long answers are awaited after the end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Releases under way at one time when what is left is settled.
const SETTLING: usize = 256;

/// What callers work by.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) pace: Arc<Pace>,
    pub(super) recorder: Recorder,
}

/// How hard to load, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) session: bool,
    /// Single calls are sent as they begin, Commits behind Reserves.
    pub(super) in_order: bool,
    pub(super) connections: usize,
    /// On each connection.
    pub(super) in_flight: usize,
    /// Reservations open at one time, over all; `None` leaves them to expire.
    pub(super) max_open: Option<usize>,
    pub(super) rate: Option<NonZeroU64>,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
}

impl Shape {
    fn length(&self) -> Duration {
        self.warm_up + self.duration
    }

    /// Often enough for a curve and for the eye, seldom enough for a long run.
    fn sampling(&self) -> Duration {
        let fine = (self.length() / 100).clamp(Duration::from_millis(50), Duration::from_secs(1));
        fine.max(self.length() / 600)
    }
}

/// How it went.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) load: Arc<Load>,
    pub(super) samples: Vec<Sample>,
    /// What was settled after the end.
    pub(super) settled: Settled,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) released: u64,
    /// Closed already or never made, though the answer that said so was lost.
    pub(super) closed: u64,
    /// Held until their time to live ends.
    pub(super) left: u64,
}

pub(super) async fn run(
    server: &Connection,
    traffic: &Arc<Traffic>,
    shape: &Shape,
    bar: &ProgressBar,
) -> Result<Run, Failure> {
    let mut connections = Vec::with_capacity(shape.connections);
    for _ in 0..shape.connections {
        connections.push(server.another().await?);
    }
    let recorder = Recorder::new(shape.warm_up)?;
    // With less room than operations under way, some would find nothing that they may do.
    let room = shape.max_open.map(|max| (max / connections.len().max(1)).max(shape.in_flight));
    let script = |index| Arc::new(Mutex::new(Script::new(Arc::clone(traffic), index, room)));
    let scripts: Vec<SharedScript> = (0..connections.len()).map(script).collect();
    let load = Arc::new(Load { pace: Pace::start(shape.length(), shape.rate)?, recorder });
    let mut callers = spawn(&connections, &scripts, shape, &load);
    let mut samples = Vec::new();
    let mut ticks = tokio::time::interval(shape.sampling());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut over = Box::pin(tokio::time::sleep(shape.length() + PATIENCE));
    let mut interrupted = false;
    loop {
        tokio::select! {
            ended = callers.join_next() => match ended {
                Some(end) => end.map_err(|error| Failure::other(format!("a caller ended early: {error}")))?,
                None => break,
            },
            _ = ticks.tick() => {
                let sample = take(&load, &samples)?;
                show(bar, shape, &sample);
                samples.push(sample);
            }
            _ = &mut interrupt, if !interrupted => {
                interrupted = true;
                load.pace.stop();
                over = Box::pin(tokio::time::sleep(PATIENCE));
            }
            () = &mut over => break,
        }
    }
    callers.abort_all();
    samples.push(take(&load, &samples)?);
    bar.set_message("settling what is open");
    let settled = if shape.max_open.is_some() {
        settle(&connections, traffic, &scripts).await
    } else {
        let left = scripts.iter().map(|script| script.lock().leave()).sum();
        Settled { left, ..Settled::default() }
    };
    bar.finish_and_clear();
    Ok(Run { load, samples, settled })
}

fn spawn(connections: &[Connection], scripts: &[SharedScript], shape: &Shape, load: &Arc<Load>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for (index, (connection, script)) in connections.iter().zip(scripts).enumerate() {
        let own = || (Arc::clone(script), Arc::clone(load));
        if shape.session {
            let (script, load) = own();
            callers.spawn(session::call(connection.quota(), script, load, index, shape.in_flight));
        } else {
            let wire = Arc::new(Wire::new(connection, shape.in_order));
            for (script, load) in (0..shape.in_flight).map(|_| own()) {
                callers.spawn(unary::call(Arc::clone(&wire), script, load, index));
            }
        }
    }
    callers
}

fn take(load: &Load, samples: &[Sample]) -> Result<Sample, Failure> {
    load.recorder.sample(samples.last().map(|sample| sample.at).unwrap_or_default(), load.pace.elapsed())
}

fn show(bar: &ProgressBar, shape: &Shape, sample: &Sample) {
    bar.set_position(u64::try_from(sample.at.min(shape.length()).as_millis()).unwrap_or(u64::MAX));
    let phase = if sample.at < shape.warm_up { "warming up  " } else { "" };
    let count = |name: &str, count: u64| match sample.per_second(count) {
        0 => String::new(),
        rate => format!("  {} {name}/s", thousands(rate)),
    };
    bar.set_message(format!(
        "{phase}{} operations/s  p50 {}  p99 {}{}{}",
        thousands(sample.per_second(sample.counts.done)),
        latency(sample.p50),
        latency(sample.p99),
        count("denied", sample.counts.denied),
        count("errors", sample.counts.failed),
    ));
}

/// Releases what callers left open; not part of what is measured.
async fn settle(connections: &[Connection], traffic: &Arc<Traffic>, scripts: &[SharedScript]) -> Settled {
    let held: Vec<Held> = scripts.iter().flat_map(|script| script.lock().take_leftovers()).collect();
    let mut settled = Settled { left: u64::try_from(held.len()).unwrap_or(u64::MAX), ..Settled::default() };
    let releases = held.into_iter().zip(connections.iter().cycle()).map(|(held, connection)| {
        let (mut client, reservation) = (connection.quota(), Some(traffic.reference(&held)));
        async move { client.release(ReleaseRequest { reservation, reason: String::new() }).await }
    });
    let mut releases = stream::iter(releases).buffer_unordered(SETTLING).take_until(Box::pin(tokio::signal::ctrl_c()));
    // A server that doesn't answer frees them itself in time.
    while let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, releases.next()).await {
        match answer {
            Ok(_) => settled.released += 1,
            Err(status) if Fault::of(&status).closed => settled.closed += 1,
            Err(_) => continue,
        }
        settled.left -= 1;
    }
    settled
}
