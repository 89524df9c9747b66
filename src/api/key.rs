//! Keys, in and out.

use std::sync::Arc;

use super::{
    convert::{
        etag_in,
        limits::limit_states,
        mask::Mask,
        name_in, optional,
        page::{page_in, query_name, token_out},
        policy::{is_set, models_in, models_out, policy_in, policy_out, unmatched_out},
        repeatable, required,
        time::{span_in, timestamp_in, timestamp_out},
    },
    proto::{self, key_service_server::KeyService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        entity::Key,
        error::Invalid,
        id::{DEFAULT_TEAM, KeyId, MemberId, OrganizationId, RuleId, TeamId},
        price::PriceBook,
        time::{Span, Timestamp},
    },
    service::{Caller, Error, KeyChange, KeyFilter, KeyView, NewKey, Repeatable, Service, View},
};

pub(super) struct KeyApi(pub(super) Arc<Service>);

serve! {
    KeyService, KeyApi {
        create_key(CreateKeyRequest) -> CreateKeyResponse = create.await;
        get_key(GetKeyRequest) -> GetKeyResponse = get;
        list_keys(ListKeysRequest) -> ListKeysResponse = list;
        update_key(UpdateKeyRequest) -> UpdateKeyResponse = update.await;
        rotate_key(RotateKeyRequest) -> RotateKeyResponse = rotate.await;
        delete_key(DeleteKeyRequest) -> DeleteKeyResponse = delete.await;
    }
}

fn sets_limits(request: &proto::CreateKeyRequest) -> bool {
    request.key.as_ref().is_some_and(|key| !key.rule_id.is_empty() || is_set(key.policy.as_ref()))
}

scoped! {
    CreateKeyRequest: key.organization_id, of Member(key.member_id), sets_limits sets_limits;
    GetKeyRequest: organization_id, of Key(key_id);
    ListKeysRequest: organization_id, of Member(member_id);
    UpdateKeyRequest: key.organization_id, of Key(key.id), fields update_mask;
    RotateKeyRequest: organization_id, of Key(key_id);
    DeleteKeyRequest: organization_id, of Key(key_id);
}

/// Longest that a secret is taken after it was replaced.
const MAX_GRACE: Span = Span::seconds(30 * 86_400);

