//! Books that move from one database to another.

use quotad::{
    domain::{id::RequestId, lease::Lease},
    store::migrate::{MigrateError, Place, Progress, migrate},
};

use crate::{
    place::{self, Books, LEASE},
    random::{Dice, History, answers, project_randomly},
    script::{Script, acme},
};

async fn moved(from: &place::Place, to: &place::Place) -> Result<(), MigrateError> {
    let (mut done, mut total) = (0, 1);
    let (from, to) = (Place::parse(&from.name()), Place::parse(&to.name()));
    let moved = migrate(&from, &to, &mut |progress: Progress| (done, total) = (progress.done, progress.total)).await?;
    assert_eq!((done, done), (total, moved.rows.iter().map(|(_, rows)| rows).sum()));
    Ok(())
}

async fn random_books(books: Books, seed: u64) -> (Books, History) {
    let history = History::of(seed, 300);
    project_randomly(&*books.store, &history, &mut Dice::new(seed)).await;
    books.store.release_lease(LEASE).await.unwrap();
    (books, history)
}

/// What moved answers as it did, and the journal that wrote it goes on.
async fn assert_moved(from: &Books, to: &place::Place, history: &mut History) {
    let expected = answers(&*from.store, history).await;
    moved(&from.place, to).await.unwrap();
    let store = to.open().await;
    let found = answers(&*store, history).await;
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    let lease = store.status().await.unwrap().lease.unwrap();
    assert_eq!((lease.lease, lease.holder.as_str(), lease.free), (LEASE, "here", true));
    let next = Lease { epoch: lease.lease.epoch + 1, ..LEASE };
    store.take_lease(next, "here", Some(LEASE)).await.unwrap();
    history.script.top_up(&acme(), "after the move", 5);
    store.project(next, &history.script.records).await.unwrap();
    let found = store.find_entry(&acme(), &RequestId::trusted("after the move")).await.unwrap();
    assert!(found.is_some());
    assert_eq!(store.audit(&acme()).await.unwrap().gap, None);
}

#[tokio::test]
async fn books_move_from_a_file_to_a_database_and_go_on_there() {
    let (file, mut history) = random_books(Books::in_a_file().await, 11).await;
    assert_moved(&file, &place::Place::database(), &mut history).await;
}

#[tokio::test]
async fn books_move_from_a_database_to_a_file_and_go_on_there() {
    let (database, mut history) = random_books(Books::in_a_database().await, 12).await;
    assert_moved(&database, &place::Place::file(), &mut history).await;
}

#[tokio::test]
async fn books_that_went_and_came_back_are_the_same() {
    let (file, history) = random_books(Books::in_a_file().await, 13).await;
    let expected = answers(&*file.store, &history).await;
    let (there, back) = (place::Place::database(), place::Place::file());
    moved(&file.place, &there).await.unwrap();
    moved(&there, &back).await.unwrap();
    assert_eq!(answers(&*back.open().await, &history).await, expected);
}

#[tokio::test]
async fn sums_of_dropped_months_move_too() {
    let database = Books::in_a_database().await;
    let mut script = Script::busy();
    script.wait(quotad::domain::time::Span::seconds(40 * 86_400));
    script.top_up(&acme(), "later", 5);
    database.store.project(LEASE, &script.records).await.unwrap();
    database.run("SELECT drop_ledger_month('2023-11-01')").await.unwrap();
    database.store.release_lease(LEASE).await.unwrap();
    let expected = database.store.audit(&acme()).await.unwrap();
    let file = place::Place::file();
    moved(&database.place, &file).await.unwrap();
    assert_eq!(file.open().await.audit(&acme()).await.unwrap(), expected);
}

#[tokio::test]
async fn whoever_reads_all_of_the_books_takes_as_long_as_it_takes() {
    let database = Books::in_a_database().await;
    database.store.project(LEASE, &Script::busy().records).await.unwrap();
    database
        .run(
            "CREATE FUNCTION without_limit() RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
                IF current_setting('statement_timeout') <> '0'
                    OR current_setting('idle_in_transaction_session_timeout') <> '0' THEN
                    RAISE EXCEPTION 'this would be given up';
                END IF;
                RETURN TRUE;
             END;
             $$",
        )
        .await
        .unwrap();
    database.run("ALTER TABLE allocations RENAME TO allocations_there").await.unwrap();
    database.run("INSERT INTO allocations_there VALUES ('acme', 'default', '', 1, NULL)").await.unwrap();
    database.run("CREATE VIEW allocations AS SELECT * FROM allocations_there WHERE without_limit()").await.unwrap();
    assert!(database.run("SELECT * FROM allocations").await.is_ok(), "a session of people has no limit");
    database.store.audit(&acme()).await.unwrap();
    database.store.release_lease(LEASE).await.unwrap();
    moved(&database.place, &place::Place::file()).await.unwrap();
}

#[tokio::test]
async fn books_that_a_server_writes_are_not_moved() {
    let (file, target) = (Books::in_a_file().await, place::Place::database());
    file.store.project(LEASE, &Script::busy().records).await.unwrap();
    let refused = moved(&file.place, &target).await.unwrap_err();
    assert!(matches!(&refused, MigrateError::Leased { holder, .. } if holder == "here"), "{refused}");
    file.store.project(LEASE, &Script::busy().records).await.unwrap();
}

#[tokio::test]
async fn books_are_never_moved_onto_others() {
    let (file, _) = random_books(Books::in_a_file().await, 14).await;
    let (database, history) = random_books(Books::in_a_database().await, 15).await;
    let before = answers(&*database.store, &history).await;
    let refused = moved(&file.place, &database.place).await.unwrap_err();
    assert!(matches!(refused, MigrateError::NotEmpty { .. }), "{refused}");
    assert_eq!(answers(&*database.store, &history).await, before);
    // Its own server goes on with the ones that didn't move.
    let lease = file.store.status().await.unwrap().lease.unwrap();
    assert_eq!((lease.lease.journal, lease.free), (LEASE.journal, true));
}

#[tokio::test]
async fn the_books_that_were_moved_are_closed_for_the_journal_that_wrote_them() {
    let (file, _) = random_books(Books::in_a_file().await, 16).await;
    let target = place::Place::database();
    moved(&file.place, &target).await.unwrap();
    let left = file.store.status().await.unwrap().lease.unwrap();
    assert_ne!(left.lease.journal, LEASE.journal);
    let to = left.moved_to().unwrap();
    assert!(to.starts_with("postgres://quotad@127.0.0.1"), "{to}");
    assert!(file.store.project(LEASE, &Script::busy().records).await.is_err());
}

#[tokio::test]
async fn a_directory_without_books_is_refused() {
    let (file, target) = (place::Place::file(), place::Place::database());
    let refused = moved(&file, &target).await.unwrap_err();
    assert!(matches!(refused, MigrateError::NoBooks(_)), "{refused}");
    let refused = moved(&target, &target).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Same(_)), "{refused}");
}
