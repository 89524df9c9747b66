//! `quotactl invite`.

use clap::{Args, Subcommand};
use prost_types::Duration;
use quotad::api::proto::{
    AcceptInvitationRequest, CreateInvitationRequest, GetInvitationRequest, Invitation, InvitationState,
    ListInvitationsRequest, ResendInvitationRequest, RevokeInvitationRequest, Role,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json, parse_span},
    member::ROLES,
    names::{dashed, name},
    output::{Column, Item, Output, described, text},
    paging::Paging,
    policy_file, taken,
};

const EXAMPLES: &str = "\
Examples:
  quotactl invite create grace@example.org --org acme --role developer --team research --ttl 3d
  quotactl budget set --invitation inv-1 --org acme --one-time 50
  quotactl invite list --org acme --state pending
  quotactl invite resend inv-1 --org acme
  quotactl invite accept --token-file invitation.token
  quotactl invite accept --invitation-token qi_1

Whoever was invited accepts with the invitation's token (--token, --token-file) and gets an access token; one who has a \
token of another organization gives that, and the invitation's by --invitation-token.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum InviteCommand {
    /// Invites somebody; shows the invitation's token, this once
    Create {
        /// The e-mail address
        email: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows an invitation
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Lists invitations, the newest last
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those in this state, repeatable
        #[arg(long = "state", value_parser = one_of::<InvitationState>(&["pending", "accepted", "revoked", "expired"]))]
        states: Vec<InvitationState>,
        /// Only those with this in their name, e-mail address or id
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Renews it and sends it again, with another token
    Resend {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        /// How long it can be accepted, 1h to 30d
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        ttl: Option<Duration>,
    },
    /// Ends it: its tokens aren't taken any more
    Revoke {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        consent: Consent,
    },
    /// Makes whoever holds the token a member
    Accept {
        /// The invitation's, where --token is the caller's own
        #[arg(long, default_value = "", hide_default_value = true)]
        invitation_token: String,
        /// What people call the member; as on the invitation if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// The member's id; minted by the server if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        member: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// The invitation's id; minted by the server if left out
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// What people call them
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// What they may do; basic if left out
    #[arg(long, value_parser = one_of::<Role>(&ROLES))]
    role: Option<Role>,
    /// A team to join, repeatable; `default` if none is given
    #[arg(long = "team")]
    teams: Vec<String>,
    /// How long it can be accepted, 1h to 30d; 7d if left out
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    ttl: Option<Duration>,
}

impl InviteCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.members(), context.out);
        match self {
            Self::Create { email, org, fields } => {
                let invitation = Invitation {
                    organization_id: org.id,
                    id: fields.id,
                    email,
                    name: fields.name,
                    role: fields.role.unwrap_or_default().into(),
                    team_ids: fields.teams,
                    ..Invitation::default()
                };
                let request = CreateInvitationRequest {
                    invitation: Some(invitation),
                    ttl: fields.ttl,
                    ..CreateInvitationRequest::default()
                };
                let answer = client.create_invitation(request).await?.into_inner();
                sent(out, &required(answer.invitation, "invitation")?, &answer.token)
            }
            Self::Get { id, org } => {
                let request = GetInvitationRequest { organization_id: org.id, invitation_id: id };
                let answer = client.get_invitation(request).await?.into_inner();
                out.item(&required(answer.invitation, "invitation")?)
            }
            Self::List { org, states, search, paging } => {
                let page = async |page_size, page_token| {
                    let request = ListInvitationsRequest {
                        organization_id: org.id.clone(),
                        states: states.iter().map(|state| i32::from(*state)).collect(),
                        search: search.clone(),
                        page_size,
                        page_token,
                    };
                    let page = client.list_invitations(request).await?.into_inner();
                    Ok((page.invitations, page.next_page_token))
                };
                out.list("invitations", &paging.collect(page).await?)
            }
            Self::Resend { id, org, ttl } => {
                let request = ResendInvitationRequest { organization_id: org.id, invitation_id: id, ttl };
                let answer = client.resend_invitation(request).await?.into_inner();
                sent(out, &required(answer.invitation, "invitation")?, &answer.token)
            }
            Self::Revoke { id, org, consent } => {
                let question = async || taken::with_invitation(&context.server, &org.id, &id).await;
                if !consent.given(out, question).await? {
                    return Ok(());
                }
                let request = RevokeInvitationRequest { organization_id: org.id, invitation_id: id };
                let answer = client.revoke_invitation(request).await?.into_inner();
                out.item(&required(answer.invitation, "invitation")?)
            }
            Self::Accept { invitation_token, name, member } => {
                let request = AcceptInvitationRequest { invitation_token, name, member_id: member };
                let answer = client.accept_invitation(request).await?.into_inner();
                let member = required(answer.member, "member")?;
                if out.is_json() {
                    return out.value(&json!({ "member": member.json(), "secret": answer.secret }));
                }
                out.text(&described(&member))?;
                match answer.secret.as_str() {
                    "" => out.text("\nThe token that was given stands for this membership too."),
                    secret => out.text(&format!("\nsecret   {secret}\nIt is shown this once: only its hash is kept.")),
                }
            }
        }
    }
}

fn sent(out: Output, invitation: &Invitation, token: &str) -> Result<(), Failure> {
    if out.is_json() {
        return out.value(&json!({ "invitation": invitation.json(), "token": token }));
    }
    out.text(&described(invitation))?;
    out.text(&format!("\ntoken    {token}\nIt is shown this once, and mailed where a mail server is configured."))
}

impl Item for Invitation {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("email"),
        text("name").spare(),
        text("role"),
        text("teams"),
        text("state"),
        text("member").spare(),
        text("invited by").spare(),
        text("expires"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.email.clone(),
            self.name.clone(),
            dashed::<Role>(self.role),
            self.team_ids.join(", "),
            name::<InvitationState>(self.state),
            self.member_id.clone(),
            self.invited_by.clone(),
            instant(self.expire_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "role": name::<Role>(self.role),
            "team_ids": self.team_ids,
            "policy": policy_file::json(self.policy.as_ref()),
            "state": name::<InvitationState>(self.state),
            "member_id": self.member_id,
            "invited_by": self.invited_by,
            "expire_time": instant_json(self.expire_time.as_ref()),
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
        })
    }
}
