//! So many of a kind within a span of time, each of which comes back by itself.

use crate::domain::time::{Span, Timestamp};

/// A count that refills evenly over a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    count: u32,
    span: Span,
}

/// The instant at which all that was taken has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Taken(Timestamp);

impl Pace {
    /// `None` for a count of 0, which sets no bound.
    pub(super) fn new(count: u32, span: Span) -> Option<Self> {
        (count > 0).then_some(Self { count, span })
    }

    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// Takes one, or answers how long until there is one.
    pub(super) fn take(self, taken: &mut Taken, now: Timestamp) -> Result<(), Span> {
        let each = self.span.as_micros() / i64::from(self.count);
        // A clock that was set back must not keep anybody out for longer than the span.
        let back = taken.0.clamp(now, now + self.span);
        let wait = back.micros() + each - (now + self.span).micros();
        if wait > 0 {
            return Err(Span::micros(wait));
        }
        taken.0 = back + Span::micros(each);
        Ok(())
    }

    /// Whether it is as if nothing had ever been taken.
    pub(super) fn is_over(self, taken: Taken, now: Timestamp) -> bool {
        taken.0 <= now || taken.0 > now + self.span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn so_many_are_there_at_once_and_come_back_evenly() {
        let pace = Pace::new(4, Span::seconds(8)).unwrap();
        let mut taken = Taken::default();
        for _ in 0..4 {
            pace.take(&mut taken, at(100)).unwrap();
        }
        assert_eq!(pace.take(&mut taken, at(100)), Err(Span::seconds(2)));
        assert_eq!(pace.take(&mut taken, at(101)), Err(Span::SECOND));
        pace.take(&mut taken, at(102)).unwrap();
        assert_eq!(pace.take(&mut taken, at(102)), Err(Span::seconds(2)));
        assert!(!pace.is_over(taken, at(109)));
        assert!(pace.is_over(taken, at(110)));
        pace.take(&mut taken, at(1000)).unwrap();
        assert_eq!(taken, Taken(at(1002)), "nobody saves up more than there is");
        assert_eq!(Pace::new(0, Span::HOUR), None);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_out_for_longer_than_the_span() {
        let pace = Pace::new(1, Span::HOUR).unwrap();
        let mut taken = Taken(at(1_000_000));
        assert_eq!(pace.take(&mut taken, at(0)), Err(Span::HOUR));
        assert!(pace.is_over(Taken(at(1_000_000)), at(0)));
    }
}
