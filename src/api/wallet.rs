//! The wallet: orders, payment methods, automatic top-up and corrections, in and out.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    convert::{
        MAX_FREE_TEXT, MAX_TEXT,
        mask::Mask,
        optional,
        page::{page_in, query_name, token_out},
        repeatable, required,
        time::timestamp_out,
        usage::nanos_out,
    },
    ledger::request_out,
    organization::wallet_mode_out,
    proto::{self, wallet_service_server::WalletService},
    serve::{scoped, serve, unscoped},
};
use crate::{
    domain::{
        error::Invalid,
        event::EntryKind,
        id::{MethodId, OrderId, OrganizationId, RequestId},
        money::Nanos,
        payment::{OrderState, PaymentMethod, PaymentOutcome, TopUpOrder, holds_card_number},
        text::{check_line, check_text},
    },
    service::{
        AutoTopUpChange, AutoTopUpView, Balance, Caller, Error, NewCorrection, NewTopUp, Ordered, Repeatable, Service,
    },
};

pub(super) struct WalletApi(pub(super) Arc<Service>);

serve! {
    WalletService, WalletApi {
        top_up(TopUpRequest) -> TopUpResponse = add.await;
        get_balance(GetBalanceRequest) -> GetBalanceResponse = balance;
        get_top_up_order(GetTopUpOrderRequest) -> GetTopUpOrderResponse = order;
        list_top_up_orders(ListTopUpOrdersRequest) -> ListTopUpOrdersResponse = orders;
        decide_top_up_order(DecideTopUpOrderRequest) -> DecideTopUpOrderResponse = decide.await;
        confirm_payment(ConfirmPaymentRequest) -> ConfirmPaymentResponse = confirm.await;
        create_payment_method(CreatePaymentMethodRequest) -> CreatePaymentMethodResponse = add_method.await;
        list_payment_methods(ListPaymentMethodsRequest) -> ListPaymentMethodsResponse = methods;
        delete_payment_method(DeletePaymentMethodRequest) -> DeletePaymentMethodResponse = delete_method.await;
        get_auto_top_up(GetAutoTopUpRequest) -> GetAutoTopUpResponse = auto_top_up;
        update_auto_top_up(UpdateAutoTopUpRequest) -> UpdateAutoTopUpResponse = set_auto_top_up.await;
        correct_entry(CorrectEntryRequest) -> CorrectEntryResponse = correct.await;
    }
}

scoped! {
    TopUpRequest: organization_id;
    GetBalanceRequest: organization_id;
    GetTopUpOrderRequest: organization_id, of Order(order_id);
    ListTopUpOrdersRequest: organization_id;
    DecideTopUpOrderRequest: organization_id, of Order(order_id);
    CreatePaymentMethodRequest: payment_method.organization_id, of PaymentMethod(payment_method.id);
    ListPaymentMethodsRequest: organization_id;
    DeletePaymentMethodRequest: organization_id;
    GetAutoTopUpRequest: organization_id;
    UpdateAutoTopUpRequest: auto_top_up.organization_id, fields update_mask;
    CorrectEntryRequest: organization_id;
}

// What it is about stands in what was signed.
unscoped! { ConfirmPaymentRequest }

fn positive(field: &str, text: &str) -> Result<Nanos, Invalid> {
    let amount = Nanos::parse(field, text)?;
    if amount.is_positive() {
        Ok(amount)
    } else {
        Err(Invalid::new(field, format!("{text:?} adds nothing; give more than 0")))
    }
}

