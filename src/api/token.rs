//! Tokens of services and members, in and out.

use std::sync::Arc;

use super::{
    convert::{
        name_in, optional,
        page::{page_of, size_in, token_in},
        required,
        time::{timestamp_in, timestamp_out},
    },
    member::role_out,
    proto::{self, token_service_server::TokenService},
    serve::{scoped, serve, unscoped},
};
use crate::{
    domain::{
        access::{AccessToken, Bearer, MAX_SCOPED, Scopes, Verb},
        error::Invalid,
        id::{MemberId, OrganizationId, TokenId},
    },
    service::{Caller, Error, Identity, NewMemberToken, NewToken, Service, WhoAmI},
};

pub(super) struct TokenApi(pub(super) Arc<Service>);

serve! {
    TokenService, TokenApi {
        create_service_token(CreateServiceTokenRequest) -> CreateServiceTokenResponse = create.await;
        list_service_tokens(ListServiceTokensRequest) -> ListServiceTokensResponse = list;
        delete_service_token(DeleteServiceTokenRequest) -> DeleteServiceTokenResponse = delete.await;
        create_member_token(CreateMemberTokenRequest) -> CreateMemberTokenResponse = create_for_member.await;
        list_member_tokens(ListMemberTokensRequest) -> ListMemberTokensResponse = list_of_member;
        delete_member_token(DeleteMemberTokenRequest) -> DeleteMemberTokenResponse = delete_of_member.await;
        who_am_i(WhoAmIRequest) -> WhoAmIResponse = who;
    }
}

scoped! {
    CreateMemberTokenRequest: token.organization_id, of Member(token.member_id);
    ListMemberTokensRequest: organization_id, of Member(member_id);
    DeleteMemberTokenRequest: organization_id;
}

unscoped! { CreateServiceTokenRequest, ListServiceTokensRequest, DeleteServiceTokenRequest, WhoAmIRequest }

