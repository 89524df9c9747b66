//! A server whose books were moved to a database, started without being told so.

use std::process::Command;

use crate::{
    cluster::Cluster,
    server::{Server, command, refused, seed, verify},
};

/// P14: the place is named, and no flag splits the books.
#[tokio::test]
async fn a_start_without_the_database_that_the_books_were_moved_to_names_it() {
    let cluster = Cluster::start(&["fsync = off"]);
    let database = cluster.database();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    seed(&server.operator().await, None).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    let secret = database.replace("quotad@", "quotad:secret@");
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_quotactl"));
    migrate.args(["store", "migrate", "--from"]).arg(directory.path()).args(["--to", &secret]);
    let migrated = migrate.output().unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));

    for flags in [&[][..], &["--accept-journal-loss"]] {
        let mut start = command(directory.path());
        start.args(flags);
        let (status, said) = refused(start);
        assert!(!status.success(), "{flags:?}");
        assert!(
            said.contains("were moved to") && said.contains(&database) && said.contains("--database-url"),
            "{said}"
        );
        assert!(!said.contains("secret") && !said.contains("accept-journal-loss"), "{said}");
    }
    let mut start = command(directory.path());
    start.args(["--database-url", &database]);
    let server = Server::start_with(start, directory.path());
    verify(&server.operator().await).await;
}
