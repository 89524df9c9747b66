//! `quotactl audit`: who changed what, with the fields that differ between before and after.

use clap::Args;
use prost_types::Timestamp;
use quotad::api::proto::{AuditEvent, ListAuditEventsRequest};
use serde_json::{Map, Value, json};

use crate::{
    arguments::Organization,
    context::Context,
    failure::Failure,
    format::{instant, instant_json, parse_instant},
    output::{Column, Item, number, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl audit --org acme --kind policy --limit 20
  quotactl audit --org acme --kind rule --id office
  quotactl audit --org acme --actor member:ada --start 2026-11-01T00:00:00Z --json

With --json the events hold what was before and after in full.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Audit {
    #[command(flatten)]
    org: Organization,
    /// Only this kind of thing, such as team, policy, rule or cycle
    #[arg(long, default_value = "", hide_default_value = true)]
    kind: String,
    /// Only this one
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// Only by this one: operator, member:ID or system
    #[arg(long, default_value = "", hide_default_value = true)]
    actor: String,
    /// Changes at or after this instant, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    start: Option<Timestamp>,
    /// Changes before this instant, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    end: Option<Timestamp>,
    #[command(flatten)]
    paging: Paging,
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.server.organizations();
        let page = async |page_size, page_token| {
            let request = ListAuditEventsRequest {
                organization_id: self.org.id.clone(),
                kind: self.kind.clone(),
                id: self.id.clone(),
                actor: self.actor.clone(),
                start_time: self.start,
                end_time: self.end,
                page_size,
                page_token,
            };
            let page = client.list_audit_events(request).await?.into_inner();
            Ok((page.events, page.next_page_token))
        };
        context.out.list("events", &self.paging.collect(page).await?)
    }
}

impl Item for AuditEvent {
    const COLUMNS: &'static [Column] =
        &[number("event"), text("time"), text("actor"), text("kind"), text("id"), text("changed")];

    fn cells(&self) -> Vec<String> {
        vec![
            self.sequence.to_string(),
            instant(self.time.as_ref()),
            self.actor.clone(),
            self.kind.clone(),
            self.id.clone(),
            changed(&self.before, &self.after),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "sequence": self.sequence,
            "time": instant_json(self.time.as_ref()),
            "actor": self.actor,
            "kind": self.kind,
            "id": self.id,
            "before": parsed(&self.before),
            "after": parsed(&self.after),
        })
    }
}

/// Null for nothing; what is no JSON stays as it is.
fn parsed(text: &str) -> Value {
    match text {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

/// `name: "a" → "b", disabled: false → true`; a new thing shows what it has.
fn changed(before: &str, after: &str) -> String {
    let (before, after) = (parsed(before), parsed(after));
    match (&before, &after) {
        (Value::Object(before), Value::Object(after)) => differing(before, after).join(", "),
        (Value::Null, Value::Object(after)) => {
            let fields = after.iter().filter(|(_, value)| is_telling(value));
            let fields: Vec<_> = fields.map(|(name, value)| format!("{name}: {}", cut(value))).collect();
            format!("new: {}", fields.join(", "))
        }
        (Value::Null, after) => format!("new: {}", cut(after)),
        (before, after) if before == after => String::new(),
        (before, after) => format!("{} → {}", cut(before), cut(after)),
    }
}

/// Down to the innermost fields; when it was changed is the event's own time.
fn differing(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let names = after.keys().chain(gone).filter(|name| *name != "update_time");
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let changes = names.flat_map(|name| match (value(before, name), value(after, name)) {
        (before, after) if before == after => Vec::new(),
        (Value::Object(before), Value::Object(after)) => {
            differing(&before, &after).into_iter().map(|change| format!("{name}.{change}")).collect()
        }
        (before, after) => vec![format!("{name}: {} → {}", cut(&before), cut(&after))],
    });
    changes.collect()
}

fn is_telling(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A value in at most so many characters that a row stays a row.
fn cut(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = if value.is_null() { "none".to_owned() } else { value.to_string() };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_that_differ_are_shown() {
        let shown = changed(r#"{"name":"a","disabled":false,"cap":5}"#, r#"{"name":"a","disabled":true,"zone":"UTC"}"#);
        assert_eq!(shown, r#"disabled: false → true, zone: none → "UTC", cap: 5 → none"#);
    }

    #[test]
    fn nested_fields_are_named_by_their_path() {
        let shown = changed(r#"{"cap":{"on":true,"max":"50"}}"#, r#"{"cap":{"on":true,"max":"80"},"update_time":1}"#);
        assert_eq!(shown, r#"cap.max: "50" → "80""#);
    }

    #[test]
    fn what_is_new_shows_what_it_has() {
        assert_eq!(changed("", r#"{"id":"x","name":"","models":[],"max":7}"#), r#"new: id: "x", max: 7"#);
        assert_eq!(changed("", "[1]"), "new: [1]");
        assert_eq!(changed("[1]", "[1,2]"), "[1] → [1,2]");
    }

    #[test]
    fn long_values_are_cut() {
        let after = format!("{{\"reason\":\"{}\"}}", "é".repeat(200));
        let shown = changed("{}", &after);
        assert!(shown.ends_with('…') && shown.chars().count() < 100, "{shown}");
    }

    #[test]
    fn programs_get_both_states_whole() {
        let event = AuditEvent { before: String::new(), after: r#"{"max":"5"}"#.into(), ..AuditEvent::default() };
        assert!(event.json()["before"].is_null());
        assert_eq!(event.json()["after"]["max"], "5");
    }
}
