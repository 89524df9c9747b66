use std::sync::Arc;

use super::*;
use crate::{
    domain::{
        event::{EntryKind, Event, Extended, Reserved, Stream},
        id::{KeyId, Model, RequestId},
        lease::{JournalId, Lease},
        money::Nanos,
        reservation_id::ReservationNo,
        snapshot::Snapshot,
        time::Timestamp,
        usage::{Amounts, Usage},
    },
    store::{
        ChangeQuery, Entry, EntryDetail, EntryQuery, Grouping, ReservationKey, Store, StoredEnd, Totals,
        batch::tests::{Script, acme, reserved, settled},
    },
};

const LEASE: Lease = Lease { journal: JournalId::new([1; 16]), epoch: 1 };

/// Books that [`LEASE`] may write.
async fn open(directory: &tempfile::TempDir) -> SqliteStore {
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let former = store.status().await.unwrap().lease.map(|former| former.lease);
    store.take_lease(LEASE, "here", former).await.unwrap();
    store
}

async fn store(directory: &tempfile::TempDir, script: &Script) -> SqliteStore {
    let store = open(directory).await;
    store.project(LEASE, &script.records).await.unwrap();
    store
}

fn everything() -> EntryQuery {
    EntryQuery {
        organization: acme(),
        key: None,
        member: None,
        team: None,
        model: None,
        kinds: Vec::new(),
        start: None,
        end: None,
        as_of: u64::MAX,
    }
}

fn busy() -> Script {
    let mut script = Script::new();
    script.top_up("t1", 1_000);
    for i in 0..5 {
        let request = format!("r{i}");
        let no = script.reserve(&request);
        script.settle(EntryKind::Commit, Some(no), &request, 10 + i);
    }
    script.settle(EntryKind::Charge, None, "c1", 7);
    script
}

#[tokio::test]
async fn records_are_written_exactly_once_however_often_they_come() {
    let directory = tempfile::tempdir().unwrap();
    let script = busy();
    let store = open(&directory).await;
    for cut in [9, 4, script.records.len(), script.records.len()] {
        store.project(LEASE, &script.records[..cut]).await.unwrap();
    }
    assert_eq!(store.status().await.unwrap().position, script.records.len() as u64);
    let totals = store.total(&everything()).await.unwrap();
    assert_eq!((totals.entries, totals.cost), (7, Nanos::new(67)));
    let audit = store.audit(&acme()).await.unwrap();
    assert_eq!((audit.entries, audit.gap, audit.wrong_balance), (7, None, None));
    assert_eq!(audit.balance, Nanos::new(933));
    let [window] = &audit.windows[..] else { panic!("{:?}", audit.windows) };
    assert_eq!((window.from_entries, window.from_row), (Nanos::new(67), Nanos::new(67)));
}

#[tokio::test]
async fn a_gap_in_the_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let script = busy();
    let store = open(&directory).await;
    store.project(LEASE, &script.records[..3]).await.unwrap();
    assert!(matches!(store.project(LEASE, &script.records[4..]).await, Err(StoreError::Damaged(_))));
    assert_eq!(store.status().await.unwrap().position, 3);
}

#[tokio::test]
async fn entries_can_neither_be_changed_nor_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, &busy()).await;
    for statement in ["UPDATE ledger_entries SET cost = 0", "DELETE FROM ledger_entries WHERE entry = 1"] {
        let error = sqlx::query(statement).execute(&store.writer).await.unwrap_err().to_string();
        assert!(error.contains("never"), "{error}");
    }
}

#[tokio::test]
async fn money_is_never_booked_twice_under_one_request_id() {
    let directory = tempfile::tempdir().unwrap();
    let mut script = busy();
    let store = store(&directory, &script).await;
    script.settle(EntryKind::Charge, None, "c1", 7);
    assert!(store.project(LEASE, &script.records).await.is_err());
    assert_eq!(store.total(&everything()).await.unwrap().entries, 7, "the transaction left nothing");
}

