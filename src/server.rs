//! A running server: what is on disk recovered, the tasks behind the scenes, gRPC in front, and an orderly end.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Layer as _;

use crate::{
    api::{Apart, Auth, MAX_HEALTH_MESSAGE, Stop, routes},
    clock::Clock,
    config::{PaymentSettings, Settings, TIMEOUT},
    domain::{error::Invalid, id::SecretHash, payment::OrderTerms, time::Timestamp},
    journal::{
        JournalError,
        writer::{Collecting, Writer},
    },
    notify::{Mailer, Reach, Webhooks},
    service::{self, ManualProvider, Parts, PaymentProvider, Recovered, Refusal, Service, Tuning, WebhookProvider},
    store::StoreError,
    telemetry::Metrics,
};

mod aside;
mod backends;
pub mod backup;
mod data_dir;
mod join;
mod private;
pub mod salvage;
pub mod transport;
mod wall_clock;

#[cfg(test)]
mod tests;

use aside::Aside;
use backends::Backends;
pub use data_dir::{DataDir, DataDirError};
use join::Joined;
pub use private::keep_files_private;
use transport::{Listeners, Taken};
pub use wall_clock::ClockError;

/// How long calls in flight may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(10);
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// What health checks may ask about: the server as a whole, or what gateways need of it.
const HEALTH_NAMES: [&str; 2] = ["", "quotad.v1.QuotaService"];
/// Not serving while the books lag behind; decisions don't wait for them.
const BOOKS_NAME: &str = "quotad.v1.LedgerService";

/// Why a server doesn't start, or didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the books: {0}")]
    Store(#[from] StoreError),
    /// A setting that only the library behind it can judge.
    #[error(transparent)]
    Setting(#[from] Invalid),
    #[error(transparent)]
    Service(#[from] service::Error),
    #[error("{listen} can't be listened on: {source}")]
    Listen { listen: String, source: io::Error },
    #[error("the system gives no threads: {0}")]
    Threads(io::Error),
    #[error("the API's description can't be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// This data directory's journal may not write these books.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Clock(#[from] ClockError),
    #[error("{}: {source}", path.display())]
    SetAside { path: PathBuf, source: io::Error },
    /// What the journal has beyond the books can be imported into the server that has them now.
    #[error(
        "{0}; this server stopped and kept its journal, from which `quotactl journal import` brings in what only it has"
    )]
    BooksLost(String),
    #[error("gRPC isn't served any more: its task ended")]
    Ended,
    /// Starting again recovers from disk.
    #[error("the journal failed, so that it isn't known what is on disk: {0}; start again to recover")]
    JournalLost(String),
}

/// Serves from the settings' data directory. `clock` makes the clock, which must not start before the time it is given.
///
/// # Errors
/// [`ServeError`] when the directory is in use or damaged, or the address is taken.
pub async fn serve(
    settings: &Settings,
    metrics: Arc<Metrics>,
    clock: impl FnOnce(Timestamp) -> Arc<dyn Clock>,
) -> Result<Running, ServeError> {
    let data = DataDir::prepare(&settings.data_dir)?;
    let backends = backends::open(data.path(), settings).await?;
    start(settings, data, backends, metrics, clock).await
}

