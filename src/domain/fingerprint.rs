//! Tells a repeat of a request from another request under the same id, now and after years: the hash is part of the books.

use smallvec::SmallVec;

use super::{event::Labels, usage::Usage};

/// Collects the content of a request, each field delimited, and hashes it with BLAKE3.
#[derive(Debug)]
pub struct Fingerprint(SmallVec<[u8; 256]>);

impl Fingerprint {
    pub fn new(operation: &str) -> Self {
        let mut print = Self(SmallVec::new());
        print.text(operation);
        print
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub fn optional(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            None => self.number(0),
            Some(number) => self.number(1).number(number),
        }
    }

    pub fn usage(&mut self, usage: &Usage) -> &mut Self {
        let Usage {
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            output_tokens,
            requests,
            cost,
            cache_outside_input,
        } = usage;
        for count in [input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, requests] {
            self.number(*count);
        }
        self.optional(cost.map(|cost| cost.get().unsigned_abs()));
        // What isn't said adds nothing, so that prints of before it could be said stay the same.
        if let Some(outside) = cache_outside_input {
            // Neither 0 nor 1, which say whether an optional number follows.
            self.number(2 + u64::from(*outside));
        }
        self
    }

    pub fn labels(&mut self, labels: &Labels) -> &mut Self {
        let labels = labels.as_deref().unwrap_or_default();
        self.number(labels.len() as u64);
        for (name, value) in labels {
            self.text(name).text(value);
        }
        self
    }

    pub fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let print = |a: &str, b: &str| Fingerprint::new("x").text(a).text(b).finish();
        assert_ne!(print("ab", "c"), print("a", "bc"));
        assert_eq!(print("ab", "c"), print("ab", "c"));
        let optional = |n| Fingerprint::new("x").optional(n).finish();
        assert_ne!(optional(None), optional(Some(0)));
    }

    #[test]
    fn a_fingerprint_stays_the_same_over_versions() {
        assert_eq!(Fingerprint::new("reserve").text("key").number(7).finish(), 14_233_880_304_912_050_658);
    }
}
