//! Keys, in and out.

use std::sync::Arc;

use super::{
    convert::{
        limits::limit_states,
        mask::Mask,
        name_in, optional,
        page::{size_in, token_in, token_out},
        policy::{models_in, models_out, policy_in, policy_out},
        repeatable, required,
        time::{timestamp_in, timestamp_out},
    },
    proto::{self, key_service_server::KeyService},
    serve::serve,
};
use crate::{
    domain::{
        entity::Key,
        error::Invalid,
        id::{DEFAULT_TEAM, KeyId, MemberId, OrganizationId, TeamId},
        time::Timestamp,
    },
    service::{Caller, Error, KeyChange, KeyFilter, NewKey, Repeatable, Service, View},
};

pub(super) struct KeyApi(pub(super) Arc<Service>);

serve! {
    KeyService, KeyApi {
        create_key(CreateKeyRequest) -> CreateKeyResponse = create.await;
        get_key(GetKeyRequest) -> GetKeyResponse = get;
        list_keys(ListKeysRequest) -> ListKeysResponse = list;
        update_key(UpdateKeyRequest) -> UpdateKeyResponse = update.await;
        delete_key(DeleteKeyRequest) -> DeleteKeyResponse = delete.await;
    }
}

impl KeyApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateKeyRequest,
    ) -> Result<proto::CreateKeyResponse, Error> {
        let (request, fingerprint) = repeatable(&message, &message.request_id)?;
        let (organization, new) = new_in(required("key", message.key)?)?;
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let (view, secret) = self.0.create_key(caller, &organization, new, repeatable).await?;
        Ok(proto::CreateKeyResponse { key: Some(out(&organization, view)), secret: secret.unwrap_or_default() })
    }

    fn get(&self, _: &Caller, message: proto::GetKeyRequest) -> Result<proto::GetKeyResponse, Error> {
        let proto::GetKeyRequest { organization_id, key_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.key(&organization, &KeyId::parse("key_id", &key_id)?)?;
        Ok(proto::GetKeyResponse { key: Some(out(&organization, view)) })
    }

    fn list(&self, _: &Caller, message: proto::ListKeysRequest) -> Result<proto::ListKeysResponse, Error> {
        let proto::ListKeysRequest { organization_id, member_id, team_id, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let filter = KeyFilter {
            team: optional("team_id", &team_id, TeamId::parse)?,
            member: optional("member_id", &member_id, MemberId::parse)?,
        };
        let from = token_in("keys", &page_token)?.unwrap_or(0);
        let listed = self.0.list_keys(&organization, &filter, from, size_in(page_size)?)?;
        let keys = listed.views.into_iter().map(|view| out(&organization, view)).collect();
        Ok(proto::ListKeysResponse { keys, next_page_token: token_out("keys", listed.next) })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateKeyRequest,
    ) -> Result<proto::UpdateKeyResponse, Error> {
        let proto::UpdateKeyRequest { key, update_mask } = message;
        let mask = Mask::of(update_mask, &["name", "disabled", "expire_time", "models", "policy"])?;
        let proto::Key {
            organization_id,
            id,
            member_id: _,
            team_id: _,
            name,
            secret_prefix: _,
            disabled,
            expire_time,
            models,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
        } = required("key", key)?;
        let organization = OrganizationId::parse("key.organization_id", &organization_id)?;
        let change = KeyChange {
            name: mask.pick("name", || name_in("key.name", name))?,
            disabled: mask.pick("disabled", || Ok(disabled))?,
            expire_time: mask.pick("expire_time", || expire_time_in(expire_time))?,
            models: mask.pick("models", || models_in("key.models", &models))?,
            policy: mask.pick("policy", || policy_in("key.policy", policy))?,
        };
        let view = self.0.update_key(caller, &organization, &KeyId::parse("key.id", &id)?, change).await?;
        Ok(proto::UpdateKeyResponse { key: Some(out(&organization, view)) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteKeyRequest,
    ) -> Result<proto::DeleteKeyResponse, Error> {
        let proto::DeleteKeyRequest { organization_id, key_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        self.0.delete_key(caller, &organization, &KeyId::parse("key_id", &key_id)?).await?;
        Ok(proto::DeleteKeyResponse {})
    }
}

fn expire_time_in(at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Invalid> {
    at.map(|at| timestamp_in("key.expire_time", &at)).transpose()
}

fn new_in(key: proto::Key) -> Result<(OrganizationId, NewKey), Invalid> {
    let proto::Key {
        organization_id,
        id,
        member_id,
        team_id,
        name,
        secret_prefix: _,
        disabled,
        expire_time,
        models,
        policy,
        create_time: _,
        update_time: _,
        limits: _,
    } = key;
    let team = optional("key.team_id", &team_id, TeamId::parse)?;
    let new = NewKey {
        id: optional("key.id", &id, KeyId::parse)?,
        member: MemberId::parse("key.member_id", &member_id)?,
        team: team.unwrap_or_else(|| TeamId::trusted(DEFAULT_TEAM)),
        name: name_in("key.name", name)?,
        disabled,
        expire_time: expire_time_in(expire_time)?,
        models: models_in("key.models", &models)?,
        policy: policy_in("key.policy", policy)?,
    };
    Ok((OrganizationId::parse("key.organization_id", &organization_id)?, new))
}

fn out(organization: &OrganizationId, view: View<Key>) -> proto::Key {
    let View { entity, policy, limits } = view;
    let Key {
        id,
        member,
        team,
        name,
        secret_prefix,
        disabled,
        deleted: _,
        expire_time,
        models,
        create_time,
        update_time,
    } = entity;
    proto::Key {
        organization_id: organization.to_string(),
        id: id.to_string(),
        member_id: member.to_string(),
        team_id: team.to_string(),
        name,
        secret_prefix,
        disabled,
        expire_time: expire_time.map(timestamp_out),
        models: models_out(&models),
        policy: Some(policy_out(&policy)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
    }
}
