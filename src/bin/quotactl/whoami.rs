//! `quotactl whoami`.

use clap::Args;
use quotad::api::proto::{Identity, Role, Verb, WhoAmIRequest};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::Failure,
    names::{dashed, name},
    output::{Column, Item, jsons, tabulated, text},
    token::{scope, verbs_json},
};

#[derive(Debug, Args)]
pub(crate) struct WhoAmI {}

impl WhoAmI {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let out = context.out;
        let answer = context.server.tokens().who_am_i(WhoAmIRequest {}).await?.into_inner();
        if out.is_json() {
            return out.value(&json!({
                "actor": answer.actor,
                "identities": jsons(&answer.identities),
                "organization_ids": answer.organization_ids,
                "verbs": verbs_json(&answer.verbs),
            }));
        }
        out.text(&answer.actor)?;
        if !answer.organization_ids.is_empty() || !answer.verbs.is_empty() {
            let verbs: Vec<_> = answer.verbs.iter().map(|verb| dashed::<Verb>(*verb)).collect();
            out.text(&format!("organizations: {}\nverbs: {}", scope(&answer.organization_ids), scope(&verbs)))?;
        }
        if answer.identities.is_empty() { Ok(()) } else { out.text(&format!("\n{}", tabulated(&answer.identities))) }
    }
}

impl Item for Identity {
    const COLUMNS: &'static [Column] = &[
        text("organization"),
        text("member"),
        text("name").spare(),
        text("email"),
        text("role"),
        text("teams").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.organization_id.clone(),
            self.member_id.clone(),
            self.name.clone(),
            self.email.clone(),
            dashed::<Role>(self.role),
            self.team_ids.join(", "),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "organization_name": self.organization_name,
            "member_id": self.member_id,
            "name": self.name,
            "email": self.email,
            "role": name::<Role>(self.role),
            "team_ids": self.team_ids,
        })
    }
}
