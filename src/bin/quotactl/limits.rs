//! Limits as they stand: what is spent, held and left, and when it starts over.

use quotad::api::proto::{DayOfWeek, LimitState, Period, PeriodKind, Scope, Unit};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    format::{amount, instant, instant_json, span},
    names::name,
    output::{Column, Item, Output, jsons, number, table, tabulated, text},
};

impl Item for LimitState {
    const COLUMNS: &'static [Column] = &[
        text("place"),
        text("limit"),
        text("unit"),
        text("period"),
        number("max"),
        number("soft"),
        number("spent"),
        number("held").spare(),
        number("remaining"),
        text("resets"),
    ];

    fn cells(&self) -> Vec<String> {
        let off = if self.binding { "" } else { " (off)" };
        vec![
            place(self),
            self.limit_id.clone(),
            format!("{}{off}", unit(self.unit)),
            self.period.as_ref().map(period).unwrap_or_default(),
            amount(&self.max),
            amount(&self.soft),
            amount(&self.spent),
            amount(&self.held),
            amount(&self.remaining),
            instant(self.reset_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "scope": name::<Scope>(self.scope),
            "scope_id": self.scope_id,
            "limit_id": self.limit_id,
            "unit": name::<Unit>(self.unit),
            "period": self.period.as_ref().map(period_json),
            "max": self.max,
            "soft": self.soft,
            "spent": self.spent,
            "held": self.held,
            "remaining": self.remaining,
            "reset_time": instant_json(self.reset_time.as_ref()),
            "binding": self.binding,
        })
    }
}

/// Short enough for a table.
fn unit(unit: i32) -> String {
    match Unit::try_from(unit) {
        Ok(Unit::RequestsPerMinute) => "requests/min".to_owned(),
        Ok(Unit::TokensPerMinute) => "tokens/min".to_owned(),
        _ => name::<Unit>(unit).replace('_', " "),
    }
}

/// Limits as a table, without the place where it is the same for all.
pub(crate) fn shown(limits: &[LimitState]) -> String {
    let one_place = limits.windows(2).all(|pair| place(&pair[0]) == place(&pair[1]));
    if limits.is_empty() || !one_place {
        return tabulated(limits);
    }
    table(&LimitState::COLUMNS[1..], limits.iter().map(|limit| limit.cells().split_off(1)))
}

/// `team research`; the wallet and the organization need no id beside them.
fn place(limit: &LimitState) -> String {
    format!("{} {}", name::<Scope>(limit.scope), limit.scope_id).trim_end().to_owned()
}

/// `team research, limit monthly`.
pub(crate) fn place_and_limit(limit: &LimitState) -> String {
    let place = place(limit);
    if limit.limit_id.is_empty() { place } else { format!("{place}, limit {}", limit.limit_id) }
}

/// `weekly from sunday, Europe/Berlin` or `every 6h`.
pub(crate) fn period(period: &Period) -> String {
    let mut text = name::<PeriodKind>(period.kind).replace('_', "-");
    if let Some(interval) = &period.interval {
        text = format!("every {}", span(interval));
    }
    if period.week_start > DayOfWeek::Monday.into() {
        text = format!("{text} from {}", name::<DayOfWeek>(period.week_start));
    }
    if !period.time_zone.is_empty() && period.time_zone != "UTC" {
        text = format!("{text}, {}", period.time_zone);
    }
    text
}

fn period_json(period: &Period) -> Value {
    json!({
        "kind": name::<PeriodKind>(period.kind),
        "time_zone": period.time_zone,
        "week_start": name::<DayOfWeek>(period.week_start),
        "interval": period.interval.as_ref().map(span),
        "anchor": instant_json(period.anchor.as_ref()),
    })
}

/// An entity and, for people, the table of its limits below; programs find them in its JSON.
pub(crate) fn print_with_limits<I: Item>(out: Output, item: &I, limits: &[LimitState]) -> Result<(), Failure> {
    out.item(item)?;
    if out.is_json() || limits.is_empty() {
        return Ok(());
    }
    out.text(&format!("\n{}", shown(limits)))
}

pub(crate) fn limits_json(limits: &[LimitState]) -> Vec<Value> {
    jsons(limits)
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};

    use super::*;

    fn limit() -> LimitState {
        LimitState {
            scope: Scope::Team.into(),
            scope_id: "research".into(),
            limit_id: "monthly".into(),
            unit: Unit::Usd.into(),
            period: Some(Period { kind: PeriodKind::Monthly.into(), ..Period::default() }),
            max: "1000".into(),
            soft: String::new(),
            spent: "12.5".into(),
            held: "0".into(),
            remaining: "987.5".into(),
            reset_time: Some(Timestamp { seconds: 1_796_083_200, nanos: 0 }),
            binding: true,
        }
    }

    #[test]
    fn a_limit_is_one_row() {
        let shown = tabulated(&[limit()]);
        let row = shown.lines().nth(1).unwrap();
        let cells: Vec<_> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected = ["team research", "monthly", "usd", "monthly", "1,000", "12.5", "0", "987.5", "2026-12-01"];
        assert_eq!(cells, expected);
    }

    #[test]
    fn a_limit_in_json_keeps_amounts_as_strings_and_says_what_is_unset() {
        let value = LimitState { reset_time: None, period: None, ..limit() }.json();
        assert_eq!(value["max"], "1000");
        assert_eq!((value["scope"].as_str(), value["unit"].as_str()), (Some("team"), Some("usd")));
        assert!(value["reset_time"].is_null() && value["period"].is_null());
    }

    #[test]
    fn periods_read_as_a_phrase() {
        let weekly = Period {
            kind: PeriodKind::Weekly.into(),
            week_start: DayOfWeek::Sunday.into(),
            time_zone: "Europe/Berlin".into(),
            ..Period::default()
        };
        assert_eq!(period(&weekly), "weekly from sunday, Europe/Berlin");
        let interval = Some(Duration { seconds: 21_600, nanos: 0 });
        assert_eq!(period(&Period { kind: PeriodKind::Every.into(), interval, ..Period::default() }), "every 6h");
        assert_eq!(period(&Period { kind: PeriodKind::OneTime.into(), ..Period::default() }), "one-time");
    }

    #[test]
    fn a_budget_that_does_not_bind_says_so() {
        let off = LimitState { unit: Unit::Credits.into(), binding: false, ..limit() };
        assert_eq!(off.cells()[2], "credits (off)");
    }
}