impl WalletApi {
    async fn add(&self, caller: &Caller, message: proto::TopUpRequest) -> Result<proto::TopUpResponse, Error> {
        let proto::TopUpRequest { organization_id, amount_usd, request_id, reason, payment_method_id, currency } =
            message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        if !currency.is_empty() && currency != "USD" {
            let shown: String = currency.chars().take(16).collect();
            return Err(Invalid::new("currency", format!("{shown:?} isn't taken; wallets hold USD")).into());
        }
        check_text("reason", &reason, MAX_TEXT)?;
        let new = NewTopUp {
            request: RequestId::parse("request_id", &request_id)?,
            amount: positive("amount_usd", &amount_usd)?,
            reason,
            method: optional("payment_method_id", &payment_method_id, MethodId::parse)?,
        };
        let Ordered { order, balance, replayed } = self.0.top_up(caller, &organization, new).await?;
        let order = Some(order_out(&organization, order));
        Ok(proto::TopUpResponse { order, balance_usd: nanos_out(balance), replayed })
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

    fn order(
        &self,
        caller: &Caller,
        message: proto::GetTopUpOrderRequest,
    ) -> Result<proto::GetTopUpOrderResponse, Error> {
        let proto::GetTopUpOrderRequest { organization_id, order_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let order = self.0.top_up_order(caller, &organization, &OrderId::parse("order_id", &order_id)?)?;
        Ok(proto::GetTopUpOrderResponse { order: Some(order_out(&organization, order)) })
    }

    fn orders(
        &self,
        caller: &Caller,
        message: proto::ListTopUpOrdersRequest,
    ) -> Result<proto::ListTopUpOrdersResponse, Error> {
        let filters = proto::ListTopUpOrdersRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("orders", &filters);
        let proto::ListTopUpOrdersRequest { organization_id, states, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let states: BTreeSet<_> = states.into_iter().enumerate().map(state_in).collect::<Result<_, _>>()?;
        let at = page_in(&list, page_size, &page_token)?;
        let found = self.0.list_top_up_orders(caller, &organization, &states, at)?;
        let orders = found.items.into_iter().map(|order| order_out(&organization, order)).collect();
        Ok(proto::ListTopUpOrdersResponse { orders, next_page_token: token_out(&list, found.next) })
    }

    async fn decide(
        &self,
        caller: &Caller,
        message: proto::DecideTopUpOrderRequest,
    ) -> Result<proto::DecideTopUpOrderResponse, Error> {
        let proto::DecideTopUpOrderRequest { organization_id, order_id, outcome, provider_reference, reason } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = OrderId::parse("order_id", &order_id)?;
        check_line("provider_reference", &provider_reference, MAX_TEXT)?;
        check_text("reason", &reason, MAX_FREE_TEXT)?;
        let outcome = outcome_in(outcome)?;
        let said = (provider_reference, reason);
        let order = self.0.decide_top_up_order(caller, &organization, &id, outcome, said).await?;
        Ok(proto::DecideTopUpOrderResponse { order: Some(order_out(&organization, order)) })
    }

    async fn confirm(
        &self,
        caller: &Caller,
        message: proto::ConfirmPaymentRequest,
    ) -> Result<proto::ConfirmPaymentResponse, Error> {
        let proto::ConfirmPaymentRequest { payload, webhook_id, webhook_timestamp, webhook_signature } = message;
        let signed = (webhook_id.as_str(), webhook_timestamp.as_str(), webhook_signature.as_str());
        let (organization, order) = self.0.confirm_payment(caller, &payload, signed).await?;
        Ok(proto::ConfirmPaymentResponse { order: Some(order_out(&organization, order)) })
    }

    async fn add_method(
        &self,
        caller: &Caller,
        message: proto::CreatePaymentMethodRequest,
    ) -> Result<proto::CreatePaymentMethodResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::PaymentMethod { organization_id, id, label, provider_token, create_time: _ } =
            required("payment_method", message.payment_method)?;
        let organization = OrganizationId::parse("payment_method.organization_id", &organization_id)?;
        let id = optional("payment_method.id", &id, MethodId::parse)?;
        check_line("payment_method.label", &label, MAX_TEXT)?;
        check_line("payment_method.provider_token", &provider_token, MAX_TEXT)?;
        if holds_card_number(&label) || holds_card_number(id.as_ref().map_or("", MethodId::as_str)) {
            let field = if holds_card_number(&label) { "payment_method.label" } else { "payment_method.id" };
            return Err(Invalid::new(field, "holds a card number; its last four digits tell it from others").into());
        }
        let digits = provider_token.bytes().filter(u8::is_ascii_digit).count();
        if digits >= 12 && provider_token.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-') {
            let problem = "looks like a card number; give the payment provider's token for it instead";
            return Err(Invalid::new("payment_method.provider_token", problem).into());
        }
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let method =
            self.0.create_payment_method(caller, &organization, (id, label, provider_token), repeatable).await?;
        Ok(proto::CreatePaymentMethodResponse { payment_method: Some(method_out(&organization, method)) })
    }

    fn methods(
        &self,
        caller: &Caller,
        message: proto::ListPaymentMethodsRequest,
    ) -> Result<proto::ListPaymentMethodsResponse, Error> {
        let proto::ListPaymentMethodsRequest { organization_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let Some(member) = &caller.member else { return Ok(proto::ListPaymentMethodsResponse::default()) };
        let methods = self.0.list_payment_methods(&organization, member)?;
        let payment_methods = methods.into_iter().map(|method| method_out(&organization, method)).collect();
        Ok(proto::ListPaymentMethodsResponse { payment_methods })
    }

    async fn delete_method(
        &self,
        caller: &Caller,
        message: proto::DeletePaymentMethodRequest,
    ) -> Result<proto::DeletePaymentMethodResponse, Error> {
        let proto::DeletePaymentMethodRequest { organization_id, payment_method_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = MethodId::parse("payment_method_id", &payment_method_id)?;
        self.0.delete_payment_method(caller, &organization, &id).await?;
        Ok(proto::DeletePaymentMethodResponse {})
    }

    fn auto_top_up(
        &self,
        caller: &Caller,
        message: proto::GetAutoTopUpRequest,
    ) -> Result<proto::GetAutoTopUpResponse, Error> {
        let proto::GetAutoTopUpRequest { organization_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.auto_top_up(caller, &organization)?;
        Ok(proto::GetAutoTopUpResponse { auto_top_up: Some(auto_out(&organization, view)) })
    }

    async fn set_auto_top_up(
        &self,
        caller: &Caller,
        message: proto::UpdateAutoTopUpRequest,
    ) -> Result<proto::UpdateAutoTopUpResponse, Error> {
        let proto::UpdateAutoTopUpRequest { auto_top_up, update_mask } = message;
        let fields = ["enabled", "threshold_usd", "amount_usd", "target_usd", "payment_method_id", "monthly_cap_usd"];
        let mask = Mask::of(update_mask, &fields)?;
        let proto::AutoTopUp {
            organization_id,
            enabled,
            threshold_usd,
            amount_usd,
            payment_method_id,
            monthly_cap_usd,
            disabled_reason: _,
            pause_until: _,
            pending_order_id: _,
            target_usd,
            wallet_enforced: _,
        } = required("auto_top_up", auto_top_up)?;
        let organization = OrganizationId::parse("auto_top_up.organization_id", &organization_id)?;
        let cap = || match monthly_cap_usd.as_str() {
            "" => Ok(None),
            text => positive("auto_top_up.monthly_cap_usd", text).map(Some),
        };
        let target = || match target_usd.as_str() {
            "" => Ok(None),
            text => Nanos::parse("auto_top_up.target_usd", text).map(Some),
        };
        let change = AutoTopUpChange {
            enabled: mask.pick("enabled", || Ok(enabled))?,
            threshold: mask.pick("threshold_usd", || Nanos::parse("auto_top_up.threshold_usd", &threshold_usd))?,
            amount: mask.pick("amount_usd", || positive("auto_top_up.amount_usd", &amount_usd))?,
            target: mask.pick("target_usd", target)?,
            method: mask.pick("payment_method_id", || {
                optional("auto_top_up.payment_method_id", &payment_method_id, MethodId::parse)
            })?,
            monthly_cap: mask.pick("monthly_cap_usd", cap)?,
        };
        let view = self.0.update_auto_top_up(caller, &organization, change).await?;
        Ok(proto::UpdateAutoTopUpResponse { auto_top_up: Some(auto_out(&organization, view)) })
    }

    async fn correct(
        &self,
        caller: &Caller,
        message: proto::CorrectEntryRequest,
    ) -> Result<proto::CorrectEntryResponse, Error> {
        let proto::CorrectEntryRequest { organization_id, entry, kind, amount_usd, reason, request_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let kind = match proto::TransactionKind::try_from(kind) {
            Ok(proto::TransactionKind::Refund) => EntryKind::Refund,
            Ok(proto::TransactionKind::Adjustment) => EntryKind::Adjustment,
            _ => {
                let problem = format!("{kind} is neither TRANSACTION_KIND_REFUND nor TRANSACTION_KIND_ADJUSTMENT");
                return Err(Invalid::new("kind", problem).into());
            }
        };
        check_text("reason", &reason, MAX_TEXT)?;
        if reason.trim().is_empty() {
            return Err(Invalid::new("reason", "is empty; say why the entry is corrected").into());
        }
        let amount = match amount_usd.strip_prefix('-') {
            Some(magnitude) => -positive("amount_usd", magnitude)?,
            None => positive("amount_usd", &amount_usd)?,
        };
        if kind == EntryKind::Refund && !amount.is_positive() {
            return Err(Invalid::new("amount_usd", "is negative; a refund gives back").into());
        }
        let request = RequestId::parse("request_id", &request_id)?;
        let new = NewCorrection { request, entry, kind, amount, reason };
        let (correction, replayed) = self.0.correct_entry(caller, &organization, new).await?;
        let (entry, balance_usd) = (correction.entry, nanos_out(correction.balance));
        Ok(proto::CorrectEntryResponse { entry, balance_usd, replayed })
    }
}

fn outcome_in(outcome: i32) -> Result<PaymentOutcome, Invalid> {
    use proto::PaymentOutcome as Outcome;
    match Outcome::try_from(outcome) {
        Ok(Outcome::Settled) => Ok(PaymentOutcome::Settled),
        Ok(Outcome::SoftDeclined) => Ok(PaymentOutcome::SoftDeclined),
        Ok(Outcome::HardDeclined) => Ok(PaymentOutcome::HardDeclined),
        Ok(Outcome::Reversed) => Ok(PaymentOutcome::Reversed),
        Ok(Outcome::Unspecified) | Err(_) => {
            let choices = "PAYMENT_OUTCOME_SETTLED, _SOFT_DECLINED, _HARD_DECLINED, _REVERSED";
            Err(Invalid::new("outcome", format!("{outcome} is none of {choices}")))
        }
    }
}

fn state_in((i, state): (usize, i32)) -> Result<OrderState, Invalid> {
    use proto::TopUpState as State;
    match State::try_from(state) {
        Ok(State::Pending) => Ok(OrderState::Pending),
        Ok(State::Settled) => Ok(OrderState::Settled),
        Ok(State::Failed) => Ok(OrderState::Failed),
        Ok(State::Reversed) => Ok(OrderState::Reversed),
        Ok(State::Unspecified) | Err(_) => {
            let problem = format!("{state} is no state of an order; leave states empty for all");
            Err(Invalid::new(format!("states[{i}]"), problem))
        }
    }
}

fn method_out(organization: &OrganizationId, method: PaymentMethod) -> proto::PaymentMethod {
    let PaymentMethod { id, member: _, label, token: _, deleted: _, create_time } = method;
    proto::PaymentMethod {
        organization_id: organization.to_string(),
        id: id.to_string(),
        label,
        provider_token: String::new(),
        create_time: Some(timestamp_out(create_time)),
    }
}

fn auto_out(organization: &OrganizationId, view: AutoTopUpView) -> proto::AutoTopUp {
    let AutoTopUpView { auto, pending, wallet_enforced } = view;
    let common = proto::AutoTopUp {
        organization_id: organization.to_string(),
        pending_order_id: pending.map(|order| order.to_string()).unwrap_or_default(),
        wallet_enforced,
        ..proto::AutoTopUp::default()
    };
    let Some(auto) = auto else { return common };
    proto::AutoTopUp {
        enabled: auto.enabled,
        threshold_usd: nanos_out(auto.threshold),
        amount_usd: nanos_out(auto.amount),
        target_usd: auto.target.map(nanos_out).unwrap_or_default(),
        payment_method_id: auto.method.map(|method| method.to_string()).unwrap_or_default(),
        monthly_cap_usd: auto.monthly_cap.map(nanos_out).unwrap_or_default(),
        disabled_reason: auto.disabled_reason,
        pause_until: auto.pause_until.map(timestamp_out),
        ..common
    }
}

fn order_out(organization: &OrganizationId, order: TopUpOrder) -> proto::TopUpOrder {
    let TopUpOrder {
        id,
        request,
        fingerprint: _,
        amount,
        source: _,
        method: _,
        actor,
        reason,
        state,
        reference,
        failure,
        placed: _,
        entry,
        create_time,
        update_time,
    } = order;
    proto::TopUpOrder {
        organization_id: organization.to_string(),
        request_id: request_out(&request),
        amount_usd: nanos_out(amount),
        state: match state {
            OrderState::Pending => proto::TopUpState::Pending,
            OrderState::Settled => proto::TopUpState::Settled,
            OrderState::Failed => proto::TopUpState::Failed,
            OrderState::Reversed => proto::TopUpState::Reversed,
        }
        .into(),
        entry: entry.unwrap_or(0),
        create_time: Some(timestamp_out(create_time)),
        id: id.to_string(),
        actor: actor.as_str().to_owned(),
        reason,
        provider_reference: reference,
        failure,
        update_time: Some(timestamp_out(update_time)),
    }
}