async fn start(
    settings: &Settings,
    data: DataDir,
    backends: Backends,
    metrics: Arc<Metrics>,
    clock: impl FnOnce(Timestamp) -> Arc<dyn Clock>,
) -> Result<Running, ServeError> {
    // First, because a taken address should not cost a recovery.
    let failed = |Taken(listen, source)| ServeError::Listen { listen, source };
    let listeners = Listeners::bind(settings.listen, settings.socket.as_deref()).await.map_err(failed)?;
    let address = listeners.address;
    let operator_token = data.operator_token()?;
    let joined = join::join(settings, &data, backends).await?;
    let (service, writer) = recover(settings, joined, metrics, clock, &operator_token).await?;
    let (stopper, stop) = Stop::new();
    let (health, health_server) = tonic_health::server::health_reporter();
    let health_server = health_server.max_decoding_message_size(MAX_HEALTH_MESSAGE);
    let routes = routes(&service, settings.max_message_size, stop.clone())?.add_service(health_server);
    let mut background = JoinSet::new();
    background.spawn(Arc::clone(&service).run_expiry());
    background.spawn(Arc::clone(&service).run_lease());
    background.spawn(Arc::clone(&service).run_journal_watch());
    background.spawn(Arc::clone(&service).run_outbox());
    background.spawn(follow_health(health.clone(), Arc::clone(&service)));
    let (books, control) =
        (Aside::books().map_err(ServeError::Threads)?, Aside::control().map_err(ServeError::Threads)?);
    background.spawn_on(Arc::clone(&service).run_projector(), &books.handle);
    background.spawn_on(Arc::clone(&service).run_snapshots(), &books.handle);
    let apart = Apart::new(control.handle.clone()).layer(routes.prepare());
    let offered = Auth::new(Arc::clone(&service), settings.connections.max_call_wait).layer(apart);
    let spoken = transport::Settings { max_message: settings.max_message_size, ..transport::Settings::default() };
    let serving = tokio::spawn(listeners.serve(offered, spoken, settings.connections, stop));
    let token_file = data.token_file();
    Ok(Running {
        address,
        operator_token,
        token_file,
        service,
        writer,
        stopper,
        health,
        serving,
        background,
        _aside: [books, control],
        _data: data,
    })
}

fn payments(settings: &Settings) -> Result<Box<dyn PaymentProvider>, Invalid> {
    Ok(match settings.payments.clone() {
        None => Box::new(ManualProvider),
        Some(PaymentSettings { url, secret }) => {
            // The URL is the operator's own, not a tenant's.
            let webhooks = Webhooks::new(TIMEOUT, Reach::anywhere(), None)?;
            Box::new(WebhookProvider { url: url.reveal().to_owned(), secret, webhooks })
        }
    })
}

async fn recover(
    settings: &Settings,
    joined: Joined,
    metrics: Arc<Metrics>,
    clock: impl FnOnce(Timestamp) -> Arc<dyn Clock>,
    operator_token: &str,
) -> Result<(Arc<Service>, Writer), ServeError> {
    let Joined { backends: Backends { journal, snapshots, store }, lease, holder, stored, rebuilt } = joined;
    metrics.projected.reach(stored);
    metrics.store_up.set(lease.is_some().into());
    let recovered = service::recover(&*journal, &*snapshots, stored).await?;
    tracing::info!(
        organizations = recovered.organizations(),
        replayed = recovered.replayed,
        position = recovered.position,
        "recovered"
    );
    let clock = clock(recovered.time);
    // One that went away meanwhile can't say: its books follow when it is back.
    let database = if lease.is_some() { store.clock().await.unwrap_or_default() } else { None };
    check_clock(settings, &*clock, recovered.time, database)?;
    if rebuilt {
        tell_what_may_be_missing(&recovered);
    }
    let collecting = Collecting { window: settings.journal_window, capacity: settings.queue_capacity };
    let writer = Writer::start(Arc::clone(&journal), recovered.position, collecting, Arc::clone(&metrics));
    let parts = Parts {
        journal,
        snapshots,
        store,
        writer: writer.clone(),
        lease,
        holder,
        clock,
        metrics,
        operator: SecretHash::of(operator_token),
        mailer: settings.smtp.as_ref().map(Mailer::new).transpose()?,
        webhooks: Webhooks::new(TIMEOUT, Reach::public_and(&settings.webhook_allow), settings.webhook_proxy.clone())?,
        payments: payments(settings)?,
        tuning: Tuning {
            remember: settings.remembered,
            remember_at_most: settings.remembered_max,
            snapshot_every: settings.snapshot_interval,
            journal_max: settings.journal_max_bytes,
            longest_lag: settings.books_max_lag,
            remember_ended: settings.remembered_ended,
            bounds: settings.bounds,
            calls: settings.calls,
            // Where only the provider was set, it is what makes the difference.
            orders: OrderTerms { by_provider: settings.payments.is_some(), ..settings.orders },
            watching: settings.watching,
        },
    };
    Ok((recovered.start(parts, stored).await?, writer))
}

