//! Organizations, in and out.

use std::sync::Arc;

use super::{
    convert::{
        etag_in,
        limits::limit_states,
        mask::Mask,
        name_in, optional,
        page::{page_of, query_name, size_in, token_in, token_out},
        policy::{policy_in, policy_out},
        repeatable, required,
        time::{range_in, timestamp_out},
        usage::nanos_out,
    },
    proto::{self, organization_service_server::OrganizationService},
    serve::{scoped, serve, unscoped},
};
use crate::{
    domain::{
        bounds::OwnBounds,
        entity::{AccountKind, ExpiryPolicy, Organization, WalletMode},
        error::Invalid,
        id::{Actor, OrganizationId, RuleId},
        money::Factor,
        policy::Policy,
        price::PriceBook,
    },
    service::{
        AUDIT_KINDS, Caller, Change, ChangeQuery, Error, NewOrganization, OrganizationChange, OrganizationView,
        Repeatable, Service,
    },
};

pub(super) struct OrganizationApi(pub(super) Arc<Service>);

serve! {
    OrganizationService, OrganizationApi {
        create_organization(CreateOrganizationRequest) -> CreateOrganizationResponse = create.await;
        get_organization(GetOrganizationRequest) -> GetOrganizationResponse = get;
        list_organizations(ListOrganizationsRequest) -> ListOrganizationsResponse = list;
        update_organization(UpdateOrganizationRequest) -> UpdateOrganizationResponse = update.await;
        convert_to_team_account(ConvertToTeamAccountRequest) -> ConvertToTeamAccountResponse = convert.await;
        list_audit_events(ListAuditEventsRequest) -> ListAuditEventsResponse = audit.await;
        delete_organization(DeleteOrganizationRequest) -> DeleteOrganizationResponse = delete.await;
    }
}

scoped! {
    GetOrganizationRequest: organization_id;
    UpdateOrganizationRequest: organization.id, of Rule(organization.default_rule_id), fields update_mask;
    ConvertToTeamAccountRequest: organization_id;
    ListAuditEventsRequest: organization_id;
    DeleteOrganizationRequest: organization_id;
}

unscoped! { CreateOrganizationRequest, ListOrganizationsRequest }

