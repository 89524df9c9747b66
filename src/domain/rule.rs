//! Access rules: reusable templates that cap credits per period and restrict hours.

use std::{cell::Cell, fmt, fmt::Write as _};

use chrono::{Datelike as _, Days, NaiveDate, NaiveDateTime, Timelike as _, Weekday};
use serde::{Deserialize, Serialize};

use super::{
    error::Invalid,
    id::{LimitId, RuleId},
    money::Nanos,
    period::{Period, Zone},
    policy::{Budget, BudgetUnit, Limit, Models},
    time::{Span, Timestamp},
};

#[cfg(test)]
mod tests;

/// What the counter of a rule's cap is called in answers.
const CAP: &str = "cap";
const MINUTES_A_DAY: u16 = 24 * 60;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: RuleId,
    pub name: String,
    pub description: String,
    /// One that is off is kept, and skipped as if its keys had none.
    pub enabled: bool,
    /// Of the cap's periods and of the hours.
    pub zone: Zone,
    pub cap: Option<Cap>,
    pub hours: Option<Hours>,
    pub deleted: bool,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

/// Credits that each key may use per period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    pub enabled: bool,
    pub max: Nanos,
    pub period: CapPeriod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapPeriod {
    Daily,
    Weekly,
    Monthly,
}

/// When requests are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    pub enabled: bool,
    pub weekdays: Weekdays,
    pub daily: DailyHours,
}

/// Days of the week; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weekdays(u8);

/// From one time of the day up to, not including, another. Where the second comes first, it is the next day's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyHours {
    /// Minutes since midnight, below 24:00.
    start: u16,
    /// Minutes since midnight, above 0, up to 24:00.
    end: u16,
}

const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Weekdays {
    /// Days from Monday, 0 to 6.
    ///
    /// # Errors
    /// [`Invalid`] for `field` when there is none, or one stands twice.
    pub fn checked(field: &str, days: &[u8]) -> Result<Self, Invalid> {
        let mut set = 0;
        for day in days {
            let bit = 1u8.checked_shl(u32::from(*day)).filter(|bit| *bit < 1 << 7);
            let bit = bit.ok_or_else(|| Invalid::new(field, format!("{day} is no day of the week")))?;
            if set & bit != 0 {
                return Err(Invalid::new(field, format!("{} stands twice", NAMES[usize::from(*day)])));
            }
            set |= bit;
        }
        if set == 0 {
            return Err(Invalid::new(field, "names no day, so that nothing could ever run; give at least one"));
        }
        Ok(Self(set))
    }

    /// Days from Monday.
    pub fn days(self) -> impl Iterator<Item = u8> {
        (0..7).filter(move |day| self.0 & (1 << day) != 0)
    }

    fn include(self, day: Weekday) -> bool {
        self.0 & (1 << day.num_days_from_monday()) != 0
    }
}

impl fmt::Display for Weekdays {
    /// In runs: `Monday to Friday`, `Monday, Wednesday and Sunday`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0x7f {
            return f.write_str("Every day");
        }
        let days: Vec<usize> = self.days().map(usize::from).collect();
        let mut parts = Vec::new();
        for run in days.chunk_by(|a, b| a + 1 == *b) {
            match *run {
                [first, .., last] if last - first > 1 => parts.push(format!("{} to {}", NAMES[first], NAMES[last])),
                _ => parts.extend(run.iter().map(|day| NAMES[*day].to_owned())),
            }
        }
        match parts.split_last() {
            Some((last, [])) => f.write_str(last),
            Some((last, before)) => write!(f, "{} and {last}", before.join(", ")),
            None => Ok(()),
        }
    }
}

impl DailyHours {
    /// Reads `HH:MM-HH:MM`.
    ///
    /// # Errors
    /// [`Invalid`] for `field` when it isn't such a window, or an empty one.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let wrong = |problem: &str| {
            let shown: String = text.chars().take(20).collect();
            Invalid::new(field, format!("{shown:?} {problem}"))
        };
        let (start, end) = text
            .split_once('-')
            .and_then(|(start, end)| Some((minutes(start)?, minutes(end)?)))
            .ok_or_else(|| wrong("isn't a window such as \"08:00-20:00\", from 00:00 to 24:00"))?;
        if start == MINUTES_A_DAY || end == 0 {
            return Err(wrong("begins at 24:00 or ends at 00:00; a day begins at 00:00 and ends at 24:00"));
        }
        if start == end {
            return Err(wrong("begins when it ends; give \"00:00-24:00\" for the whole day"));
        }
        Ok(Self { start, end })
    }

    fn crosses_midnight(self) -> bool {
        self.end < self.start
    }

    /// Whether `local` lies in the hours that belong to one of the days. Those after midnight belong to the day before.
    fn include(self, days: Weekdays, local: NaiveDateTime) -> bool {
        let minute = u16::try_from(local.hour() * 60 + local.minute()).unwrap_or(0);
        let today = days.include(local.weekday());
        if !self.crosses_midnight() {
            return today && (self.start..self.end).contains(&minute);
        }
        let yesterday = days.include(local.weekday().pred());
        (today && minute >= self.start) || (yesterday && minute < self.end)
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MINUTES_A_DAY).then_some(total)
}