/// Before anything is written with its time.
fn check_clock(
    settings: &Settings,
    clock: &dyn Clock,
    journalled: Timestamp,
    database: Option<Timestamp>,
) -> Result<(), ClockError> {
    let Some(wall) = clock.wall() else { return Ok(()) };
    match wall_clock::check(wall, journalled, database, settings.clock_max_ahead) {
        Err(problem) if settings.accept_clock => {
            tracing::warn!(%problem, "the wall clock is accepted");
            Ok(())
        }
        checked => checked,
    }
}

/// A server built from the books knows nothing of what was acknowledged and hadn't reached them.
fn tell_what_may_be_missing(recovered: &Recovered) {
    const NAMED: usize = 100;
    for (organization, sequence, entry) in recovered.ends().take(NAMED) {
        let (sequence, entry) = (sequence + 1, entry + 1);
        tracing::warn!(%organization, sequence, entry, "what was acknowledged from here on may be missing");
    }
    let (after, organizations) = (recovered.position, recovered.organizations());
    tracing::warn!(
        after,
        organizations,
        "this server was built from the books; what was acknowledged after this journal position may be missing, and can be \
         brought in by `quotactl journal import --after` it"
    );
}

async fn report_health(health: &HealthReporter, names: &[&str], ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in names {
        health.set_service_status(*name, status).await;
    }
}

/// A full disk shows only when something is written, so there is nothing better to wait for than time.
async fn follow_health(health: HealthReporter, service: Arc<Service>) {
    let mut ticks = interval(HEALTH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: [Option<bool>; 2] = [None; 2];
    loop {
        ticks.tick().await;
        let now = [service.is_ready(), service.books_follow()].map(Some);
        for (names, (told, now)) in [&HEALTH_NAMES[..], &[BOOKS_NAME]].iter().zip(told.iter_mut().zip(now)) {
            // Each report wakes all that watch.
            if *told != now {
                report_health(&health, names, now == Some(true)).await;
                *told = now;
            }
        }
    }
}

/// A server that has started. Dropped, it stops serving at once and loses nothing that was acknowledged.
pub struct Running {
    /// With the real port, where 0 was asked for.
    pub address: SocketAddr,
    pub operator_token: String,
    /// Where the operator's token is.
    pub token_file: PathBuf,
    service: Arc<Service>,
    writer: Writer,
    stopper: watch::Sender<bool>,
    health: HealthReporter,
    serving: JoinHandle<()>,
    background: JoinSet<()>,
    _aside: [Aside; 2],
    /// Locked until everything else has ended, or was told to.
    _data: DataDir,
}

impl Running {
    /// Completes only when the server can't go on: the process should end with an error.
    pub async fn failure(&mut self) -> ServeError {
        tokio::select! {
            why = self.writer.failed_for_good() => ServeError::JournalLost(why),
            why = self.service.lost_books() => ServeError::BooksLost(why),
            _ = &mut self.serving => ServeError::Ended,
        }
    }

    /// Stops taking calls, lets those in flight end, ends sessions and watches, and saves a snapshot for a quick start.
    ///
    /// # Errors
    /// [`ServeError`] when what was decided last didn't reach the disk, or the next start must recover.
    pub async fn shutdown(mut self) -> Result<(), ServeError> {
        report_health(&self.health, &HEALTH_NAMES, false).await;
        // Receivers that are gone have stopped already.
        let _ = self.stopper.send(true);
        match timeout(DRAIN, &mut self.serving).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(ServeError::Ended),
            Err(_) => tracing::warn!(seconds = DRAIN.as_secs(), "calls still in flight are cut off"),
        }
        self.serving.abort();
        self.background.shutdown().await;
        self.writer.drain().await.map_err(service::Error::from)?;
        if let Err(error) = self.service.save_snapshots().await {
            tracing::warn!(%error, "no last snapshot; the next start replays the journal");
        }
        self.service.close().await;
        self.writer.lost().map_or(Ok(()), |why| Err(ServeError::JournalLost(why)))
    }
}
