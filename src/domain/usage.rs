//! What a request consumes.

use serde::{Deserialize, Serialize};

use super::{
    error::Invalid,
    money::{Factor, Nanos},
    price::Price,
};

/// Most tokens of a kind in one usage. More is absurd.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
/// Most requests that one usage stands for. More is absurd.
pub const MAX_REQUESTS: u64 = 1_000_000_000;

/// What a request consumes, or is expected to consume: the counts as the caller sent them.
///
/// Providers count their prompt caches in two ways: as parts of the input, or beside it. [`Usage::input`] is the whole input, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// With the cached and cache-write tokens in it, or without them: see [`Usage::cache_is_outside`].
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub requests: u64,
    /// Given by the caller; `None` lets the price book compute it.
    pub cost: Option<Nanos>,
    /// Whether the cached and cache-write tokens come beside the input tokens. `None` where nobody said so yet.
    pub cache_outside_input: Option<bool>,
}

impl Usage {
    /// Checks bounds; the domain works on nothing else. What was done can always be booked: nothing but absurdity is refused.
    ///
    /// # Errors
    /// [`Invalid`] when a count or the cost is absurd.
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
                return Err(Invalid::absurd(field, format!("{value} is more than one usage may have, {max}")));
            }
        }
        if self.requests == 0 {
            return Err(Invalid::new("requests", "0 requests use nothing; give at least 1"));
        }
        if self.cost.is_some_and(|cost| cost > Nanos::MAX_COST || cost < Nanos::ZERO) {
            return Err(Invalid::absurd("cost_usd", format!("is not from 0 to {}", Nanos::MAX_COST)));
        }
        Ok(self)
    }

    /// Says how the cache is counted: beside the input where the counts can only be meant so, or where the reservation was read so
    /// `before`; else as the caller says, else as the model's price does, else as a part of the input.
    #[must_use]
    pub fn read(self, before: bool, price: Option<&Price>) -> Self {
        let said = self.cache_outside_input.unwrap_or_else(|| price.is_some_and(|price| price.cache_outside_input));
        let outside = before || said || self.cache_is_outside();
        // A usage without cached tokens says nothing, so that the next one may.
        let reads = outside && (before || self.cache_tokens() > 0);
        Self { cache_outside_input: reads.then_some(true).or(self.cache_outside_input), ..self }
    }

    /// Returns true where the cached and cache-write tokens come beside the input tokens.
    pub fn cache_is_outside(&self) -> bool {
        self.cache_outside_input == Some(true) || self.cache_tokens() > self.input_tokens
    }

    fn cache_tokens(&self) -> u64 {
        self.cached_input_tokens + self.cache_write_tokens
    }

    /// Returns the whole input: what was read from the cache and written to it included.
    pub fn input(&self) -> u64 {
        self.input_tokens + if self.cache_is_outside() { self.cache_tokens() } else { 0 }
    }

    /// Returns what token quotas count.
    pub fn tokens(&self) -> u64 {
        self.input() + self.output_tokens
    }

    /// Returns true where no field is less than in `earlier`, as both were sent.
    pub fn covers(&self, earlier: &Self) -> bool {
        self.input_tokens >= earlier.input_tokens
            && self.cached_input_tokens >= earlier.cached_input_tokens
            && self.cache_write_tokens >= earlier.cache_write_tokens
            && self.output_tokens >= earlier.output_tokens
            && self.requests >= earlier.requests
            && self.cost.unwrap_or_default() >= earlier.cost.unwrap_or_default()
    }

    /// Returns the larger of each count, with an input that has room for its cached parts; what it costs follows from elsewhere.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        let cached_input_tokens = self.cached_input_tokens.max(other.cached_input_tokens);
        let cache_write_tokens = self.cache_write_tokens.max(other.cache_write_tokens);
        let cache = cached_input_tokens + cache_write_tokens;
        let whole = self.input().max(other.input()).max(cache);
        let beside = [self, other].into_iter().filter(|usage| usage.cache_is_outside());
        let (input_tokens, cache_outside_input) = match beside.map(|usage| usage.input_tokens).max() {
            Some(least) => ((whole - cache).max(least), Some(true)),
            None => (whole, self.cache_outside_input.or(other.cache_outside_input)),
        };
        Self {
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            output_tokens: self.output_tokens.max(other.output_tokens),
            requests: self.requests.max(other.requests),
            cost: self.cost.max(other.cost),
            cache_outside_input,
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
