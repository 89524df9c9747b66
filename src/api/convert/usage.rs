//! Usage and labels in, sums out.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::{
    api::proto,
    domain::{
        error::Invalid,
        event::Labels,
        money::Nanos,
        text::check_line,
        usage::{Amounts, Usage},
    },
};

pub(in crate::api) const MAX_LABELS: usize = 16;
pub(in crate::api) const MAX_LABEL_KEY: usize = 64;
pub(in crate::api) const MAX_LABEL_VALUE: usize = 256;
const NANOS: u64 = 1_000_000_000;

/// # Errors
/// [`Invalid`] for a field within `field`.
pub(in crate::api) fn usage_in(field: &str, usage: &proto::Usage) -> Result<Usage, Invalid> {
    let proto::Usage {
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        requests,
        cost_usd,
        cache_outside_input,
    } = usage;
    let cost = if cost_usd.is_empty() {
        None
    } else {
        Some(Nanos::parse_cost("cost_usd", cost_usd).map_err(|invalid| invalid.within(field))?)
    };
    let usage = Usage {
        input_tokens: *input_tokens,
        cached_input_tokens: *cached_input_tokens,
        cache_write_tokens: *cache_write_tokens,
        output_tokens: *output_tokens,
        requests: (*requests).max(1),
        cost,
        cache_outside_input: *cache_outside_input,
    };
    usage.checked().map_err(|invalid| invalid.within(field))
}

/// # Errors
/// [`Invalid`] for a field within `field`, or for `field` itself when it isn't set.
pub(in crate::api) fn required_usage_in(field: &str, usage: Option<&proto::Usage>) -> Result<Usage, Invalid> {
    let missing = || Invalid::new(field, "is missing; say what is used, even if it is only one request");
    usage_in(field, usage.ok_or_else(missing)?)
}

pub(in crate::api) fn amounts_out(amounts: &Amounts) -> proto::Amounts {
    let Amounts { usd, credits, tokens, requests } = amounts;
    // A late commit may give money back, which the decimals say; counts can't tell it and stop at 0.
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    proto::Amounts {
        usd: nanos_out(*usd),
        credits: nanos_out(*credits),
        tokens: count(*tokens),
        requests: count(*requests),
    }
}

/// As [`Nanos`] displays itself, without the detour over a decimal: every answer holds several amounts.
pub(in crate::api) fn nanos_out(amount: Nanos) -> String {
    let magnitude = amount.get().unsigned_abs();
    let (whole, mut fraction) = (magnitude / NANOS, magnitude % NANOS);
    let mut text = String::with_capacity(20);
    if amount < Nanos::ZERO {
        text.push('-');
    }
    push_digits(&mut text, whole, 1);
    if fraction == 0 {
        return text;
    }
    let mut decimals = 9;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        decimals -= 1;
    }
    text.push('.');
    push_digits(&mut text, fraction, decimals);
    text
}

/// At least `width` digits.
fn push_digits(text: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    let start = start.min(digits.len() - width);
    text.extend(digits[start..].iter().map(|digit| char::from(*digit)));
}

/// Sorted, so that the same labels are always the same content.
///
/// # Errors
/// [`Invalid`] for `labels`, or one of them, when there are too many, or one is too long or holds control characters.
pub(in crate::api) fn labels_in(labels: HashMap<String, String>) -> Result<Labels, Invalid> {
    if labels.is_empty() {
        return Ok(None);
    }
    if labels.len() > MAX_LABELS {
        return Err(Invalid::new("labels", format!("{} labels; at most {MAX_LABELS} are kept", labels.len())));
    }
    let mut sorted = Vec::with_capacity(labels.len());
    for (key, value) in labels {
        check_label(&key, &value)?;
        sorted.push((SmolStr::from(key), SmolStr::from(value)));
    }
    sorted.sort_unstable();
    Ok(Some(sorted.into()))
}

fn check_label(key: &str, value: &str) -> Result<(), Invalid> {
    if key.is_empty() {
        return Err(Invalid::new("labels", "one has an empty key; give 1 to 64 characters"));
    }
    check_line("labels", key, MAX_LABEL_KEY)?;
    check_line("", value, MAX_LABEL_VALUE).map_err(|invalid| invalid.within(&format!("labels[{key:?}]")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(input: u64, cached: u64, requests: u64, cost: &str) -> proto::Usage {
        proto::Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            requests,
            cost_usd: cost.to_owned(),
            ..proto::Usage::default()
        }
    }

    #[test]
    fn usage_that_names_no_requests_is_one() {
        let usage = usage_in("usage", &tokens(10, 0, 0, "")).unwrap();
        assert_eq!((usage.requests, usage.cost), (1, None));
        let usage = usage_in("usage", &tokens(10, 0, 7, "0.5")).unwrap();
        assert_eq!((usage.requests, usage.cost), (7, Some(Nanos::new(500_000_000))));
    }

    #[test]
    fn usage_that_is_absurd_or_no_number_names_its_field() {
        let cases = [
            (tokens(1_000_000_000_001, 0, 1, ""), "usage.input_tokens", true),
            (tokens(1, 1_000_000_000_001, 1, ""), "usage.cached_input_tokens", true),
            (tokens(1, 0, 1_000_000_001, ""), "usage.requests", true),
            (tokens(1, 0, 1, "1000000000.1"), "usage.cost_usd", true),
            (tokens(1, 0, 1, "NaN"), "usage.cost_usd", false),
            (tokens(1, 0, 1, "-1"), "usage.cost_usd", false),
        ];
        for (usage, field, is_absurd) in cases {
            let invalid = usage_in("usage", &usage).unwrap_err();
            assert_eq!((invalid.field.as_str(), invalid.is_absurd), (field, is_absurd));
        }
        let most = tokens(1_000_000_000_000, 1_000_000_000_000, 1_000_000_000, "1000000000");
        usage_in("usage", &most).unwrap();
        assert_eq!(required_usage_in("usage", None).unwrap_err().field, "usage");
    }

    #[test]
    fn labels_are_sorted_and_bounded() {
        let labels = |pairs: &[(&str, &str)]| {
            labels_in(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let sorted = labels(&[("b", "2"), ("a", "")]).unwrap().unwrap();
        assert_eq!(*sorted, [("a".into(), "".into()), ("b".into(), "2".into())]);
        assert_eq!(labels(&[]).unwrap(), None);
        for bad in [("", "x"), (&*"k".repeat(65), "x"), ("k", &*"v".repeat(257)), ("k\n", "x"), ("k", "a\u{0}b")] {
            assert!(labels(&[bad]).unwrap_err().field.starts_with("labels"), "{bad:?}");
        }
        assert!(labels(&[("k", &"v".repeat(256))]).is_ok());
        let many = (0..17).map(|i| (i.to_string(), String::new())).collect();
        assert!(labels_in(many).is_err());
    }

    proptest! {
        #[test]
        fn amounts_are_written_as_they_display(nanos in any::<i64>()) {
            for nanos in [nanos, nanos % 1_000_000_000, nanos / 1_000_000_000 * 1_000_000_000, nanos % 100 * 10_000_000] {
                let amount = Nanos::new(nanos);
                prop_assert_eq!(nanos_out(amount), amount.to_string());
            }
        }
    }
}