#[tokio::test]
async fn an_audit_finds_what_was_tampered_with() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, &busy()).await;
    sqlx::query("DROP TRIGGER ledger_entries_are_never_changed").execute(&store.writer).await.unwrap();
    sqlx::query("DROP TRIGGER ledger_entries_are_never_deleted").execute(&store.writer).await.unwrap();
    sqlx::query("UPDATE budget_windows SET spent = spent + 1").execute(&store.writer).await.unwrap();
    sqlx::query("UPDATE ledger_entries SET wallet = wallet - 1 WHERE entry = 3").execute(&store.writer).await.unwrap();
    sqlx::query("UPDATE ledger_entries SET cost = cost - 1 WHERE entry = 4").execute(&store.writer).await.unwrap();
    sqlx::query("DELETE FROM ledger_entries WHERE entry = 5").execute(&store.writer).await.unwrap();
    let audit = store.audit(&acme()).await.unwrap();
    assert_eq!(audit.gap, Some(5));
    assert_eq!(audit.wrong_charge, Some(4));
    assert_eq!(audit.wrong_balance.map(|(entry, ..)| entry), Some(3));
    assert_ne!(audit.windows[0].from_entries, audit.windows[0].from_row);
}

#[tokio::test]
async fn entries_are_listed_newest_first_filtered_and_paged() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, &busy()).await;
    let numbers = |entries: Vec<Entry>| entries.iter().map(Entry::number).collect::<Vec<_>>();
    assert_eq!(numbers(store.list_entries(&everything(), None, 3).await.unwrap()), [7, 6, 5]);
    assert_eq!(numbers(store.list_entries(&everything(), Some(5), 10).await.unwrap()), [4, 3, 2, 1]);
    let charges = EntryQuery { kinds: vec![EntryKind::Charge, EntryKind::TopUp], ..everything() };
    assert_eq!(numbers(store.list_entries(&charges, None, 10).await.unwrap()), [7, 1]);
    let key = EntryQuery { key: Some(KeyId::trusted("key-1")), as_of: 3, ..everything() };
    assert_eq!(numbers(store.list_entries(&key, None, 10).await.unwrap()), [3, 2]);
    let other = EntryQuery { model: Some(Model::trusted("other")), ..everything() };
    assert_eq!(store.total(&other).await.unwrap(), Totals::default());
    let found = store.find_entry(&acme(), &RequestId::trusted("t1")).await.unwrap().unwrap();
    assert!(matches!(found.detail, EntryDetail::ToppedUp(top_up) if top_up.reason == "invoice 7"));
}

#[tokio::test]
async fn every_end_of_a_reservation_is_found_as_it_was_journalled() {
    let directory = tempfile::tempdir().unwrap();
    let mut script = Script::new();
    let [open, released, freed, paid, late] = ["open", "released", "freed", "paid", "late"].map(|r| script.reserve(r));
    let held = Amounts { usd: Nanos::new(77), ..reserved("released").held };
    let (expire_time, usage) = (Timestamp::from_seconds(99), Usage::default());
    let extended = Extended { reservation: released, expire_time, usage, held, progress: None };
    script.push(Event::Extended(Box::new(extended)));
    script.push(Event::Released { reservation: released, reason: "unused".into() });
    script.push(Event::Expired { reservation: freed });
    script.settle(EntryKind::Expiry, Some(paid), "paid", 5);
    script.settle(EntryKind::Expiry, Some(late), "late", 5);
    // A late commit of just what expiry charged books nothing.
    let nothing = settled(EntryKind::LateCommit, Some(late), "late", 0);
    script.push(Event::Settled(Arc::new(nothing.clone())));
    let committed = script.reserve("done");
    script.settle(EntryKind::Commit, Some(committed), "done", 8);
    let store = store(&directory, &script).await;
    let end = async |no: ReservationNo| {
        store.find_reservation(&acme(), ReservationKey::No(no)).await.unwrap().map(|found| found.end)
    };
    assert_eq!(end(open).await, Some(StoredEnd::Open));
    let extended = Reserved { held, ..reserved("released") };
    let released_end = StoredEnd::Released { reserved: Arc::new(extended), reason: String::from("unused") };
    assert_eq!(end(released).await, Some(released_end));
    let freed_end = StoredEnd::Expired { reserved: Arc::new(reserved("freed")), charged: None };
    assert_eq!(end(freed).await, Some(freed_end));
    assert!(matches!(end(paid).await, Some(StoredEnd::Expired { charged: Some(_), .. })));
    assert_eq!(end(late).await, Some(StoredEnd::Committed(Arc::new(nothing))));
    assert!(matches!(end(committed).await, Some(StoredEnd::Committed(_))));
    assert_eq!(end(ReservationNo { epoch: 9, sequence: 1 }).await, None);
    let (key, request) = (KeyId::trusted("key-1"), RequestId::trusted("done"));
    let by_request = store.find_reservation(&acme(), ReservationKey::Request(&key, &request)).await.unwrap();
    assert_eq!(by_request.map(|found| found.no), Some(committed));
    let foreign = KeyId::trusted("key-2");
    assert_eq!(store.find_reservation(&acme(), ReservationKey::Request(&foreign, &request)).await.unwrap(), None);
}

