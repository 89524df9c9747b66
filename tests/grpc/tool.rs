//! The real `quotactl` against the server, where the clock matters.

use std::process::{Command, Output, Stdio};

use quotad::api::proto::{ChargeRequest, ExtendRequest, ReleaseRequest};
use serde_json::Value;

use crate::{
    messages::{charge, extend, release, reserve, usd},
    world::{ACME, World},
};

/// 2023-11-15T00:00:00Z, not two hours after the start.
const MIDNIGHT: i64 = 1_700_006_400;

async fn quotactl(world: &World, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotactl"));
    for name in ["QUOTAD_TOKEN", "QUOTACTL_CONFIG", "QUOTACTL_CONTEXT"] {
        command.env_remove(name);
    }
    command
        .args(line.split_whitespace())
        .env("NO_COLOR", "1")
        .env("HOME", world.data_dir())
        .env("QUOTAD_ORG", ACME)
        .env("QUOTAD_ENDPOINT", world.address())
        .env("QUOTAD_TOKEN_FILE", world.data_dir().join("operator.token"))
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(world: &World, line: &str) -> String {
    let output = quotactl(world, line).await;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The request ids and costs of an export, as they stand in its lines.
async fn exported(world: &World, flags: &str) -> Vec<(String, String)> {
    let text = said(world, &format!("ledger export --csv - {flags}")).await;
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (request, cost) = (at("request_id"), at("cost_usd"));
    let mut rows: Vec<_> = lines.map(|cells| (cells[request].to_owned(), cells[cost].to_owned())).collect();
    rows.sort();
    rows
}

fn row(request: &str, cost: &str) -> (String, String) {
    (request.into(), cost.into())
}

// M15
#[tokio::test]
async fn an_export_goes_by_use_unless_it_is_asked_for_by_booking() {
    let world = World::new().await;
    world.advance(MIDNIGHT + 1800 - crate::world::START);
    let late = ChargeRequest {
        already_used: true,
        occurred_at: Some(prost_types::Timestamp { seconds: MIDNIGHT - 1800, nanos: 0 }),
        ..charge("k1", "yesterday", usd("5"))
    };
    world.charge(late).await.unwrap().unwrap();
    world.charge(charge("k1", "today", usd("2"))).await.unwrap().unwrap();
    let midnight = "2023-11-15T00:00:00Z";
    let (yesterday, today) = (row("yesterday", "5"), row("today", "2"));
    assert_eq!(exported(&world, &format!("--start {midnight}")).await, std::slice::from_ref(&today));
    assert_eq!(exported(&world, &format!("--end {midnight}")).await, std::slice::from_ref(&yesterday));
    assert_eq!(exported(&world, &format!("--by used --start {midnight}")).await, std::slice::from_ref(&today));
    let both = exported(&world, &format!("--by booked --start {midnight}")).await;
    assert_eq!(both, [today, yesterday]);
    assert_eq!(exported(&world, &format!("--by booked --end {midnight}")).await, []);

    let listed = async |flags: &str| {
        let list = said(&world, &format!("ledger list --json --start {midnight} {flags}")).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        list["transactions"].as_array().unwrap().len()
    };
    assert_eq!((listed("").await, listed("--by used").await), (2, 1), "a list goes by booking");
}

// M3
#[tokio::test]
async fn entries_of_releases_can_be_asked_for() {
    let world = World::new().await;
    world.charge(charge("k1", "charged", usd("1"))).await.unwrap().unwrap();
    let id = world.reserve(reserve("k1", "released", usd("3"))).await.unwrap().reservation_id;
    world.extend(ExtendRequest { usage_so_far: Some(usd("0.8")), ..extend(&id) }).await.unwrap().unwrap();
    world.release(ReleaseRequest { reason: String::from("gone"), ..release(&id) }).await.unwrap();
    assert_eq!(exported(&world, "--kind release").await, [row("released", "0.8")]);
    let listed: Value = serde_json::from_str(&said(&world, "ledger list --json --kind release").await).unwrap();
    let entries = listed["transactions"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["kind"]), (1, &Value::from("release")));
    let both = exported(&world, "--kind release --kind charge").await;
    assert_eq!(both, [row("charged", "1"), row("released", "0.8")]);
}

// P8
#[tokio::test]
async fn an_export_opens_as_no_formula_and_has_the_labels() {
    let world = World::new().await;
    let hostile = ChargeRequest {
        model: String::from("=HYPERLINK(\"http://x\")"),
        labels: [(String::from("app"), String::from("=1+1"))].into(),
        ..charge("k1", "@SUM(1)", usd("1"))
    };
    world.charge(hostile).await.unwrap().unwrap();
    let text = said(&world, "ledger export --csv -").await;
    let (header, row) = text.trim_end().split_once('\n').unwrap();
    assert!(header.trim_end().ends_with(",labels"), "{header}");
    for cell in [",'@SUM(1),", ",\"'=hyperlink(\"\"http://x\"\")\",", ",\"{\"\"app\"\":\"\"=1+1\"\"}\""] {
        assert!(row.contains(cell), "{cell} isn't in {row}");
    }
}
