//! Money and credits: integer nano-units inside, decimals at the edges, never floats.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};

use super::error::{Invalid, SumTooLarge};

const NANOS: i64 = 1_000_000_000;
const SCALE: u32 = 9;

/// An amount of USD or credits in units of 10⁻⁹.
///
/// Callers may give amounts up to [`Nanos::MAX_INPUT`] and a single usage costs at most [`Nanos::MAX_COST`]. What would carry a sum
/// that is kept beyond [`Nanos::MAX_SUM`] is refused before it happens; arithmetic saturates at the ends of `i64` rather than wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
pub struct Nanos(i64);

/// The number itself, or where people read it a decimal string.
impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl Nanos {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX);
    /// The largest amount that a caller may give: 10⁹ units.
    pub const MAX_INPUT: Self = Self(1_000_000_000 * NANOS);
    /// The largest sum that is kept, above zero and below: 9·10⁹ units.
    pub const MAX_SUM: Self = Self(9_000_000_000 * NANOS);
    /// The largest cost of one usage, in USD and in credits: 10⁹. More is absurd.
    pub const MAX_COST: Self = Self(1_000_000_000 * NANOS);

    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    pub const fn units(units: i64) -> Self {
        Self(units.saturating_mul(NANOS))
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    #[must_use]
    pub fn at_least_zero(self) -> Self {
        Self(self.0.max(0))
    }

    /// Reads a decimal string that a caller gave: at least 0, at most 9 decimals, at most [`Self::MAX_INPUT`].
    ///
    /// # Errors
    /// [`Invalid`] for `field` when it isn't such a number (`NaN` and `inf` aren't numbers here).
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        Self::parse_within(field, text)?.ok_or_else(|| {
            Invalid::new(field, format!("{text:?} is more than the largest amount, {}", Self::MAX_INPUT))
        })
    }

    /// Reads what a usage cost, as [`Self::parse`] reads other amounts.
    ///
    /// # Errors
    /// [`Invalid`] as there, and as absurd beyond [`Self::MAX_COST`].
    pub fn parse_cost(field: &str, text: &str) -> Result<Self, Invalid> {
        let absurd = || Invalid::absurd(field, format!("{text:?} is more than one usage may cost, {}", Self::MAX_COST));
        Self::parse_within(field, text)?.filter(|cost| *cost <= Self::MAX_COST).ok_or_else(absurd)
    }

    /// Reads a decimal string; `None` stands for one beyond [`Self::MAX_INPUT`].
    fn parse_within(field: &str, text: &str) -> Result<Option<Self>, Invalid> {
        if text.len() > 40 {
            return Err(Invalid::new(field, "is longer than any amount; give a decimal such as \"12.50\""));
        }
        let wrong = |problem: &str| Invalid::new(field, format!("{text:?} {problem}"));
        // Decimal itself reads "1_000" and "+1" too.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
        let decimal = Decimal::from_str_exact(text)
            .ok()
            .filter(|_| is_plain)
            .ok_or_else(|| wrong("isn't a decimal number; give one such as \"12.50\""))?;
        let decimal = decimal.normalize();
        if decimal.is_sign_negative() && !decimal.is_zero() {
            return Err(wrong("is negative; amounts start at 0"));
        }
        if decimal.scale() > SCALE {
            return Err(wrong("has more than 9 decimals"));
        }
        if decimal > Self::MAX_INPUT.to_decimal() {
            return Ok(None);
        }
        let nanos = decimal * Decimal::from(NANOS);
        i64::try_from(nanos).map(|nanos| Some(Self(nanos))).map_err(|_| wrong("is out of range"))
    }

    pub fn to_decimal(self) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(self.0), SCALE).normalize()
    }

    /// As people write it: with two decimals at least.
    pub fn shown(self) -> String {
        let mut decimal = self.to_decimal();
        if decimal.scale() < 2 {
            decimal.rescale(2);
        }
        decimal.to_string()
    }

    /// The sum of amounts, which is to be kept as `what`.
    ///
    /// # Errors
    /// [`SumTooLarge`] beyond [`Self::MAX_SUM`].
    pub fn checked_sum<const N: usize>(what: impl FnOnce() -> String, amounts: [Self; N]) -> Result<Self, SumTooLarge> {
        let sum: i128 = amounts.iter().map(|amount| i128::from(amount.0)).sum();
        match i64::try_from(sum).map(Self) {
            Ok(sum) if sum <= Self::MAX_SUM && sum >= -Self::MAX_SUM => Ok(sum),
            _ => Err(SumTooLarge { what: what() }),
        }
    }

    /// `self × factor`, rounded up to a nano-unit: what USD are in credits. The sign is kept, so that giving back is the
    /// mirror of charging.
    #[must_use]
    pub fn times(self, factor: Factor) -> Self {
        if factor.0 == Self(NANOS) {
            return self;
        }
        let product = i128::from(self.0.unsigned_abs()) * i128::from(factor.0.0);
        let rounded = (product + i128::from(NANOS) - 1) / i128::from(NANOS);
        let magnitude = i64::try_from(rounded).unwrap_or(i64::MAX);
        Self(if self.0 < 0 { -magnitude } else { magnitude })
    }
}

