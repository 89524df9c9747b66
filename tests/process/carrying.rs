//! Data carried elsewhere: copies of a running server's directory, and what only a left-behind journal has.

use std::{path::Path, process::Command};

use quotad::{
    api::proto::{
        Budget, ChargeRequest, CommitRequest, CreateMemberRequest, Grant, Member, Payer, Period, PeriodKind, Policy,
        ReservationRef, ReserveRequest, TopUpRequest, Unit, Usage, payer, reservation_ref::Reservation,
        reserve_response::Decision,
    },
    client::Connection,
};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

use crate::{
    server::{KEY, MODEL, ORGANIZATION, Server, command, seed, verify},
    start::balance,
};

fn quotactl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotactl"));
    command.args(arguments).arg("--json");
    command
}

/// What it printed, and whether it exited with 0.
fn said(mut command: Command) -> (Value, bool) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&text);
    (value.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))), output.status.success())
}

/// Whether it exited with 0, and its error.
fn refused_by(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

fn back_up(data: &Path, to: &Path) {
    let (data, to) = (data.to_str().unwrap(), to.to_str().unwrap());
    let (copied, done) = said(quotactl(&["backup", "--data-dir", data, "--to", to]));
    assert!(done && copied["position"].as_u64().unwrap() > 0, "{copied}");
}

fn import(server: &Server, data: &Path, from: &Path, flags: &[&str]) -> (Value, bool) {
    let token = data.join("operator.token");
    let place = ["--endpoint", &server.endpoint, "--token-file", token.to_str().unwrap()];
    said(quotactl(&[&["journal", "import", "--from", from.to_str().unwrap()], flags, &place[..]].concat()))
}

async fn change(directory: &Path, sql: &'static str) {
    let mut books = SqliteConnectOptions::new().filename(directory.join("books.db")).connect().await.unwrap();
    assert!(sqlx::query(sql).execute(&mut books).await.unwrap().rows_affected() > 0);
    books.close().await.unwrap();
}

fn payer() -> Option<Payer> {
    Some(Payer { payer: Some(payer::Payer::KeyId(KEY.to_owned())) })
}

/// 1000 tokens in: 0.001 USD.
fn usage() -> Option<Usage> {
    Some(Usage { input_tokens: 1000, ..Usage::default() })
}

async fn charge(gateway: &Connection, request_id: &str) {
    let (request_id, model) = (request_id.to_owned(), MODEL.to_owned());
    let request = ChargeRequest { payer: payer(), request_id, model, usage: usage(), ..ChargeRequest::default() };
    gateway.quota().charge(request).await.unwrap();
}

async fn reserve(gateway: &Connection, request_id: &str) -> Grant {
    let (request_id, model) = (request_id.to_owned(), MODEL.to_owned());
    let request = ReserveRequest { payer: payer(), request_id, model, usage: usage(), ..ReserveRequest::default() };
    match gateway.quota().reserve(request).await.unwrap().into_inner().decision {
        Some(Decision::Granted(grant)) => grant,
        other => panic!("{other:?}"),
    }
}

async fn commit(gateway: &Connection, grant: &Grant) -> bool {
    let reservation = Reservation::ReservationId(grant.reservation_id.clone());
    let reservation = Some(ReservationRef { reservation: Some(reservation) });
    let request = CommitRequest { reservation, usage: usage(), ..CommitRequest::default() };
    gateway.quota().commit(request).await.unwrap().into_inner().replayed
}

async fn top_up(operator: &Connection, request_id: &str) {
    let request = TopUpRequest {
        organization_id: ORGANIZATION.to_owned(),
        amount_usd: String::from("5"),
        request_id: request_id.to_owned(),
        ..TopUpRequest::default()
    };
    operator.wallets().top_up(request).await.unwrap();
}

fn counts(found: u64, booked: u64, known: u64) -> Value {
    json!({ "found": found, "booked": booked, "known": known, "left": 0 })
}

fn of_kind(report: &Value, kind: &str) -> Value {
    let found = report["kinds"].as_array().unwrap().iter().find(|row| row["kind"] == kind);
    let mut row = found.unwrap_or_else(|| panic!("no {kind} in {report}")).clone();
    row.as_object_mut().unwrap().remove("kind");
    row
}

#[tokio::test]
async fn a_running_servers_directory_is_backed_up_and_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy, anew) =
        (directory.path().join("data"), directory.path().join("copy"), directory.path().join("anew"));
    let server = Server::start(&data);
    let secret = seed(&server.operator().await, None).await;
    charge(&server.operator().await.with_token(&secret).unwrap(), "c1").await;
    back_up(&data, &copy);
    server.kill();
    let (from, to) = (copy.to_str().unwrap(), anew.to_str().unwrap());
    let (restored, done) = said(quotactl(&["restore", "--from", from, "--data-dir", to]));
    assert!(done && restored["entries"] == 2, "{restored}");
    let server = Server::start(&anew);
    assert_eq!(balance(&server).await, "999.999");
    verify(&server.operator().await).await;
}

