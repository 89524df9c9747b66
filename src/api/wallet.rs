//! The wallet, in and out.

use std::sync::Arc;

use super::{
    convert::{time::timestamp_out, usage::nanos_out},
    organization::wallet_mode_out,
    proto::{self, wallet_service_server::WalletService},
    serve::serve,
};
use crate::{
    domain::{
        error::Invalid,
        id::{OrganizationId, RequestId, check_text},
        money::Nanos,
    },
    service::{Balance, Caller, Error, Service},
};

const MAX_REASON: usize = 256;

pub(super) struct WalletApi(pub(super) Arc<Service>);

serve! {
    WalletService, WalletApi {
        top_up(TopUpRequest) -> TopUpResponse = add.await;
        get_balance(GetBalanceRequest) -> GetBalanceResponse = balance;
    }
}

impl WalletApi {
    async fn add(&self, caller: &Caller, message: proto::TopUpRequest) -> Result<proto::TopUpResponse, Error> {
        let proto::TopUpRequest { organization_id, amount_usd, request_id, reason } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let amount = Nanos::parse("amount_usd", &amount_usd)?;
        if !amount.is_positive() {
            return Err(Invalid::new("amount_usd", format!("{amount_usd:?} adds nothing; give more than 0")).into());
        }
        check_text("reason", &reason, MAX_REASON)?;
        let request = RequestId::parse("request_id", &request_id)?;
        let (top_up, time, replayed) = self.0.top_up(caller, &organization, &request, amount, &reason).await?;
        let order = proto::TopUpOrder {
            organization_id: organization.to_string(),
            request_id: top_up.request.to_string(),
            amount_usd: nanos_out(top_up.amount),
            state: proto::TopUpState::Settled.into(),
            entry: top_up.entry,
            create_time: Some(timestamp_out(time)),
        };
        Ok(proto::TopUpResponse { order: Some(order), balance_usd: nanos_out(top_up.balance), replayed })
    }

    fn balance(&self, _: &Caller, message: proto::GetBalanceRequest) -> Result<proto::GetBalanceResponse, Error> {
        let proto::GetBalanceRequest { organization_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let Balance { balance, held, mode, as_of_entry } = self.0.balance(&organization)?;
        Ok(proto::GetBalanceResponse {
            balance_usd: nanos_out(balance),
            held_usd: nanos_out(held),
            available_usd: nanos_out(balance - held),
            wallet_mode: wallet_mode_out(mode).into(),
            as_of_entry,
        })
    }
}
