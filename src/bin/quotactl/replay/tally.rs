//! Adds up what became of the rows.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use rust_decimal::Decimal;

use super::{
    books::Books,
    drive::{End, Outcome},
};
use crate::failure::Failure;

/// Longer calls count as this long, in µs.
const LONGEST: u64 = 3_600_000_000;

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) granted: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) errors: BTreeMap<String, Errors>,
    /// Errors of Commit: whether these are in the books isn't known here.
    pub(super) uncertain: u64,
    pub(super) retries: u64,
    pub(super) overages: u64,
    pub(super) late: u64,
    /// What was acknowledged.
    pub(super) committed: Books,
    /// µs.
    pub(super) reserve: Histogram<u64>,
    pub(super) commit: Histogram<u64>,
}

/// Errors of one kind. Their messages may all differ, so that one has to stand for them.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub(super) count: u64,
    pub(super) example: String,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| Failure::other(format!("histogram: {error}")));
        Ok(Self {
            rows: 0,
            granted: 0,
            refused: BTreeMap::new(),
            errors: BTreeMap::new(),
            uncertain: 0,
            retries: 0,
            overages: 0,
            late: 0,
            committed: Books::default(),
            reserve: histogram()?,
            commit: histogram()?,
        })
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.rows += 1;
        self.retries += outcome.retries;
        record(&mut self.reserve, outcome.reserve);
        record(&mut self.commit, outcome.commit);
        match outcome.end {
            End::Committed(settled) => {
                self.granted += 1;
                self.overages += u64::from(settled.overage);
                self.late += u64::from(settled.late);
                self.committed.entries += 1;
                self.committed.cost += settled.cost;
                self.committed.input += i128::from(settled.input);
                self.committed.output += i128::from(settled.output);
            }
            End::Refused { code } => *self.refused.entry(code).or_default() += 1,
            End::Failed { granted, error } => {
                self.granted += u64::from(granted);
                self.uncertain += u64::from(granted);
                let errors = self.errors.entry(error.kind).or_default();
                errors.count += 1;
                if errors.count == 1 {
                    errors.example = error.message;
                }
            }
        }
    }

    /// Calls that were answered.
    pub(super) fn operations(&self) -> u64 {
        self.reserve.len() + self.commit.len()
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(super) fn failures(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }

    /// Exact.
    pub(super) fn cost(&self) -> Decimal {
        self.committed.cost.normalize()
    }
}

fn record(histogram: &mut Histogram<u64>, took: Option<Duration>) {
    if let Some(took) = took {
        histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST));
    }
}
