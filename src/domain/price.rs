//! What a model costs.

use serde::{Deserialize, Serialize};

use super::{money::Nanos, usage::Usage};

mod book;
mod list;

pub use book::PriceBook;
pub use list::ListPrice;

const MILLION: u128 = 1_000_000;

/// What one model costs at a moment, in nano-USD: per million tokens of each kind, and per request. A reservation keeps the one that
/// it was admitted at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Price {
    pub input: Nanos,
    pub cached_input: Nanos,
    pub cache_write: Nanos,
    pub output: Nanos,
    pub per_request: Nanos,
    /// Whether this model's provider counts cached and cache-write tokens beside the input, where a usage doesn't say.
    pub cache_outside_input: bool,
}

impl Price {
    /// Nano-USD × 10⁶, exact.
    fn exact(&self, usage: &Usage) -> u128 {
        let times = |tokens: u64, price: Nanos| u128::from(tokens) * u128::from(price.get().unsigned_abs());
        let plain = usage.input().saturating_sub(usage.cached_input_tokens + usage.cache_write_tokens);
        times(plain, self.input)
            + times(usage.cached_input_tokens, self.cached_input)
            + times(usage.cache_write_tokens, self.cache_write)
            + times(usage.output_tokens, self.output)
            + times(usage.requests, self.per_request) * MILLION
    }

    /// Cost of a usage: summed exactly, rounded up once to 1 nano-USD. `None` beyond [`Nanos::MAX_COST`].
    pub fn cost(&self, usage: &Usage) -> Option<Nanos> {
        let exact = self.exact(usage);
        // 64-bit division is several times faster and serves every real request.
        let nanos = match u64::try_from(exact) {
            Ok(small) => i64::try_from(small.div_ceil(1_000_000)).ok()?,
            Err(_) => i64::try_from(exact.div_ceil(MILLION)).ok()?,
        };
        Some(Nanos::new(nanos)).filter(|cost| *cost <= Nanos::MAX_COST)
    }

    /// The most output tokens with which `usage` (its own output left aside) costs at most `usd`; `None` if not even 0 do.
    pub fn output_within(&self, usage: &Usage, usd: Nanos) -> Option<u64> {
        let base = self.exact(&Usage { output_tokens: 0, ..*usage });
        let room = u128::try_from(usd.get()).ok()? * MILLION;
        let left = room.checked_sub(base)?;
        let each = u128::from(self.output.get().unsigned_abs());
        Some(left.checked_div(each).map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(input: u64, cached: u64, write: u64, output: u64) -> Usage {
        Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            cache_write_tokens: write,
            output_tokens: output,
            requests: 1,
            ..Usage::default()
        }
    }

    #[test]
    fn kinds_of_tokens_are_priced_apart_and_rounded_up_once() {
        let price = Price {
            input: Nanos::units(3),
            cached_input: Nanos::new(300_000_000),
            cache_write: Nanos::new(3_750_000_000),
            output: Nanos::units(15),
            per_request: Nanos::new(7),
            cache_outside_input: false,
        };
        // (1000-400-100)×3000 + 400×300 + 100×3750 + 200×15000 nano-USD + 7
        assert_eq!(
            price.cost(&usage(1000, 400, 100, 200)),
            Some(Nanos::new(1_500_000 + 120_000 + 375_000 + 3_000_000 + 7))
        );
        let beside = Usage { cache_outside_input: Some(true), ..usage(1000, 400, 100, 200) };
        assert_eq!(
            price.cost(&beside),
            Some(Nanos::new(3_000_000 + 120_000 + 375_000 + 3_000_000 + 7)),
            "all of the input at its own price"
        );
        let tiny = Price { input: Nanos::new(1), output: Nanos::new(1), ..Price::default() };
        assert_eq!(tiny.cost(&usage(1, 0, 0, 1)), Some(Nanos::new(1)), "two millionths round up once");
    }

    proptest! {
        #[test]
        fn output_within_is_the_largest_that_fits(
            input in 0..1_000_000u64, per_million in 1..100_000_000_000i64, usd in 0..10_000_000_000i64,
        ) {
            let price = Price { input: Nanos::units(1), output: Nanos::new(per_million), ..Price::default() };
            let usd = Nanos::new(usd);
            match price.output_within(&usage(input, 0, 0, 0), usd) {
                None => prop_assert!(price.cost(&usage(input, 0, 0, 0)).unwrap() > usd),
                Some(output) => {
                    prop_assert!(price.cost(&usage(input, 0, 0, output)).unwrap() <= usd);
                    prop_assert!(price.cost(&usage(input, 0, 0, output + 1)).is_none_or(|cost| cost > usd));
                }
            }
        }
    }
}
