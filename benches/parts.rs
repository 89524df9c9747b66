//! What happens beside the decision, each on its own: rate windows, ids, tokens, the journal's bytes, the books' rows.

#[allow(dead_code, reason = "shared with other benches and with tests")]
#[path = "fixture/organization.rs"]
mod organization;
#[allow(dead_code, clippy::expect_used, clippy::panic, reason = "shared with other benches and with tests")]
#[path = "fixture/serving.rs"]
mod serving;

use std::{cell::RefCell, sync::Arc};

use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use mimalloc::MiMalloc;
use organization::{Account, Beside, MODEL, START};
use quotad::{
    clock::ManualClock,
    domain::{
        event::Record,
        id::{KeyId, Model, OrganizationId},
        reservation_id::{ReservationId, ReservationNo, SealKey},
        time::Span,
    },
    engine::rate::Rate,
    packed::{Packer, pack, unpack},
    store::prepare_rows,
};
use serving::{Population, RESERVE, Serving, TOKEN};

/// As in the server.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The journal's largest.
const BATCH: usize = 4096;

fn main() {
    divan::main();
}

/// A counter in use for longer than it looks back: what an admission asks, and what it adds.
#[divan::bench(args = [1, 100, 10_000])]
fn sliding_quota(bencher: Bencher<'_, '_>, admissions_a_second: i64) {
    let step = Span::micros(1_000_000 / admissions_a_second);
    let (mut rate, mut now) = (Rate::default(), START);
    for _ in 0..100 {
        now = now + Span::SECOND;
        rate.add(now, admissions_a_second, now);
    }
    bencher.bench_local(|| {
        now = now + step;
        let count = rate.count(black_box(now));
        rate.add(now, 1, now);
        count
    });
}

/// What a snapshot does under the organization's lock, by reservations remembered.
#[divan::bench(args = [1_000, 100_000], sample_count = 20, sample_size = 1)]
fn clone_with_reservations(bencher: Bencher<'_, '_>, remembered: usize) {
    let mut account = Account::new("acme", Beside::default());
    for _ in 0..remembered {
        account.prepare();
        let (no, _) = account.reserve();
        account.commit(no);
    }
    bencher.bench_local(|| account.state.clone());
}

/// The same, by keys with a limit each.
#[divan::bench(args = [1_000, 100_000], sample_count = 20, sample_size = 1)]
fn clone_with_keys(bencher: Bencher<'_, '_>, keys: usize) {
    let account = Account::new("acme", Beside { keys, ..Beside::default() });
    bencher.bench_local(|| account.state.clone());
}

fn reservation_id() -> (ReservationId, SealKey) {
    let id = ReservationId {
        organization: OrganizationId::trusted("acme"),
        key: KeyId::trusted("acme-rich"),
        model: Model::trusted(MODEL),
        admit_time: START,
        no: ReservationNo { epoch: 1, sequence: 1_234_567 },
    };
    (id, SealKey::new([7; 32]))
}

#[divan::bench]
fn encode_reservation_id(bencher: Bencher<'_, '_>) {
    let (id, seal) = reservation_id();
    bencher.bench_local(|| black_box(&id).encode(&seal));
}

#[divan::bench]
fn decode_reservation_id(bencher: Bencher<'_, '_>) {
    let (id, seal) = reservation_id();
    let text = id.encode(&seal);
    bencher.bench_local(|| ReservationId::decode(black_box(&text), &seal));
}

/// From the bearer token to the caller.
#[divan::bench(args = [1, 10_000])]
fn authorize(bencher: Bencher<'_, '_>, tokens: usize) {
    let population = Population { tokens, ..Population::default() };
    let serving = Serving::start(&population, Arc::new(ManualClock::new(START)));
    bencher.bench_local(|| serving.service.authorize(black_box(Some(TOKEN)), RESERVE));
}

/// Reserves with their Commits, as the journal's writer gets them. They follow on what founded the organization, if that is
/// wanted.
fn batch(founding: bool) -> Vec<Record> {
    let mut account = Account::new("acme", Beside::default());
    let mut records = if founding { std::mem::take(&mut account.records) } else { Vec::new() };
    while records.len() < BATCH {
        account.prepare();
        let (no, reserved) = account.reserve();
        records.extend(reserved.records);
        records.extend(account.commit(no).records);
    }
    records.truncate(BATCH);
    for (position, record) in (1..).zip(&mut records) {
        record.position = position;
    }
    records
}

#[divan::bench]
fn encode_journal(bencher: Bencher<'_, '_>) {
    let batch = batch(false);
    let bytes = pack(&batch).map_or(0, |bytes| bytes.len());
    let bencher = bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(bytes));
    let mut packer = Packer::default();
    bencher.bench_local(|| packer.pack(black_box(&batch)));
}

#[divan::bench]
fn decode_journal(bencher: Bencher<'_, '_>) {
    let bytes = pack(&batch(false)).unwrap_or_default();
    let bencher = bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(bytes.len()));
    bencher.bench_local(|| unpack(black_box(&bytes)));
}

/// What the projector does before any SQL.
#[divan::bench]
fn projector_rows(bencher: Bencher<'_, '_>) {
    let batch = batch(true);
    assert!(prepare_rows(&batch).is_ok_and(|cells| cells > BATCH), "nothing comes of it");
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| prepare_rows(black_box(&batch)));
}

/// A record as it is put into effect when a server starts.
#[divan::bench(sample_count = 1000, sample_size = 1)]
fn replay(bencher: Bencher<'_, '_>) {
    let batch = batch(true);
    let fresh =
        || quotad::engine::state::OrganizationState::new(organization::organization(OrganizationId::trusted("acme")));
    let failed = RefCell::new(0);
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(fresh).bench_local_values(|mut state| {
        *failed.borrow_mut() += batch.iter().filter(|record| state.apply(record).is_err()).count();
        state
    });
    assert_eq!(failed.into_inner(), 0);
}
