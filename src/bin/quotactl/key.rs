//! `quotactl key`.

use clap::{Args, Subcommand};
use prost_types::{Duration, Timestamp};
use quotad::api::proto::{
    CreateKeyRequest, DeleteKeyRequest, GetKeyRequest, Key, ListKeysRequest, RotateKeyRequest, UpdateKeyRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, edited, mask, model},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json, parse_instant, parse_span},
    limits::{limits_json, print_with_limits},
    org::state,
    output::{Column, Item, Output, described, text},
    paging::Paging,
    policy_file, taken,
};

const EXAMPLES: &str = "\
Examples:
  quotactl key create ada-laptop --org acme --member ada --team research --model small --model large
  quotactl key update ada-laptop --org acme --disable
  quotactl key update ada-laptop --org acme --expire-time 2027-01-01T00:00:00Z
  quotactl key update ada-laptop --org acme --add-model large
  quotactl key update ada-laptop --org acme --rule office
  quotactl key rotate ada-laptop --org acme --grace 24h
  quotactl key list --org acme --member ada";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeyCommand {
    /// Creates a key and shows its secret, this once
    Create {
        /// Its id, unique over all organizations; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        #[command(flatten)]
        org: Organization,
        /// The member whose key it is
        #[arg(long)]
        member: String,
        /// The team that it belongs to; `default` if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        team: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows a key with the state of its limits
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Lists keys
    List {
        #[command(flatten)]
        org: Organization,
        /// Only this member's
        #[arg(long, default_value = "", hide_default_value = true)]
        member: String,
        /// Only this team's
        #[arg(long, default_value = "", hide_default_value = true)]
        team: String,
        /// Only those bound to this access rule
        #[arg(long, default_value = "", hide_default_value = true)]
        rule: String,
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
        /// Lets the key be used again
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Lets the key live for ever
        #[arg(long, conflicts_with = "expire_time")]
        no_expire_time: bool,
        /// A model that it may use too, repeatable: besides those before
        #[arg(long = "add-model", value_name = "MODEL", value_parser = model, conflicts_with_all = ["models", "all_models"])]
        added: Vec<String>,
        /// A model that it may not use any more, repeatable
        #[arg(long = "remove-model", value_name = "MODEL", value_parser = model, conflicts_with_all = ["models", "all_models"])]
        removed: Vec<String>,
        /// Allows all models
        #[arg(long, conflicts_with = "models")]
        all_models: bool,
        /// Unbinds it from its access rule: the organization's default holds
        #[arg(long, conflicts_with = "rule")]
        inherit_rule: bool,
    },
    /// Gives the key another secret, shown this once
    Rotate {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        /// How long the secret before is taken too, such as 24h; ends at once if left out
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        grace: Option<Duration>,
    },
    /// Ends a key for good, at once
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
    /// Refuses every request of the key
    #[arg(long)]
    disable: bool,
    /// Refused from this instant on
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    expire_time: Option<Timestamp>,
    /// A model that the key may use, or a pattern such as `claude-opus-*`; repeatable: these and no others; all if none is given
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// The access rule that binds it; the organization's default if none is given
    #[arg(long)]
    rule: Option<String>,
}

impl Fields {
    fn key(self, organization_id: String, id: String) -> Key {
        Key {
            organization_id,
            id,
            name: self.name.unwrap_or_default(),
            disabled: self.disable,
            expire_time: self.expire_time,
            models: self.models,
            rule_id: self.rule.unwrap_or_default(),
            ..Key::default()
        }
    }
}

impl KeyCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.keys(), context.out);
        match self {
            Self::Create { id, org, member, team, fields } => {
                let key = Some(Key { member_id: member, team_id: team, ..fields.key(org.id, id) });
                let answer = client.create_key(CreateKeyRequest { key, request_id: String::new() }).await?.into_inner();
                created(out, &required(answer.key, "key")?, &answer.secret)
            }
            Self::Get { id, org } => {
                let request = GetKeyRequest { organization_id: org.id, key_id: id };
                let key = required(client.get_key(request).await?.into_inner().key, "key")?;
                print_with_limits(out, &key, &key.limits)
            }
            Self::List { org, member, team, rule, paging } => {
                let page = async |page_size, page_token| {
                    let request = ListKeysRequest {
                        organization_id: org.id.clone(),
                        member_id: member.clone(),
                        team_id: team.clone(),
                        page_size,
                        page_token,
                        rule_id: rule.clone(),
                    };
                    let page = client.list_keys(request).await?.into_inner();
                    Ok((page.keys, page.next_page_token))
                };
                out.list("keys", &paging.collect(page).await?)
            }
            Self::Update { id, org, mut fields, enable, no_expire_time, added, removed, all_models, inherit_rule } => {
                let mut etag = String::new();
                if !(added.is_empty() && removed.is_empty()) {
                    let request = GetKeyRequest { organization_id: org.id.clone(), key_id: id.clone() };
                    let key = required(client.get_key(request).await?.into_inner().key, "key")?;
                    fields.models = models_edited(key.models, added, &removed)?;
                    etag = key.etag;
                }
                let update_mask = mask(&[
                    ("name", fields.name.is_some()),
                    ("disabled", fields.disable || enable),
                    ("expire_time", fields.expire_time.is_some() || no_expire_time),
                    ("models", !fields.models.is_empty() || all_models),
                    ("rule_id", fields.rule.is_some() || inherit_rule),
                ])?;
                let key = Some(Key { etag, ..fields.key(org.id, id) });
                let request = UpdateKeyRequest { key, update_mask, ..Default::default() };
                out.item(&required(client.update_key(request).await?.into_inner().key, "key")?)
            }
            Self::Rotate { id, org, grace } => {
                let request = RotateKeyRequest { organization_id: org.id, key_id: id, grace };
                let answer = client.rotate_key(request).await?.into_inner();
                created(out, &required(answer.key, "key")?, &answer.secret)
            }
            Self::Delete { id, org, consent } => {
                if !consent.given(out, async || taken::with_key(&context.server, &org.id, &id).await).await? {
                    return Ok(());
                }
                let request =
                    DeleteKeyRequest { organization_id: org.id, key_id: id.clone(), ..DeleteKeyRequest::default() };
                client.delete_key(request).await?;
                out.done(&format!("key {id} deleted"), &json!({ "deleted": id }))
            }
        }
    }
}

