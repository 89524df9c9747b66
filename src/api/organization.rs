//! Organizations, in and out.

use std::sync::Arc;

use super::{
    convert::{
        limits::limit_states,
        mask::Mask,
        name_in, optional,
        page::{page_of, size_in, token_in},
        policy::{policy_in, policy_out},
        repeatable, required,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, organization_service_server::OrganizationService},
    serve::serve,
};
use crate::{
    domain::{
        entity::{ExpiryPolicy, Organization, WalletMode},
        error::Invalid,
        id::OrganizationId,
        money::Factor,
    },
    service::{Caller, Error, NewOrganization, OrganizationChange, Repeatable, Service, View},
};

pub(super) struct OrganizationApi(pub(super) Arc<Service>);

serve! {
    OrganizationService, OrganizationApi {
        create_organization(CreateOrganizationRequest) -> CreateOrganizationResponse = create.await;
        get_organization(GetOrganizationRequest) -> GetOrganizationResponse = get;
        list_organizations(ListOrganizationsRequest) -> ListOrganizationsResponse = list;
        update_organization(UpdateOrganizationRequest) -> UpdateOrganizationResponse = update.await;
        delete_organization(DeleteOrganizationRequest) -> DeleteOrganizationResponse = delete.await;
    }
}

impl OrganizationApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateOrganizationRequest,
    ) -> Result<proto::CreateOrganizationResponse, Error> {
        let (request, fingerprint) = repeatable(&message, &message.request_id)?;
        let new = new_in(required("organization", message.organization)?).map_err(in_organization)?;
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.create_organization(caller, new, repeatable).await?;
        Ok(proto::CreateOrganizationResponse { organization: Some(out(view)) })
    }

    fn get(&self, _: &Caller, message: proto::GetOrganizationRequest) -> Result<proto::GetOrganizationResponse, Error> {
        let proto::GetOrganizationRequest { organization_id } = message;
        let view = self.0.organization(&OrganizationId::parse("organization_id", &organization_id)?)?;
        Ok(proto::GetOrganizationResponse { organization: Some(out(view)) })
    }

    fn list(
        &self,
        _: &Caller,
        message: proto::ListOrganizationsRequest,
    ) -> Result<proto::ListOrganizationsResponse, Error> {
        let proto::ListOrganizationsRequest { page_size, page_token } = message;
        let size = size_in(page_size)?;
        let after = token_in::<String>("organizations", &page_token)?.map(OrganizationId::trusted);
        let (views, next_page_token) =
            page_of("organizations", size, self.0.list_organizations(after.as_ref(), size + 1), |view| &view.entity.id);
        Ok(proto::ListOrganizationsResponse { organizations: views.into_iter().map(out).collect(), next_page_token })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateOrganizationRequest,
    ) -> Result<proto::UpdateOrganizationResponse, Error> {
        let proto::UpdateOrganizationRequest { organization, update_mask } = message;
        let (id, change) = change_in(required("organization", organization)?, update_mask)?;
        let view = self.0.update_organization(caller, &id, change).await?;
        Ok(proto::UpdateOrganizationResponse { organization: Some(out(view)) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteOrganizationRequest,
    ) -> Result<proto::DeleteOrganizationResponse, Error> {
        let proto::DeleteOrganizationRequest { organization_id } = message;
        self.0.delete_organization(caller, &OrganizationId::parse("organization_id", &organization_id)?).await?;
        Ok(proto::DeleteOrganizationResponse {})
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
    } = organization;
    Ok(NewOrganization {
        id: optional("id", &id, OrganizationId::parse)?,
        name: name_in("name", name)?,
        credit_factor: match credit_factor.as_str() {
            "" => Factor::ONE,
            text => Factor::parse("credit_factor", text)?,
        },
        wallet_mode: if wallet_mode == 0 { WalletMode::default() } else { wallet_mode_in(wallet_mode)? },
        expiry_policy: if expiry_policy == 0 { ExpiryPolicy::default() } else { expiry_policy_in(expiry_policy)? },
        disabled,
        policy: policy_in("policy", policy)?,
    })
}

fn change_in(
    organization: proto::Organization,
    mask: Option<prost_types::FieldMask>,
) -> Result<(OrganizationId, OrganizationChange), Invalid> {
    const FIELDS: [&str; 6] = ["name", "credit_factor", "wallet_mode", "expiry_policy", "disabled", "policy"];
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
    } = organization;
    let id = OrganizationId::parse("organization.id", &id)?;
    let change = OrganizationChange {
        name: mask.pick("name", || name_in("organization.name", name))?,
        credit_factor: mask.pick("credit_factor", || Factor::parse("organization.credit_factor", &credit_factor))?,
        wallet_mode: mask.pick("wallet_mode", || wallet_mode_in(wallet_mode).map_err(in_organization))?,
        expiry_policy: mask.pick("expiry_policy", || expiry_policy_in(expiry_policy).map_err(in_organization))?,
        disabled: mask.pick("disabled", || Ok(disabled))?,
        policy: mask.pick("policy", || policy_in("organization.policy", policy))?,
    };
    Ok((id, change))
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

fn out(view: View<Organization>) -> proto::Organization {
    let View { entity, policy, limits } = view;
    let Organization {
        id,
        name,
        credit_factor,
        wallet_mode,
        expiry_policy,
        disabled,
        deleted: _,
        create_time,
        update_time,
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
        policy: Some(policy_out(&policy)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
    }
}
