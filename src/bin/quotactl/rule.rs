//! `quotactl rule`: reusable access rules, which cap the credits of each key under them and restrict its hours.

use clap::Subcommand;
use quotad::api::proto::{
    AccessHours, CreateRuleRequest, CreditCap, DeleteRuleRequest, GetRuleRequest, ListRulesRequest, PeriodKind,
    PreviewRuleRequest, PreviewRuleResponse, Rule, RuleStatus, UpdateRuleRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of, paths},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json},
    names::name,
    output::{Column, Item, Output, number, prose, text},
    paging::Paging,
    taken,
};

mod fields;

use fields::{Changes, Fields};

const EXAMPLES: &str = "\
Examples:
  quotactl rule preview --org acme --cap 50 --period daily --zone Asia/Shanghai --weekdays mon-fri --hours 08:00-20:00
  quotactl rule create office --org acme --name 'Office hours' --cap 50 --period daily --weekdays mon-fri --hours 08:00-20:00
  quotactl rule update office --org acme --cap 80 --hours-off
  quotactl rule update office --org acme --no-hours --disable
  quotactl rule list --org acme --status enabled
  quotactl key update ada-laptop --org acme --rule office
  quotactl org update acme --default-rule office

A key's own rule binds it, else the organization's default, else none; a rule that is off is skipped.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum RuleCommand {
    /// Creates a rule
    Create {
        /// Its id; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows a rule and what it says
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Lists rules, with how many keys are under each
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those of this status
        #[arg(long, value_parser = one_of::<RuleStatus>(&["enabled", "disabled"]))]
        status: Option<RuleStatus>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Changes what is given, for every key under the rule at once
    Update {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        changes: Changes,
        /// Lets the cap count from zero for every key, which another period or zone does
        #[arg(long)]
        restart_spending: bool,
    },
    /// Ends a rule; refused while keys are bound to it or it is the default
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        consent: Consent,
    },
    /// Says what a rule would mean, and whether it is open now; saves nothing
    Preview {
        /// A rule to begin with; none if left out
        id: Option<String>,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        changes: Changes,
    },
}

impl RuleCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.rules(), context.out);
        match self {
            Self::Create { id, org, fields } => {
                let mut rule = Rule { organization_id: org.id, id, enabled: true, ..Rule::default() };
                fields.apply(Changes::default(), &mut rule)?;
                let request = CreateRuleRequest { rule: Some(rule), request_id: String::new() };
                print(out, &required(client.create_rule(request).await?.into_inner().rule, "rule")?)
            }
            Self::Get { id, org } => print(out, &read(context, org.id, id).await?),
            Self::List { org, status, paging } => {
                let mut total = 0;
                let page = async |page_size, page_token| {
                    let status = status.unwrap_or_default().into();
                    let request = ListRulesRequest { organization_id: org.id.clone(), status, page_size, page_token };
                    let page = client.list_rules(request).await?.into_inner();
                    total = page.total_size;
                    Ok((page.rules, page.next_page_token))
                };
                let listed = paging.collect(page).await?;
                out.counted("rules", &listed, total)
            }
            Self::Update { id, org, fields, changes, restart_spending } => {
                // The API replaces a cap or hours as a whole: read first, and the etag keeps two editors apart.
                let mut rule = read(context, org.id, id).await?;
                let changed = fields.apply(changes, &mut rule)?;
                if changed.is_empty() {
                    return Err(Failure::other("nothing to change; see `quotactl rule update --help`"));
                }
                let update_mask = Some(paths(changed));
                let request = UpdateRuleRequest { rule: Some(rule), update_mask, restart_spending };
                print(out, &required(client.update_rule(request).await?.into_inner().rule, "rule")?)
            }
            Self::Delete { id, org, consent } => {
                if !consent.given(out, async || taken::with_rule(&context.server, &org.id, &id).await).await? {
                    return Ok(());
                }
                client.delete_rule(DeleteRuleRequest { organization_id: org.id, rule_id: id.clone() }).await?;
                out.done(&format!("rule {id} deleted"), &json!({ "deleted": id }))
            }
            Self::Preview { id, org, fields, changes } => {
                let mut rule = match id {
                    Some(id) => read(context, org.id, id).await?,
                    None => Rule { organization_id: org.id, enabled: true, ..Rule::default() },
                };
                fields.apply(changes, &mut rule)?;
                let answer = client.preview_rule(PreviewRuleRequest { rule: Some(rule) }).await?.into_inner();
                previewed(out, &answer)
            }
        }
    }
}