impl fmt::Display for DailyHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

impl Hours {
    pub fn is_open(&self, zone: Zone, at: Timestamp) -> bool {
        self.daily.include(self.weekdays, zone.local(at))
    }

    /// The first instant after `at`, when they are closed, at which they are open. `None` only where clocks skip them in two
    /// weeks running, which none do.
    pub fn opens_after(&self, zone: Zone, at: Timestamp) -> Option<Timestamp> {
        let today = zone.local(at).date();
        let candidates = (0..=15).filter_map(|days| today.checked_add_days(Days::new(days)));
        let opening = candidates
            .flat_map(|date| self.openings(zone, date))
            .find(|opening| *opening > at && self.is_open(zone, *opening))?;
        Some(self.reopens_in_fold(zone, at, opening).unwrap_or(opening))
    }

    /// When the wall clock reaches the start of the hours on `date`: twice where it is turned back.
    fn openings(&self, zone: Zone, date: NaiveDate) -> impl Iterator<Item = Timestamp> {
        let local = date.and_hms_opt(u32::from(self.daily.start / 60), u32::from(self.daily.start % 60), 0);
        let (first, second) =
            local.map_or((None, None), |local| (Some(zone.first_instant(local)), zone.instants(local).1));
        first.into_iter().chain(second)
    }

    /// Where the clock is turned back from after the hours into them, they open again without their start being reached.
    fn reopens_in_fold(self, zone: Zone, at: Timestamp, opening: Timestamp) -> Option<Timestamp> {
        const MINUTE: Span = Span::seconds(60);
        if zone.offset(at) <= zone.offset(opening) {
            return None;
        }
        let first = Timestamp::from_seconds(at.seconds().div_euclid(60) * 60) + MINUTE;
        let minutes = std::iter::successors(Some(first), |minute| Some(*minute + MINUTE));
        minutes.take_while(|minute| *minute < opening).find(|minute| self.is_open(zone, *minute))
    }
}

impl Rule {
    /// The hours, while they are switched on.
    pub fn restricting(&self) -> Option<&Hours> {
        self.hours.as_ref().filter(|hours| hours.enabled)
    }

    pub fn caps(&self) -> bool {
        self.cap.is_some_and(|cap| cap.enabled)
    }

    /// The cap as a limit of one key. While it is off it binds nobody, but its counter lives on.
    pub fn limit(&self) -> Option<Limit> {
        let Cap { max, period, enabled } = self.cap?;
        let max = Some(max).filter(|_| enabled && self.enabled);
        let zone = self.zone;
        let period = match period {
            CapPeriod::Daily => Period::Daily { zone },
            CapPeriod::Weekly => Period::Weekly { zone, start: 0 },
            CapPeriod::Monthly => Period::Monthly { zone },
        };
        let (id, unit) = (LimitId::trusted(CAP), BudgetUnit::Credits);
        Some(Limit::Budget(Budget { id, unit, max, soft: None, period, models: Models::default(), alerts: None }))
    }

    /// The rule in plain English, in an organization that tracks credits or doesn't.
    pub fn preview(&self, credits_tracked: bool) -> String {
        let mut text = self.terms();
        if self.caps() && !credits_tracked {
            text.push_str(" Credits aren't tracked now (the organization's credit_factor is 0): the cap doesn't bind.");
        }
        text
    }

    fn terms(&self) -> String {
        let mut text = String::new();
        if !self.enabled {
            text.push_str("Not applied while the rule is off: ");
        }
        match self.cap.filter(|cap| cap.enabled) {
            Some(Cap { max, period, .. }) => {
                let per = match period {
                    CapPeriod::Daily => "day",
                    CapPeriod::Weekly => "week",
                    CapPeriod::Monthly => "month",
                };
                let _ = write!(text, "Up to {} credits per {per}", max.shown());
                if self.restricting().is_none() && self.zone != Zone::UTC {
                    let _ = write!(text, " ({})", self.zone);
                }
                text.push('.');
            }
            None => text.push_str("No cap on credits."),
        }
        match self.restricting() {
            Some(Hours { weekdays, daily, .. }) => {
                let hours = daily.to_string().replace('-', "–");
                let _ = write!(text, " {weekdays}, {hours} ({}). Otherwise requests are blocked.", self.zone);
            }
            None if self.caps() => text.push_str(" At any time. Beyond that, requests are blocked."),
            None => text.push_str(" At any time."),
        }
        text
    }
}

/// Whether the hours were open in the minute last looked at: zone arithmetic costs more than the rest of a decision, and no
/// zone changes its offset, nor any window its mind, within a minute. No part of the state.
#[derive(Debug, Clone, Default)]
pub struct OpenMemo(Cell<Option<(i64, bool)>>);

impl PartialEq for OpenMemo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OpenMemo {}

impl OpenMemo {
    pub fn is_open(&self, hours: &Hours, zone: Zone, at: Timestamp) -> bool {
        let minute = at.seconds().div_euclid(60);
        match self.0.get() {
            Some((known, open)) if known == minute => open,
            _ => {
                let open = hours.is_open(zone, at);
                self.0.set(Some((minute, open)));
                open
            }
        }
    }
}
