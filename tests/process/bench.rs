//! `quotactl bench` against the real server: what it says was done is what the books hold.

use std::{path::Path, process::Command};

use quotad::{
    api::proto::{
        Budget, GetBalanceRequest, ListOrganizationsRequest, ListTransactionsRequest, Period, PeriodKind, Policy,
        TransactionKind, Unit,
    },
    client::Connection,
};
use serde_json::Value;

use crate::server::{KEY, MODEL, ORGANIZATION, Server, seed, verify};

/// Its report, and whether it ended with 0.
async fn bench(server: &Server, directory: &Path, flags: &str) -> (Value, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotactl"));
    command.args(["bench", "--json", "--endpoint", &server.endpoint, "--token-file"]);
    command.arg(directory.join("operator.token")).args(flags.split_whitespace());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, output.status.success())
}

async fn entries(operator: &Connection, organization_id: &str, kind: TransactionKind) -> u64 {
    let request = ListTransactionsRequest {
        organization_id: organization_id.to_owned(),
        kinds: vec![kind.into()],
        page_size: 1,
        ..ListTransactionsRequest::default()
    };
    operator.ledger().list_transactions(request).await.unwrap().into_inner().totals.unwrap().entries
}

async fn organizations(operator: &Connection) -> Vec<String> {
    let list = operator.organizations().list_organizations(ListOrganizationsRequest::default()).await.unwrap();
    list.into_inner().organizations.into_iter().map(|organization| organization.id).collect()
}

async fn held(operator: &Connection, organization_id: &str) -> String {
    let request = GetBalanceRequest { organization_id: organization_id.to_owned() };
    operator.wallets().get_balance(request).await.unwrap().into_inner().held_usd
}

fn done(report: &Value, operation: &str) -> u64 {
    report["with_warm_up"][operation]["done"].as_u64().unwrap()
}

/// Every Commit and Charge that the report counts is an entry and nothing else is; nothing is held any more.
async fn agrees_with_the_books(server: &Server, report: &Value) {
    let operator = server.operator().await;
    let (mut commits, mut charges) = (0, 0);
    for organization in organizations(&operator).await {
        commits += entries(&operator, &organization, TransactionKind::Commit).await;
        charges += entries(&operator, &organization, TransactionKind::Charge).await;
        assert_eq!(held(&operator, &organization).await, "0");
    }
    assert!(commits > 10 && charges > 10, "{commits} {charges}");
    assert_eq!((commits, charges), (done(report, "commit"), done(report, "charge")), "{report:#}");
    assert_eq!((&report["denied"], &report["failed"], &report["unanswered"]), (&0.into(), &0.into(), &0.into()));
    verify(&operator).await;
}

#[tokio::test]
async fn single_calls_are_counted_as_the_ledger_has_them_and_leave_nothing_held() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mix = "--mix reserve=5,extend=2,commit=3,release=1,charge=2,check=1 --zipf 1.1";
    let flags = format!("--prepare 3x5 --duration 1s --warm-up 200ms --connections 2 --in-flight 4 {mix}");
    let (report, succeeded) = bench(&server, directory.path(), &flags).await;
    assert!(succeeded);
    agrees_with_the_books(&server, &report).await;
    // One Reserve in five stays open by this mix.
    let settled = done(&report, "commit") + done(&report, "release");
    assert_eq!(done(&report, "reserve") - settled, report["settled_after"]["released"].as_u64().unwrap());
    assert!(done(&report, "extend") > 0 && done(&report, "check") > 0);
    assert!(report["operations"]["commit"]["latency_us"]["p50"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_session_at_a_given_rate_is_counted_as_the_ledger_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let keys = directory.path().join("keys");
    let load = "--session --connections 2 --in-flight 64 --mix reserve=2,commit=2,charge=1 --rate 400";
    let flags = format!("--prepare 2x10 --by-secret --write-keys {} {load} --duration 1s --warm-up 0s", keys.display());
    let (report, succeeded) = bench(&server, directory.path(), &flags).await;
    assert!(succeeded);
    agrees_with_the_books(&server, &report).await;
    let sent = report["done"].as_u64().unwrap() + report["unsent"].as_u64().unwrap();
    assert!(sent <= 400, "{sent} of 400 that were due");
    assert_eq!(std::fs::read_to_string(keys).unwrap().lines().filter(|key| key.starts_with("qk_")).count(), 20);
}

#[tokio::test]
async fn what_was_made_for_a_run_is_removed_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let picture = directory.path().join("run.png");
    let flags = format!("--prepare 2x2 --remove --duration 200ms --warm-up 0s --plot {}", picture.display());
    let (_, succeeded) = bench(&server, directory.path(), &flags).await;
    assert!(succeeded && std::fs::metadata(picture).unwrap().len() > 1000);
    assert_eq!(organizations(&server.operator().await).await, Vec::<String>::new());
}

#[tokio::test]
async fn denials_are_told_by_their_code_and_are_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let budget = Budget {
        id: String::from("none"),
        unit: Unit::Usd.into(),
        max: String::from("0.000001"),
        period: Some(Period { kind: PeriodKind::OneTime.into(), ..Period::default() }),
        ..Budget::default()
    };
    let policy = Policy { budgets: vec![budget], quotas: Vec::new() };
    seed(&server.operator().await, Some(policy)).await;
    let flags = format!("--key {KEY} --model {MODEL} --duration 200ms --warm-up 0s --connections 1 --in-flight 2");
    let (report, succeeded) = bench(&server, directory.path(), &flags).await;
    assert!(!succeeded, "nothing was done");
    assert_eq!((&report["done"], &report["failed"]), (&0.into(), &0.into()));
    let denial = &report["denials"][0];
    assert_eq!((&denial["operation"], &denial["code"]), (&"reserve".into(), &"BUDGET_EXCEEDED".into()));
    assert_eq!(denial["count"], report["denied"]);
    assert_eq!(entries(&server.operator().await, ORGANIZATION, TransactionKind::Commit).await, 0);
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_and_the_run_ends() {
    for session in ["", "--session"] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path());
        let operator = server.operator().await;
        seed(&operator, None).await;
        let flags = format!("--key {KEY} --model {MODEL} {session} --duration 2s --warm-up 0s --connections 2");
        let killing = async {
            while entries(&operator, ORGANIZATION, TransactionKind::Commit).await == 0 {
                tokio::task::yield_now().await;
            }
            assert!(
                std::process::Command::new("kill")
                    .arg("-KILL")
                    .arg(server.pid().to_string())
                    .status()
                    .unwrap()
                    .success()
            );
        };
        let ((report, succeeded), ()) = tokio::join!(bench(&server, directory.path(), &flags), killing);
        assert!(succeeded, "something was done before");
        assert!(report["failed"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(report["unanswered"], 0);
        assert!(report["errors"][0]["example"].as_str().is_some_and(|example| !example.is_empty()));
        // What was acknowledged is in the books, whatever became of the rest.
        let server = Server::start(directory.path());
        let operator = server.operator().await;
        let kept = entries(&operator, ORGANIZATION, TransactionKind::Commit).await;
        let told = done(&report, "commit");
        assert!(kept >= told, "{session:?}: {kept} commits are kept of the {told} that were acknowledged");
    }
}
