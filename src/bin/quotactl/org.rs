//! `quotactl org`.

use clap::{Args, Subcommand};
use quotad::api::proto::{
    AccountKind, Bounds, ConvertToTeamAccountRequest, CreateOrganizationRequest, DeleteOrganizationRequest,
    ExpiryPolicy, GetOrganizationRequest, ListOrganizationsRequest, Organization, UpdateOrganizationRequest,
    WalletMode,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Switch, chosen, decimal, mask, one_of},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json},
    limits::{limits_json, print_with_limits},
    names::name,
    output::{Column, Item, number, text},
    paging::Paging,
    policy_file, taken,
};

mod bounds;

const EXAMPLES: &str = "\
Examples:
  quotactl org create acme --name 'Acme Inc' --credit-factor 10
  quotactl org update acme --wallet-mode off
  quotactl org update acme --disable
  quotactl org update acme --suspend
  quotactl org update acme --default-rule office
  quotactl org update acme --bounds open=1000,keys_per_hour=5
  quotactl org create ada-home --kind personal
  quotactl org convert ada-home
  quotactl org list --json";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum OrgCommand {
    /// Creates an organization with its team `default`
    Create {
        /// Its id; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        /// Whether it is one person's own or a team's; a team's if left out
        #[arg(long, value_parser = one_of::<AccountKind>(&["team", "personal"]))]
        kind: Option<AccountKind>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows an organization with the state of its limits
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
    },
    /// Lists organizations
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Changes the fields that are given
    Update {
        /// Its id
        id: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Makes a personal account a team account; its keys, balance and ledger stay
    Convert {
        /// Its id
        id: String,
    },
    /// Ends an organization for good: its keys stop at once, its ledger stays
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Credits per USD, 0 to 1000; 0 turns credits off
    #[arg(long, value_parser = decimal)]
    credit_factor: Option<String>,
    /// Whether usage is paid from the prepaid balance
    #[arg(long, value_parser = one_of::<WalletMode>(&["enforced", "off"]))]
    wallet_mode: Option<WalletMode>,
    /// What a reservation pays that is never settled: its reported progress, or all that it held
    #[arg(long, value_parser = one_of::<ExpiryPolicy>(&["release", "charge-held"]))]
    expiry_policy: Option<ExpiryPolicy>,
    #[command(flatten)]
    switch: Switch,
    /// Lets nothing run or be ordered, whatever the organization says itself; the operator's alone
    #[arg(long, conflicts_with = "resume")]
    suspend: bool,
    /// Lifts the suspension; the operator's alone
    #[arg(long)]
    resume: bool,
    /// The access rule of keys without one of their own; '' for none
    #[arg(long, value_name = "RULE")]
    default_rule: Option<String>,
    /// The organization's own bounds in place of the server's, all of them, such as `open=1000,keys_per_hour=5`; '' for none
    #[arg(long, value_name = "NAME=COUNT,…", value_parser = bounds::parse)]
    bounds: Option<Bounds>,
}

impl Fields {
    fn mask(&self) -> Result<Option<prost_types::FieldMask>, Failure> {
        mask(&[
            ("name", self.name.is_some()),
            ("credit_factor", self.credit_factor.is_some()),
            ("wallet_mode", self.wallet_mode.is_some()),
            ("expiry_policy", self.expiry_policy.is_some()),
            ("disabled", self.switch.disabled().is_some()),
            ("suspended", chosen(self.suspend, self.resume).is_some()),
            ("default_rule_id", self.default_rule.is_some()),
            ("bounds", self.bounds.is_some()),
        ])
    }

    fn organization(self, id: String) -> Organization {
        Organization {
            id,
            name: self.name.unwrap_or_default(),
            credit_factor: self.credit_factor.unwrap_or_default(),
            wallet_mode: self.wallet_mode.unwrap_or_default().into(),
            expiry_policy: self.expiry_policy.unwrap_or_default().into(),
            disabled: self.switch.disabled().unwrap_or_default(),
            suspended: chosen(self.suspend, self.resume).unwrap_or_default(),
            default_rule_id: self.default_rule.unwrap_or_default(),
            bounds: self.bounds,
            ..Organization::default()
        }
    }
}

