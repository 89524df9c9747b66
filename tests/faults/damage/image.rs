//! Data directories to damage: what a kill and what an orderly end leave, with snapshots and logs in them.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use quotad::{
    api::proto::{ChargeRequest, CreatePriceRequest, GetBalanceRequest, Price, TopUpRequest, Transaction, Usage},
    client::Connection,
    server::Running,
};

use super::{
    places::{Damage, Place},
    start,
};
use crate::{
    check::{ledger, verify},
    quota::payer,
    seed::{MODEL, ORGANIZATIONS, key, seed},
};

/// Between snapshots there is time for what comes behind them.
const OFTEN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);
const NEVER: Duration = Duration::from_hours(1);

/// What the organizations have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Truth {
    pub(crate) balances: Vec<String>,
    pub(crate) ledgers: Vec<Vec<Transaction>>,
}

impl Truth {
    async fn of(operator: &Connection) -> Self {
        let (mut balances, mut ledgers) = (Vec::new(), Vec::new());
        for organization in ORGANIZATIONS {
            let request = GetBalanceRequest { organization_id: organization.into() };
            balances.push(operator.wallets().get_balance(request).await.unwrap().into_inner().balance_usd);
            ledgers.push(ledger(operator, organization).await.unwrap());
        }
        verify(operator).await;
        Self { balances, ledgers }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<&'static str, Vec<u8>>,
    token: Vec<u8>,
    pub(crate) whole: Truth,
    /// Before the last batch was written.
    pub(crate) without_tail: Truth,
    /// Bytes of the journal's log before that.
    tail_from: usize,
}

const FILES: [&str; 6] =
    ["journal.db", "journal.db-wal", "snapshots.db", "snapshots.db-wal", "books.db", "books.db-wal"];

impl Image {
    /// Everything in it: a life that ended well, one that didn't, snapshots of both, and batches behind the snapshots.
    pub(crate) async fn killed() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (_running, image) = lived(directory.path(), true).await;
        let logs = ["journal.db-wal", "snapshots.db-wal", "books.db-wal"];
        assert!(logs.iter().all(|log| image.files.contains_key(log)), "{:?}", image.files.keys());
        image
    }

    pub(crate) async fn stopped() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (running, image) = lived(directory.path(), true).await;
        running.shutdown().await.unwrap();
        Self::of(directory.path(), image.whole.clone(), image.whole, usize::MAX)
    }

    /// Killed when everything was in the snapshots: nothing in the journal tells that one of them is an older one.
    pub(crate) async fn idle() -> Self {
        let directory = tempfile::tempdir().unwrap();
        lived(directory.path(), false).await.1
    }

    fn of(directory: &Path, whole: Truth, without_tail: Truth, tail_from: usize) -> Self {
        let read =
            |name: &'static str| Some((name, fs::read(directory.join(name)).ok().filter(|bytes| !bytes.is_empty())?));
        let files = FILES.into_iter().filter_map(read).collect();
        let token = fs::read(directory.join("operator.token")).unwrap();
        Self { files, token, whole, without_tail, tail_from }
    }

    pub(crate) fn lay_out(&self, directory: &Path) {
        for (name, bytes) in &self.files {
            fs::write(directory.join(name), bytes).unwrap();
        }
        fs::write(directory.join("operator.token"), &self.token).unwrap();
    }

    /// A batch at the end of the journal's log that isn't whole can't be told from one whose writing was interrupted.
    pub(crate) fn may_lose_tail(&self, place: &Place) -> bool {
        place.file == "journal.db-wal" && place.damage != Damage::None && place.damage.at() >= self.tail_from
    }
}

/// A life that ended well and one that goes on, and what the latter would leave if it were killed.
async fn lived(directory: &Path, goes_on: bool) -> (Running, Image) {
    let running = start(directory, NEVER).await.unwrap();
    let operator = connect(&running).await;
    let (secret, _) = seed(&operator).await;
    charge_all(&operator.with_token(&secret).unwrap(), "first").await;
    drop(operator);
    running.shutdown().await.unwrap();

    let running = start(directory, OFTEN).await.unwrap();
    let operator = connect(&running).await;
    let gateway = operator.with_token(&secret).unwrap();
    charge_all(&gateway, "second").await;
    snapshot(directory).await;
    for round in 0_u64.. {
        charge_all(&gateway, &format!("round-{round}")).await;
        // The last of them is of no organization.
        set_price(&operator, round).await;
        verify(&operator).await;
        let snapshots = snapshot(directory).await;
        if !goes_on {
            let whole = Truth::of(&operator).await;
            return (running, Image::of(directory, whole.clone(), whole, usize::MAX));
        }
        // The other organization isn't heard of behind its snapshot.
        for number in 0..5 {
            charge(&gateway, ORGANIZATIONS[0], &format!("late-{round}-{number}")).await;
        }
        let without_tail = Truth::of(&operator).await;
        let tail_from = usize::try_from(size(directory, "journal.db-wal")).unwrap();
        top_up(&operator, &format!("tail-{round}")).await;
        let whole = Truth::of(&operator).await;
        let image = Image::of(directory, whole, without_tail, tail_from);
        // Otherwise a snapshot came between.
        if size(directory, "snapshots.db-wal") == snapshots {
            return (running, image);
        }
    }
    unreachable!("rounds don't end")
}

fn size(directory: &Path, name: &str) -> u64 {
    fs::metadata(directory.join(name)).map_or(0, |file| file.len())
}

/// Waits for a round of snapshots, which ends with trimming the journal; answers the size of the snapshots' log.
async fn snapshot(directory: &Path) -> u64 {
    let before = size(directory, "snapshots.db-wal");
    let mut last = before;
    loop {
        tokio::time::sleep(10 * LOOK).await;
        let now = size(directory, "snapshots.db-wal");
        if now > before && now == last {
            return now;
        }
        last = now;
    }
}

async fn connect(running: &Running) -> Connection {
    Connection::open(&format!("http://{}", running.address), &running.operator_token).await.unwrap()
}

async fn charge_all(gateway: &Connection, what: &str) {
    for organization in ORGANIZATIONS {
        for number in 0..4 {
            charge(gateway, organization, &format!("{what}-{number}")).await;
        }
    }
}

async fn charge(gateway: &Connection, organization: &str, request_id: &str) {
    let request = ChargeRequest {
        payer: payer(&key(organization, 1)),
        request_id: request_id.into(),
        model: MODEL.into(),
        usage: Some(Usage { input_tokens: 12_345, ..Usage::default() }),
        ..ChargeRequest::default()
    };
    gateway.quota().charge(request).await.unwrap();
}

async fn set_price(operator: &Connection, number: u64) {
    let price = Price { model: format!("model-{number}"), input_per_million: "1".into(), ..Price::default() };
    operator.prices().create_price(CreatePriceRequest { price: Some(price) }).await.unwrap();
}

async fn top_up(operator: &Connection, request_id: &str) {
    let request = TopUpRequest {
        organization_id: ORGANIZATIONS[0].into(),
        amount_usd: "7".into(),
        request_id: request_id.into(),
        ..TopUpRequest::default()
    };
    operator.wallets().top_up(request).await.unwrap();
}
