//! `quotad serve`: from the settings to a server, and from a signal to its end.

use std::{io, sync::Arc};

use quotad::{
    clock::SystemClock,
    config::{ConfigError, ServeArgs, Settings},
    server::{Running, ServeError, serve},
    telemetry::{Telemetry, TelemetryError},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("signals can't be listened for: {0}")]
    Signal(#[from] io::Error),
}

pub(crate) async fn run(args: &ServeArgs) -> Result<(), RunError> {
    let settings = Settings::load(args)?;
    let telemetry = Telemetry::start(&settings)?;
    // Before anything is served, so that no signal finds nobody.
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut running = serve(&settings, Arc::clone(&telemetry.metrics), |at_least| {
        let clock = Arc::new(SystemClock::start(at_least));
        telemetry.observe_clock(&clock);
        clock
    })
    .await?;
    greet(&running, &settings);
    tokio::select! {
        () = either(terminate, interrupt) => {}
        error = running.failure() => return Err(error.into()),
    }
    tracing::info!("stopping: calls in flight are answered first");
    running.shutdown().await?;
    tracing::info!("stopped");
    Ok(())
}

async fn either(mut one: Signal, mut other: Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn greet(running: &Running, Settings { data_dir, socket, .. }: &Settings) {
    let (address, token) = (running.address, running.token_file.display());
    println!("quotad {} listens on {address}", env!("CARGO_PKG_VERSION"));
    if let Some(socket) = socket {
        println!("  socket          unix:{}", socket.display());
    }
    println!("  data            {}", data_dir.display());
    println!("  operator token  {token}");
    println!("  try             quotactl --endpoint http://{address} --token-file {token} org list");
}
