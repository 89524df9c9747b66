use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use quotad::{
    api::proto::{self, quota_service_server::QuotaServiceServer},
    client::Connection,
};
use tonic::{Request, Response, Status, transport::Server};

use super::*;
use crate::{cli::RemoteCommand, output::Output};

mod mock;

use mock::{Mock, Scripted};

const TRACE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
    2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n2023-11-16 18:17:04.0782660,110,2000\n";

/// Replays [`TRACE`] against a server that does as scripted.
async fn replay(scripted: Scripted, flags: &str) -> (Report, Arc<Mock>) {
    let (mock, endpoint) = mock::serve(scripted).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    std::fs::write(&path, TRACE).unwrap();
    let line = format!("quotactl replay {} --model m --speed max {flags}", path.display());
    let RemoteCommand::Replay(replay) = RemoteCommand::of(&line) else { panic!() };
    let server = Connection::open(&endpoint, mock::OPERATOR).await.unwrap();
    let context = Context { server, out: Output::JSON, name: None };
    let report = replay.measure(&context, &ProgressBar::hidden()).await.unwrap();
    (report, mock)
}

#[tokio::test]
async fn a_replay_adds_up_to_what_the_ledger_gained() {
    let (report, mock) = replay(Scripted::default(), "--org acme --key k1 --key k2").await;
    assert!(report.is_good(), "{}", report.text());
    assert!(report.text().contains("ledger agrees: 3 entries, 0.010116 USD"), "{}", report.text());
    assert_eq!((report.tally.committed.input, report.tally.committed.output), (8098, 2018));
    let json = report.json();
    assert_eq!((&json["granted"], &json["ledger_agrees"]), (&3.into(), &true.into()));
    assert_eq!((&json["totals"]["cost_usd"], &json["commit_us"]["count"]), (&"0.010116".into(), &3.into()));
    let reserved = mock.reserved();
    let payers: Vec<_> = reserved.values().map(|request| request.payer.clone().unwrap()).collect();
    assert_eq!(payers, [key_payer("k1"), key_payer("k2"), key_payer("k1")]);
    let allowed: Vec<_> = reserved.values().map(|request| request.usage.clone().unwrap().output_tokens).collect();
    assert_eq!(allowed, [1024; 3]);
}

#[tokio::test]
async fn an_entry_that_no_row_made_is_a_difference() {
    let scripted = Scripted { foreign_entries: 1, ..Scripted::default() };
    let (report, _) = replay(scripted, "--org acme --key k1").await;
    assert!(!report.is_good());
    assert!(report.text().contains("ledger differs"), "{}", report.text());
    assert_eq!((&report.json()["ledger_agrees"], &report.json()["ledger"]["entries"]), (&false.into(), &4.into()));
}

#[tokio::test]
async fn calls_that_find_no_server_are_repeated_under_the_same_id() {
    let scripted = Scripted { unavailable: 2, ..Scripted::default() };
    let (report, mock) = replay(scripted, "--org acme --key k1 --in-flight 1").await;
    assert!(report.is_good(), "{}", report.text());
    assert_eq!((report.tally.retries, report.tally.failures()), (2, 0));
    assert_eq!(mock.reserved().len(), 3, "a retry took another request id");
}

#[tokio::test]
async fn refusals_are_counted_by_code_and_not_committed() {
    let scripted = Scripted { refuse_from: 2, ..Scripted::default() };
    let (report, _) = replay(scripted, "--org acme --key k1 --in-flight 1").await;
    assert!(report.is_good(), "{}", report.text());
    assert_eq!(report.tally.refused, BTreeMap::from([("BUDGET_EXCEEDED".to_owned(), 2)]));
    assert_eq!((report.tally.granted, report.tally.committed.entries), (1, 1));
}

#[tokio::test]
async fn rows_that_fail_are_counted_and_the_run_goes_on() {
    let scripted = Scripted { unavailable: 1, ..Scripted::default() };
    let (report, _) = replay(scripted, "--org acme --key k1 --in-flight 1 --patience 0").await;
    assert_eq!((report.tally.failures(), report.tally.granted, report.tally.rows), (1, 2, 3));
    let errors: Vec<_> = report.tally.errors.iter().collect();
    assert!(matches!(&errors[..], [(kind, errors)] if *kind == "Reserve Unavailable" && errors.example == "starting"));
}

#[tokio::test]
async fn the_token_made_for_a_run_is_deleted_after_it() {
    let (_, mock) = replay(Scripted::default(), "--key k1").await;
    assert_eq!((mock.tokens_made(), mock.tokens_left()), (1, 0));
}

#[tokio::test]
async fn a_service_token_is_used_as_it_is() {
    let (_, endpoint) = mock::serve(Scripted::default()).await;
    let given = Connection::open(&endpoint, mock::SERVICE).await.unwrap();
    let access = ServiceAccess::open(&given, Span::SECOND).await.unwrap();
    let answer = access.connection().quota().reserve(proto::ReserveRequest::default()).await;
    assert!(answer.is_ok(), "{answer:?}");
    access.close().await;
}

#[test]
fn speeds_are_max_or_a_positive_factor() {
    assert_eq!(parse_speed("max"), Ok(Speed::Max));
    let ten = parse_speed("10").unwrap();
    assert_eq!(ten.due(Duration::from_secs(5)), Duration::from_millis(500));
    assert_eq!(Speed::Max.due(Duration::from_secs(5)), Duration::ZERO);
    for bad in ["0", "-1", "NaN", "inf", "fast", "", "1e9"] {
        assert!(parse_speed(bad).is_err(), "{bad}");
    }
}
