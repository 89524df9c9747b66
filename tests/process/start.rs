//! What a server finds when it starts, and how it stops.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use quotad::api::proto::{ChargeRequest, GetBalanceRequest, Payer, Usage, VerifyRequest, payer};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

use crate::server::{KEY, MODEL, ORGANIZATION, Server, command, refused, seed, verify};

async fn charge(server: &Server, secret: &str, request_id: &str) {
    let gateway = server.operator().await.with_token(secret).unwrap();
    let request = ChargeRequest {
        payer: Some(Payer { payer: Some(payer::Payer::KeyId(KEY.to_owned())) }),
        request_id: request_id.to_owned(),
        model: MODEL.to_owned(),
        usage: Some(Usage { input_tokens: 1000, ..Usage::default() }),
        ..ChargeRequest::default()
    };
    gateway.quota().charge(request).await.unwrap();
}

pub(crate) async fn balance(server: &Server) -> String {
    let request = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
    server.operator().await.wallets().get_balance(request).await.unwrap().into_inner().balance_usd
}

enum End {
    Killed,
    Stopped,
}

/// A directory with a few charges in it, its server stopped the given way.
async fn used(end: End) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let secret = seed(&server.operator().await, None).await;
    for i in 0..5 {
        charge(&server, &secret, &format!("charge-{i}")).await;
    }
    assert_eq!(balance(&server).await, "999.995");
    // Waits for the books, so that the journal is trimmed at the end.
    verify(&server.operator().await).await;
    match end {
        End::Killed => server.kill(),
        End::Stopped => assert_eq!(server.terminate().await.code(), Some(0)),
    }
    directory
}

#[tokio::test]
async fn books_that_lack_the_last_entry_of_a_ledger_are_told_from_whole_ones() {
    let directory = used(End::Stopped).await;
    let server = Server::start(directory.path());
    let operator = server.operator().await;
    verify(&operator).await;
    let options = SqliteConnectOptions::new().filename(directory.path().join("books.db"));
    let mut books = options.connect().await.unwrap();
    for statement in ["DROP TRIGGER ledger_entries_are_never_deleted", "DELETE FROM ledger_entries WHERE entry = 6"] {
        sqlx::query(statement).execute(&mut books).await.unwrap();
    }
    let verified = operator.ledger().verify(VerifyRequest::default()).await.unwrap().into_inner();
    let named = verified.differences.iter().find(|difference| difference.what == "last entry");
    assert_eq!(named.map(|named| (named.expected.as_str(), named.found.as_str())), Some(("6", "5")), "{verified:?}");
}

fn contents(directory: &Path, name: &str) -> Vec<u8> {
    fs::read(directory.join(name)).unwrap()
}

#[tokio::test]
async fn sigterm_ends_with_0_and_the_next_start_knows_everything() {
    let directory = used(End::Stopped).await;
    let server = Server::start(directory.path());
    assert_eq!(balance(&server).await, "999.995");
    verify(&server.operator().await).await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused_and_the_first_lives_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let (status, said) = refused(command(directory.path()));
    assert!(!status.success());
    assert!(said.contains(directory.path().to_str().unwrap()) && said.contains("another quotad"), "{said}");
    verify(&server.operator().await).await;
}

#[tokio::test]
async fn the_operator_token_is_readable_to_its_owner_alone_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    Server::start(directory.path()).kill();
    let token = contents(directory.path(), "operator.token");
    let mode = fs::metadata(directory.path().join("operator.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Server::start(directory.path()).kill();
    assert_eq!(contents(directory.path(), "operator.token"), token);
}

#[tokio::test]
async fn a_flipped_bit_in_the_journal_is_refused_and_changes_nothing() {
    let directory = used(End::Killed).await;
    // After a kill the batches still lie in the write-ahead log.
    let path = directory.path().join("journal.db-wal");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"charge-2").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (status, said) = refused(command(directory.path()));
    assert!(!status.success());
    assert!(said.contains("journal.db") && said.contains("checksum"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_cut_journal_is_refused() {
    let directory = used(End::Stopped).await;
    let path = directory.path().join("journal.db");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (status, said) = refused(command(directory.path()));
    assert!(!status.success());
    assert!(said.contains("journal.db"), "{said}");
}

#[tokio::test]
async fn books_that_do_not_belong_to_the_journal_are_refused() {
    let directory = used(End::Stopped).await;
    for name in ["journal.db", "snapshots.db"] {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    let (status, said) = refused(command(directory.path()));
    assert!(!status.success());
    assert!(said.contains("books"), "{said}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("quotad.toml");
    fs::write(&config, "listten = \"127.0.0.1:0\"\n").unwrap();
    let mut unknown = command(directory.path());
    unknown.arg("--config").arg(&config);
    let (status, said) = refused(unknown);
    assert!(!status.success() && said.contains("listten"), "{said}");
    let file = directory.path().join("a-file");
    fs::write(&file, "").unwrap();
    let (status, said) = refused(command(&file));
    assert!(!status.success() && said.contains("a-file"), "{said}");
}

#[tokio::test]
async fn a_directory_that_lacks_one_of_its_files_is_refused() {
    for name in ["books.db", "journal.db", "snapshots.db"] {
        let directory = used(End::Stopped).await;
        fs::remove_file(directory.path().join(name)).unwrap();
        let (status, said) = refused(command(directory.path()));
        assert!(!status.success(), "{name}");
        assert!(said.contains("position"), "{name}: {said}");
    }
}
