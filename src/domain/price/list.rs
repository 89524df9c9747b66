//! A price as it is set.

use serde::{Deserialize, Serialize};

use super::Price;
use crate::domain::{error::Invalid, money::Nanos};

/// The price of a model as it stands in the book: what wasn't set is not copied from anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListPrice {
    pub input: Nanos,
    /// `None` costs what input costs at the moment.
    pub cached_input: Option<Nanos>,
    /// `None` costs what input costs at the moment.
    pub cache_write: Option<Nanos>,
    pub output: Nanos,
    pub per_request: Nanos,
    /// As of the price in force.
    pub cache_outside_input: bool,
}

impl ListPrice {
    /// The most that a million tokens, or one request, may cost.
    const MAX: Nanos = Nanos::units(100_000);

    /// # Errors
    /// [`Invalid`] when one of the prices is absurd.
    pub fn checked(self) -> Result<Self, Invalid> {
        let prices = [
            ("input_per_million", Some(self.input)),
            ("cached_input_per_million", self.cached_input),
            ("cache_write_per_million", self.cache_write),
            ("output_per_million", Some(self.output)),
            ("per_request", Some(self.per_request)),
        ];
        match prices.into_iter().find_map(|(field, price)| Some((field, price.filter(|price| *price > Self::MAX)?))) {
            Some((field, price)) => {
                Err(Invalid::new(field, format!("{price} is more than the largest price, {}", Self::MAX)))
            }
            None => Ok(self),
        }
    }

    /// Returns what a request costs now.
    pub fn in_force(&self) -> Price {
        let Self { input, cached_input, cache_write, output, per_request, cache_outside_input } = *self;
        Price {
            input,
            cached_input: cached_input.unwrap_or(input),
            cache_write: cache_write.unwrap_or(input),
            output,
            per_request,
            cache_outside_input,
        }
    }
}

/// With every kind set.
impl From<Price> for ListPrice {
    fn from(price: Price) -> Self {
        let Price { input, cached_input, cache_write, output, per_request, cache_outside_input } = price;
        let (cached_input, cache_write) = (Some(cached_input), Some(cache_write));
        Self { input, cached_input, cache_write, output, per_request, cache_outside_input }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_costs_what_input_costs_at_the_moment() {
        let price = ListPrice { input: Nanos::units(1), cache_write: Some(Nanos::ZERO), ..ListPrice::default() };
        let dearer = ListPrice { input: Nanos::units(4), ..price };
        for (price, input) in [(price, 1), (dearer, 4)] {
            let Price { cached_input, cache_write, .. } = price.in_force();
            assert_eq!((cached_input, cache_write), (Nanos::units(input), Nanos::ZERO), "0 is set, and stays");
            assert_eq!(ListPrice::from(price.in_force()).in_force(), price.in_force());
        }
    }

    #[test]
    fn absurd_prices_are_refused_whichever_they_are() {
        let absurd = Nanos::units(100_001);
        for (price, field) in [
            (ListPrice { input: absurd, ..ListPrice::default() }, "input_per_million"),
            (ListPrice { cached_input: Some(absurd), ..ListPrice::default() }, "cached_input_per_million"),
            (ListPrice { cache_write: Some(absurd), ..ListPrice::default() }, "cache_write_per_million"),
            (ListPrice { per_request: absurd, ..ListPrice::default() }, "per_request"),
        ] {
            assert_eq!(price.checked().unwrap_err().field, field);
        }
        assert!(ListPrice { output: Nanos::units(100_000), ..ListPrice::default() }.checked().is_ok());
    }
}