impl KeyApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateKeyRequest,
    ) -> Result<proto::CreateKeyResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let (organization, new) = new_in(required("key", message.key)?)?;
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let (view, secret) = self.0.create_key(caller, &organization, new, repeatable).await?;
        Ok(proto::CreateKeyResponse {
            key: Some(key_out(&organization, view, Some(&self.0.prices()))),
            secret: secret.unwrap_or_default(),
        })
    }

    fn get(&self, _: &Caller, message: proto::GetKeyRequest) -> Result<proto::GetKeyResponse, Error> {
        let proto::GetKeyRequest { organization_id, key_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.key(&organization, &KeyId::parse("key_id", &key_id)?)?;
        Ok(proto::GetKeyResponse { key: Some(key_out(&organization, view, Some(&self.0.prices()))) })
    }

    fn list(&self, caller: &Caller, message: proto::ListKeysRequest) -> Result<proto::ListKeysResponse, Error> {
        let filters = proto::ListKeysRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("keys", &filters);
        let proto::ListKeysRequest { organization_id, member_id, team_id, page_size, page_token, rule_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let filter = KeyFilter {
            team: optional("team_id", &team_id, TeamId::parse)?,
            member: optional("member_id", &member_id, MemberId::parse)?,
            rule: optional("rule_id", &rule_id, RuleId::parse)?,
        };
        let found = self.0.list_keys(caller, &organization, &filter, page_in(&list, page_size, &page_token)?)?;
        let keys = found.items.into_iter().map(|view| key_out(&organization, view, None));
        Ok(proto::ListKeysResponse { keys: keys.collect(), next_page_token: token_out(&list, found.next) })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateKeyRequest,
    ) -> Result<proto::UpdateKeyResponse, Error> {
        let proto::UpdateKeyRequest { key, update_mask, restart_spending } = message;
        let mask = Mask::of(update_mask, &["name", "disabled", "expire_time", "models", "rule_id", "policy"])?;
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
            rule_id,
            effective_rule_id: _,
            previous_secret_until: _,
            etag,
            managed_fields: _,
            unmatched_models: _,
        } = required("key", key)?;
        let organization = OrganizationId::parse("key.organization_id", &organization_id)?;
        let change = KeyChange {
            name: mask.pick("name", || name_in("key.name", name))?,
            disabled: mask.pick("disabled", || Ok(disabled))?,
            expire_time: mask.pick("expire_time", || expire_time_in(expire_time))?,
            models: mask.pick("models", || models_in("key.models", &models))?,
            rule: mask.pick("rule_id", || optional("key.rule_id", &rule_id, RuleId::parse))?,
            policy: mask.pick("policy", || policy_in("key.policy", policy))?,
            restart_spending,
        };
        let id = KeyId::parse("key.id", &id)?;
        let view = self.0.update_key(caller, &organization, &id, change, etag_in(&etag)).await?;
        Ok(proto::UpdateKeyResponse { key: Some(key_out(&organization, view, Some(&self.0.prices()))) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteKeyRequest,
    ) -> Result<proto::DeleteKeyResponse, Error> {
        let proto::DeleteKeyRequest { organization_id, key_id, etag } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = KeyId::parse("key_id", &key_id)?;
        self.0.delete_key(caller, &organization, &id, etag_in(&etag)).await?;
        Ok(proto::DeleteKeyResponse {})
    }

    async fn rotate(
        &self,
        caller: &Caller,
        message: proto::RotateKeyRequest,
    ) -> Result<proto::RotateKeyResponse, Error> {
        let proto::RotateKeyRequest { organization_id, key_id, grace } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let grace = grace.map(|grace| span_in("grace", &grace)).transpose()?.unwrap_or(Span::ZERO);
        if !(Span::ZERO..=MAX_GRACE).contains(&grace) {
            let seconds = grace.as_micros() / 1_000_000;
            return Err(Invalid::new("grace", format!("{seconds} s is not from 0 to 30 days")).into());
        }
        let id = KeyId::parse("key_id", &key_id)?;
        let (view, secret) = self.0.rotate_key(caller, &organization, &id, grace).await?;
        Ok(proto::RotateKeyResponse { key: Some(key_out(&organization, view, Some(&self.0.prices()))), secret })
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
        rule_id,
        effective_rule_id: _,
        previous_secret_until: _,
        etag: _,
        managed_fields: _,
        unmatched_models: _,
    } = key;
    let team = optional("key.team_id", &team_id, TeamId::parse)?;
    let new = NewKey {
        id: optional("key.id", &id, KeyId::parse)?,
        member: optional("key.member_id", &member_id, MemberId::parse)?,
        team: team.unwrap_or_else(|| TeamId::trusted(DEFAULT_TEAM)),
        name: name_in("key.name", name)?,
        disabled,
        expire_time: expire_time_in(expire_time)?,
        models: models_in("key.models", &models)?,
        rule: optional("key.rule_id", &rule_id, RuleId::parse)?,
        policy: policy_in("key.policy", policy)?,
    };
    Ok((OrganizationId::parse("key.organization_id", &organization_id)?, new))
}

fn key_out(organization: &OrganizationId, view: KeyView, prices: Option<&PriceBook>) -> proto::Key {
    let KeyView { view: View { entity, policy, limits, etag }, effective_rule } = view;
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
        rule,
        previous_until,
        managed,
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
        policy: Some(policy_out(&policy, prices)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
        rule_id: rule.map(|rule| rule.to_string()).unwrap_or_default(),
        effective_rule_id: effective_rule.map(|rule| rule.to_string()).unwrap_or_default(),
        previous_secret_until: previous_until.map(timestamp_out),
        etag,
        managed_fields: managed.names().map(str::to_owned).collect(),
        unmatched_models: unmatched_out(&models, prices),
    }
}
