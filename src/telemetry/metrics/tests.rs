use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        SdkMeterProvider, Temporality,
        data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics},
        exporter::PushMetricExporter,
    },
};

use super::*;
use crate::domain::time::Timestamp;

/// What was exported last, each value under its metric's name and attributes.
#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<BTreeMap<String, i64>>>);

impl PushMetricExporter for Exported {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut exported = self.0.lock().unwrap();
        exported.clear();
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            let key = |attributes: &mut dyn Iterator<Item = &KeyValue>| {
                attributes.fold(metric.name().to_owned(), |key, attribute| format!("{key} {}", attribute.value))
            };
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    let value = |point: u64| i64::try_from(point).unwrap();
                    exported.extend(sum.data_points().map(|at| (key(&mut at.attributes()), value(at.value()))));
                }
                AggregatedMetrics::I64(MetricData::Gauge(gauge)) => {
                    exported.extend(gauge.data_points().map(|at| (key(&mut at.attributes()), at.value())));
                }
                other => panic!("{}: {other:?}", metric.name()),
            }
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// What an exporter sees of these metrics.
fn exported(metrics: Metrics) -> BTreeMap<String, i64> {
    let exporter = Exported::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let meter = provider.meter("test");
    export(&Arc::new(metrics), &meter);
    export_clock(&Arc::new(SystemClock::start(Timestamp::from_seconds(10_000_000_000))), &meter);
    provider.force_flush().unwrap();
    let values = exporter.0.lock().unwrap();
    values.clone()
}

#[test]
fn every_code_counts_for_itself_and_is_exported_under_its_name() {
    let metrics = Metrics::default();
    metrics.granted.add(100);
    for (no, code) in (1..).zip(CODES) {
        metrics.denied(code).add(no);
    }
    let exported = exported(metrics);
    assert_eq!(exported["quotad.decisions GRANTED"], 100);
    for (no, code) in (1..).zip(CODES) {
        assert_eq!(exported[&format!("quotad.decisions {}", name(code))], no);
    }
    assert_eq!(exported["quotad.decisions RESERVATION_EXPIRED"], 15);
}

#[test]
fn every_metric_is_exported_under_its_own_name() {
    let metrics = Metrics::default();
    let counters = [
        (&metrics.committed, "quotad.reservations.ended committed"),
        (&metrics.committed_late, "quotad.reservations.ended committed_late"),
        (&metrics.released, "quotad.reservations.ended released"),
        (&metrics.expired, "quotad.reservations.ended expired"),
        (&metrics.replayed, "quotad.replays"),
        (&metrics.charged, "quotad.charges"),
        (&metrics.revoked, "quotad.revocations"),
        (metrics.put_off(Overload::Turn), "quotad.overloads turn"),
        (metrics.put_off(Overload::Journal), "quotad.overloads journal"),
        (metrics.put_off(Overload::Books), "quotad.overloads books"),
        (&metrics.journal_batches, "quotad.journal.batches"),
        (&metrics.journal_write_micros, "quotad.journal.write.time"),
    ];
    let gauges = [
        (&metrics.open_reservations, "quotad.reservations.open"),
        (&metrics.open_sessions, "quotad.sessions.open"),
        (&metrics.journal_failing, "quotad.journal.failing"),
        (&metrics.journal_bytes, "quotad.journal.size"),
        (&metrics.journal_full, "quotad.journal.full"),
        (&metrics.store_stopped, "quotad.store.stopped"),
        (&metrics.store_up, "quotad.store.up"),
    ];
    let mut expected = BTreeMap::new();
    for (no, (counter, name)) in (1..).zip(counters) {
        counter.add(no);
        expected.insert(name, i64::try_from(no).unwrap());
    }
    for (no, (gauge, name)) in (50..).zip(gauges) {
        gauge.set(no);
        expected.insert(name, no);
    }
    metrics.enqueued.reach(1000);
    metrics.durable.reach(900);
    metrics.projected.reach(700);
    expected.extend([("quotad.journal.queue", 100), ("quotad.store.lag", 200), ("quotad.clock.diverged", 1)]);

    let exported = exported(metrics);
    for (name, value) in expected {
        assert_eq!(exported.get(name), Some(&value), "{name}");
    }
    assert!(exported["quotad.clock.drift"] < 0, "the clock was started in the future");
}

#[test]
fn a_position_never_goes_back_and_a_lag_never_below_zero() {
    let metrics = Metrics::default();
    metrics.durable.reach(10);
    metrics.durable.reach(7);
    assert_eq!(metrics.durable.get(), 10);
    assert_eq!(metrics.journal_queue(), 0);
    metrics.projected.reach(12);
    assert_eq!(metrics.projector_lag(), 0);
}

#[test]
fn alerts_and_orders_are_exported_by_what_became_of_them() {
    let metrics = Metrics::default();
    let counters = [
        &metrics.alerts_delivered,
        &metrics.alerts_failed,
        &metrics.alerts_undeliverable,
        &metrics.orders_settled,
        &metrics.orders_failed,
        &metrics.orders_reversed,
    ];
    for (no, counter) in (1..).zip(counters) {
        counter.add(no);
    }
    let exported = exported(metrics);
    let names = ["alerts delivered", "alerts failed", "alerts undeliverable"];
    let orders = ["top_up_orders settled", "top_up_orders failed", "top_up_orders reversed"];
    for (no, name) in (1..).zip(names.into_iter().chain(orders)) {
        assert_eq!(exported[&format!("quotad.{name}")], no);
    }
}
