//! Instants and spans, in and out.

use prost_types as wkt;

use crate::domain::{
    error::Invalid,
    time::{Span, Timestamp},
};

pub(in crate::api) fn timestamp_out(at: Timestamp) -> wkt::Timestamp {
    let nanos = at.micros().rem_euclid(1_000_000) * 1000;
    wkt::Timestamp { seconds: at.seconds(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

pub(in crate::api) fn timestamp_in(field: &str, at: &wkt::Timestamp) -> Result<Timestamp, Invalid> {
    let wkt::Timestamp { seconds, nanos } = *at;
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(Invalid::new(field, format!("{nanos} nanoseconds are not from 0 to 999999999")));
    }
    let micros = seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(i64::from(nanos / 1000)));
    micros.map(Timestamp::from_micros).ok_or_else(|| Invalid::new(field, "is out of range"))
}

pub(in crate::api) fn span_out(span: Span) -> wkt::Duration {
    let micros = span.as_micros();
    let nanos = micros % 1_000_000 * 1000;
    wkt::Duration { seconds: micros / 1_000_000, nanos: i32::try_from(nanos).unwrap_or(0) }
}

pub(in crate::api) fn span_in(field: &str, span: &wkt::Duration) -> Result<Span, Invalid> {
    let wkt::Duration { seconds, nanos } = *span;
    let micros = seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(i64::from(nanos / 1000)));
    micros.map(Span::micros).ok_or_else(|| Invalid::new(field, "is out of range"))
}
