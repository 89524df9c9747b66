//! The ledger by months, in Postgres.

use quotad::{
    domain::{
        event::EntryKind,
        id::RequestId,
        money::Nanos,
        time::{Span, Timestamp},
    },
    store::{Audit, StoreError},
};

use crate::{
    place::{Books, LEASE},
    queries::everything,
    script::{START, Script, acme},
};

/// Entries of three months, the first of which has 7.
fn three_months() -> Script {
    let mut script = Script::busy();
    for request in ["december", "january"] {
        script.wait(Span::seconds(30 * 86_400));
        script.settle(&acme(), EntryKind::Charge, None, request, 5);
    }
    script
}

async fn months(books: &Books) -> u64 {
    books.run("SELECT FROM pg_inherits WHERE inhparent = 'ledger_entries'::regclass").await.unwrap()
}

fn sound(audit: &Audit) -> bool {
    let windows = audit.windows.iter().all(|window| window.from_entries == window.from_row);
    audit.gap.is_none() && audit.wrong_balance.is_none() && audit.wrong_charge.is_none() && windows
}

#[tokio::test]
async fn months_are_made_for_what_comes_and_one_ahead() {
    let books = Books::in_a_database().await;
    let mut script = Script::busy();
    books.store.project(LEASE, &script.records).await.unwrap();
    // November 2023, and December.
    assert_eq!(months(&books).await, 2);
    script.wait(Timestamp::from_seconds(4_102_444_800) - START);
    script.settle(&acme(), EntryKind::Charge, None, "2100", 5);
    books.store.project(LEASE, &script.records).await.unwrap();
    assert_eq!(months(&books).await, 4, "January and February of 2100");
    assert_eq!(books.store.total(&everything()).await.unwrap().entries, 8);
}

#[tokio::test]
async fn a_dropped_month_leaves_its_sums_and_the_books_still_add_up() {
    let books = Books::in_a_database().await;
    let mut script = three_months();
    books.store.project(LEASE, &script.records).await.unwrap();
    let before = books.store.audit(&acme()).await.unwrap();
    books.run("SELECT drop_ledger_month('2023-11-30')").await.unwrap();
    let after = books.store.audit(&acme()).await.unwrap();
    assert!(sound(&before) && sound(&after), "{after:?}");
    assert_eq!(after, before);
    assert_eq!(books.store.total(&everything()).await.unwrap().entries, 2);
    // What moved money is answered for ever, and never booked again.
    let found = books.store.find_entry(&acme(), &RequestId::trusted("c1")).await.unwrap().unwrap();
    assert_eq!(found.number(), 7);
    script.settle(&acme(), EntryKind::Charge, None, "c1", 7);
    assert!(matches!(books.store.project(LEASE, &script.records).await, Err(StoreError::Damaged(_))));
    script = three_months();
    script.settle(&acme(), EntryKind::Charge, None, "c3", 7);
    books.store.project(LEASE, &script.records).await.unwrap();
    books.run("SELECT drop_ledger_month('2023-12-01')").await.unwrap();
    let last = books.store.audit(&acme()).await.unwrap();
    assert!(sound(&last), "{last:?}");
    assert_eq!((last.entries, last.balance), (10, Nanos::new(1_000 - 67 - 17)));
}

#[tokio::test]
async fn months_are_dropped_from_the_oldest_on_and_only_long_after_their_end() {
    let books = Books::in_a_database().await;
    let script = three_months();
    books.store.project(LEASE, &script.records).await.unwrap();
    let refused = async |at: &str| {
        let statement = format!("SELECT drop_ledger_month({at})");
        books.run(&statement).await.expect_err(&statement).to_string()
    };
    assert!(refused("'2023-12-15'").await.contains("drop the earlier months first"));
    assert!(refused("now()::date").await.contains("may still be settled"));
    assert!(refused("'2022-01-01'").await.contains("no table ledger_entries_2022_01"));
    assert_eq!(books.store.total(&everything()).await.unwrap().entries, 9);
}

#[tokio::test]
async fn a_month_that_the_books_may_still_get_entries_of_is_not_dropped() {
    let books = Books::in_a_database().await;
    let mut script = Script::busy();
    // From mid-November on: first to 2 December, then to 6 December.
    script.wait(Timestamp::from_seconds(1_701_475_200) - START);
    script.settle(&acme(), EntryKind::Charge, None, "early", 5);
    books.store.project(LEASE, &script.records).await.unwrap();
    let error = books.run("SELECT drop_ledger_month('2023-11-30')").await.unwrap_err().to_string();
    assert!(error.contains("may still get entries"), "{error}");
    script.wait(Span::seconds(4 * 86_400));
    script.settle(&acme(), EntryKind::Charge, None, "later", 5);
    books.store.project(LEASE, &script.records).await.unwrap();
    books.run("SELECT drop_ledger_month('2023-11-30')").await.unwrap();
}

#[tokio::test]
async fn a_month_with_a_gap_is_not_dropped() {
    let books = Books::in_a_database().await;
    books.store.project(LEASE, &three_months().records).await.unwrap();
    books.run("DROP TRIGGER ledger_entries_are_never_changed ON ledger_entries").await.unwrap();
    books.run("DELETE FROM ledger_entries WHERE entry = 3").await.unwrap();
    let error = books.run("SELECT drop_ledger_month('2023-11-30')").await.unwrap_err().to_string();
    assert!(error.contains("organization acme have a gap"), "{error}");
}

#[tokio::test]
async fn every_table_and_column_says_what_it_is() {
    let books = Books::in_a_database().await;
    books.store.project(LEASE, &Script::busy().records).await.unwrap();
    let silent = "SELECT FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname <> '_sqlx_migrations'
            AND NOT relispartition AND attnum >= 0 AND NOT attisdropped
            AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid) IS NULL)";
    assert_eq!(books.run(silent).await.unwrap(), 0);
    for (view, rows) in [("usage_by_member_day", 1), ("usage_by_key_day", 1), ("budget_status", 1)] {
        assert_eq!(books.run(&format!("SELECT FROM {view}")).await.unwrap(), rows, "{view}");
    }
}