impl OrgCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.organizations(), context.out);
        match self {
            Self::Create { id, kind, fields } => {
                let kind = kind.unwrap_or_default().into();
                let organization = Some(Organization { kind, ..fields.organization(id) });
                let request = CreateOrganizationRequest { organization, request_id: String::new() };
                let answer = client.create_organization(request).await?.into_inner();
                out.item(&required(answer.organization, "organization")?)
            }
            Self::Get { id } => {
                let request = GetOrganizationRequest { organization_id: id };
                let answer = client.get_organization(request).await?.into_inner();
                let organization = required(answer.organization, "organization")?;
                print_with_limits(out, &organization, &organization.limits)
            }
            Self::List { paging } => {
                let page = async |page_size, page_token| {
                    let request = ListOrganizationsRequest { page_size, page_token };
                    let page = client.list_organizations(request).await?.into_inner();
                    Ok((page.organizations, page.next_page_token))
                };
                out.list("organizations", &paging.collect(page).await?)
            }
            Self::Update { id, fields } => {
                let update_mask = fields.mask()?;
                let request = UpdateOrganizationRequest {
                    organization: Some(fields.organization(id)),
                    update_mask,
                    ..Default::default()
                };
                let answer = client.update_organization(request).await?.into_inner();
                out.item(&required(answer.organization, "organization")?)
            }
            Self::Convert { id } => {
                let request = ConvertToTeamAccountRequest { organization_id: id };
                let answer = client.convert_to_team_account(request).await?.into_inner();
                out.item(&required(answer.organization, "organization")?)
            }
            Self::Delete { id, consent } => {
                if !consent.given(out, async || taken::with_organization(&context.server, &id).await).await? {
                    return Ok(());
                }
                client
                    .delete_organization(DeleteOrganizationRequest {
                        organization_id: id.clone(),
                        ..Default::default()
                    })
                    .await?;
                out.done(&format!("organization {id} deleted"), &json!({ "deleted": id }))
            }
        }
    }
}

impl Item for Organization {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("name"),
        text("kind").spare(),
        number("credit factor"),
        text("wallet"),
        text("expiry").spare(),
        text("default rule").spare(),
        text("state"),
        text("created").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            name::<AccountKind>(self.kind),
            self.credit_factor.clone(),
            name::<WalletMode>(self.wallet_mode),
            name::<ExpiryPolicy>(self.expiry_policy),
            self.default_rule_id.clone(),
            if self.suspended { String::from("suspended") } else { state(self.disabled) },
            instant(self.create_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "kind": name::<AccountKind>(self.kind),
            "credit_factor": self.credit_factor,
            "wallet_mode": name::<WalletMode>(self.wallet_mode),
            "expiry_policy": name::<ExpiryPolicy>(self.expiry_policy),
            "disabled": self.disabled,
            "policy": policy_file::json(self.policy.as_ref()),
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
            "limits": limits_json(&self.limits),
            "default_rule_id": self.default_rule_id,
            "etag": self.etag,
            "bounds": bounds::json(self.bounds.as_ref()),
            "suspended": self.suspended,
            "ceiling": policy_file::json(self.ceiling.as_ref()),
        })
    }
}

/// How the `disabled` of any entity reads.
pub(crate) fn state(disabled: bool) -> String {
    if disabled { "disabled" } else { "active" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_names_exactly_the_given_fields() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            fields: Fields,
        }
        let read = |line: &str| <Line as clap::Parser>::try_parse_from(format!("org {line}").split_whitespace());
        let fields = read("--credit-factor 10 --wallet-mode off --enable --suspend").unwrap().fields;
        let named = ["credit_factor", "wallet_mode", "disabled", "suspended"];
        assert_eq!(fields.mask().unwrap().unwrap().paths, named);
        let organization = fields.organization("acme".into());
        assert_eq!((organization.wallet_mode(), organization.disabled), (WalletMode::Off, false));
        assert!(organization.suspended);
        assert!(read("--enable --disable").is_err() && read("--suspend --resume").is_err());
    }

    #[test]
    fn json_has_the_names_of_the_api() {
        let organization = Organization {
            id: "acme".into(),
            credit_factor: "1".into(),
            wallet_mode: WalletMode::Enforced.into(),
            ..Organization::default()
        };
        let value = organization.json();
        assert_eq!((value["id"].as_str(), value["wallet_mode"].as_str()), (Some("acme"), Some("enforced")));
        assert_eq!(value["credit_factor"], "1");
        assert!(value["create_time"].is_null() && value["limits"].as_array().unwrap().is_empty());
    }
}
