//! What a server counts: plain atomics, always there, read by the exporter and by readiness checks.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{
    clock::{Readings, SystemClock},
    domain::decision::DenialCode,
};

#[cfg(test)]
mod tests;

/// What can't keep up with what is asked, so that a call is put off. Its name is the same for callers and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// The server: the call's turn came too late to be of use.
    Turn,
    /// The local disk: the journal's queue is full.
    Journal,
    /// What the books lack is at its limit.
    Books,
}

impl Overload {
    pub const ALL: [Self; 3] = [Self::Turn, Self::Journal, Self::Books];

    pub fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Journal => "journal",
            Self::Books => "books",
        }
    }
}

/// Counts since the server started.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number as it stands.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How far something has got in the journal: a position that only grows.
#[derive(Debug, Default)]
pub struct Reached(AtomicU64);

impl Reached {
    pub fn reach(&self, position: u64) {
        self.0.fetch_max(position, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Metrics {
    /// Reserve, Charge and Extend that were granted; repeats are not decisions.
    pub granted: Counter,
    denied: [Counter; CODES.len()],
    /// Answers repeated for a request id that was seen before.
    pub replayed: Counter,
    pub committed: Counter,
    /// Commits after expiry, not among [`Self::committed`].
    pub committed_late: Counter,
    pub charged: Counter,
    pub released: Counter,
    pub expired: Counter,
    pub revoked: Counter,
    put_off: [Counter; Overload::ALL.len()],
    /// Alerts by what became of them, once no channel is left to try.
    pub alerts_delivered: Counter,
    pub alerts_failed: Counter,
    pub alerts_undeliverable: Counter,
    /// Orders to top up by what became of them.
    pub orders_settled: Counter,
    pub orders_failed: Counter,
    pub orders_reversed: Counter,
    pub open_reservations: Gauge,
    pub open_sessions: Gauge,
    /// The last position given out, on disk, and in the books.
    pub enqueued: Reached,
    pub durable: Reached,
    pub projected: Reached,
    pub journal_batches: Counter,
    /// Time that the journal's writes took, in microseconds.
    pub journal_write_micros: Counter,
    /// 1 while the journal can't be written.
    pub journal_failing: Gauge,
    /// Bytes of the records that the journal keeps.
    pub journal_bytes: Gauge,
    /// 1 while the journal has reached its size limit.
    pub journal_full: Gauge,
    /// 1 while the store takes what is projected.
    pub store_up: Gauge,
    /// 1 while the store refuses what is projected, so that the books stand still.
    pub store_stopped: Gauge,
}

impl Metrics {
    pub fn denied(&self, code: DenialCode) -> &Counter {
        &self.denied[code as usize]
    }

    /// Requests answered as unavailable, by what can't keep up.
    pub fn put_off(&self, overload: Overload) -> &Counter {
        &self.put_off[overload as usize]
    }

    /// Records that aren't on disk yet.
    pub fn journal_queue(&self) -> u64 {
        // Read first what lags, or records that come meanwhile would count as below zero.
        let durable = self.durable.get();
        self.enqueued.get().saturating_sub(durable)
    }

    /// Records on disk that the books don't have yet.
    pub fn projector_lag(&self) -> u64 {
        let projected = self.projected.get();
        self.durable.get().saturating_sub(projected)
    }
}

/// Every code, each at its own number.
const CODES: [DenialCode; 15] = [
    DenialCode::KeyUnknown,
    DenialCode::KeyDisabled,
    DenialCode::KeyExpired,
    DenialCode::MemberInactive,
    DenialCode::TeamInactive,
    DenialCode::OrganizationInactive,
    DenialCode::ModelNotAllowed,
    DenialCode::ModelUnpriced,
    DenialCode::OutsideTimeWindow,
    DenialCode::ConcurrencyExceeded,
    DenialCode::RateLimitExceeded,
    DenialCode::BudgetExceeded,
    DenialCode::WalletInsufficient,
    DenialCode::Revoked,
    DenialCode::ReservationExpired,
];

// `Metrics::denied` indexes by number: a list out of order doesn't compile.
const _: () = {
    let mut no = 0;
    while no < CODES.len() {
        assert!(CODES[no] as usize == no, "CODES must list every DenialCode in its order");
        no += 1;
    }
};

/// As the API names it. A code that is added here must be added to [`CODES`] too.
fn name(code: DenialCode) -> &'static str {
    match code {
        DenialCode::KeyUnknown => "KEY_UNKNOWN",
        DenialCode::KeyDisabled => "KEY_DISABLED",
        DenialCode::KeyExpired => "KEY_EXPIRED",
        DenialCode::MemberInactive => "MEMBER_INACTIVE",
        DenialCode::TeamInactive => "TEAM_INACTIVE",
        DenialCode::OrganizationInactive => "ORGANIZATION_INACTIVE",
        DenialCode::ModelNotAllowed => "MODEL_NOT_ALLOWED",
        DenialCode::ModelUnpriced => "MODEL_UNPRICED",
        DenialCode::OutsideTimeWindow => "OUTSIDE_TIME_WINDOW",
        DenialCode::ConcurrencyExceeded => "CONCURRENCY_EXCEEDED",
        DenialCode::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
        DenialCode::BudgetExceeded => "BUDGET_EXCEEDED",
        DenialCode::WalletInsufficient => "WALLET_INSUFFICIENT",
        DenialCode::Revoked => "REVOKED",
        DenialCode::ReservationExpired => "RESERVATION_EXPIRED",
    }
}

/// Lets the meter's exporter read the metrics from now on.
pub(super) fn export(metrics: &Arc<Metrics>, meter: &Meter) {
    let read = metrics.clone();
    meter
        .u64_observable_counter("quotad.decisions")
        .with_description("Reserve, Charge and Extend by what was decided")
        .with_callback(move |observer| {
            observer.observe(read.granted.get(), &[KeyValue::new("code", "GRANTED")]);
            for code in CODES {
                observer.observe(read.denied(code).get(), &[KeyValue::new("code", name(code))]);
            }
        })
        .build();
    let read = metrics.clone();
    meter
        .u64_observable_counter("quotad.reservations.ended")
        .with_description("Reservations by how they ended")
        .with_callback(move |observer| {
            let ends = [
                ("committed", &read.committed),
                ("committed_late", &read.committed_late),
                ("released", &read.released),
                ("expired", &read.expired),
            ];
            for (how, count) in ends {
                observer.observe(count.get(), &[KeyValue::new("how", how)]);
            }
        })
        .build();
    let read = metrics.clone();
    meter
        .u64_observable_counter("quotad.overloads")
        .with_unit("{request}")
        .with_description("Requests put off, by what can't keep up")
        .with_callback(move |observer| {
            for overload in Overload::ALL {
                observer.observe(read.put_off(overload).get(), &[KeyValue::new("cause", overload.name())]);
            }
        })
        .build();
    export_outcomes(metrics, meter);
    export_counters(metrics, meter);
    export_gauges(metrics, meter);
}

/// Alerts and orders.
fn export_outcomes(metrics: &Arc<Metrics>, meter: &Meter) {
    let read = metrics.clone();
    meter
        .u64_observable_counter("quotad.alerts")
        .with_description("Alerts by what became of them")
        .with_callback(move |observer| {
            let states = [
                ("delivered", &read.alerts_delivered),
                ("failed", &read.alerts_failed),
                ("undeliverable", &read.alerts_undeliverable),
            ];
            for (state, count) in states {
                observer.observe(count.get(), &[KeyValue::new("state", state)]);
            }
        })
        .build();
    let read = metrics.clone();
    meter
        .u64_observable_counter("quotad.top_up_orders")
        .with_description("Orders to top up by what became of them")
        .with_callback(move |observer| {
            let states = [
                ("settled", &read.orders_settled),
                ("failed", &read.orders_failed),
                ("reversed", &read.orders_reversed),
            ];
            for (state, count) in states {
                observer.observe(count.get(), &[KeyValue::new("state", state)]);
            }
        })
        .build();
}

/// A metric's name, unit, description and value.
type Described<T> = (&'static str, &'static str, &'static str, fn(&Metrics) -> T);

fn export_counters(metrics: &Arc<Metrics>, meter: &Meter) {
    let counters: [Described<u64>; 5] = [
        ("quotad.replays", "{answer}", "Answers repeated for a known request id", |read| read.replayed.get()),
        ("quotad.charges", "{charge}", "Usage charged without a reservation", |read| read.charged.get()),
        ("quotad.revocations", "{reservation}", "Reservations revoked while they ran", |read| read.revoked.get()),
        ("quotad.journal.batches", "{batch}", "Batches written to the journal", |read| read.journal_batches.get()),
        ("quotad.journal.write.time", "us", "Time that these writes took", |read| read.journal_write_micros.get()),
    ];
    for (name, unit, description, value) in counters {
        let read = metrics.clone();
        let instrument = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
        instrument.with_callback(move |observer| observer.observe(value(&read), &[])).build();
    }
}

fn export_gauges(metrics: &Arc<Metrics>, meter: &Meter) {
    let gauges: [Described<i64>; 9] = [
        ("quotad.reservations.open", "{reservation}", "Reservations that are open", |read| {
            read.open_reservations.get()
        }),
        ("quotad.sessions.open", "{session}", "Session streams that are open", |read| read.open_sessions.get()),
        ("quotad.journal.queue", "{record}", "Records not yet on disk", |read| whole(read.journal_queue())),
        ("quotad.journal.failing", "1", "1 while the journal can't be written", |read| read.journal_failing.get()),
        ("quotad.journal.size", "By", "Bytes of the records that the journal keeps", |read| read.journal_bytes.get()),
        ("quotad.journal.full", "1", "1 while the journal has reached its size limit", |read| read.journal_full.get()),
        ("quotad.store.lag", "{record}", "Records not yet in the books", |read| whole(read.projector_lag())),
        ("quotad.store.up", "1", "1 while the store takes records", |read| read.store_up.get()),
        ("quotad.store.stopped", "1", "1 while the store refuses a record and the books stand still", |read| {
            read.store_stopped.get()
        }),
    ];
    for (name, unit, description, value) in gauges {
        let read = metrics.clone();
        let instrument = meter.i64_observable_gauge(name).with_unit(unit).with_description(description);
        instrument.with_callback(move |observer| observer.observe(value(&read), &[])).build();
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Lets the meter's exporter read how far the wall clock is ahead.
pub(super) fn export_clock<R: Readings>(clock: &Arc<SystemClock<R>>, meter: &Meter) {
    let read = clock.clone();
    meter
        .i64_observable_gauge("quotad.clock.drift")
        .with_unit("us")
        .with_description("How far the wall clock is ahead of the server's time")
        .with_callback(move |observer| observer.observe(read.drift().as_micros(), &[]))
        .build();
    let read = clock.clone();
    meter
        .i64_observable_gauge("quotad.clock.diverged")
        .with_description("1 while the two are more than five minutes apart")
        .with_callback(move |observer| observer.observe(i64::from(read.diverged()), &[]))
        .build();
}
