//! `quotactl audit`: who changed what, with the fields that differ between before and after.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use prost_types::Timestamp;
use quotad::api::proto::{AuditEvent, ListAuditEventsRequest};
use serde_json::{Value, json};

use crate::{
    arguments::Organization,
    context::Context,
    failure::Failure,
    format::{instant, instant_json, parse_instant},
    output::{Column, Item, text, width, wrapped},
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
    /// Changes at or after this instant
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    start: Option<Timestamp>,
    /// Changes before this instant
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
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
        let listed = self.paging.collect(page).await?;
        if context.out.is_json() {
            return context.out.list("events", &listed);
        }
        if listed.items.is_empty() {
            return context.out.text("(none)");
        }
        for event in &listed.items {
            context.out.text(&shown(event))?;
        }
        if listed.more { context.out.text("… and more: see all of them with --all") } else { Ok(()) }
    }
}

/// A line of who changed which thing and when, and one for each field below it.
fn shown(event: &AuditEvent) -> String {
    let of = [event.kind.as_str(), event.id.as_str()].into_iter().filter(|part| !part.is_empty());
    let (time, what) = (instant(event.time.as_ref()), of.collect::<Vec<_>>().join(" "));
    let head = format!("{time}  {}  {what}  (event {})", event.actor, event.sequence);
    let changes = changes(event);
    let changes = changes.iter().flat_map(|change| wrapped(change, "  ", width()));
    wrapped(&head, "", width()).into_iter().chain(changes).collect::<Vec<_>>().join("\n")
}

impl Item for AuditEvent {
    const COLUMNS: &'static [Column] = &[text("time"), text("actor"), text("kind"), text("id"), text("changed")];

    fn cells(&self) -> Vec<String> {
        let changed = changes(self).join(", ");
        vec![instant(self.time.as_ref()), self.actor.clone(), self.kind.clone(), self.id.clone(), changed]
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

/// `policy.budgets[monthly].max: 10 → 20`; a new thing has what it begins with.
fn changes(event: &AuditEvent) -> Vec<String> {
    // The path of a policy's fields begins with the field that has the policy.
    let root = if event.kind == "policy" { "policy" } else { "" };
    let fields = |text: &str| {
        let mut fields = BTreeMap::new();
        collect(root, &parsed(text), &mut fields);
        fields
    };
    let (before, after) = (fields(&event.before), fields(&event.after));
    let is_new = event.before.is_empty();
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let none = String::from("none");
    let changes = paths.into_iter().filter_map(|path| match (before.get(path), after.get(path)) {
        (before, after) if before == after => None,
        // That it isn't off or gone goes without saying.
        (None, Some(value)) if is_new && value == "false" => None,
        (None, Some(value)) if is_new => Some(format!("{path}: {value}")),
        (before, after) => Some(format!("{path}: {} → {}", before.unwrap_or(&none), after.unwrap_or(&none))),
    });
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() { vec![String::from("no field has another value")] } else { changes }
}

/// Down to the innermost fields that have a value, each by its path; what has an id is told by it and not by its place.
fn collect(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let mut set = |text: String| fields.insert(path.to_owned(), text);
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => drop(set(value.to_string())),
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => drop(set(text.clone())),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (i, item) in items.iter().enumerate() {
                let id = item["id"].as_str().map_or_else(|| i.to_string(), ToOwned::to_owned);
                collect(&format!("{path}[{id}]"), item, fields);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned));
            set(items.collect::<Vec<_>>().join(", "));
        }
        Value::Object(object) => {
            let is_listed = path.ends_with(']');
            for (name, value) in object.iter().filter(|(name, _)| !(is_listed && *name == "id")) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, fields);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, before: &str, after: &str) -> AuditEvent {
        AuditEvent { kind: kind.into(), before: before.into(), after: after.into(), ..AuditEvent::default() }
    }

    #[test]
    fn only_fields_that_differ_are_shown_by_their_path() {
        let before = r#"{"name":"a","disabled":false,"cap":{"max_credits":"50","period":"daily"},"hours":""}"#;
        let after = r#"{"name":"a","disabled":true,"cap":{"max_credits":"80","period":"daily"},"zone":"UTC"}"#;
        let shown = changes(&event("rule", before, after));
        assert_eq!(shown, ["cap.max_credits: 50 → 80", "disabled: false → true", "zone: none → UTC"]);
    }

    #[test]
    fn limits_of_a_policy_are_told_by_their_ids() {
        let before = r#"{"budgets":[{"id":"day","max":"1"},{"id":"monthly","max":"10","models":["a"]}],"quotas":[]}"#;
        let after = r#"{"budgets":[{"id":"monthly","max":"20","models":["a","b"]}],"quotas":[]}"#;
        let shown = changes(&event("policy", before, after));
        let expected = [
            "policy.budgets[day].max: 1 → none",
            "policy.budgets[monthly].max: 10 → 20",
            "policy.budgets[monthly].models: a → a, b",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_new_shows_what_it_has() {
        let shown = changes(&event("team", "", r#"{"name":"x","models":[],"disabled":false,"max":7}"#));
        assert_eq!(shown, ["max: 7", "name: x"]);
    }

    #[test]
    fn nothing_is_cut_before_the_difference() {
        let (before, after) = ("é".repeat(200), format!("{}!", "é".repeat(200)));
        let json = |text: &str| format!("{{\"reason\":\"{text}\"}}");
        let shown = changes(&event("correction", &json(&before), &json(&after))).join("");
        assert!(shown.contains(&before) && shown.ends_with(&after), "{shown}");
    }

    #[test]
    fn programs_get_both_states_whole() {
        let event = AuditEvent { before: String::new(), after: r#"{"max":"5"}"#.into(), ..AuditEvent::default() };
        assert!(event.json()["before"].is_null());
        assert_eq!(event.json()["after"]["max"], "5");
    }
}