/// Credits per USD, in nano-units; zero turns credit tracking off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor(Nanos);

impl Factor {
    pub const ONE: Self = Self(Nanos::units(1));
    pub const OFF: Self = Self(Nanos::ZERO);
    const MAX: Nanos = Nanos::units(1000);

    /// # Errors
    /// [`Invalid`] for `field` unless it is a decimal from 0 to 1000.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let factor = Nanos::parse(field, text)?;
        if factor > Self::MAX {
            return Err(Invalid::new(field, format!("{text:?} is more than the largest factor, 1000")));
        }
        Ok(Self(factor))
    }

    pub fn is_on(self) -> bool {
        self != Self::OFF
    }

    pub fn value(self) -> Nanos {
        self.0
    }

    pub fn trusted(value: Nanos) -> Self {
        Self(value)
    }

    /// The largest amount of USD whose credits don't exceed `credits`: inverse of [`Nanos::times`].
    pub fn usd_within(self, credits: Nanos) -> Nanos {
        if !self.is_on() {
            return Nanos::MAX;
        }
        let usd = i128::from(credits.0) * i128::from(NANOS) / i128::from(self.0.0);
        Nanos(i64::try_from(usd).unwrap_or(i64::MAX))
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Nanos {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Nanos {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_that_are_no_plain_decimal_are_refused() {
        for bad in [
            "",
            "-1",
            "-0.000000001",
            "NaN",
            "inf",
            "Infinity",
            "1e400",
            "1,5",
            "0.0000000001",
            "1000000000.1",
            " 1",
            "0x1",
            "1_000",
            "+1",
        ] {
            assert!(Nanos::parse("amount", bad).is_err(), "{bad:?}");
        }
        assert!(Nanos::parse("amount", &"9".repeat(1000)).is_err());
        assert_eq!(Nanos::parse("amount", "0.0125").unwrap(), Nanos::new(12_500_000));
        assert_eq!(Nanos::parse("amount", "1.5000000000000").unwrap(), Nanos::new(1_500_000_000));
        assert_eq!(Nanos::parse("amount", "1000000000").unwrap(), Nanos::MAX_INPUT);
    }

    #[test]
    fn credits_round_up_once() {
        let third = Factor::parse("f", "0.333333333").unwrap();
        assert_eq!(Nanos::new(1).times(third), Nanos::new(1));
        assert_eq!(Nanos::new(-1).times(third), Nanos::new(-1));
        assert_eq!(Nanos::new(3_000_000_000).times(Factor::parse("f", "10").unwrap()), Nanos::units(30));
    }

    proptest! {
        #[test]
        fn an_amount_survives_printing_and_reading(nanos in 0..=Nanos::MAX_INPUT.get()) {
            let amount = Nanos::new(nanos);
            prop_assert_eq!(Nanos::parse("amount", &amount.to_string()).unwrap(), amount);
        }

        #[test]
        fn usd_within_is_the_largest_amount_that_fits(credits in 0..Nanos::MAX_INPUT.get(), factor in 1..1_000_000_000_000i64) {
            let factor = Factor(Nanos::new(factor));
            let usd = factor.usd_within(Nanos::new(credits));
            prop_assume!(usd < Nanos::MAX);
            prop_assert!(usd.times(factor) <= Nanos::new(credits));
            prop_assert!((usd + Nanos::new(1)).times(factor) > Nanos::new(credits));
        }
    }
}
