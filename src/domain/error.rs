//! Refusals that every layer knows: a value that a caller gave is wrong, or it asked for more than it may at a time.

use super::{money::Nanos, time::Span};

/// A field holds a value that can't be accepted. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field as the API names it, such as `policy.budgets[0].max`.
    pub field: String,
    /// The value, and what would be accepted instead.
    pub problem: String,
    /// True where a usage is larger than any that could be meant.
    pub is_absurd: bool,
}

impl Invalid {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), is_absurd: false }
    }

    /// Refuses a usage that is larger than any that could be meant: the one reason, beside identity, that refuses a settlement.
    pub fn absurd(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { is_absurd: true, ..Self::new(field, problem) }
    }

    /// The same problem seen from one level up: `id` in `policy.budgets[0]`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = if self.field.is_empty() { parent.to_owned() } else { format!("{parent}.{}", self.field) };
        self
    }
}

/// More was asked for at a time, or within a span of time, than is allowed; waiting cures it. Nothing has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: at most {max} are allowed; try again in {} s", retry_after.seconds_up())]
pub struct Exhausted {
    /// The thing that is counted, of whom, and in which time, such as `credit requests of a member in a day`.
    pub what: &'static str,
    pub max: u64,
    /// The earliest time at which the same call can succeed, as far as this bound is concerned.
    pub retry_after: Span,
}

/// A sum would become larger than any that is kept. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} would pass {}, the largest sum that is kept", Nanos::MAX_SUM)]
pub struct SumTooLarge {
    /// Which sum, such as `the balance`.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_cures_says_the_bound_and_when_to_come_back() {
        let exhausted =
            Exhausted { what: "mails of an address in an hour", max: 20, retry_after: Span::micros(1_000_001) };
        assert_eq!(exhausted.to_string(), "mails of an address in an hour: at most 20 are allowed; try again in 2 s");
    }
}
