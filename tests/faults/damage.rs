//! Bit flips and cuts at every kind of place in the files of a data directory. A server that is started on them refuses and says
//! where, or serves exactly what was there; of the journal's tail it may lose what could have been an interrupted write.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use quotad::{
    api::proto::{GetBalanceRequest, Transaction, VerifyRequest},
    client::Connection,
    clock::ManualClock,
    config::Settings,
    domain::time::Timestamp,
    server::{Running, serve},
};
use tokio::task::JoinSet;

use crate::{
    check::ledger,
    damage::{
        image::Image,
        places::{Damage, Place, places},
    },
    moments::{Moments, is_long},
    seed::ORGANIZATIONS,
};

#[path = "damage/image.rs"]
mod image;
#[path = "damage/places.rs"]
mod places;

/// 2023-11-14T22:13:20Z: a clock that stands, so that two runs of one image are alike.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
/// Starts at a time.
const WORKERS: usize = 2;
/// Places of each image that a short run tries.
const SHORT: usize = 70;

pub(crate) async fn start(directory: &Path, snapshots_every: Duration) -> Result<Running, String> {
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: directory.to_owned(),
        snapshot_interval: snapshots_every,
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::new(NOW));
    let started = |at_least| {
        clock.set(at_least);
        clock
    };
    serve(&settings, Arc::default(), |at_least| started(at_least)).await.map_err(|error| error.to_string())
}

/// What became of a damaged image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Refused,
    /// Served as if nothing had happened.
    Whole,
    /// Served without what was written last.
    WithoutTail,
    /// Served with the right balances; the books say of themselves that they aren't in order.
    BooksFoundWrong,
}

async fn outcome(image: &Image, place: &Place) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    image.lay_out(directory.path());
    let path = directory.path().join(place.file);
    let mut bytes = fs::read(&path).unwrap();
    place.damage.apply(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let running = match start(directory.path(), Duration::from_hours(1)).await {
        Ok(running) => running,
        Err(said) => {
            let names = ["journal", "snapshot", "books", "position"].iter().any(|name| said.contains(name));
            assert!(names, "{place:?} is refused without saying where: {said}");
            return Outcome::Refused;
        }
    };
    let operator = Connection::open(&format!("http://{}", running.address), &running.operator_token).await.unwrap();
    let outcome = served(&operator, image, place).await;
    drop(operator);
    // Thousands are started: each must leave nothing open. How it ends on damaged files isn't asked here.
    let _ = running.shutdown().await;
    outcome
}

async fn served(operator: &Connection, image: &Image, place: &Place) -> Outcome {
    let mut balances = Vec::new();
    for organization in ORGANIZATIONS {
        let request = GetBalanceRequest { organization_id: organization.into() };
        match operator.wallets().get_balance(request).await {
            Ok(balance) => balances.push(balance.into_inner().balance_usd),
            Err(status) => panic!("{place:?}: no balance of {organization}: {status:?}"),
        }
    }
    let truth = [&image.whole, &image.without_tail].into_iter().find(|truth| truth.balances == balances);
    let truth =
        truth.unwrap_or_else(|| panic!("{place:?}: balances {balances:?} instead of {:?}", image.whole.balances));
    let is_whole = *truth == image.whole;
    assert!(is_whole || image.may_lose_tail(place), "{place:?} lost acknowledged work");
    let verified = operator.ledger().verify(VerifyRequest::default()).await;
    let adds_up = verified.as_ref().is_ok_and(|verified| verified.get_ref().differences.is_empty());
    if !adds_up {
        assert!(place.file.starts_with("books.db"), "{place:?}: {verified:?}");
        return Outcome::BooksFoundWrong;
    }
    for (organization, entries) in ORGANIZATIONS.iter().zip(&truth.ledgers) {
        match ledger(operator, organization).await {
            Ok(found) => assert_eq!(money(&found), money(entries), "{place:?}: the books of {organization}"),
            Err(status) => {
                assert!(place.file.starts_with("books.db"), "{place:?}: {status:?}");
                return Outcome::BooksFoundWrong;
            }
        }
    }
    if is_whole { Outcome::Whole } else { Outcome::WithoutTail }
}

/// What a balance is made of. Names and texts in the books have no checksum.
fn money(entries: &[Transaction]) -> Vec<(u64, i32, &str, &str, &str)> {
    entries
        .iter()
        .map(|entry| (entry.entry, entry.kind, &*entry.cost_usd, &*entry.wallet_usd, &*entry.balance_usd))
        .collect()
}

/// Tries the places, some at a time; answers how often each outcome was seen.
async fn try_all(image: Image, places: Vec<Place>) -> Vec<(Place, Outcome)> {
    let (image, places, next) = (Arc::new(image), Arc::new(places), Arc::new(AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (image, places, next) = (Arc::clone(&image), Arc::clone(&places), Arc::clone(&next));
        workers.spawn(async move {
            let mut found = Vec::new();
            while let Some(place) = places.get(next.fetch_add(1, SeqCst)) {
                found.push((place.clone(), outcome(&image, place).await));
            }
            found
        });
    }
    let mut all = Vec::new();
    while let Some(found) = workers.join_next().await {
        all.extend(found.unwrap());
    }
    all
}

async fn survives_damage(test: &str, image: Image, of: &str) {
    let mut moments = Moments::new(test);
    let mut chosen = places(&image.files);
    chosen.retain(|place| place.file.starts_with(of));
    let all = chosen.len();
    if !is_long() {
        // Evenly spread, others each time.
        let step = all.div_ceil(SHORT);
        let offset = usize::try_from(moments.number(0..step as u64)).unwrap();
        chosen = chosen.into_iter().skip(offset).step_by(step).collect();
    }
    let found = try_all(image, chosen).await;
    let count = |outcome| found.iter().filter(|(_, found)| *found == outcome).count();
    let (refused, whole) = (count(Outcome::Refused), count(Outcome::Whole));
    println!(
        "{test}: {} of {all} places damaged: {refused} refused, {whole} without effect, {} without the tail, {} found by the books' \
         own check; wrong balances: 0",
        found.len(),
        count(Outcome::WithoutTail),
        count(Outcome::BooksFoundWrong)
    );
    assert!(refused > 0 && whole > 0, "the damage reaches what is read, and what isn't");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_what_a_kill_leaves_is_refused_or_changes_no_balance() {
    survives_damage("damage after a kill", Image::killed().await, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_what_an_orderly_end_leaves_is_refused_or_changes_no_balance() {
    survives_damage("damage after an end", Image::stopped().await, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_the_snapshots_brings_no_older_ones_back() {
    survives_damage("damage of snapshots", Image::idle().await, "snapshots.db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undamaged_image_is_served_whole() {
    let image = Image::killed().await;
    let place = Place { file: "journal.db", what: String::from("nothing"), damage: Damage::None };
    assert_eq!(outcome(&image, &place).await, Outcome::Whole);
}
