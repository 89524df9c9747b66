//! How fast a prepared journal drains into the books: entries a second, in each database, with everything synced to disk.
//!
//! `QUOTAD_DRAIN_ENTRIES` sets how many (200,000). Postgres runs beside it on the same cores.

#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "made for tests")]
#[path = "../tests/support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "made for tests")]
#[path = "../tests/books/script.rs"]
mod script;

use std::{error::Error, sync::Arc, time::Duration};

use cluster::Cluster;
use comfy_table::Table;
use quotad::{
    clock::Stopwatch,
    domain::{
        event::EntryKind,
        id::OrganizationId,
        lease::{JournalId, Lease},
        time::Span,
    },
    journal::{Journal, sqlite::SqliteJournal},
    store::{Store, postgres::PostgresStore, sqlite::SqliteStore},
};
use script::Script;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LEASE: Lease = Lease { journal: JournalId::new([1; 16]), epoch: 1 };
const ORGANIZATIONS: usize = 100;
/// Records that the journal's writer has in one of its batches under load.
const JOURNALLED: usize = 512;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let entries = std::env::var("QUOTAD_DRAIN_ENTRIES").map_or(Ok(200_000), |given| given.parse())?;
    let cluster = Cluster::start(&[]);
    let mut table = Table::new();
    table.set_header(["books in", "journal of", "entries", "records", "seconds", "entries/s", "records/s"]);
    for (name, prepare) in [("charges", charges as fn(&mut Script, usize)), ("reserve, commit", holds)] {
        let (directory, mut script) = (tempfile::tempdir()?, Script::default());
        for id in &organizations().collect::<Vec<_>>() {
            script.found(id);
        }
        prepare(&mut script, entries);
        let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::open(directory.path()).await?);
        for batch in script.records.chunks(JOURNALLED) {
            journal.append(batch).await.map_err(|error| format!("{error:?}"))?;
        }
        let position = script.last();
        // A Postgres that has run for long writes over the files of its log: a new one fills each of them twice.
        drain(&journal, &PostgresStore::new(&cluster.database())?, position).await?;
        cluster.stop("fast");
        cluster.resume();
        let file = SqliteStore::open(directory.path()).await?;
        let database = PostgresStore::new(&cluster.database())?;
        let stores: [(&str, &dyn Store); 2] = [("SQLite", &file), ("Postgres", &database)];
        for (kind, store) in stores {
            let taken = drain(&journal, store, position).await?;
            let rate = |count: u64| format!("{:.0}", precise(count) / taken.as_secs_f64());
            let seconds = format!("{:.2}", taken.as_secs_f64());
            let cells = [kind, name, &entries.to_string(), &position.to_string(), &seconds];
            let rates = [rate(entries as u64), rate(position)];
            table.add_row(cells.into_iter().map(str::to_owned).chain(rates));
        }
    }
    println!("{table}");
    Ok(())
}

fn precise(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn organizations() -> impl Iterator<Item = OrganizationId> {
    (0..ORGANIZATIONS).map(|no| OrganizationId::trusted(format!("organization-{no}")))
}

fn charges(script: &mut Script, entries: usize) {
    let organizations: Vec<_> = organizations().collect();
    for no in 0..entries {
        script.wait(Span::micros(20));
        script.settle(&organizations[no % ORGANIZATIONS], EntryKind::Charge, None, &format!("request-{no}"), 1_234_567);
    }
}

/// 64 are open at any time.
fn holds(script: &mut Script, entries: usize) {
    let organizations: Vec<_> = organizations().collect();
    let mut open = std::collections::VecDeque::new();
    for no in 0..entries + 64 {
        script.wait(Span::micros(20));
        let (organization, request) = (&organizations[no % ORGANIZATIONS], format!("request-{no}"));
        if no < entries {
            open.push_back((organization, script.reserve(organization, &request), request));
        }
        if open.len() > 64 || no >= entries {
            let Some((organization, hold, request)) = open.pop_front() else { break };
            script.settle(organization, EntryKind::Commit, Some(hold), &request, 1_234_567);
        }
    }
}

async fn drain(journal: &Arc<dyn Journal>, store: &dyn Store, last: u64) -> Result<Duration, Box<dyn Error>> {
    store.take_lease(LEASE, "bench", None).await?;
    let watch = Stopwatch::start();
    let reached = quotad::service::drain(Arc::clone(journal), store, LEASE).await?;
    assert_eq!(reached, last, "the books have another end than the journal");
    Ok(watch.elapsed())
}
