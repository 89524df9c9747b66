//! `quotactl usage`: sums by member, key, team, model or day, with a bar for each.

use clap::Args;
use prost_types::Timestamp;
use quotad::api::proto::{SummarizeUsageRequest, SummarizeUsageResponse, TransactionTotals, UsageGroup, UsageGrouping};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of},
    bar::bar,
    context::Context,
    failure::Failure,
    format::{amount, parse_instant, thousands},
    ledger::totals_json,
    names::name,
    output::{number, table, text},
};

const EXAMPLES: &str = "\
Examples:
  quotactl usage --org acme --by team
  quotactl usage --org acme --by model --member ada --start 2026-11-01T00:00:00Z
  quotactl usage --org acme --by day --limit 31
  quotactl usage --org acme --by day --zone Europe/Berlin";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Usage {
    #[command(flatten)]
    org: Organization,
    /// What is summed; days come the latest first, all else the largest first
    #[arg(long, default_value = "member", value_parser = one_of::<UsageGrouping>(&["member", "key", "team", "model", "day"]))]
    by: UsageGrouping,
    /// Only this key's
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// Only this member's
    #[arg(long, default_value = "", hide_default_value = true)]
    member: String,
    /// Only this team's
    #[arg(long, default_value = "", hide_default_value = true)]
    team: String,
    /// Only this model's
    #[arg(long, default_value = "", hide_default_value = true)]
    model: String,
    /// What was used at or after this instant, whenever it was booked
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    start: Option<Timestamp>,
    /// What was used before this instant
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    end: Option<Timestamp>,
    /// The zone whose days are summed by --by day, such as Europe/Berlin; the organization's if left out
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
    /// How many rows at most, to 1000; the rest is one row
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
}

impl Usage {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = SummarizeUsageRequest {
            organization_id: self.org.id,
            grouping: self.by.into(),
            key_id: self.key,
            member_id: self.member,
            team_id: self.team,
            model: self.model,
            start_time: self.start,
            end_time: self.end,
            page_size: self.limit,
            time_zone: self.zone,
        };
        let answer = context.server.ledger().summarize_usage(request).await?.into_inner();
        if context.out.is_json() {
            return context.out.value(&usage_json(self.by, &answer));
        }
        let by = name::<UsageGrouping>(self.by.into());
        let by = if answer.time_zone.is_empty() { by } else { format!("{by} in {}", answer.time_zone) };
        context.out.text(&shown(&by, &answer))
    }
}

fn usage_json(by: UsageGrouping, answer: &SummarizeUsageResponse) -> Value {
    let group = |group: &UsageGroup| {
        let mut value = totals_json(&group.totals.clone().unwrap_or_default());
        value["id"] = group.id.clone().into();
        value
    };
    json!({
        "by": name::<UsageGrouping>(by.into()),
        "groups": answer.groups.iter().map(group).collect::<Vec<_>>(),
        "others": answer.others.as_ref().map(totals_json),
        "totals": answer.totals.as_ref().map(totals_json),
        "as_of_entry": answer.as_of_entry,
        "time_zone": answer.time_zone,
    })
}

fn shown(by: &str, answer: &SummarizeUsageResponse) -> String {
    let columns = [
        text("id"),
        number("cost (USD)"),
        number("credits").spare(),
        number("input"),
        number("output"),
        number("requests").spare(),
        text("share"),
    ];
    let totals = answer.totals.clone().unwrap_or_default();
    let row = |id: &str, sums: &TransactionTotals, bar: String| {
        vec![
            id.to_owned(),
            amount(&sums.cost_usd),
            amount(&sums.credits),
            thousands(sums.input_tokens),
            thousands(sums.output_tokens),
            thousands(sums.requests),
            bar,
        ]
    };
    let share = |sums: &TransactionTotals| bar(&sums.cost_usd, &totals.cost_usd);
    let groups = answer.groups.iter().map(|group| {
        let sums = group.totals.clone().unwrap_or_default();
        row(if group.id.is_empty() { "(none)" } else { &group.id }, &sums, share(&sums))
    });
    let others = answer.others.iter().filter(|sums| sums.entries > 0).map(|sums| row("(others)", sums, share(sums)));
    let total = std::iter::once(row("total", &totals, String::new()));
    let rows: Vec<_> = groups.chain(others).chain(total).collect();
    format!("{}\n\nby {by}; as of entry {}", table(&columns, rows), thousands(answer.as_of_entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(cost: &str) -> TransactionTotals {
        TransactionTotals { entries: 1, cost_usd: cost.into(), ..TransactionTotals::default() }
    }

    #[test]
    fn each_row_has_a_bar_of_its_share_and_the_last_is_the_total() {
        let answer = SummarizeUsageResponse {
            groups: vec![UsageGroup { id: "ada".into(), totals: Some(sums("7.5")) }],
            others: Some(sums("2.5")),
            totals: Some(sums("10")),
            as_of_entry: 1200,
            ..SummarizeUsageResponse::default()
        };
        let shown = shown("member", &answer);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[1].starts_with("ada") && lines[1].ends_with(&"█".repeat(15)), "{shown}");
        assert!(lines[2].starts_with("(others)") && lines[2].ends_with(&"█".repeat(5)), "{shown}");
        assert!(lines[3].starts_with("total") && shown.ends_with("as of entry 1,200"), "{shown}");
        assert_eq!(usage_json(UsageGrouping::Member, &answer)["groups"][0]["id"], "ada");
    }
}
