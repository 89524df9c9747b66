//! `quotactl budget`: what caps a member over all its keys, as the member sees it and as it is set.
//!
//! Hard budgets over all models are a member's budget; quotas, budgets that only warn and those of single models are left
//! to `quotactl policy`, and kept here.

use clap::{Args, Subcommand};
use quotad::api::proto::{
    Budget, GetMemberBudgetRequest, GetMemberBudgetResponse, MemberBudget, MemberLimit, Period, PeriodKind, Policy,
    Unit,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, decimal, one_of},
    confirm::Consent,
    context::Context,
    failure::Failure,
    format::amount,
    names::{dashed, name},
    output::{Column, Item, Output, jsons, number, table, tabulated, text},
    place::Place,
    policy::{self, Changed},
};

const EXAMPLES: &str = "\
Examples:
  quotactl budget show --org acme
  quotactl budget set ada --org acme --one-time 50
  quotactl budget set ada --org acme --daily 5 --monthly 80 --zone Europe/Berlin
  quotactl budget set ada --org acme --unlimited
  quotactl budget set --invitation inv-1 --org acme --one-time 20
  quotactl budget set --each-of research --org acme --monthly 20
  quotactl budget set ada --team research --org acme --monthly 50

Without a member `show` answers whose token it is. Raising or lowering a budget keeps what is spent; another kind begins at zero, and \
takes the place of those that aren't given.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum BudgetCommand {
    /// Shows all that binds a member, with what is spent and left, as the member itself may see it
    #[command(visible_alias = "get")]
    Show {
        /// The member; the token's own if left out
        #[arg(default_value = "", hide_default_value = true)]
        member: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Sets the whole budget of a member, an invitation, or each member of a team; asks where another kind goes
    Set {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        wanted: Box<Wanted>,
        /// Lets a budget count from zero whose zone changes
        #[arg(long)]
        restart_spending: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The member
    #[arg(required_unless_present_any = ["invitation", "each_of"])]
    member: Option<String>,
    /// Only in this team, in place of what the team gives each of its members
    #[arg(long, requires = "member")]
    team: Option<String>,
    /// The member that this invitation will make
    #[arg(long, value_name = "ID", conflicts_with = "member")]
    invitation: Option<String>,
    /// Each member of this team, separately
    #[arg(long, value_name = "TEAM", conflicts_with_all = ["member", "invitation"])]
    each_of: Option<String>,
}

impl Whose {
    fn place(self, org: Organization) -> Place {
        let each_member = self.each_of.is_some();
        let team = self.each_of.or(self.team);
        let (member, invitation) = (self.member, self.invitation);
        Place { org, key: None, member, team, each_member, invitation, organization: false, ceiling: false }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    #[command(flatten)]
    caps: Caps,
    /// What they count
    #[arg(long, default_value = "usd", value_parser = one_of::<Unit>(&["usd", "credits"]))]
    unit: Unit,
    /// IANA zone of the periods; UTC if left out
    #[arg(long)]
    zone: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Caps {
    /// No budget at all
    #[arg(long, conflicts_with_all = ["one_time", "daily", "weekly", "monthly"])]
    unlimited: bool,
    /// Freezes when used up, never resets
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    one_time: Option<String>,
    /// Per day
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    daily: Option<String>,
    /// Per week, from Monday
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    weekly: Option<String>,
    /// Per month
    #[arg(long, value_name = "AMOUNT", value_parser = decimal)]
    monthly: Option<String>,
}

impl Wanted {
    /// Puts the budget into a policy, in the place of the one before.
    fn apply(self, policy: &mut Policy) {
        let Caps { unlimited: _, one_time, daily, weekly, monthly } = self.caps;
        let wanted = [
            (PeriodKind::OneTime, one_time),
            (PeriodKind::Daily, daily),
            (PeriodKind::Weekly, weekly),
            (PeriodKind::Monthly, monthly),
        ];
        let (mut before, kept) = policy.budgets.drain(..).partition::<Vec<_>, _>(is_member_budget);
        policy.budgets = kept;
        for (kind, max) in wanted {
            let Some(max) = max else { continue };
            let same = |budget: &Budget| budget.unit() == self.unit && kind_of(budget) == kind;
            // The same limit goes on under its id, so that what is spent stays spent.
            let mut budget = match before.iter().position(same) {
                Some(found) => before.swap_remove(found),
                None => Budget {
                    id: free_id(policy, &dashed::<PeriodKind>(kind.into())),
                    unit: self.unit.into(),
                    period: Some(Period { kind: kind.into(), ..Period::default() }),
                    ..Budget::default()
                },
            };
            budget.max = max;
            if let (Some(zone), Some(period)) = (&self.zone, &mut budget.period)
                && kind != PeriodKind::OneTime
            {
                period.time_zone.clone_from(zone);
            }
            policy.budgets.push(budget);
        }
    }
}

fn is_member_budget(budget: &Budget) -> bool {
    !budget.max.is_empty() && budget.models.is_empty()
}

fn kind_of(budget: &Budget) -> PeriodKind {
    budget.period.as_ref().map(Period::kind).unwrap_or_default()
}

/// `id`, or with a number where another limit of the policy has it.
fn free_id(policy: &Policy, id: &str) -> String {
    let taken = |id: &str| {
        policy.budgets.iter().any(|budget| budget.id == id) || policy.quotas.iter().any(|quota| quota.id == id)
    };
    let candidates = std::iter::once(id.to_owned()).chain((2..).map(|number| format!("{id}-{number}")));
    candidates.into_iter().find(|candidate| !taken(candidate)).unwrap_or_else(|| id.to_owned())
}

impl BudgetCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show { member, org } => {
                let request = GetMemberBudgetRequest { organization_id: org.id, member_id: member };
                show(context.out, &context.server.members().get_member_budget(request).await?.into_inner())
            }
            Self::Set { whose, org, wanted, restart_spending, consent } => {
                let place = whose.place(org);
                let found = place.read(&context.server).await?;
                let mut policy = found.policy.clone();
                let unlimited = wanted.caps.unlimited;
                wanted.apply(&mut policy);
                let changed = Changed::to(&place, found, policy, restart_spending);
                // No budget at all is what was said.
                if let Some(question) = changed.removes().filter(|_| !unlimited)
                    && !consent.given(context.out, async || Ok(question)).await?
                {
                    return Ok(());
                }
                place.write(&context.server, changed.policy, &changed.found, changed.restart).await?;
                let found = place.read(&context.server).await?;
                if !context.out.is_json() && !found.policy.budgets.iter().any(is_member_budget) {
                    context.out.text("unlimited")?;
                    if found.policy == Policy::default() {
                        return Ok(());
                    }
                }
                policy::show(context.out, &found)
            }
        }
    }
}