#[tokio::test]
async fn a_copy_that_was_changed_is_not_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy, anew) =
        (directory.path().join("data"), directory.path().join("copy"), directory.path().join("anew"));
    let server = Server::start(&data);
    let budget = Budget {
        id: String::from("b1"),
        unit: Unit::Usd.into(),
        max: String::from("10"),
        period: Some(Period { kind: PeriodKind::OneTime.into(), ..Period::default() }),
        ..Budget::default()
    };
    let policy = Policy { budgets: vec![budget], quotas: Vec::new() };
    let secret = seed(&server.operator().await, Some(policy)).await;
    charge(&server.operator().await.with_token(&secret).unwrap(), "c1").await;
    // Waits for the books.
    verify(&server.operator().await).await;
    back_up(&data, &copy);
    change(&copy, "UPDATE budget_windows SET spent = spent + 1").await;
    let refused = quotactl(&["restore", "--from", copy.to_str().unwrap(), "--data-dir", anew.to_str().unwrap()]);
    let (status, said) = refused_by(refused);
    assert!(!status && said.contains("books' budget") && said.contains("of acme"), "{said}");
    assert!(!anew.join("journal.db").exists());
}

/// One server's books go on elsewhere while it still acknowledges: its journal alone has what came after.
#[tokio::test]
async fn what_only_a_left_behind_journal_has_is_brought_in_once_however_often() {
    let directory = tempfile::tempdir().unwrap();
    let (old, copy, new) = (directory.path().join("old"), directory.path().join("copy"), directory.path().join("new"));
    let server = Server::start(&old);
    let operator = server.operator().await;
    let secret = seed(&operator, None).await;
    let gateway = operator.with_token(&secret).unwrap();
    charge(&gateway, "before").await;
    let open = reserve(&gateway, "open").await;
    // Waits for the books.
    verify(&operator).await;
    back_up(&old, &copy);
    std::fs::create_dir(&new).unwrap();
    std::fs::copy(copy.join("books.db"), new.join("books.db")).unwrap();
    // As if the old server's lease had run out meanwhile.
    change(&new, "UPDATE writer_lease SET renewed_at = 0").await;
    assert!(!commit(&gateway, &open).await);
    let later = reserve(&gateway, "later").await;
    commit(&gateway, &later).await;
    let retried = reserve(&gateway, "retried").await;
    commit(&gateway, &retried).await;
    charge(&gateway, "after").await;
    charge(&gateway, "retried-too").await;
    top_up(&operator, "more").await;
    let member = Member { organization_id: ORGANIZATION.to_owned(), id: String::from("bob"), ..Member::default() };
    let request = CreateMemberRequest { member: Some(member), ..CreateMemberRequest::default() };
    operator.members().create_member(request).await.unwrap();
    assert_eq!(balance(&server).await, "1004.994");
    server.kill();

    let mut start = command(&new);
    let log = directory.path().join("log");
    start.arg("--accept-journal-loss").stderr(std::fs::File::create(&log).unwrap());
    let server = Server::spawn(start, &new);
    let log = std::fs::read_to_string(&log).unwrap();
    let after = log.rsplit("after").next().unwrap().trim_start_matches(|c: char| !c.is_ascii_digit());
    let after: String = after.chars().take_while(char::is_ascii_digit).collect();
    let operator = server.operator().await;
    let gateway = operator.with_token(&secret).unwrap();
    assert_eq!(balance(&server).await, "999.999");
    // Callers that had no answer ask again.
    assert!(!commit(&gateway, &retried).await);
    charge(&gateway, "retried-too").await;

    let (report, done) = import(&server, &new, &old, &["--after", &after]);
    assert_eq!(of_kind(&report, "commit"), counts(3, 2, 1), "{report} {log}");
    assert_eq!(of_kind(&report, "charge"), counts(2, 1, 1), "{report}");
    assert_eq!(of_kind(&report, "top-up"), counts(1, 1, 0), "{report}");
    let left: Vec<_> = report["left"].as_array().unwrap().iter().map(|left| left["what"].as_str().unwrap()).collect();
    assert!(left.contains(&"member bob of acme") && !done, "a person has to look at what else changed: {left:?}");
    assert_eq!(balance(&server).await, "1004.994");
    assert!(commit(&gateway, &later).await, "its caller's own repeat is one");

    let (again, _) = import(&server, &new, &old, &[]);
    for (kind, known) in [("commit", 3), ("charge", 3), ("top-up", 2)] {
        assert_eq!(of_kind(&again, kind), counts(known, 0, known), "{again}");
    }
    assert_eq!(balance(&server).await, "1004.994");
    verify(&operator).await;
}
