//! What a rule is made of, from flags: the cap, the weekdays and hours, and what of it to change.

use std::str::FromStr;

use clap::Args;
use quotad::api::proto::{AccessHours, CreditCap, DayOfWeek, PeriodKind, Rule};

use crate::{
    arguments::{decimal, one_of},
    failure::Failure,
    names::{self, name},
};

#[derive(Debug, Default, Args)]
pub(crate) struct Fields {
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// When it should apply, for people
    #[arg(long)]
    description: Option<String>,
    /// Credits that each key under it may use per period
    #[arg(long, value_name = "CREDITS", value_parser = decimal)]
    cap: Option<String>,
    /// The cap's period
    #[arg(long, value_parser = one_of::<PeriodKind>(&["daily", "weekly", "monthly"]))]
    period: Option<PeriodKind>,
    /// IANA zone or UTC+8 style, of the hours and the cap's periods; UTC if left out
    #[arg(long)]
    zone: Option<String>,
    /// Days that let requests in, such as mon-fri or mon,wed,sat-sun; all if only hours are given
    #[arg(long, value_name = "DAYS")]
    weekdays: Option<Weekdays>,
    /// Hours that let requests in, across midnight too; the whole day if only weekdays are given
    #[arg(long, value_name = "HH:MM-HH:MM")]
    hours: Option<String>,
    /// Keeps the cap, but doesn't apply it
    #[arg(long)]
    cap_off: bool,
    /// Keeps the hours, but doesn't apply them
    #[arg(long)]
    hours_off: bool,
    /// Keeps the rule, but skips it
    #[arg(long)]
    disable: bool,
}

/// What only makes sense of a rule that is there.
#[derive(Debug, Default, Clone, Copy, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Changes {
    /// Removes the cap
    #[arg(long, conflicts_with_all = ["cap", "period", "cap_off", "cap_on"])]
    no_cap: bool,
    /// Removes the hours and weekdays
    #[arg(long, conflicts_with_all = ["hours", "weekdays", "hours_off", "hours_on"])]
    no_hours: bool,
    /// Applies the cap again
    #[arg(long, conflicts_with = "cap_off")]
    cap_on: bool,
    /// Applies the hours again
    #[arg(long, conflicts_with = "hours_off")]
    hours_on: bool,
    /// Applies the rule again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
}

impl Fields {
    /// Changes `rule` and answers which of its fields.
    pub(super) fn apply(self, changes: Changes, rule: &mut Rule) -> Result<Vec<&'static str>, Failure> {
        let mut named = Vec::new();
        let mut set = |field: &'static str, to: &mut String, value: Option<String>| {
            if let Some(value) = value {
                *to = value;
                named.push(field);
            }
        };
        set("name", &mut rule.name, self.name);
        set("description", &mut rule.description, self.description);
        set("time_zone", &mut rule.time_zone, self.zone);
        if self.disable || changes.enable {
            rule.enabled = changes.enable;
            named.push("enabled");
        }
        if changes.no_cap {
            rule.cap = None;
            named.push("cap");
        } else if self.cap.is_some() || self.period.is_some() || self.cap_off || changes.cap_on {
            let on = (self.cap_off || changes.cap_on).then_some(changes.cap_on);
            rule.cap = Some(cap(rule.cap.take(), self.cap, self.period, on)?);
            named.push("cap");
        }
        if changes.no_hours {
            rule.hours = None;
            named.push("hours");
        } else if self.hours.is_some() || self.weekdays.is_some() || self.hours_off || changes.hours_on {
            let on = (self.hours_off || changes.hours_on).then_some(changes.hours_on);
            rule.hours = Some(hours(rule.hours.take(), self.hours, self.weekdays, on)?);
            named.push("hours");
        }
        Ok(named)
    }
}

fn cap(
    before: Option<CreditCap>,
    max: Option<String>,
    period: Option<PeriodKind>,
    on: Option<bool>,
) -> Result<CreditCap, Failure> {
    let mut cap = match (before, &max, period) {
        (Some(before), ..) => before,
        (None, Some(_), Some(_)) => CreditCap { enabled: true, ..CreditCap::default() },
        (None, Some(_), None) => {
            return Err(Failure::other("a cap needs its period; give --period daily, weekly or monthly"));
        }
        (None, None, _) => return Err(Failure::other("the rule has no cap; give --cap CREDITS and --period")),
    };
    cap.enabled = on.unwrap_or(cap.enabled);
    cap.max_credits = max.unwrap_or(cap.max_credits);
    cap.period = period.map_or(cap.period, Into::into);
    Ok(cap)
}

fn hours(
    before: Option<AccessHours>,
    span: Option<String>,
    weekdays: Option<Weekdays>,
    on: Option<bool>,
) -> Result<AccessHours, Failure> {
    let mut hours = match before {
        Some(before) => before,
        None if span.is_none() && weekdays.is_none() => {
            return Err(Failure::other("the rule has no hours; give --hours HH:MM-HH:MM, --weekdays or both"));
        }
        None => AccessHours { enabled: true, weekdays: (1..=7).collect(), hours: "00:00-24:00".to_owned() },
    };
    hours.enabled = on.unwrap_or(hours.enabled);
    hours.hours = span.unwrap_or(hours.hours);
    hours.weekdays = weekdays.map_or(hours.weekdays, |days| days.0.into_iter().map(Into::into).collect());
    Ok(hours)
}

/// Days of the week, each once, from ranges and single days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weekdays(Vec<DayOfWeek>);

const WEEK: [(DayOfWeek, &str); 7] = [
    (DayOfWeek::Monday, "mon"),
    (DayOfWeek::Tuesday, "tue"),
    (DayOfWeek::Wednesday, "wed"),
    (DayOfWeek::Thursday, "thu"),
    (DayOfWeek::Friday, "fri"),
    (DayOfWeek::Saturday, "sat"),
    (DayOfWeek::Sunday, "sun"),
];

impl FromStr for Weekdays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut days = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (position(first)?, position(last)?);
            // A range may pass the end of the week: fri-mon.
            let length = (last + WEEK.len() - first) % WEEK.len() + 1;
            for (day, short) in WEEK.iter().cycle().skip(first).take(length) {
                if days.contains(day) {
                    return Err(format!("{short} is there twice"));
                }
                days.push(*day);
            }
        }
        Ok(Self(days))
    }
}

fn position(text: &str) -> Result<usize, String> {
    let day = text.trim().to_ascii_lowercase();
    let full = names::parse::<DayOfWeek>(&day);
    WEEK.iter()
        .position(|(of_week, short)| *short == day || Some(*of_week) == full)
        .ok_or_else(|| format!("{text:?} is no day; give such as mon-fri or mon,wed,sat-sun"))
}

/// As the API has them.
pub(super) fn day_names(hours: &AccessHours) -> Vec<String> {
    hours.weekdays.iter().map(|day| name::<DayOfWeek>(*day)).collect()
}

/// `mon-fri,sun`, as [`Weekdays`] reads it.
pub(super) fn shown_days(hours: &AccessHours) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (i, _) in WEEK.iter().enumerate().filter(|(_, (day, _))| hours.weekdays.contains(&(*day).into())) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == i => *last = i,
            _ => runs.push((i, i)),
        }
    }
    let shown = runs.iter().map(|(first, last)| match last - first {
        0 => WEEK[*first].1.to_owned(),
        1 => format!("{},{}", WEEK[*first].1, WEEK[*last].1),
        _ => format!("{}-{}", WEEK[*first].1, WEEK[*last].1),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
