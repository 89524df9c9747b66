//! How a run went, for people and for programs.

use std::{fmt::Write as _, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{
    drive::{Settled, Shape},
    mix::Kind,
    record::{Counts, Sample, Tally, rate},
};
use crate::{
    format::{latency, thousands},
    names::code,
    output::{number, table, text},
};

#[derive(Debug)]
pub(super) struct Report {
    pub(super) run: String,
    pub(super) keys: usize,
    pub(super) shape: Shape,
    pub(super) measured: Tally,
    /// With the warm-up, by kind.
    pub(super) all: [Counts; 6],
    /// Due and never sent.
    pub(super) unsent: u64,
    /// Sent and never answered.
    pub(super) unanswered: u64,
    pub(super) settled: Settled,
    pub(super) samples: Vec<Sample>,
    /// How to remove what was made, where it stays.
    pub(super) removal: Option<String>,
}

impl Report {
    /// Something was done. Denials and errors are results; a run of nothing else is none.
    pub(super) fn is_good(&self) -> bool {
        self.all.iter().any(|counts| counts.done > 0)
    }

    /// From the end of the warm-up to the last answer.
    fn elapsed(&self) -> Duration {
        self.measured.last.saturating_sub(self.shape.warm_up)
    }

    pub(super) fn text(&self) -> String {
        let Self { shape, measured, .. } = self;
        let mut out = String::new();
        let total = measured.total();
        line(&mut out, "run", &format!("{}, {}", self.run, self.described()));
        let span = latency(micros(self.elapsed()));
        let answered = self.per_second(total.done);
        line(&mut out, "done", &format!("{} in {span}: {} operations/s", thousands(total.done), thousands(answered)));
        if let Some(target) = shape.rate {
            let unsent = match self.unsent {
                0 => String::new(),
                some => format!("; {} were due and never sent", thousands(some)),
            };
            line(&mut out, "target", &format!("{} operations/s{unsent}", thousands(target.get())));
        }
        line(&mut out, "denied", &thousands(total.denied));
        for ((kind, denial), count) in &measured.denials {
            let _ = writeln!(out, "          {} {} {}", thousands(*count), kind.name(), code(*denial));
        }
        line(&mut out, "errors", &thousands(total.failed));
        for ((kind, error), errors) in &measured.errors {
            let (count, kind) = (thousands(errors.count), kind.name());
            let _ = writeln!(out, "          {count} {kind} {error}, such as: {}", errors.example);
        }
        if self.unanswered > 0 {
            line(&mut out, "missing", &format!("{} operations were never answered", thousands(self.unanswered)));
        }
        let Settled { released, left, .. } = self.settled;
        let left = match (left, shape.max_open) {
            (left, None) => format!("{}, which end by themselves", thousands(left)),
            (0, _) => format!("{}, released after the run", thousands(released)),
            (left, _) => {
                let (released, left) = (thousands(released), thousands(left));
                format!("{released}, released after the run; {left} couldn't be and end by themselves")
            }
        };
        line(&mut out, "left open", &left);
        let _ = write!(out, "\n{}", self.latencies());
        if let Some(removal) = &self.removal {
            let _ = write!(out, "\n\n{removal}");
        }
        out
    }

    fn described(&self) -> String {
        let Shape { session, in_order, connections, in_flight, .. } = self.shape;
        let mode = if session { "sessions" } else { "connections" };
        let each = if session { "operations deep" } else { "callers" };
        let keys = if self.keys == 1 { "1 key".to_owned() } else { format!("{} keys", thousands(count(self.keys))) };
        let order = if in_order { " in order" } else { "" };
        format!("{connections} {mode} × {in_flight} {each}{order}, {keys}")
    }

    fn latencies(&self) -> String {
        let columns = [
            text("latency"),
            number("count"),
            number("per second"),
            number("p50"),
            number("p90"),
            number("p99"),
            number("p99.9"),
            number("max"),
        ];
        let measured = &self.measured;
        let done = Kind::ALL.iter().zip(&measured.done).map(|(kind, of)| (kind.name(), of));
        let all = done.chain([("denied", &measured.denied), ("errors", &measured.failed)]);
        let rows = all.filter(|(_, of)| !of.is_empty()).map(|(name, of)| {
            let counts = [thousands(of.len()), thousands(self.per_second(of.len()))];
            std::iter::once(name.to_owned()).chain(counts).chain(quantiles(of).map(latency)).collect()
        });
        table(&columns, rows)
    }

    pub(super) fn json(&self) -> Value {
        let Self { shape, measured, settled, .. } = self;
        let total = measured.total();
        let by_kind = |value: &dyn Fn(Kind) -> Value| -> Value {
            let met = Kind::ALL.into_iter().filter(|kind| self.all[*kind as usize] != Counts::default());
            met.map(|kind| (kind.name().to_owned(), value(kind))).collect::<Map<_, _>>().into()
        };
        let operations = by_kind(&|kind| {
            let (counts, done) = (measured.counts[kind as usize], &measured.done[kind as usize]);
            let mut value = counts_json(counts);
            value["per_second"] = self.per_second(counts.done).into();
            value["latency_us"] = latencies_json(done);
            value
        });
        let denials = measured
            .denials
            .iter()
            .map(|((kind, denial), count)| json!({ "operation": kind.name(), "code": code(*denial), "count": count }));
        let errors = measured.errors.iter().map(|((kind, error), errors)| {
            json!({
                "operation": kind.name(),
                "error": error,
                "count": errors.count,
                "example": errors.example,
            })
        });
        json!({
            "run": self.run,
            "mode": if shape.session { "session" } else { "unary" },
            "connections": shape.connections,
            "in_flight": shape.in_flight,
            "in_order": shape.in_order || shape.session,
            "keys": self.keys,
            "target_per_second": shape.rate,
            "warm_up_us": micros(shape.warm_up),
            "elapsed_us": micros(self.elapsed()),
            "done": total.done,
            "done_per_second": self.per_second(total.done),
            "denied": total.denied,
            "failed": total.failed,
            "operations": operations,
            "denials": denials.collect::<Vec<_>>(),
            "denied_latency_us": latencies_json(&measured.denied),
            "errors": errors.collect::<Vec<_>>(),
            "failed_latency_us": latencies_json(&measured.failed),
            "unsent": self.unsent,
            "unanswered": self.unanswered,
            "with_warm_up": by_kind(&|kind| counts_json(self.all[kind as usize])),
            "settled_after": { "released": settled.released, "closed": settled.closed, "left_open": settled.left },
            "to_remove": self.removal,
            "samples": self.samples.iter().map(sample_json).collect::<Vec<_>>(),
        })
    }

    fn per_second(&self, count: u64) -> u64 {
        rate(count, self.elapsed())
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name:9} {value}");
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn quantiles(of: &Histogram<u64>) -> [u64; 5] {
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|quantile| of.value_at_quantile(quantile));
    [p50, p90, p99, p999, of.max()]
}

fn latencies_json(of: &Histogram<u64>) -> Value {
    let [p50, p90, p99, p999, max] = quantiles(of);
    json!({ "count": of.len(), "p50": p50, "p90": p90, "p99": p99, "p99_9": p999, "max": max })
}

fn counts_json(counts: Counts) -> Value {
    json!({ "done": counts.done, "denied": counts.denied, "failed": counts.failed })
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "at_us": micros(sample.at),
        "done_per_second": sample.per_second(sample.counts.done),
        "denied_per_second": sample.per_second(sample.counts.denied),
        "failed_per_second": sample.per_second(sample.counts.failed),
        "p50_us": sample.p50,
        "p99_us": sample.p99,
        "max_us": sample.max,
    })
}
