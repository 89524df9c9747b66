//! Orders, automatic top-up and corrections, as short as tests want them.

use quotad::{
    api::proto::{
        AutoTopUp, CorrectEntryRequest, CorrectEntryResponse, CreatePaymentMethodRequest, DecideTopUpOrderRequest,
        GetAutoTopUpRequest, GetBalanceRequest, GetTopUpOrderRequest, ListTopUpOrdersRequest, PaymentMethod,
        PaymentOutcome, Role, TopUpOrder, TopUpRequest, TopUpResponse, TransactionKind, UpdateAutoTopUpRequest,
    },
    client::Connection,
};
use tonic::Response;

use crate::{
    messages::{Failure, failure, mask},
    world::{ACME, World},
};

pub(crate) async fn order(by: &Connection, request: &str, usd: &str, method: &str) -> Result<TopUpResponse, Failure> {
    let order = TopUpRequest {
        organization_id: ACME.into(),
        amount_usd: usd.into(),
        request_id: request.into(),
        payment_method_id: method.into(),
        ..TopUpRequest::default()
    };
    let answer = by.wallets().top_up(order).await;
    answer.map(Response::into_inner).map_err(|status| failure(&status))
}

/// A member's order, which waits for its payment; answers its id.
pub(crate) async fn pending(by: &Connection, request: &str, usd: &str) -> String {
    order(by, request, usd, "").await.unwrap().order.unwrap().id
}

/// The same by a new payment method of the member's own.
pub(crate) async fn pending_by_card(by: &Connection, request: &str, usd: &str) -> String {
    let card = method(by, "Visa …4242", "tok_4242").await.unwrap();
    order(by, request, usd, &card).await.unwrap().order.unwrap().id
}

/// The operator says what became of the payment.
pub(crate) async fn decide(world: &World, order: &str, outcome: PaymentOutcome) -> Result<TopUpOrder, Failure> {
    let said = DecideTopUpOrderRequest {
        organization_id: ACME.into(),
        order_id: order.into(),
        outcome: outcome.into(),
        provider_reference: format!("bank-{order}"),
        reason: format!("said of {order}"),
    };
    let answer = world.operator.wallets().decide_top_up_order(said).await;
    answer.map(|answer| answer.into_inner().order.unwrap()).map_err(|status| failure(&status))
}

pub(crate) async fn find(world: &World, order: &str) -> TopUpOrder {
    let asked = GetTopUpOrderRequest { organization_id: ACME.into(), order_id: order.into() };
    world.operator.wallets().get_top_up_order(asked).await.unwrap().into_inner().order.unwrap()
}

/// The newest first.
pub(crate) async fn orders(world: &World) -> Vec<TopUpOrder> {
    let asked =
        ListTopUpOrdersRequest { organization_id: ACME.into(), page_size: 1000, ..ListTopUpOrdersRequest::default() };
    world.operator.wallets().list_top_up_orders(asked).await.unwrap().into_inner().orders
}

/// Those that the wallet placed by itself, the newest first.
pub(crate) async fn automatic(world: &World) -> Vec<TopUpOrder> {
    orders(world).await.into_iter().filter(|order| order.actor == "system").collect()
}

pub(crate) async fn balance(by: &Connection, organization: &str) -> Result<String, Failure> {
    let asked = GetBalanceRequest { organization_id: organization.into() };
    let answer = by.wallets().get_balance(asked).await;
    answer.map(|answer| answer.into_inner().balance_usd).map_err(|status| failure(&status))
}

/// Answers its id.
pub(crate) async fn method(by: &Connection, label: &str, provider_token: &str) -> Result<String, Failure> {
    let method = PaymentMethod {
        organization_id: ACME.into(),
        label: label.into(),
        provider_token: provider_token.into(),
        ..PaymentMethod::default()
    };
    let new = CreatePaymentMethodRequest { payment_method: Some(method), request_id: String::new() };
    let answer = by.wallets().create_payment_method(new).await;
    answer.map(|answer| answer.into_inner().payment_method.unwrap().id).map_err(|status| failure(&status))
}

pub(crate) async fn auto_of(by: &Connection) -> Result<AutoTopUp, Failure> {
    let asked = GetAutoTopUpRequest { organization_id: ACME.into() };
    let answer = by.wallets().get_auto_top_up(asked).await;
    answer.map(|answer| answer.into_inner().auto_top_up.unwrap()).map_err(|status| failure(&status))
}

pub(crate) async fn auto(world: &World) -> AutoTopUp {
    auto_of(&world.operator).await.unwrap()
}

pub(crate) async fn update_auto(by: &Connection, auto: AutoTopUp, fields: &[&str]) -> Result<AutoTopUp, Failure> {
    let auto_top_up = Some(AutoTopUp { organization_id: ACME.into(), ..auto });
    let answer =
        by.wallets().update_auto_top_up(UpdateAutoTopUpRequest { auto_top_up, update_mask: mask(fields) }).await;
    answer.map(|answer| answer.into_inner().auto_top_up.unwrap()).map_err(|status| failure(&status))
}

/// Switches it on, with an empty cap for none, by no payment method.
pub(crate) async fn switch_on(world: &World, threshold: &str, amount: &str, monthly_cap: &str) -> AutoTopUp {
    fill(&world.operator, "", threshold, amount, monthly_cap).await.unwrap()
}

/// Switches it on by a payment method.
pub(crate) async fn fill(
    by: &Connection,
    method: &str,
    threshold: &str,
    amount: &str,
    monthly_cap: &str,
) -> Result<AutoTopUp, Failure> {
    let auto = AutoTopUp {
        enabled: true,
        threshold_usd: threshold.into(),
        amount_usd: amount.into(),
        monthly_cap_usd: monthly_cap.into(),
        payment_method_id: method.into(),
        ..AutoTopUp::default()
    };
    let fields = ["enabled", "threshold_usd", "amount_usd", "monthly_cap_usd", "payment_method_id"];
    update_auto(by, auto, &fields).await
}

/// The same by a card of a new owner's own.
pub(crate) async fn switch_on_by_card(world: &World, threshold: &str, amount: &str, monthly_cap: &str) -> AutoTopUp {
    let payer = crate::people::joins(world, "payer", Role::Owner).await;
    let card = method(&payer, "Visa …1", "tok_payer").await.unwrap();
    fill(&payer, &card, threshold, amount, monthly_cap).await.unwrap()
}

pub(crate) async fn correct(
    by: &Connection,
    request: &str,
    entry: u64,
    kind: TransactionKind,
    usd: &str,
) -> Result<CorrectEntryResponse, Failure> {
    let correction = CorrectEntryRequest {
        organization_id: ACME.into(),
        entry,
        kind: kind.into(),
        amount_usd: usd.into(),
        reason: format!("because of {request}"),
        request_id: request.into(),
    };
    let answer = by.wallets().correct_entry(correction).await;
    answer.map(Response::into_inner).map_err(|status| failure(&status))
}
