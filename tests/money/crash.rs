//! E7: the real binary, killed between an order and its confirmation: one charge at the provider, one credit here.

use std::{collections::HashSet, path::Path};

use quotad::{
    api::proto::{
        AutoTopUp, ChargeRequest, ConfirmPaymentRequest, CreateMemberRequest, CreateMemberTokenRequest,
        CreatePaymentMethodRequest, GetAutoTopUpRequest, ListTransactionsRequest, Member, MemberToken, Payer,
        PaymentMethod, Role, Transaction, TransactionKind, UpdateAutoTopUpRequest, Usage, charge_response, payer,
    },
    client::Connection,
};
use serde_json::json;

use crate::{
    messages::mask,
    receiver::{Post, Receiver, SECRET, sign},
    server::{KEY, MODEL, ORGANIZATION, Server, command, seed, verify},
};

const ROUNDS: usize = 6;

fn start(data_dir: &Path, provider: &Receiver) -> Server {
    let mut command = command(data_dir);
    command.args(["--payment-url", &provider.url]).env("QUOTAD_PAYMENT_SECRET", SECRET);
    Server::start_with(command, data_dir)
}

async fn spend(gateway: &Connection, request_id: &str, cost: &str) {
    let request = ChargeRequest {
        payer: Some(Payer { payer: Some(payer::Payer::KeyId(KEY.to_owned())) }),
        request_id: request_id.to_owned(),
        model: MODEL.to_owned(),
        usage: Some(Usage { cost_usd: cost.to_owned(), ..Usage::default() }),
        ..ChargeRequest::default()
    };
    let answer = gateway.quota().charge(request).await.unwrap().into_inner().decision;
    assert!(matches!(answer, Some(charge_response::Decision::Charged(_))), "{answer:?}");
}

/// Confirms what was posted, at the time at which it was: the server's clock is the machine's.
async fn confirm(gateway: &Connection, post: &Post) {
    let order = post.verified(SECRET)["data"]["order_id"].clone();
    let payload = json!({"organization_id": ORGANIZATION, "order_id": order, "outcome": "settled"}).to_string();
    let confirmation = ConfirmPaymentRequest {
        webhook_id: "evt_1".into(),
        webhook_timestamp: post.timestamp.to_string(),
        webhook_signature: sign(SECRET, "evt_1", post.timestamp, payload.as_bytes()),
        payload: payload.into_bytes(),
    };
    gateway.wallets().confirm_payment(confirmation).await.unwrap();
}

/// By the card of a new owner.
async fn enable(operator: &Connection) {
    let (organization_id, id) = (ORGANIZATION.to_owned(), "payer".to_owned());
    let payer = Member {
        organization_id: organization_id.clone(),
        id: id.clone(),
        role: Role::Owner.into(),
        ..Member::default()
    };
    let new = CreateMemberRequest { member: Some(payer), ..CreateMemberRequest::default() };
    operator.members().create_member(new).await.unwrap();
    let token = MemberToken { organization_id: organization_id.clone(), member_id: id, ..MemberToken::default() };
    let new = CreateMemberTokenRequest { token: Some(token) };
    let secret = operator.tokens().create_member_token(new).await.unwrap().into_inner().secret;
    let payer = operator.with_token(&secret).unwrap();
    let card = PaymentMethod {
        organization_id: organization_id.clone(),
        id: "card".into(),
        provider_token: "tok_1".into(),
        ..PaymentMethod::default()
    };
    let new = CreatePaymentMethodRequest { payment_method: Some(card), ..CreatePaymentMethodRequest::default() };
    payer.wallets().create_payment_method(new).await.unwrap();
    let auto_top_up = Some(AutoTopUp {
        organization_id,
        enabled: true,
        threshold_usd: "5".into(),
        amount_usd: "10".into(),
        payment_method_id: "card".into(),
        ..AutoTopUp::default()
    });
    let update_mask = mask(&["enabled", "threshold_usd", "amount_usd", "payment_method_id"]);
    payer.wallets().update_auto_top_up(UpdateAutoTopUpRequest { auto_top_up, update_mask }).await.unwrap();
}

async fn credits(operator: &Connection) -> Vec<Transaction> {
    let asked = ListTransactionsRequest {
        organization_id: ORGANIZATION.into(),
        kinds: vec![TransactionKind::TopUp.into()],
        ..ListTransactionsRequest::default()
    };
    operator.ledger().list_transactions(asked).await.unwrap().into_inner().transactions
}

/// The next that asks for this payment; late repeats of others, which were paid, may come before.
async fn latest(provider: &mut Receiver, id: &str) -> Post {
    loop {
        let post = provider.post().await;
        if post.id == id {
            return post;
        }
    }
}

async fn unpaid(provider: &mut Receiver, paid: &HashSet<String>) -> Post {
    loop {
        let post = provider.post().await;
        if !paid.contains(&post.id) {
            return post;
        }
    }
}

// E7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_order_and_confirmation_pays_once_and_credits_once() {
    let directory = tempfile::tempdir().unwrap();
    // It takes orders, and doesn't say so before it is told to.
    let mut provider = Receiver::start(None).await;
    let server = start(directory.path(), &provider);
    let secret = seed(&server.operator().await, None).await;
    enable(&server.operator().await).await;
    let mut server = Some(server);
    let mut payments = HashSet::new();
    for round in 0..ROUNDS {
        let running = server.take().unwrap();
        let gateway = running.operator().await.with_token(&secret).unwrap();
        // 1000 at first, 14 from then on: 4 are left.
        spend(&gateway, &format!("c{round}"), if round == 0 { "996" } else { "10" }).await;
        // Killed before the provider can have heard of it, while it works on it, and when it has taken it.
        let mut heard = None;
        if round % 3 > 0 {
            // Late repeats of others, which were paid, may come before.
            heard = Some(unpaid(&mut provider, &payments).await);
        }
        if round % 3 > 1 {
            provider.answers(Some("200 OK"));
        }
        running.kill();
        let running = start(directory.path(), &provider);
        let operator = running.operator().await;
        let asked = GetAutoTopUpRequest { organization_id: ORGANIZATION.into() };
        let order = operator.wallets().get_auto_top_up(asked).await.unwrap().into_inner().auto_top_up.unwrap();
        provider.answers(Some("200 OK"));
        let expected = format!("{ORGANIZATION}.{}", order.pending_order_id);
        let post = match heard {
            // It may have been noted that this one was taken: then it isn't sent again.
            Some(post) if round % 3 > 1 => post,
            _ => latest(&mut provider, &expected).await,
        };
        assert_eq!(post.id, expected, "the same payment again");
        payments.insert(post.id.clone());
        confirm(&operator.with_token(&secret).unwrap(), &post).await;
        running.kill();
        let running = start(directory.path(), &provider);
        let gateway = running.operator().await.with_token(&secret).unwrap();
        confirm(&gateway, &post).await;
        assert_eq!(credits(&running.operator().await).await.len(), round + 2, "with the first of the operator's");
        provider.answers(None);
        server = Some(running);
    }
    let server = server.unwrap();
    for late in provider.posts() {
        assert!(payments.contains(&late.id), "a payment of its own: {late:?}");
    }
    assert_eq!(payments.len(), ROUNDS, "{payments:?}");
    let balance = credits(&server.operator().await).await[0].balance_usd.clone();
    assert_eq!(balance, "14");
    verify(&server.operator().await).await;
}
