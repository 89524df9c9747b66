//! A disk that takes no more: a limit on the size of files stands for it, which can be lifted while the server runs.

use std::process::Command;

use quotad::{
    api::proto::{
        ChargeRequest, GetBalanceRequest, ListTransactionsRequest, Payer, ReserveRequest, TransactionKind, Usage, payer,
    },
    client::{Connection, reason},
};
use tonic::{Code, Status};

use crate::server::{KEY, MODEL, ORGANIZATION, Server, scripted, seed, verify};

/// In blocks of 512 bytes: less than the journal's log grows to between two checkpoints.
const BLOCKS: u32 = 2 * 2048;

fn payer() -> Option<Payer> {
    Some(Payer { payer: Some(payer::Payer::KeyId(KEY.to_owned())) })
}

async fn charge(gateway: &Connection, number: u32) -> Result<(), Status> {
    let request = ChargeRequest {
        payer: payer(),
        request_id: format!("charge-{number}"),
        model: MODEL.to_owned(),
        usage: Some(Usage { input_tokens: 1000, ..Usage::default() }),
        ..ChargeRequest::default()
    };
    gateway.quota().charge(request).await.map(|_| ())
}

async fn reserve(gateway: &Connection) -> Result<(), Status> {
    let request = ReserveRequest {
        payer: payer(),
        request_id: String::from("reserve"),
        model: MODEL.to_owned(),
        usage: Some(Usage { input_tokens: 1000, ..Usage::default() }),
        ..ReserveRequest::default()
    };
    gateway.quota().reserve(request).await.map(|_| ())
}

#[tokio::test]
async fn a_full_disk_answers_unavailable_loses_nothing_and_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    // Ignored, the signal leaves the write to fail.
    let script = format!("trap '' XFSZ; ulimit -S -f {BLOCKS}; exec \"$0\" \"$@\"");
    let server = Server::start_with(scripted(&script, directory.path()), directory.path());
    let secret = seed(&server.operator().await, None).await;
    let gateway = server.operator().await.with_token(&secret).unwrap();
    let mut acknowledged = 0;
    let refusal = loop {
        match charge(&gateway, acknowledged).await {
            Ok(()) => acknowledged += 1,
            Err(status) => break status,
        }
        assert!(acknowledged < 100_000, "the disk never fills up");
    };
    assert_eq!((refusal.code(), reason(&refusal).as_deref()), (Code::Unavailable, Some("JOURNAL_FAILED")));
    let refusal = reserve(&gateway).await.unwrap_err();
    assert_eq!((refusal.code(), reason(&refusal).as_deref()), (Code::Unavailable, Some("JOURNAL_FAILED")));

    let lifted = Command::new("prlimit").args([&format!("--pid={}", server.pid()), "--fsize=unlimited"]).status();
    assert!(lifted.unwrap().success());
    // The same request again, until it is answered: whether it was booked or not, it is booked once.
    while let Err(status) = charge(&gateway, acknowledged).await {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        tokio::task::yield_now().await;
    }
    let operator = server.operator().await;
    verify(&operator).await;
    let request = ListTransactionsRequest {
        organization_id: ORGANIZATION.to_owned(),
        kinds: vec![TransactionKind::Charge.into()],
        page_size: 1,
        ..ListTransactionsRequest::default()
    };
    let totals = operator.ledger().list_transactions(request).await.unwrap().into_inner().totals.unwrap();
    assert_eq!(totals.entries, u64::from(acknowledged) + 1);
    let request = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
    let before = operator.wallets().get_balance(request.clone()).await.unwrap().into_inner().balance_usd;
    drop(operator);
    assert_eq!(server.terminate().await.code(), Some(0));
    let server = Server::start(directory.path());
    let operator = server.operator().await;
    assert_eq!(operator.wallets().get_balance(request).await.unwrap().into_inner().balance_usd, before);
    verify(&operator).await;
}
