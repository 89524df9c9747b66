//! Credits handed out per cycle: from the organization to teams, from teams to members.

use chrono::{Datelike as _, Months, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{
    id::{Actor, CreditRequestId, MemberId, TeamId},
    money::Nanos,
    period::{Window, Zone},
    time::{Span, Timestamp},
};

#[cfg(test)]
mod tests;

/// How long a cycle lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Cadence {
    /// To the end of the month in the organization's zone.
    #[default]
    CalendarMonth,
    Days15,
    Week,
    Day,
    Hours12,
    Hours6,
    Hour,
}

impl Cadence {
    pub const ALL: [Self; 7] =
        [Self::CalendarMonth, Self::Days15, Self::Week, Self::Day, Self::Hours12, Self::Hours6, Self::Hour];

    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::CalendarMonth => "calendar_month",
            Self::Days15 => "15_days",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hours12 => "12_hours",
            Self::Hours6 => "6_hours",
            Self::Hour => "hour",
        }
    }

    /// `None` for calendar months.
    fn length(self) -> Option<Span> {
        let hours = match self {
            Self::CalendarMonth => return None,
            Self::Days15 => 15 * 24,
            Self::Week => 7 * 24,
            Self::Day => 24,
            Self::Hours12 => 12,
            Self::Hours6 => 6,
            Self::Hour => 1,
        };
        Some(Span::seconds(hours * 3600))
    }

    /// A cycle that begins at `start`, whatever ran before: for calendar months it ends with the month.
    pub fn cycle_from(self, start: Timestamp, zone: Zone) -> Window {
        let end = self.length().map_or_else(|| end_of_month(start, zone), |length| start + length);
        Window { start, end }
    }

    /// The cycle at `now` where cycles have followed each other since `last` ended; none between is left out or overlaps.
    pub fn cycle_at(self, now: Timestamp, last: Window, zone: Zone) -> Window {
        match self.length() {
            None => {
                let month = super::period::Period::Monthly { zone }.window_at(now);
                // The first after a reset begins where that ended.
                Window { start: month.start.max(last.end), end: month.end }
            }
            Some(length) => {
                let (length, since) = (length.as_micros(), (now - last.end).as_micros());
                let start = last.end + Span::micros(since.div_euclid(length) * length);
                Window { start, end: start + Span::micros(length) }
            }
        }
    }
}

fn end_of_month(at: Timestamp, zone: Zone) -> Timestamp {
    let date = zone.date_of(at);
    let first = date.with_day(1).unwrap_or(date);
    zone.start_of_day(first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX))
}

/// How an organization hands out credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationSettings {
    /// `None`: the organization itself is not capped.
    pub credits_per_cycle: Option<Nanos>,
    pub cadence: Cadence,
    pub zone: Zone,
    /// Given to each new member of the default team as extra credits; zero gives none.
    pub signup_credits: Nanos,
}

impl Default for AllocationSettings {
    fn default() -> Self {
        Self { credits_per_cycle: None, cadence: Cadence::default(), zone: Zone::UTC, signup_credits: Nanos::ZERO }
    }
}

/// Credits that a team or a member has of its own. Without a monthly allocation there is no cap; zero means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allocation {
    /// In every cycle.
    pub monthly: Option<Nanos>,
    /// In this cycle only. It adds to what there is and caps nothing by itself.
    pub extra: Option<Nanos>,
}

impl Allocation {
    /// Returns the most that may be used; `None` without a monthly allocation.
    pub fn cap(&self) -> Option<Nanos> {
        self.monthly.map(|monthly| monthly + self.extra.unwrap_or_default())
    }

    /// Returns what is set aside by it.
    pub fn given(&self) -> Nanos {
        self.monthly.unwrap_or_default() + self.extra.unwrap_or_default()
    }
}

/// Credits of a membership that nothing of its own covers, so that its team's pool bears them. In an event, their change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drawn {
    pub spent: Nanos,
    pub held: Nanos,
}

impl Drawn {
    /// Returns what a membership draws that was `given` so much. Its own is used first, by what is spent before what is held:
    /// so what is given back returns to the pool first.
    pub fn of(given: Nanos, used: Nanos, held: Nanos) -> Self {
        let spent = (used - given).at_least_zero();
        Self { spent, held: (used + held - given).at_least_zero() - spent }
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { spent: self.spent - other.spent, held: self.held - other.held }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { spent: self.spent + other.spent, held: self.held + other.held }
    }

    pub fn total(self) -> Nanos {
        self.spent + self.held
    }

    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Why a cycle began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CycleCause {
    /// The one before ended, or it is the first.
    Elapsed,
    /// Somebody reset it.
    Reset,
    /// The cadence or the zone was changed.
    Changed,
}

/// A member asks for credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditRequest {
    pub id: CreditRequestId,
    pub member: MemberId,
    pub team: TeamId,
    pub amount: Nanos,
    pub reason: String,
    pub state: CreditRequestState,
    /// What was granted of it; zero unless approved.
    pub approved: Nanos,
    /// Of who decided.
    pub note: String,
    pub decided_by: Option<Actor>,
    pub create_time: Timestamp,
    pub decide_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CreditRequestState {
    Pending,
    Approved,
    Denied,
    AutoApproved,
}

impl CreditRequestState {
    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::AutoApproved => "auto_approved",
        }
    }
}
