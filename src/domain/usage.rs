//! What a request consumes.

use serde::{Deserialize, Serialize};

use super::{
    error::Invalid,
    money::{Factor, Nanos},
};

/// Most tokens of a kind in one usage.
const MAX_TOKENS: u64 = 1_000_000_000;
/// Most requests that one usage stands for.
const MAX_REQUESTS: u64 = 1_000_000;

/// What a request consumes, or is expected to consume. Cached and cache-write tokens are parts of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub requests: u64,
    /// Given by the caller; `None` lets the price book compute it.
    pub cost: Option<Nanos>,
}

impl Usage {
    /// Checks bounds; the domain works on nothing else.
    ///
    /// # Errors
    /// [`Invalid`] when a count or the cost is absurd, or the cached parts exceed the input.
    pub fn checked(self) -> Result<Self, Invalid> {
        let counts = [
            ("input_tokens", self.input_tokens, MAX_TOKENS),
            ("cached_input_tokens", self.cached_input_tokens, MAX_TOKENS),
            ("cache_write_tokens", self.cache_write_tokens, MAX_TOKENS),
            ("output_tokens", self.output_tokens, MAX_TOKENS),
            ("requests", self.requests, MAX_REQUESTS),
        ];
        for (field, value, max) in counts {
            if value > max {
                return Err(Invalid::new(field, format!("{value} is more than one usage may have, {max}")));
            }
        }
        if self.requests == 0 {
            return Err(Invalid::new("requests", "0 requests use nothing; give at least 1"));
        }
        let cache = self.cached_input_tokens + self.cache_write_tokens;
        if cache > self.input_tokens {
            let problem =
                format!("{cache} cached and cache-write tokens are more than the {} input tokens", self.input_tokens);
            return Err(Invalid::new("cached_input_tokens", problem));
        }
        if self.cost.is_some_and(|cost| cost > Nanos::MAX_COST || cost < Nanos::ZERO) {
            return Err(Invalid::new("cost_usd", format!("is not from 0 to {}", Nanos::MAX_COST)));
        }
        Ok(self)
    }

    /// What token quotas count.
    pub fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    /// True where no field is less than in `earlier`.
    pub fn covers(&self, earlier: &Self) -> bool {
        self.input_tokens >= earlier.input_tokens
            && self.cached_input_tokens >= earlier.cached_input_tokens
            && self.cache_write_tokens >= earlier.cache_write_tokens
            && self.output_tokens >= earlier.output_tokens
            && self.requests >= earlier.requests
            && self.cost.unwrap_or_default() >= earlier.cost.unwrap_or_default()
    }

    /// The larger of each count, with an input that has room for its cached parts; what it costs follows from elsewhere.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        let cached_input_tokens = self.cached_input_tokens.max(other.cached_input_tokens);
        let cache_write_tokens = self.cache_write_tokens.max(other.cache_write_tokens);
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens).max(cached_input_tokens + cache_write_tokens),
            cached_input_tokens,
            cache_write_tokens,
            output_tokens: self.output_tokens.max(other.output_tokens),
            requests: self.requests.max(other.requests),
            cost: self.cost.max(other.cost),
        }
    }
}

/// A usage in every unit that limits are kept in. Signed, because a late commit may give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    pub usd: Nanos,
    pub credits: Nanos,
    pub tokens: i64,
    pub requests: i64,
}

impl Amounts {
    pub const ZERO: Self = Self { usd: Nanos::ZERO, credits: Nanos::ZERO, tokens: 0, requests: 0 };

    pub fn new(usage: &Usage, usd: Nanos, factor: Factor) -> Self {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Self { usd, credits: usd.times(factor), tokens: count(usage.tokens()), requests: count(usage.requests) }
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            usd: self.usd - other.usd,
            credits: self.credits - other.credits,
            tokens: self.tokens - other.tokens,
            requests: self.requests - other.requests,
        }
    }

    /// The larger of each unit.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            usd: self.usd.max(other.usd),
            credits: self.credits.max(other.credits),
            tokens: self.tokens.max(other.tokens),
            requests: self.requests.max(other.requests),
        }
    }
}
