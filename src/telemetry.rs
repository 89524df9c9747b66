//! Logs to standard error; traces and metrics to an OpenTelemetry collector, if one is set.
//!
//! Deciding must never wait for any of it: on the hot path there are counters only, which the exporter reads when it will.

use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
};

use opentelemetry::{
    KeyValue,
    metrics::{Meter, MeterProvider as _},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use tracing_subscriber::{
    Layer as _,
    filter::{ParseError, filter_fn},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{
    clock::{Readings, SystemClock},
    config::{Settings, log_filter},
};

mod lines;
pub mod metrics;

use lines::Lines;
pub use metrics::{Metrics, Overload};

/// The running exporters. Dropping it sends what is left and waits for that, a few seconds at most.
#[derive(Debug)]
pub struct Telemetry {
    pub metrics: Arc<Metrics>,
    exporters: Option<Exporters>,
}

#[derive(Debug)]
struct Exporters {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log: {0}")]
    Filter(#[from] ParseError),
    #[error("otlp_endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// Logging was already set up in this process.
    #[error("logging can't be set up: {0}")]
    Subscriber(#[from] TryInitError),
}

impl Telemetry {
    /// Sets up logging for the whole process: at most once. With an endpoint it needs a multi-threaded tokio runtime, on which
    /// the exporters run.
    ///
    /// How much is sampled and how often metrics are sent follows OpenTelemetry's own `OTEL_*` environment variables.
    pub fn start(settings: &Settings) -> Result<Self, TelemetryError> {
        let metrics = Arc::new(Metrics::default());
        let exporters =
            settings.otlp_endpoint.as_ref().map(|endpoint| Exporters::start(endpoint.reveal())).transpose()?;
        let traces = exporters.as_ref().map(|exporters| {
            // The exporter's own gRPC calls would be traced, exported, traced and so on.
            let own = filter_fn(|metadata| metadata.target().starts_with(env!("CARGO_CRATE_NAME")));
            tracing_opentelemetry::layer().with_tracer(exporters.traces.tracer("quotad")).with_filter(own)
        });
        let lines = tracing_subscriber::fmt::layer()
            .compact()
            .with_writer(|| Lines(io::stderr()))
            .with_ansi(io::stderr().is_terminal());
        tracing_subscriber::registry().with(log_filter(&settings.log)?).with(lines).with(traces).try_init()?;
        let telemetry = Self { metrics, exporters };
        if let Some(meter) = telemetry.meter() {
            metrics::export(&telemetry.metrics, &meter);
        }
        Ok(telemetry)
    }

    /// Adds the clock's drift to the metrics.
    pub fn observe_clock<R: Readings>(&self, clock: &Arc<SystemClock<R>>) {
        if let Some(meter) = self.meter() {
            metrics::export_clock(clock, &meter);
        }
    }

    fn meter(&self) -> Option<Meter> {
        self.exporters.as_ref().map(|exporters| exporters.metrics.meter("quotad"))
    }
}

impl Exporters {
    fn start(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let resource = Resource::builder()
            .with_service_name("quotad")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let metrics = MetricExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        Ok(Self {
            traces: SdkTracerProvider::builder().with_batch_exporter(spans).with_resource(resource.clone()).build(),
            metrics: SdkMeterProvider::builder().with_periodic_exporter(metrics).with_resource(resource).build(),
        })
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        for (what, result) in [("traces", self.traces.shutdown()), ("metrics", self.metrics.shutdown())] {
            if let Err(error) = result {
                tracing::warn!(%error, "the last {what} didn't reach the collector");
            }
        }
    }
}