impl OrganizationApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateOrganizationRequest,
    ) -> Result<proto::CreateOrganizationResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let new = new_in(required("organization", message.organization)?).map_err(in_organization)?;
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.create_organization(caller, new, repeatable).await?;
        Ok(proto::CreateOrganizationResponse { organization: Some(out(view, Some(&self.0.prices()))) })
    }

    fn get(&self, _: &Caller, message: proto::GetOrganizationRequest) -> Result<proto::GetOrganizationResponse, Error> {
        let proto::GetOrganizationRequest { organization_id } = message;
        let view = self.0.organization(&OrganizationId::parse("organization_id", &organization_id)?)?;
        Ok(proto::GetOrganizationResponse { organization: Some(out(view, Some(&self.0.prices()))) })
    }

    fn list(
        &self,
        _: &Caller,
        message: proto::ListOrganizationsRequest,
    ) -> Result<proto::ListOrganizationsResponse, Error> {
        let proto::ListOrganizationsRequest { page_size, page_token } = message;
        let size = size_in(page_size)?;
        let after = token_in::<String>("organizations", &page_token)?.map(OrganizationId::trusted);
        let (views, next) = self.0.list_organizations(after.as_ref(), size);
        let next_page_token = token_out("organizations", next);
        Ok(proto::ListOrganizationsResponse {
            organizations: views.into_iter().map(|view| out(view, None)).collect(),
            next_page_token,
        })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateOrganizationRequest,
    ) -> Result<proto::UpdateOrganizationResponse, Error> {
        let proto::UpdateOrganizationRequest { organization, update_mask, restart_spending } = message;
        let organization = required("organization", organization)?;
        let etag = organization.etag.clone();
        let (id, change) = change_in(organization, update_mask)?;
        let change = OrganizationChange { restart_spending, ..change };
        let view = self.0.update_organization(caller, &id, change, etag_in(&etag)).await?;
        Ok(proto::UpdateOrganizationResponse { organization: Some(out(view, Some(&self.0.prices()))) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteOrganizationRequest,
    ) -> Result<proto::DeleteOrganizationResponse, Error> {
        let proto::DeleteOrganizationRequest { organization_id, etag } = message;
        let id = OrganizationId::parse("organization_id", &organization_id)?;
        self.0.delete_organization(caller, &id, etag_in(&etag)).await?;
        Ok(proto::DeleteOrganizationResponse {})
    }

    async fn convert(
        &self,
        caller: &Caller,
        message: proto::ConvertToTeamAccountRequest,
    ) -> Result<proto::ConvertToTeamAccountResponse, Error> {
        let proto::ConvertToTeamAccountRequest { organization_id } = message;
        let id = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.convert_to_team_account(caller, &id).await?;
        Ok(proto::ConvertToTeamAccountResponse { organization: Some(out(view, Some(&self.0.prices()))) })
    }

    async fn audit(
        &self,
        _: &Caller,
        message: proto::ListAuditEventsRequest,
    ) -> Result<proto::ListAuditEventsResponse, Error> {
        let filters = proto::ListAuditEventsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("audit", &filters);
        let proto::ListAuditEventsRequest {
            organization_id,
            kind,
            id,
            actor,
            start_time,
            end_time,
            page_size,
            page_token,
        } = message;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let (start, end) = range_in(start_time, end_time)?;
        let query = ChangeQuery {
            organization: organization.clone(),
            kind: given(kind).map(audit_kind_in).transpose()?,
            id: given(id),
            actor: given(actor).map(actor_in).transpose()?,
            start,
            end,
        };
        let size = size_in(page_size)?;
        let changes = self.0.list_changes(&query, token_in(&list, &page_token)?, size + 1).await?;
        let (changes, next_page_token) = page_of(&list, size, changes, |change| &change.position);
        let events = changes.into_iter().map(|change| change_out(&organization, change)).collect();
        Ok(proto::ListAuditEventsResponse { events, next_page_token })
    }
}

/// Refuses what nothing can have: it would find nothing, and look like an answer.
fn audit_kind_in(kind: String) -> Result<String, Invalid> {
    if AUDIT_KINDS.contains(&kind.as_str()) {
        return Ok(kind);
    }
    Err(Invalid::new("kind", format!("{kind:?} is none of {}", AUDIT_KINDS.join(", "))))
}

fn actor_in(actor: String) -> Result<String, Invalid> {
    let named =
        ["service:", "member:"].into_iter().any(|prefix| actor.strip_prefix(prefix).is_some_and(|id| !id.is_empty()));
    if named || actor == Actor::OPERATOR.as_str() || actor == Actor::SYSTEM.as_str() {
        return Ok(actor);
    }
    let problem = format!("{actor:?} is nobody; give `operator`, `system`, or `service:` or `member:` and an id");
    Err(Invalid::new("actor", problem))
}

fn change_out(organization: &OrganizationId, change: Change) -> proto::AuditEvent {
    let Change { position: _, sequence, time, actor, kind, id, before, after } = change;
    proto::AuditEvent {
        organization_id: organization.to_string(),
        sequence,
        time: Some(timestamp_out(time)),
        actor,
        kind,
        id,
        before: before.unwrap_or_default(),
        after,
    }
}

fn in_organization(invalid: Invalid) -> Invalid {
    invalid.within("organization")
}

fn new_in(organization: proto::Organization) -> Result<NewOrganization, Invalid> {
    let proto::Organization {
        id,
        name,
        credit_factor,
        wallet_mode,
        expiry_policy,
        disabled,
        policy,
        create_time: _,
        update_time: _,
        limits: _,
        kind,
        default_rule_id,
        etag: _,
        bounds,
        suspended,
        ceiling,
    } = organization;
    if !default_rule_id.is_empty() {
        return Err(Invalid::new("default_rule_id", "can't be set at creation; the organization has no rules yet"));
    }
    Ok(NewOrganization {
        kind: kind_in(kind)?,
        id: optional("id", &id, OrganizationId::parse)?,
        name: name_in("name", name)?,
        credit_factor: match credit_factor.as_str() {
            "" => Factor::ONE,
            text => Factor::parse("credit_factor", text)?,
        },
        wallet_mode: if wallet_mode == 0 { WalletMode::default() } else { wallet_mode_in(wallet_mode)? },
        expiry_policy: if expiry_policy == 0 { ExpiryPolicy::default() } else { expiry_policy_in(expiry_policy)? },
        disabled,
        suspended,
        policy: policy_in("policy", policy)?,
        ceiling: ceiling_in("ceiling", ceiling)?,
        bounds: bounds_in("bounds", bounds)?,
    })
}

fn change_in(
    organization: proto::Organization,
    mask: Option<prost_types::FieldMask>,
) -> Result<(OrganizationId, OrganizationChange), Invalid> {
    const FIELDS: [&str; 10] = [
        "name",
        "credit_factor",
        "wallet_mode",
        "expiry_policy",
        "default_rule_id",
        "disabled",
        "policy",
        "suspended",
        "ceiling",
        "bounds",
    ];
    let mask = Mask::of(mask, &FIELDS)?;
    let proto::Organization {
        id,
        name,
        credit_factor,
        wallet_mode,
        expiry_policy,
        disabled,
        policy,
        create_time: _,
        update_time: _,
        limits: _,
        kind: _,
        default_rule_id,
        etag: _,
        bounds,
        suspended,
        ceiling,
    } = organization;
    let id = OrganizationId::parse("organization.id", &id)?;
    let change = OrganizationChange {
        name: mask.pick("name", || name_in("organization.name", name))?,
        credit_factor: mask.pick("credit_factor", || Factor::parse("organization.credit_factor", &credit_factor))?,
        wallet_mode: mask.pick("wallet_mode", || wallet_mode_in(wallet_mode).map_err(in_organization))?,
        expiry_policy: mask.pick("expiry_policy", || expiry_policy_in(expiry_policy).map_err(in_organization))?,
        default_rule: mask
            .pick("default_rule_id", || optional("organization.default_rule_id", &default_rule_id, RuleId::parse))?,
        disabled: mask.pick("disabled", || Ok(disabled))?,
        suspended: mask.pick("suspended", || Ok(suspended))?,
        policy: mask.pick("policy", || policy_in("organization.policy", policy))?,
        ceiling: mask.pick("ceiling", || ceiling_in("organization.ceiling", ceiling))?,
        bounds: mask.pick("bounds", || bounds_in("organization.bounds", bounds))?,
        restart_spending: false,
    };
    Ok((id, change))
}

fn ceiling_in(field: &str, ceiling: Option<proto::Policy>) -> Result<Policy, Invalid> {
    policy_in(field, ceiling)?.as_ceiling(field)
}

fn kind_in(kind: i32) -> Result<AccountKind, Invalid> {
    match proto::AccountKind::try_from(kind) {
        Ok(proto::AccountKind::Unspecified | proto::AccountKind::Team) => Ok(AccountKind::Team),
        Ok(proto::AccountKind::Personal) => Ok(AccountKind::Personal),
        Err(_) => Err(Invalid::new("kind", format!("{kind} is neither ACCOUNT_KIND_TEAM nor ACCOUNT_KIND_PERSONAL"))),
    }
}

fn wallet_mode_in(mode: i32) -> Result<WalletMode, Invalid> {
    match proto::WalletMode::try_from(mode) {
        Ok(proto::WalletMode::Enforced) => Ok(WalletMode::Enforced),
        Ok(proto::WalletMode::Off) => Ok(WalletMode::Off),
        Ok(proto::WalletMode::Unspecified) | Err(_) => {
            Err(Invalid::new("wallet_mode", format!("{mode} is neither WALLET_MODE_ENFORCED nor WALLET_MODE_OFF")))
        }
    }
}

pub(super) fn wallet_mode_out(mode: WalletMode) -> proto::WalletMode {
    match mode {
        WalletMode::Enforced => proto::WalletMode::Enforced,
        WalletMode::Off => proto::WalletMode::Off,
    }
}

fn expiry_policy_in(policy: i32) -> Result<ExpiryPolicy, Invalid> {
    match proto::ExpiryPolicy::try_from(policy) {
        Ok(proto::ExpiryPolicy::Release) => Ok(ExpiryPolicy::Release),
        Ok(proto::ExpiryPolicy::ChargeHeld) => Ok(ExpiryPolicy::ChargeHeld),
        Ok(proto::ExpiryPolicy::Unspecified) | Err(_) => {
            let problem = format!("{policy} is neither EXPIRY_POLICY_RELEASE nor EXPIRY_POLICY_CHARGE_HELD");
            Err(Invalid::new("expiry_policy", problem))
        }
    }
}

fn out(view: OrganizationView, prices: Option<&PriceBook>) -> proto::Organization {
    let OrganizationView { entity, policy, ceiling, limits, etag } = view;
    let Organization {
        id,
        name,
        kind,
        default_rule,
        credit_factor,
        wallet_mode,
        expiry_policy,
        disabled,
        suspended,
        deleted: _,
        create_time,
        update_time,
        bounds,
    } = entity;
    proto::Organization {
        id: id.to_string(),
        name,
        credit_factor: nanos_out(credit_factor.value()),
        wallet_mode: wallet_mode_out(wallet_mode).into(),
        expiry_policy: match expiry_policy {
            ExpiryPolicy::Release => proto::ExpiryPolicy::Release,
            ExpiryPolicy::ChargeHeld => proto::ExpiryPolicy::ChargeHeld,
        }
        .into(),
        disabled,
        policy: Some(policy_out(&policy, prices)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
        kind: match kind {
            AccountKind::Team => proto::AccountKind::Team,
            AccountKind::Personal => proto::AccountKind::Personal,
        }
        .into(),
        default_rule_id: default_rule.map(|rule| rule.to_string()).unwrap_or_default(),
        etag,
        bounds: bounds.as_deref().map(bounds_out),
        suspended,
        ceiling: Some(policy_out(&ceiling, prices)),
    }
}

macro_rules! same_bounds {
    ($($name:ident)*) => {
        /// As they are set; none are the same as an empty message.
        fn bounds_in(field: &str, bounds: Option<proto::Bounds>) -> Result<Option<OwnBounds>, Invalid> {
            let proto::Bounds { $($name),* } = bounds.unwrap_or_default();
            let own = OwnBounds { $($name),* };
            own.check().map_err(|invalid| invalid.within(field))?;
            Ok(Some(own).filter(|own| *own != OwnBounds::default()))
        }

        fn bounds_out(own: &OwnBounds) -> proto::Bounds {
            let OwnBounds { $($name),* } = *own;
            proto::Bounds { $($name),* }
        }
    };
}

// A field that is missing here doesn't compile.
same_bounds! {
    keys members teams rules policies credit_requests credit_requests_per_day payment_methods keys_per_hour
    invitations_per_hour resends_per_day mails_per_hour mails_per_address open_per_key open label_bytes
}