async fn read(context: &Context, organization_id: String, rule_id: String) -> Result<Rule, Failure> {
    let request = GetRuleRequest { organization_id, rule_id };
    required(context.server.rules().get_rule(request).await?.into_inner().rule, "rule")
}

fn print(out: Output, rule: &Rule) -> Result<(), Failure> {
    out.item(rule)?;
    if out.is_json() { Ok(()) } else { out.text(&format!("\n{}", prose(&rule.preview))) }
}

fn previewed(out: Output, answer: &PreviewRuleResponse) -> Result<(), Failure> {
    if out.is_json() {
        return out.value(&json!({
            "preview": answer.preview,
            "open_now": answer.open_now,
            "opens_time": instant_json(answer.opens_time.as_ref()),
            "credits_tracked": answer.credits_tracked,
        }));
    }
    let now = match (answer.open_now, answer.opens_time.as_ref()) {
        (true, _) => "It is open now.".to_owned(),
        (false, Some(_)) => format!("It is closed now and opens at {}.", instant(answer.opens_time.as_ref())),
        (false, None) => "It is closed now.".to_owned(),
    };
    out.text(&format!("{}\n{now}", prose(&answer.preview)))
}

impl Item for Rule {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("name").spare(),
        text("quota limit"),
        text("time window"),
        text("status"),
        number("references"),
        text("updated").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.cap.as_ref().map(cap).unwrap_or_default(),
            self.hours.as_ref().map(|hours| window(hours, &self.time_zone)).unwrap_or_default(),
            if self.enabled { "enabled" } else { "disabled" }.to_owned(),
            references(self),
            instant(self.update_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "enabled": self.enabled,
            "time_zone": self.time_zone,
            "cap": self.cap.as_ref().map(|cap| json!({
                "enabled": cap.enabled,
                "max_credits": cap.max_credits,
                "period": name::<PeriodKind>(cap.period),
            })),
            "hours": self.hours.as_ref().map(|hours| json!({
                "enabled": hours.enabled,
                "weekdays": fields::day_names(hours),
                "hours": hours.hours,
            })),
            "preview": self.preview,
            "credits_tracked": self.credits_tracked,
            "bound_keys": self.bound_keys,
            "inherited_keys": self.inherited_keys,
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
            "etag": self.etag,
        })
    }
}

/// `50.00 credits daily`.
fn cap(cap: &CreditCap) -> String {
    let off = if cap.enabled { "" } else { " (off)" };
    format!("{} credits {}{off}", amount(&cap.max_credits), name::<PeriodKind>(cap.period))
}

/// `mon-fri 08:00-20:00 Asia/Shanghai`.
fn window(hours: &AccessHours, zone: &str) -> String {
    let off = if hours.enabled { "" } else { " (off)" };
    let zone = if zone.is_empty() { "UTC" } else { zone };
    format!("{} {} {zone}{off}", fields::shown_days(hours), hours.hours)
}

/// `3 (1 bound, 2 inherited)`.
fn references(rule: &Rule) -> String {
    match rule.bound_keys + rule.inherited_keys {
        0 => "0".to_owned(),
        all => format!("{all} ({} bound, {} inherited)", rule.bound_keys, rule.inherited_keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_one_row() {
        let rule = Rule {
            id: "office".into(),
            enabled: true,
            time_zone: "Asia/Shanghai".into(),
            cap: Some(CreditCap { enabled: false, max_credits: "1500".into(), period: PeriodKind::Daily.into() }),
            hours: Some(AccessHours { enabled: true, weekdays: vec![5, 1, 2, 3, 4, 7], hours: "08:00-20:00".into() }),
            bound_keys: 1,
            inherited_keys: 2,
            ..Rule::default()
        };
        let cells = rule.cells();
        assert_eq!(cells[2], "1,500 credits daily (off)");
        assert_eq!(cells[3], "mon-fri,sun 08:00-20:00 Asia/Shanghai");
        assert_eq!(cells[5], "3 (1 bound, 2 inherited)");
        assert_eq!(rule.json()["hours"]["weekdays"][0], "friday");
    }
}
