//! Time that is true in all lives of the server, and what its machine's clocks make of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quotad::{
    clock::Readings,
    domain::time::{Span, Timestamp},
};
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Time(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// When this life began, truly.
    start: Timestamp,
    /// The same moment, as the runtime counts.
    began: Option<Instant>,
    /// How far ahead of the truth the wall clock is.
    skew: Span,
}

impl Time {
    pub(crate) fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { start, began: None, skew: Span::ZERO })))
    }

    /// Within a runtime: a life begins.
    pub(crate) fn begin(&self) {
        // A deadline of no wait is the only way to ask what time it is that doesn't look like asking the machine's clock.
        self.0.lock().unwrap().began = Some(tokio::time::sleep(Duration::ZERO).deadline());
    }

    /// Within the same runtime: it has ended.
    pub(crate) fn end(&self) {
        let now = self.now();
        let mut inner = self.0.lock().unwrap();
        (inner.start, inner.began) = (now, None);
    }

    pub(crate) fn now(&self) -> Timestamp {
        let inner = self.0.lock().unwrap();
        inner.start + inner.elapsed()
    }

    /// Sets the wall clock forwards or backwards.
    pub(crate) fn step(&self, by: Span) {
        let mut inner = self.0.lock().unwrap();
        inner.skew = Span::micros(inner.skew.as_micros() + by.as_micros());
    }
}

impl Inner {
    fn elapsed(&self) -> Span {
        let elapsed = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        Span::micros(i64::try_from(elapsed.as_micros()).unwrap())
    }
}

/// The clocks of the machine that the server runs on.
#[derive(Debug)]
pub(crate) struct Machine(pub(crate) Arc<Time>);

impl Readings for Machine {
    fn wall(&self) -> Timestamp {
        let now = self.0.now();
        now + self.0.0.lock().unwrap().skew
    }

    fn elapsed(&self) -> Span {
        self.0.0.lock().unwrap().elapsed()
    }
}