#[tokio::test]
async fn sums_beyond_the_integers_saturate_and_stop_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut script = Script::new();
    for request in ["a", "b", "c"] {
        script.settle(EntryKind::Charge, None, request, i64::MAX / 2);
    }
    let store = open(&directory).await;
    for cut in [7, 8, 9] {
        store.project(LEASE, &script.records[..cut]).await.unwrap();
    }
    assert_eq!(store.total(&everything()).await.unwrap().cost, Nanos::MAX);
    let audit = store.audit(&acme()).await.unwrap();
    assert_eq!((audit.windows[0].from_entries, audit.windows[0].from_row), (Nanos::MAX, Nanos::MAX));
}

fn team(name: &str) -> Event {
    let script = Script::new();
    let mut set = script.records.into_iter().map(|record| record.event);
    let found = set.find_map(|event| if let Event::TeamSet(team) = event { Some(team) } else { None });
    Event::TeamSet(Box::new(crate::domain::entity::Team { name: name.to_owned(), ..*found.unwrap() }))
}

fn changes(kind: &str) -> ChangeQuery {
    let (kind, id, actor) = (Some(kind.to_owned()), None, None);
    ChangeQuery { organization: acme(), kind, id, actor, start: None, end: None }
}

#[tokio::test]
async fn a_change_is_listed_with_what_was_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut script = Script::new();
    script.push(team("Second"));
    script.push(team("Third"));
    let store = store(&directory, &script).await;
    let listed = store.list_changes(&changes("team"), None, 10).await.unwrap();
    let name =
        |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap()["name"].as_str().unwrap().to_owned();
    let names: Vec<_> = listed.iter().map(|change| (change.before.as_deref().map(name), name(&change.after))).collect();
    let text = |name: &str| Some(name.to_owned());
    assert_eq!(names, [(text("Second"), "Third".into()), (text(""), "Second".into()), (None, String::new())]);
    let page = store.list_changes(&changes("team"), Some(listed[0].position), 1).await.unwrap();
    assert_eq!(page, listed[1..2]);
    assert_eq!(store.list_changes(&changes("rule"), None, 10).await.unwrap(), []);
    let late = ChangeQuery { end: Some(listed[0].time), ..changes("team") };
    assert_eq!(store.list_changes(&late, None, 10).await.unwrap(), [], "all at the same instant");
}

#[tokio::test]
async fn nothing_secret_stands_in_the_audit_log() {
    use crate::domain::{
        alert::{AlertSettings, Webhook},
        contact::WebhookSecret,
        id::{MemberId, MethodId},
        payment::PaymentMethod,
    };
    let directory = tempfile::tempdir().unwrap();
    let secret = WebhookSecret::from_random([5; 24]);
    let mut script = Script::new();
    script.push(Event::AlertSettingsSet(Box::new(AlertSettings {
        webhook: Some(Webhook { url: String::from("https://hooks.example.org"), secret: secret.clone() }),
        ..AlertSettings::default()
    })));
    script.push(Event::PaymentMethodSet(Box::new(PaymentMethod {
        id: MethodId::trusted("m"),
        member: MemberId::trusted("ann"),
        label: String::from("card"),
        token: String::from("pm_secret"),
        deleted: false,
        create_time: crate::domain::time::Timestamp::EPOCH,
    })));
    let store = store(&directory, &script).await;
    for (kind, shown) in [("alert_settings", "hooks.example.org"), ("payment_method", "card")] {
        let after = store.list_changes(&changes(kind), None, 1).await.unwrap().remove(0).after;
        assert!(after.contains(shown), "{after}");
        assert!(!after.contains(&secret.reveal()) && !after.contains("pm_secret"), "{after}");
    }
}

