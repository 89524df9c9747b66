//! `quotactl token`: service tokens of inference servers, and access tokens of members.

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use quotad::api::proto::{
    CreateMemberTokenRequest, CreateServiceTokenRequest, DeleteMemberTokenRequest, DeleteServiceTokenRequest,
    ListMemberTokensRequest, ListServiceTokensRequest, MemberToken, ServiceToken, Verb,
};
use serde_json::{Value, json};

use crate::{
    arguments::one_of,
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json, parse_instant},
    names::{dashed, name},
    output::{Column, Item, Listed, Output, described, text},
    paging::Paging,
    taken,
};

const EXAMPLES: &str = "\
Examples:
  quotactl token create --name 'gateway eu-1'
  quotactl token create ci --expire-time 2027-01-01T00:00:00Z
  quotactl token create acme-gateway --for-org acme --verb reserve --verb commit --verb release
  quotactl token create --member ada --org acme --name laptop
  quotactl token list --member ada --org acme
  quotactl token delete ci
  quotactl token delete laptop --of-member --org acme

Tokens of members act with their role. Members create their own; the operator makes a member's first.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TokenCommand {
    /// Creates a token and shows its secret, this once
    Create {
        /// Its id; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        /// What people call it
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Refused from this instant on
        #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
        expire_time: Option<Timestamp>,
        #[command(flatten)]
        scopes: Scopes,
        #[command(flatten)]
        whose: Whose,
    },
    /// Lists tokens
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        paging: Paging,
    },
    /// Ends a token at once
    Delete {
        /// Its id
        id: String,
        /// It is a member's
        #[arg(long, requires = "org")]
        of_member: bool,
        /// The member's organization
        #[arg(long, env = "QUOTAD_ORG")]
        org: Option<String>,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The scopes of a service token.
#[derive(Debug, Args)]
pub(crate) struct Scopes {
    /// An organization that the service token is for, repeatable; all if none is given
    #[arg(long, value_name = "ORG", conflicts_with = "member")]
    for_org: Vec<String>,
    /// An operation that the service token is for, repeatable; all if none is given
    #[arg(long = "verb", value_parser = one_of::<Verb>(&VERBS), conflicts_with = "member")]
    verbs: Vec<Verb>,
}

const VERBS: [&str; 9] =
    ["reserve", "commit", "release", "extend", "charge", "check", "session", "watch-revocations", "confirm-payment"];

/// A member's in an organization, else the service's.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// This member's, in place of an inference server's
    #[arg(long, requires = "org")]
    member: Option<String>,
    /// The member's organization
    #[arg(long, env = "QUOTAD_ORG")]
    org: Option<String>,
}

impl Whose {
    /// The organization and the member; none for the service's.
    fn member(self) -> Option<(String, String)> {
        self.member.map(|member| (self.org.unwrap_or_default(), member))
    }
}

impl TokenCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.tokens(), context.out);
        match self {
            Self::Create { id, name, expire_time, scopes, whose } => {
                if let Some((organization_id, member_id)) = whose.member() {
                    let token = MemberToken { organization_id, member_id, id, name, create_time: None, expire_time };
                    let request = CreateMemberTokenRequest { token: Some(token) };
                    let answer = client.create_member_token(request).await?.into_inner();
                    return created(out, &required(answer.token, "token")?, &answer.secret);
                }
                let (organization_ids, verbs) = (scopes.for_org, scopes.verbs.into_iter().map(i32::from).collect());
                let token = Some(ServiceToken { id, name, create_time: None, expire_time, organization_ids, verbs });
                let answer = client.create_service_token(CreateServiceTokenRequest { token }).await?.into_inner();
                created(out, &required(answer.token, "token")?, &answer.secret)
            }
            Self::List { whose, paging } => {
                if let Some((organization_id, member_id)) = whose.member() {
                    let request = ListMemberTokensRequest { organization_id, member_id };
                    let items = client.list_member_tokens(request).await?.into_inner().tokens;
                    return out.list("tokens", &Listed { items, more: false });
                }
                let page = async |page_size, page_token| {
                    let request = ListServiceTokensRequest { page_size, page_token };
                    let page = client.list_service_tokens(request).await?.into_inner();
                    Ok((page.tokens, page.next_page_token))
                };
                out.list("tokens", &paging.collect(page).await?)
            }
            Self::Delete { id, of_member, org, consent } => {
                if !consent.given(out, async || Ok(taken::with_token(&id, of_member))).await? {
                    return Ok(());
                }
                let token_id = id.clone();
                if of_member {
                    let organization_id = org.unwrap_or_default();
                    client.delete_member_token(DeleteMemberTokenRequest { organization_id, token_id }).await?;
                } else {
                    client.delete_service_token(DeleteServiceTokenRequest { token_id }).await?;
                }
                out.done(&format!("token {id} deleted"), &json!({ "deleted": id }))
            }
        }
    }
}

fn created<I: Item>(out: Output, token: &I, secret: &str) -> Result<(), Failure> {
    if out.is_json() {
        return out.value(&json!({ "token": token.json(), "secret": secret }));
    }
    out.text(&described(token))?;
    out.text(&format!("\nsecret   {secret}\nIt is shown this once: only its hash is kept."))
}

impl Item for ServiceToken {
    const COLUMNS: &'static [Column] =
        &[text("id"), text("name"), text("organizations"), text("verbs"), text("created").spare(), text("expires")];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            scope(&self.organization_ids),
            scope(&self.verbs.iter().map(|verb| dashed::<Verb>(*verb)).collect::<Vec<_>>()),
            instant(self.create_time.as_ref()),
            instant(self.expire_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "create_time": instant_json(self.create_time.as_ref()),
            "expire_time": instant_json(self.expire_time.as_ref()),
            "organization_ids": self.organization_ids,
            "verbs": verbs_json(&self.verbs),
        })
    }
}

/// The names of a scope, none of which means all.
pub(crate) fn scope(names: &[String]) -> String {
    if names.is_empty() { String::from("all") } else { names.join(", ") }
}

pub(crate) fn verbs_json(verbs: &[i32]) -> Vec<String> {
    verbs.iter().map(|verb| name::<Verb>(*verb)).collect()
}

impl Item for MemberToken {
    const COLUMNS: &'static [Column] =
        &[text("id"), text("member"), text("name"), text("created").spare(), text("expires")];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.member_id.clone(),
            self.name.clone(),
            instant(self.create_time.as_ref()),
            instant(self.expire_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "member_id": self.member_id,
            "id": self.id,
            "name": self.name,
            "create_time": instant_json(self.create_time.as_ref()),
            "expire_time": instant_json(self.expire_time.as_ref()),
        })
    }
}