fn show(out: Output, answer: &GetMemberBudgetResponse) -> Result<(), Failure> {
    if out.is_json() {
        let unlimited = answer.budgets.is_empty();
        return out.value(&json!({
            "member_id": answer.member_id,
            "unlimited": unlimited,
            "budgets": jsons(&answer.budgets),
            "limits": jsons(&answer.limits),
            "allocations": jsons(&answer.allocations),
        }));
    }
    if answer.limits.is_empty() && answer.allocations.is_empty() {
        return out.text(&format!("{} is unlimited", answer.member_id));
    }
    if !answer.limits.is_empty() {
        out.text(&tabulated(&answer.limits))?;
    }
    if answer.allocations.is_empty() {
        return Ok(());
    }
    let gap = if answer.limits.is_empty() { "" } else { "\n" };
    let columns = [text("credits in team"), number("monthly"), number("extra"), number("used"), number("remaining")];
    let rows = answer.allocations.iter().map(|credits| {
        let monthly = if credits.monthly.is_empty() { "shared".to_owned() } else { amount(&credits.monthly) };
        let remaining = if credits.credits_tracked { amount(&credits.remaining) } else { "not tracked".to_owned() };
        vec![credits.team_id.clone(), monthly, amount(&credits.extra), amount(&credits.used), remaining]
    });
    out.text(&format!("{gap}{}", table(&columns, rows)))
}

impl Item for MemberLimit {
    const COLUMNS: &'static [Column] = &[
        text("place"),
        text("limit"),
        text("unit"),
        text("period"),
        number("max"),
        number("spent"),
        number("held").spare(),
        number("remaining"),
        text("resets"),
        text("key"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = self.limit.clone().unwrap_or_default().cells();
        // Soft caps warn others.
        cells.remove(5);
        cells.push(self.key_id.clone());
        cells
    }

    fn json(&self) -> Value {
        json!({ "limit": self.limit.as_ref().map(Item::json), "key_id": self.key_id })
    }
}

impl Item for MemberBudget {
    const COLUMNS: &'static [Column] = &[text("type"), text("unit"), number("limit")];

    fn cells(&self) -> Vec<String> {
        vec![dashed::<PeriodKind>(self.r#type), name::<Unit>(self.unit), amount(&self.limit)]
    }

    fn json(&self) -> Value {
        json!({
            "type": name::<PeriodKind>(self.r#type),
            "unit": name::<Unit>(self.unit),
            "limit": self.limit,
            "binding": self.binding,
        })
    }
}

#[cfg(test)]
mod tests;
