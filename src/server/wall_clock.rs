//! Whether the machine's clock can be believed at a start.
//!
//! Time never runs backwards afterwards: what is booked with a clock that is years ahead stays there when the clock is right again.

use crate::domain::time::{Span, Timestamp};

/// How far the wall clock may be behind what was journalled, and apart from the database's.
const MOST_APART: Span = Span::HOUR;

/// Why a start is refused unless `--accept-clock` says that the clock is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error(
        "the wall clock says {wall}, {} behind the last journalled time, {journalled}. Set this machine's clock; if it is right, and was \
         wrong before, start with --accept-clock", apart(*.journalled - *.wall)
    )]
    Behind { wall: Timestamp, journalled: Timestamp },
    #[error(
        "the wall clock says {wall}, {} ahead of the last journalled time, {journalled}, where {} are allowed \
         (clock_max_ahead_days). Set this machine's clock; if it is right, start with --accept-clock: what is booked with a clock \
         stays, because time never runs backwards", apart(*.wall - *.journalled), apart(*.allowed)
    )]
    Ahead { wall: Timestamp, journalled: Timestamp, allowed: Span },
    #[error(
        "the wall clock says {wall}, and the database's clock {database}. Set the one that is wrong; if this machine's is right, start \
         with --accept-clock"
    )]
    OtherThanDatabase { wall: Timestamp, database: Timestamp },
}

/// Compares the wall clock with the last journalled time, if anything was journalled, and with the database's clock, if it has one of
/// its own.
pub(super) fn check(
    wall: Timestamp,
    journalled: Timestamp,
    database: Option<Timestamp>,
    max_ahead: Span,
) -> Result<(), ClockError> {
    if journalled != Timestamp::EPOCH {
        if journalled - wall > MOST_APART {
            return Err(ClockError::Behind { wall, journalled });
        }
        if wall - journalled > max_ahead {
            return Err(ClockError::Ahead { wall, journalled, allowed: max_ahead });
        }
    }
    match database.filter(|database| *database - wall > MOST_APART || wall - *database > MOST_APART) {
        Some(database) => Err(ClockError::OtherThanDatabase { wall, database }),
        None => Ok(()),
    }
}

/// As people say it, rounded down.
fn apart(span: Span) -> String {
    let hours = span.as_micros() / Span::HOUR.as_micros();
    if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const ALLOWED: Span = Span::seconds(30 * 86_400);

    fn journalled(before: Span) -> Result<(), ClockError> {
        check(NOW, NOW - before, None, ALLOWED)
    }

    #[test]
    fn a_clock_within_its_bounds_is_believed() {
        for before in [Span::ZERO, ALLOWED, Span::seconds(-3600)] {
            assert_eq!(journalled(before), Ok(()));
        }
        for apart in [Span::seconds(-3600), Span::ZERO, Span::HOUR] {
            assert_eq!(check(NOW, NOW, Some(NOW - apart), ALLOWED), Ok(()));
        }
        assert_eq!(check(NOW, Timestamp::EPOCH, None, ALLOWED), Ok(()), "nothing was journalled yet");
    }

    #[test]
    fn a_clock_that_is_behind_is_refused_with_both_times() {
        let said = journalled(Span::seconds(-3601)).unwrap_err().to_string();
        assert!(
            said.contains("2027-01-15T08:00:00Z, 1 hours behind") && said.contains("2027-01-15T09:00:01Z"),
            "{said}"
        );
        assert!(said.contains("--accept-clock"), "{said}");
    }

    #[test]
    fn a_clock_that_is_far_ahead_is_refused_with_both_times_and_the_setting() {
        let said = journalled(Span::seconds(11 * 365 * 86_400)).unwrap_err().to_string();
        assert!(said.contains("4015 days ahead") && said.contains("30 days are allowed"), "{said}");
        for part in ["2027-01-15T08:00:00Z", "2016-01-18T08:00:00Z", "clock_max_ahead_days", "--accept-clock"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn a_clock_far_from_the_databases_is_refused_either_way() {
        for apart in [Span::seconds(3601), Span::seconds(-3601)] {
            let refused = check(NOW, NOW, Some(NOW - apart), ALLOWED);
            assert!(matches!(refused, Err(ClockError::OtherThanDatabase { .. })), "{refused:?}");
        }
        assert!(check(NOW, Timestamp::EPOCH, Some(NOW - Span::DAY), ALLOWED).is_err(), "also of an empty journal");
    }
}
