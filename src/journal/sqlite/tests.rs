use std::path::PathBuf;

use super::*;
use crate::domain::{
    event::{Event, Stream},
    id::{Actor, Model},
    time::Timestamp,
};

fn batch(positions: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    let record = |position| Record {
        position,
        stream: Stream::System,
        sequence: position,
        epoch: 1,
        time: Timestamp::from_seconds(1),
        actor: Actor::SYSTEM,
        event: Event::PriceDeleted(Model::trusted("model")),
    };
    positions.map(record).collect()
}

fn positions(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.position).collect()
}

async fn journal_of_three(directory: &Path) -> SqliteJournal {
    let journal = SqliteJournal::open(directory).await.unwrap();
    for positions in [1..=3, 4..=4, 5..=9] {
        journal.append(&batch(positions)).await.unwrap();
    }
    journal
}

#[tokio::test]
async fn what_was_appended_is_read_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    drop(journal_of_three(directory.path()).await);
    let journal = SqliteJournal::open(directory.path()).await.unwrap();
    assert_eq!(journal.read(1, 100).await.unwrap(), batch(1..=9));
    assert_eq!(positions(&journal.read(2, 1).await.unwrap()), [2, 3], "whole batches, from where it was asked");
    assert_eq!(positions(&journal.read(4, 2).await.unwrap()), [4, 5, 6, 7, 8, 9]);
    assert_eq!(journal.read(10, 1).await.unwrap(), []);
    journal.append(&batch(10..=10)).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_does_not_continue_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    for wrong in [batch(9..=9), batch(11..=12)] {
        assert!(matches!(journal.append(&wrong).await, Err(AppendError::Fatal(_))));
    }
    assert_eq!(journal.read(9, 10).await.unwrap(), batch(9..=9));
}

/// Else an append could lose to one trimming transaction after the other until SQLite refuses it.
#[tokio::test]
async fn nothing_is_trimmed_beside_an_append() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    let appending = journal.log.writing.lock().await;
    let mut trim = journal.trim(4);
    let looking = async {
        for _ in 0..200 {
            assert_eq!(positions(&journal.read(1, 1).await.unwrap()), [1, 2, 3]);
        }
    };
    tokio::select! {
        biased;
        trimmed = &mut trim => panic!("it wrote beside: {trimmed:?}"),
        () = looking => {}
    }
    drop(appending);
    trim.await.unwrap();
    assert_eq!(positions(&journal.read(1, 1).await.unwrap()), [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_trimmed_journal_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    journal.trim(4).await.unwrap();
    assert_eq!(positions(&journal.read(1, 100).await.unwrap()), [5, 6, 7, 8, 9]);
    journal.trim(9).await.unwrap();
    drop(journal);
    let journal = SqliteJournal::open(directory.path()).await.unwrap();
    journal.append(&batch(10..=10)).await.unwrap();
    assert_eq!(positions(&journal.read(10, 1).await.unwrap()), [10]);
}

#[tokio::test]
async fn trimming_a_long_journal_keeps_its_log_short() {
    let directory = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(directory.path()).await.unwrap();
    for position in 1..=8000 {
        journal.append(&batch(position..=position)).await.unwrap();
        journal.checkpoint().await.unwrap();
    }
    journal.trim(8000).await.unwrap();
    assert_eq!(positions(&journal.read(1, 1).await.unwrap()), [8000]);
    let pages = std::fs::metadata(directory.path().join("journal.db-wal")).unwrap().len() / 4096;
    assert!(pages < 1700, "{pages}");
}

#[tokio::test]
async fn damage_is_refused_and_its_place_named() {
    let damages = [
        (
            "UPDATE batches SET body = CAST(substr(body, 1, length(body) - 1) || x'77' AS BLOB) WHERE first = 4",
            "4 to 4",
        ),
        ("UPDATE batches SET last = 8 WHERE first = 5", "5 to 8"),
        ("DELETE FROM batches WHERE first = 4", "position 4 is missing"),
        ("DELETE FROM batches WHERE first = 1", "position 1 is missing"),
        ("DELETE FROM batches WHERE first < 5", "position 1 is missing"),
        ("UPDATE batches SET checksum = zeroblob(32) WHERE first = 1", "1 to 3"),
    ];
    for (damage, place) in damages {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal_of_three(directory.path()).await;
        sqlx::query(damage).execute(&journal.readers).await.unwrap();
        let error = journal.read(1, 100).await.unwrap_err().to_string();
        assert!(error.contains(place) && error.contains("journal.db"), "{damage}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_or_overwritten_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&journal.readers).await.unwrap();
    journal.readers.close().await;
    drop(journal);
    let path: PathBuf = directory.path().join("journal.db");
    let whole = std::fs::read(&path).unwrap();
    let mut overwritten = whole.clone();
    overwritten[..64].fill(0xAA);
    for bad in [&whole[..whole.len() / 2], &overwritten] {
        std::fs::write(&path, bad).unwrap();
        let outcome = match SqliteJournal::open(directory.path()).await {
            Ok(journal) => journal.read(1, 100).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(matches!(outcome, Err(JournalError::Damaged(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_of_a_batch_and_takes_it_later() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&journal.readers).await.unwrap();
    {
        let mut writing = journal.log.writing.lock().await;
        let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(limit).execute(writing.connection.as_mut().unwrap()).await.unwrap();
    }
    let large = batch(10..=1009);
    assert!(matches!(journal.append(&large).await, Err(AppendError::Retry(_))));
    assert_eq!(journal.read(10, 1).await.unwrap(), []);
    journal.append(&large).await.unwrap();
    assert_eq!(journal.read(10, 1).await.unwrap(), large);
}

#[tokio::test]
async fn a_file_that_takes_no_writes_keeps_nothing_of_a_batch_and_takes_it_later() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    let read_only = sqlx::query("PRAGMA query_only = 1");
    read_only.execute(journal.log.writing.lock().await.connection.as_mut().unwrap()).await.unwrap();
    assert!(matches!(journal.append(&batch(10..=10)).await, Err(AppendError::Retry(_))));
    journal.append(&batch(10..=10)).await.unwrap();
    assert_eq!(journal.read(10, 1).await.unwrap(), batch(10..=10));
}

/// What a crash leaves: the files as they are while the journal is open.
fn crash(from: &Path, to: &Path) {
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_is_refused_unless_it_is_the_tail() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal_of_three(directory.path()).await;
    let crashed = tempfile::tempdir().unwrap();
    let log = crashed.path().join("journal.db-wal");
    crash(directory.path(), crashed.path());
    let whole = std::fs::read(&log).unwrap();
    for (at, is_tail) in [(whole.len() / 2, false), (whole.len() - 10, true)] {
        crash(directory.path(), crashed.path());
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&log, bad).unwrap();
        match SqliteJournal::open(crashed.path()).await {
            Ok(journal) => {
                assert!(is_tail);
                assert_eq!(positions(&journal.read(1, 100).await.unwrap()), [1, 2, 3, 4]);
            }
            Err(error) => assert!(!is_tail && error.to_string().contains("journal.db-wal"), "{error}"),
        }
    }
    drop(journal);
}
