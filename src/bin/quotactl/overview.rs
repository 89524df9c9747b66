//! `quotactl overview`: the cycle of credits, what is left of it, and every team's part.

use clap::Args;
use quotad::api::proto::{CreditOverview, GetOverviewRequest};
use serde_json::{Value, json};

use crate::{
    arguments::Organization,
    bar::{bar, gauge},
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json, thousands},
    output::{Output, jsons, number, table, text},
};

const EXAMPLES: &str = "\
Examples:
  quotactl overview --org acme
  quotactl overview --org acme --json";

/// Said where nothing of credits is in force.
pub(crate) const NOT_TRACKED: &str = "\nCredits aren't tracked (the credit factor is 0): none of these caps binds.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Overview {
    #[command(flatten)]
    org: Organization,
}

impl Overview {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = GetOverviewRequest { organization_id: self.org.id };
        let answer = context.server.allocations().get_overview(request).await?.into_inner();
        print(context.out, &required(answer.overview, "overview")?)
    }
}

pub(crate) fn print(out: Output, overview: &CreditOverview) -> Result<(), Failure> {
    if out.is_json() { out.value(&overview_json(overview)) } else { out.text(&shown(overview)) }
}

fn shown(overview: &CreditOverview) -> String {
    let (start, end) = (instant(overview.cycle_start.as_ref()), instant(overview.cycle_end.as_ref()));
    let used = if overview.credits_per_cycle.is_empty() {
        format!("used         {} credits, no cap", amount(&overview.used))
    } else {
        format!(
            "used         {} of {} credits  {} {}%\nbalance      {}\ndistributed  {}\navailable    {}",
            amount(&overview.used),
            amount(&overview.credits_per_cycle),
            gauge(&overview.used, &overview.credits_per_cycle),
            if overview.used_percent.is_empty() { "0" } else { &overview.used_percent },
            amount(&overview.balance),
            amount(&overview.distributed),
            amount(&overview.available),
        )
    };
    let columns = [
        text("team"),
        number("members").spare(),
        number("used"),
        number("monthly"),
        number("extra").spare(),
        number("distributed").spare(),
        number("available"),
        text("share of the use"),
    ];
    let rows = overview.teams.iter().map(|team| {
        vec![
            team.team_id.clone(),
            thousands(team.member_count),
            amount(&team.used),
            amount(&team.monthly),
            amount(&team.extra),
            amount(&team.distributed),
            amount(&team.available),
            bar(&team.used, &overview.used),
        ]
    });
    let note = if overview.credits_tracked { "" } else { NOT_TRACKED };
    format!("cycle        {start} to {end}\n{used}{note}\n\n{}", table(&columns, rows))
}

pub(crate) fn overview_json(overview: &CreditOverview) -> Value {
    json!({
        "cycle_start": instant_json(overview.cycle_start.as_ref()),
        "cycle_end": instant_json(overview.cycle_end.as_ref()),
        "credits_per_cycle": overview.credits_per_cycle,
        "used": overview.used,
        "used_percent": overview.used_percent,
        "balance": overview.balance,
        "distributed": overview.distributed,
        "available": overview.available,
        "teams": jsons(&overview.teams),
        "credits_tracked": overview.credits_tracked,
    })
}

#[cfg(test)]
mod tests {
    use quotad::api::proto::TeamAllocation;

    use super::*;

    #[test]
    fn an_overview_shows_the_cycle_and_each_teams_share() {
        let team = TeamAllocation { team_id: "research".into(), used: "250".into(), ..TeamAllocation::default() };
        let overview = CreditOverview {
            credits_per_cycle: "1000".into(),
            used: "250".into(),
            used_percent: "25.00".into(),
            balance: "750".into(),
            teams: vec![team],
            ..CreditOverview::default()
        };
        let shown = shown(&overview);
        assert!(shown.contains("250 of 1,000 credits  █████░░░░░░░░░░░░░░░ 25.00%"), "{shown}");
        assert!(shown.lines().last().unwrap().ends_with(&"█".repeat(20)), "{shown}");
        assert!(super::shown(&CreditOverview { credits_per_cycle: String::new(), ..overview }).contains("no cap"));
    }
}
