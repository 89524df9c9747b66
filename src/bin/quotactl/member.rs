//! `quotactl member`.

use clap::{Args, Subcommand};
use quotad::api::proto::{
    CreateMemberRequest, DeleteMemberRequest, GetMemberRequest, LimitState, ListMembersRequest, Member, Role, Unit,
    UpdateMemberRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, Switch, mask, one_of},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json},
    limits::{limits_json, print_with_limits},
    names::{dashed, name},
    org::state,
    output::{Column, Item, number, text},
    paging::Paging,
    policy_file, taken,
};

const EXAMPLES: &str = "\
Examples:
  quotactl member create ada --org acme --name 'Ada Lovelace' --email ada@example.org --team research
  quotactl member update ada --org acme --role finance-admin
  quotactl member list --org acme --search lovelace
  quotactl member get ada --org acme
  quotactl member update ada --org acme --disable";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum MemberCommand {
    /// Adds a member
    Create {
        /// Its id; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        #[command(flatten)]
        org: Organization,
        /// A team to join, repeatable; `default` if none is given
        #[arg(long = "team")]
        teams: Vec<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows a member with the state of its limits
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Lists members
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those with this in their name, e-mail address or id
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Changes the fields that are given
    Update {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
    /// Removes a member for good: its keys stop at once
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Its e-mail address
    #[arg(long)]
    email: Option<String>,
    /// What it may do; basic if left out
    #[arg(long, value_parser = one_of::<Role>(&ROLES))]
    role: Option<Role>,
    #[command(flatten)]
    switch: Switch,
}

/// From the most to the least.
pub(crate) const ROLES: [&str; 5] = ["owner", "admin", "finance-admin", "developer", "basic"];

impl Fields {
    fn member(self, organization_id: String, id: String) -> Member {
        Member {
            organization_id,
            id,
            name: self.name.unwrap_or_default(),
            email: self.email.unwrap_or_default(),
            role: self.role.unwrap_or_default().into(),
            disabled: self.switch.disabled().unwrap_or_default(),
            ..Member::default()
        }
    }
}

impl MemberCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.members(), context.out);
        match self {
            Self::Create { id, org, teams, fields } => {
                let member = Some(fields.member(org.id, id));
                let request = CreateMemberRequest { member, team_ids: teams, request_id: String::new() };
                out.item(&required(client.create_member(request).await?.into_inner().member, "member")?)
            }
            Self::Get { id, org } => {
                let request = GetMemberRequest { organization_id: org.id, member_id: id };
                let member = required(client.get_member(request).await?.into_inner().member, "member")?;
                print_with_limits(out, &member, &member.limits)
            }
            Self::List { org, search, paging } => {
                let mut total = 0;
                let page = async |page_size, page_token| {
                    let request = ListMembersRequest {
                        organization_id: org.id.clone(),
                        page_size,
                        page_token,
                        search: search.clone(),
                    };
                    let page = client.list_members(request).await?.into_inner();
                    total = page.total_size;
                    Ok((page.members, page.next_page_token))
                };
                let listed = paging.collect(page).await?;
                out.counted("members", &listed, total)
            }
            Self::Update { id, org, fields } => {
                let update_mask = mask(&[
                    ("name", fields.name.is_some()),
                    ("email", fields.email.is_some()),
                    ("role", fields.role.is_some()),
                    ("disabled", fields.switch.disabled().is_some()),
                ])?;
                let request =
                    UpdateMemberRequest { member: Some(fields.member(org.id, id)), update_mask, ..Default::default() };
                out.item(&required(client.update_member(request).await?.into_inner().member, "member")?)
            }
            Self::Delete { id, org, consent } => {
                if !consent.given(out, async || taken::with_member(&context.server, &org.id, &id).await).await? {
                    return Ok(());
                }
                let request = DeleteMemberRequest {
                    organization_id: org.id,
                    member_id: id.clone(),
                    ..DeleteMemberRequest::default()
                };
                client.delete_member(request).await?;
                out.done(&format!("member {id} deleted"), &json!({ "deleted": id }))
            }
        }
    }
}

/// Returns what is spent of each budget, such as `12.5 of 50`.
fn spending(limits: &[LimitState]) -> String {
    let budgets = limits.iter().filter(|limit| limit.unit() == Unit::Usd || limit.unit() == Unit::Credits);
    let spent = budgets.map(|limit| match limit.max.as_str() {
        "" => amount(&limit.spent),
        max => format!("{} of {}", amount(&limit.spent), amount(max)),
    });
    spent.collect::<Vec<_>>().join(", ")
}

impl Item for Member {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("name"),
        text("email").spare(),
        text("role"),
        text("state"),
        text("spent"),
        number("credits used"),
        text("created").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.email.clone(),
            dashed::<Role>(self.role),
            state(self.disabled),
            spending(&self.limits),
            amount(&self.credits_used),
            instant(self.create_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "role": name::<Role>(self.role),
            "disabled": self.disabled,
            "policy": policy_file::json(self.policy.as_ref()),
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
            "limits": limits_json(&self.limits),
            "credits_used": self.credits_used,
            "etag": self.etag,
        })
    }
}
