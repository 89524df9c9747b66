//! Reads of the ledger by those who may read little else: they wait for each other, and nobody for them.

use std::{fs, time::Duration};

use futures::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};
use parking_lot::Mutex;
use quotad::{
    api::proto::{
        ChargeRequest, ListAuditEventsRequest, ListTransactionsRequest, Payer, Role, SummarizeUsageRequest, Usage,
        UsageGrouping, charge_response::Decision, payer::Payer as By,
    },
    client::Connection,
    clock::Stopwatch,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    calm::calmly,
    neighbour::beside,
    server::{KEY, MODEL, ORGANIZATION},
    world::{NEIGHBOUR_KEY, World},
};

/// More than memory remembers here, so that each Charge asks the books whether its id was used before.
const REMEMBERED: usize = 1000;
const ENTRIES: usize = 4000;
const READERS: usize = 48;

fn charge(key: &str) -> ChargeRequest {
    ChargeRequest {
        payer: Some(Payer { payer: Some(By::KeyId(key.to_owned())) }),
        request_id: format!("c-{:x}", rand::random::<u128>()),
        model: MODEL.to_owned(),
        usage: Some(Usage { cost_usd: String::from("0.0001"), ..Usage::default() }),
        ..ChargeRequest::default()
    }
}

async fn charged(gateway: &Connection, key: &str) {
    let answer = gateway.quota().charge(charge(key)).await.unwrap().into_inner();
    assert!(matches!(answer.decision, Some(Decision::Charged(_))), "{answer:?}");
}

async fn fill(world: &World, key: &str, entries: usize) {
    stream::iter(0..entries).for_each_concurrent(128, |_| charged(&world.gateway, key)).await;
}

/// Answered, or refused with a time to wait.
fn counts(result: Result<(), tonic::Status>) -> usize {
    match result {
        Ok(()) => 1,
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
            0
        }
    }
}

async fn read(reader: &Connection, no: usize) -> Result<(), tonic::Status> {
    let organization_id = || ORGANIZATION.to_owned();
    match no % 3 {
        0 => {
            let request = ListTransactionsRequest { organization_id: organization_id(), ..Default::default() };
            reader.ledger().list_transactions(request).await.map(drop)
        }
        1 => {
            // None of them matches, so that all are looked at.
            let model = format!("model-{no}");
            let request = ListTransactionsRequest { organization_id: organization_id(), model, ..Default::default() };
            reader.ledger().list_transactions(request).await.map(drop)
        }
        _ => {
            let grouping = UsageGrouping::Key.into();
            let request = SummarizeUsageRequest { organization_id: organization_id(), grouping, ..Default::default() };
            reader.ledger().summarize_usage(request).await.map(drop)
        }
    }
}

#[tokio::test]
async fn many_readers_of_a_ledger_hold_up_neither_decisions_nor_money() {
    let world = World::start(&["--remembered-max", &REMEMBERED.to_string()]).await;
    fill(&world, KEY, ENTRIES).await;
    fill(&world, NEIGHBOUR_KEY, REMEMBERED + 200).await;
    let readers =
        join_all((0..READERS).map(async |no| world.attacker(&format!("reader-{no}"), Role::Basic).await)).await;
    let (answered, charges) = (Mutex::new(0), Mutex::new(Vec::new()));
    let measured = beside(&world, async || {
        let reads = join_all((0..).zip(&readers).map(async |(no, reader)| {
            loop {
                *answered.lock() += counts(read(reader, no).await);
            }
        }));
        let money = async {
            loop {
                let took = Stopwatch::start();
                charged(&world.gateway, NEIGHBOUR_KEY).await;
                charges.lock().push(took.elapsed());
            }
        };
        join(reads, money).await;
    })
    .await;
    measured.assert_undisturbed("48 readers of a ledger");
    measured.assert_within(
        "a Charge that asks the books, beside 48 readers",
        &charges.lock(),
        Duration::from_millis(500),
    );
    assert!(*answered.lock() > 0, "some are answered");
    let log = fs::metadata(world.data_dir.join("books.db-wal")).map_or(0, |log| log.len());
    assert!(log < 192 << 20, "the books' log takes {log} bytes");
    assert!(world.peak_memory() < 1 << 30, "{}", world.peak_memory());
}

#[tokio::test]
async fn one_organizations_reads_and_calls_are_bounded_and_anothers_are_not() {
    let flags = ["--ledger-reads-at-once", "1", "--control-calls-per-second", "5"];
    let world = World::start(&flags).await;
    let reader = world.attacker("reader", Role::Owner).await;
    let audit = async |by: &Connection, organization: &str| {
        let request = ListAuditEventsRequest { organization_id: organization.to_owned(), ..Default::default() };
        by.organizations().list_audit_events(request).await.map(drop)
    };
    let answered: usize =
        join_all((0..200).map(async |_| counts(audit(&reader, ORGANIZATION).await))).await.into_iter().sum();
    // One is under way and eight wait at a time; 50 are taken in ten seconds, and what comes back of them meanwhile.
    assert!((1..=100).contains(&answered), "{answered}");
    let refused = join_all((0..100).map(async |_| counts(audit(&reader, ORGANIZATION).await))).await;
    assert!(refused.contains(&0), "its calls are used up");
    let nora = world.member(crate::world::NEIGHBOUR, "norbert", Role::Owner).await;
    audit(&nora, crate::world::NEIGHBOUR).await.expect("another organization's calls are its own");
    for _ in 0..100 {
        audit(&world.operator, ORGANIZATION).await.expect("the operator may always");
    }
}

/// Names of the server's threads, each with its niceness.
fn threads(world: &World) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", world.server.pid())).unwrap();
    let thread = |task: std::io::Result<fs::DirEntry>| {
        // One that has ended meanwhile is none.
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        // The state is the third field, the niceness the nineteenth.
        Some((name.to_owned(), rest.split_whitespace().nth(16)?.parse().ok()?))
    };
    tasks.filter_map(thread).collect()
}

#[tokio::test]
async fn who_browses_stands_back_behind_those_who_decide() {
    let world = World::start(&[]).await;
    let reader = world.attacker("reader", Role::Basic).await;
    for no in 0..3 {
        read(&reader, no).await.unwrap();
    }
    charged(&world.gateway, KEY).await;
    let threads = threads(&world);
    let of = |name: &str| -> Vec<i32> {
        threads.iter().filter(|(thread, _)| thread.starts_with(name)).map(|(_, niceness)| *niceness).collect()
    };
    let own = of("tokio-r");
    let begun_with = calmly(|| rustix::process::nice(0).unwrap());
    assert!(!own.is_empty() && own.iter().all(|niceness| *niceness == begun_with), "{threads:?}");
    let control = of("control");
    assert!(
        !control.is_empty() && control.iter().all(|niceness| *niceness == (begun_with + 10).min(19)),
        "{threads:?}"
    );
    let files = of("sqlx-sqlite");
    assert!(files.contains(&control[0]) && files.contains(&begun_with), "the ledger is read aside: {threads:?}");
}