impl TokenApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateServiceTokenRequest,
    ) -> Result<proto::CreateServiceTokenResponse, Error> {
        let proto::CreateServiceTokenRequest { token } = message;
        let proto::ServiceToken { id, name, create_time: _, expire_time, organization_ids, verbs } =
            required("token", token)?;
        let id = optional("token.id", &id, TokenId::parse)?;
        let scopes = scopes_in(&organization_ids, &verbs)?;
        let expire_time = expire_time.map(|at| timestamp_in("token.expire_time", &at)).transpose()?;
        let NewToken { token, secret } =
            self.0.create_service_token(caller, id, name_in("token.name", name)?, scopes, expire_time).await?;
        Ok(proto::CreateServiceTokenResponse { token: Some(out(token)), secret })
    }

    fn list(
        &self,
        _: &Caller,
        message: proto::ListServiceTokensRequest,
    ) -> Result<proto::ListServiceTokensResponse, Error> {
        let proto::ListServiceTokensRequest { page_size, page_token } = message;
        let size = size_in(page_size)?;
        let after = token_in::<String>("tokens", &page_token)?.map(TokenId::trusted);
        let tokens = self.0.list_service_tokens(after.as_ref(), size + 1);
        let (tokens, next_page_token) = page_of("tokens", size, tokens, |token| &token.id);
        Ok(proto::ListServiceTokensResponse { tokens: tokens.into_iter().map(out).collect(), next_page_token })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteServiceTokenRequest,
    ) -> Result<proto::DeleteServiceTokenResponse, Error> {
        let proto::DeleteServiceTokenRequest { token_id } = message;
        self.0.delete_service_token(caller, &TokenId::parse("token_id", &token_id)?).await?;
        Ok(proto::DeleteServiceTokenResponse {})
    }

    async fn create_for_member(
        &self,
        caller: &Caller,
        message: proto::CreateMemberTokenRequest,
    ) -> Result<proto::CreateMemberTokenResponse, Error> {
        let proto::CreateMemberTokenRequest { token } = message;
        let proto::MemberToken { organization_id, member_id, id, name, create_time: _, expire_time } =
            required("token", token)?;
        let organization = OrganizationId::parse("token.organization_id", &organization_id)?;
        let new = NewMemberToken {
            id: optional("token.id", &id, TokenId::parse)?,
            member: optional("token.member_id", &member_id, MemberId::parse)?,
            name: name_in("token.name", name)?,
            expire_time: expire_time.map(|at| timestamp_in("token.expire_time", &at)).transpose()?,
        };
        let (NewToken { token, secret }, member) = self.0.create_member_token(caller, &organization, new).await?;
        let token = Some(member_token_out(&organization, Some(&member), token));
        Ok(proto::CreateMemberTokenResponse { token, secret })
    }

    fn list_of_member(
        &self,
        caller: &Caller,
        message: proto::ListMemberTokensRequest,
    ) -> Result<proto::ListMemberTokensResponse, Error> {
        let proto::ListMemberTokensRequest { organization_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let member = optional("member_id", &member_id, MemberId::parse)?.or_else(|| caller.member.clone());
        let tokens = self.0.list_member_tokens(&organization, member.as_ref());
        let tokens = tokens.into_iter().map(|token| member_token_out(&organization, member.as_ref(), token)).collect();
        Ok(proto::ListMemberTokensResponse { tokens })
    }

    async fn delete_of_member(
        &self,
        caller: &Caller,
        message: proto::DeleteMemberTokenRequest,
    ) -> Result<proto::DeleteMemberTokenResponse, Error> {
        let proto::DeleteMemberTokenRequest { organization_id, token_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        self.0.delete_member_token(caller, &organization, &TokenId::parse("token_id", &token_id)?).await?;
        Ok(proto::DeleteMemberTokenResponse {})
    }

    #[allow(clippy::unnecessary_wraps, reason = "as every method of an API answers")]
    fn who(&self, caller: &Caller, message: proto::WhoAmIRequest) -> Result<proto::WhoAmIResponse, Error> {
        let proto::WhoAmIRequest {} = message;
        let WhoAmI { actor, identities, scopes } = self.0.who_am_i(caller);
        let (organization_ids, verbs) = scopes_out(&scopes);
        let identities = identities.into_iter().map(identity_out).collect();
        let server_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(proto::WhoAmIResponse { actor, identities, organization_ids, verbs, server_version })
    }
}

fn identity_out(identity: Identity) -> proto::Identity {
    let Identity { organization, organization_name, member, name, email, role, teams } = identity;
    proto::Identity {
        organization_id: organization.to_string(),
        organization_name,
        member_id: member.to_string(),
        name,
        email,
        role: role_out(role).into(),
        team_ids: teams.iter().map(ToString::to_string).collect(),
    }
}

fn member_token_out(
    organization: &OrganizationId,
    member: Option<&MemberId>,
    token: AccessToken,
) -> proto::MemberToken {
    let AccessToken { id, name, hash: _, bearer, create_time, expire_time } = token;
    let here = match &bearer {
        Bearer::Member(grants) => grants.iter().find(|(of, _)| of == organization).map(|(_, member)| member),
        Bearer::Service(_) | Bearer::Invitee(..) => None,
    };
    proto::MemberToken {
        organization_id: organization.to_string(),
        member_id: member.or(here).map(ToString::to_string).unwrap_or_default(),
        id: id.to_string(),
        name,
        create_time: Some(timestamp_out(create_time)),
        expire_time: expire_time.map(timestamp_out),
    }
}

fn out(token: AccessToken) -> proto::ServiceToken {
    let AccessToken { id, name, hash: _, bearer, create_time, expire_time } = token;
    let (organization_ids, verbs) = match &bearer {
        Bearer::Service(scopes) => scopes_out(scopes),
        Bearer::Member(_) | Bearer::Invitee(..) => Default::default(),
    };
    proto::ServiceToken {
        id: id.to_string(),
        name,
        create_time: Some(timestamp_out(create_time)),
        expire_time: expire_time.map(timestamp_out),
        organization_ids,
        verbs,
    }
}

fn scopes_in(organizations: &[String], verbs: &[i32]) -> Result<Scopes, Invalid> {
    if organizations.len() > MAX_SCOPED {
        let problem = format!("{} organizations; a token names at most {MAX_SCOPED}", organizations.len());
        return Err(Invalid::new("token.organization_ids", problem));
    }
    if verbs.len() > Verb::ALL.len() {
        let problem = format!("{} verbs; there are {}", verbs.len(), Verb::ALL.len());
        return Err(Invalid::new("token.verbs", problem));
    }
    let organizations = organizations.iter().enumerate();
    let organizations = organizations.map(|(i, id)| OrganizationId::parse(&format!("token.organization_ids[{i}]"), id));
    let verbs = verbs.iter().enumerate().map(|(i, verb)| verb_in(&format!("token.verbs[{i}]"), *verb));
    Ok(Scopes::new(organizations.collect::<Result<_, _>>()?, verbs.collect::<Result<_, _>>()?))
}

fn scopes_out(scopes: &Scopes) -> (Vec<String>, Vec<i32>) {
    let organizations = scopes.organizations().iter().map(ToString::to_string);
    (organizations.collect(), scopes.verbs().iter().map(|verb| verb_out(*verb).into()).collect())
}

fn verb_in(field: &str, verb: i32) -> Result<Verb, Invalid> {
    match proto::Verb::try_from(verb) {
        Ok(proto::Verb::Reserve) => Ok(Verb::Reserve),
        Ok(proto::Verb::Commit) => Ok(Verb::Commit),
        Ok(proto::Verb::Release) => Ok(Verb::Release),
        Ok(proto::Verb::Extend) => Ok(Verb::Extend),
        Ok(proto::Verb::Charge) => Ok(Verb::Charge),
        Ok(proto::Verb::Check) => Ok(Verb::Check),
        Ok(proto::Verb::Session) => Ok(Verb::Session),
        Ok(proto::Verb::WatchRevocations) => Ok(Verb::WatchRevocations),
        Ok(proto::Verb::ConfirmPayment) => Ok(Verb::ConfirmPayment),
        Ok(proto::Verb::Unspecified) | Err(_) => {
            Err(Invalid::new(field, format!("{verb} is none of VERB_RESERVE to VERB_CONFIRM_PAYMENT")))
        }
    }
}

fn verb_out(verb: Verb) -> proto::Verb {
    match verb {
        Verb::Reserve => proto::Verb::Reserve,
        Verb::Commit => proto::Verb::Commit,
        Verb::Release => proto::Verb::Release,
        Verb::Extend => proto::Verb::Extend,
        Verb::Charge => proto::Verb::Charge,
        Verb::Check => proto::Verb::Check,
        Verb::Session => proto::Verb::Session,
        Verb::WatchRevocations => proto::Verb::WatchRevocations,
        Verb::ConfirmPayment => proto::Verb::ConfirmPayment,
    }
}