#[tokio::test]
async fn usage_is_summed_by_group_and_money_in_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, &busy()).await;
    for by in [Grouping::Member, Grouping::Key, Grouping::Team, Grouping::Model, Grouping::Day] {
        let groups = store.usage(&everything(), by, 10).await.unwrap();
        assert_eq!(groups.len(), 1, "{by:?}");
        assert_eq!((groups[0].1.entries, groups[0].1.cost), (6, Nanos::new(67)), "{by:?}");
    }
    let days = store.usage(&everything(), Grouping::Day, 10).await.unwrap();
    assert_eq!(days[0].0, "2023-11-14");
    assert_eq!(store.get_entry(&acme(), 1).await.unwrap().unwrap().number(), 1);
    assert_eq!(store.get_entry(&acme(), 99).await.unwrap(), None);
}

#[tokio::test]
async fn only_the_lease_that_the_books_know_may_write_them() {
    let directory = tempfile::tempdir().unwrap();
    let script = busy();
    let store = store(&directory, &script).await;
    let later = Lease { epoch: 2, ..LEASE };
    store.take_lease(later, "there", Some(LEASE)).await.unwrap();
    let fenced = |error: StoreError| matches!(error, StoreError::Fenced { holder, epoch: 2 } if holder == "there");
    assert!(fenced(store.project(LEASE, &script.records).await.unwrap_err()));
    assert!(fenced(store.save_states(LEASE, &[]).await.unwrap_err()));
    assert!(fenced(store.trim_events(LEASE, 1).await.unwrap_err()));
    assert!(fenced(store.renew_lease(LEASE).await.unwrap_err()));
    assert!(fenced(store.take_lease(LEASE, "here", Some(LEASE)).await.unwrap_err()));
    store.renew_lease(later).await.unwrap();
    assert!(!store.status().await.unwrap().lease.unwrap().free);
    store.release_lease(later).await.unwrap();
    assert!(store.status().await.unwrap().lease.unwrap().free);
}

#[tokio::test]
async fn states_and_events_are_read_back_as_they_were_kept() {
    let directory = tempfile::tempdir().unwrap();
    let script = busy();
    let store = store(&directory, &script).await;
    let state = |key, sequence, length| Snapshot {
        stream: Stream::from_key(key),
        sequence,
        position: sequence,
        state: (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect(),
    };
    let large = state("b", 4, crate::store::STATE_PART * 2 + 1);
    store.save_states(LEASE, &[state("", 1, 0), state("b", 2, 9), state("a", 3, 5)]).await.unwrap();
    store.save_states(LEASE, std::slice::from_ref(&large)).await.unwrap();
    assert_eq!(store.load_states(None, 2).await.unwrap(), [state("", 1, 0), state("a", 3, 5)]);
    let after = Stream::from_key("a");
    assert_eq!(store.load_states(Some(&after), 2).await.unwrap(), [large]);
    let marks = store.list_states(None, 9).await.unwrap();
    assert_eq!(
        marks.iter().map(|mark| (mark.stream.key(), mark.sequence)).collect::<Vec<_>>(),
        [("", 1), ("a", 3), ("b", 4)]
    );
    assert_eq!(store.read_events(1, 1000).await.unwrap(), script.records);
    assert_eq!(store.read_events(6, 1).await.unwrap(), script.records[5..]);
    store.trim_events(LEASE, script.records.len() as u64).await.unwrap();
    assert_eq!(store.read_events(1, 1000).await.unwrap(), []);
}