/// All models, and none, are said by flags of their own: an empty list would mean the former.
fn models_edited(before: Vec<String>, added: Vec<String>, removed: &[String]) -> Result<Vec<String>, Failure> {
    if before.is_empty() {
        return Err(Failure::other("the key may use all models; give those that it may use by --model"));
    }
    let after = edited(before, added, removed)?;
    if after.is_empty() {
        return Err(Failure::other(
            "no model would be left, which means all of them; say --all-models, or --disable to refuse every request",
        ));
    }
    Ok(after)
}

fn created(out: Output, key: &Key, secret: &str) -> Result<(), Failure> {
    if out.is_json() {
        return out.value(&json!({ "key": key.json(), "secret": secret }));
    }
    out.text(&described(key))?;
    if key.previous_secret_until.is_some() {
        out.text(&format!("\nThe secret before is taken until {}.", instant(key.previous_secret_until.as_ref())))?;
    }
    out.text(&format!("\nsecret   {secret}\nIt is shown this once: only its hash is kept."))
}

impl Item for Key {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("name"),
        text("member"),
        text("team"),
        text("secret").spare(),
        text("state"),
        text("expires"),
        text("models"),
        text("rule").spare(),
        text("created").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        let secret = if self.secret_prefix.is_empty() { String::new() } else { format!("{}…", self.secret_prefix) };
        vec![
            self.id.clone(),
            self.name.clone(),
            self.member_id.clone(),
            self.team_id.clone(),
            secret,
            state(self.disabled),
            instant(self.expire_time.as_ref()),
            models(self),
            rule(self),
            instant(self.create_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "member_id": self.member_id,
            "team_id": self.team_id,
            "name": self.name,
            "secret_prefix": self.secret_prefix,
            "disabled": self.disabled,
            "expire_time": instant_json(self.expire_time.as_ref()),
            "models": self.models,
            "unmatched_models": self.unmatched_models,
            "policy": policy_file::json(self.policy.as_ref()),
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
            "limits": limits_json(&self.limits),
            "rule_id": self.rule_id,
            "effective_rule_id": self.effective_rule_id,
            "previous_secret_until": instant_json(self.previous_secret_until.as_ref()),
            "etag": self.etag,
            "managed_fields": self.managed_fields,
        })
    }
}

/// Those that it may use; what no model with a price is meant by says so.
fn models(key: &Key) -> String {
    let shown = |model: &String| {
        if key.unmatched_models.contains(model) { format!("{model} (no price)") } else { model.clone() }
    };
    if key.models.is_empty() { "all".to_owned() } else { key.models.iter().map(shown).collect::<Vec<_>>().join(", ") }
}

/// The rule in force, and why it is another than the key's own.
fn rule(key: &Key) -> String {
    match (key.rule_id.as_str(), key.effective_rule_id.as_str()) {
        ("", "") => String::new(),
        ("", effective) => format!("{effective} (inherited)"),
        (own, effective) if own == effective => own.to_owned(),
        (own, "") => format!("none ({own} is off)"),
        (own, effective) => format!("{effective} (inherited: {own} is off)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_without_a_price_are_marked() {
        let shown = |models: &[&str], unmatched: &[&str]| {
            let of = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
            super::models(&Key { models: of(models), unmatched_models: of(unmatched), ..Key::default() })
        };
        assert_eq!(shown(&[], &[]), "all");
        assert_eq!(shown(&["small", "gpt-*"], &["gpt-*"]), "small, gpt-* (no price)");
    }

    #[test]
    fn the_rule_in_force_is_shown_with_the_reason() {
        let shown = |own: &str, effective: &str| {
            rule(&Key { rule_id: own.into(), effective_rule_id: effective.into(), ..Key::default() })
        };
        assert_eq!(shown("", ""), "");
        assert_eq!(shown("office", "office"), "office");
        assert_eq!(shown("", "night"), "night (inherited)");
        assert_eq!(shown("office", "night"), "night (inherited: office is off)");
        assert_eq!(shown("office", ""), "none (office is off)");
    }
}
