//! Files: what the programs write is their user's own, whatever umask they were started with and whatever was there before.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::server::{ORGANIZATION, Server, command, refused, seed, serving, verify};

/// A program of ours, started with a umask that takes nothing from anybody.
fn careless(program: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\"", program]);
    shell
}

/// All that lies in a directory, and the directory itself, with their modes.
fn modes(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    let mut found = vec![(directory.to_owned(), mode(directory))];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(modes(&path)) } else { found.push((path.clone(), mode(&path))) }
    }
    found
}

#[track_caller]
fn assert_private(directory: &Path) {
    let modes = modes(directory);
    assert!(modes.len() > 1);
    for (path, mode) in modes {
        assert_eq!(mode & 0o077, 0, "{} has {mode:o}", path.display());
    }
}

fn quotactl(server: &Server, data: &Path, arguments: &[&str]) {
    let mut command = careless(env!("CARGO_BIN_EXE_quotactl"));
    command.args(["--endpoint", &server.endpoint, "--token-file"]).arg(data.join("operator.token"));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn nothing_that_is_written_is_open_to_others_whatever_the_umask() {
    let home = tempfile::tempdir().unwrap();
    let (data, copy, books) = (home.path().join("data"), home.path().join("copies/one"), home.path().join("books.csv"));
    // As somebody would make it who knows nothing of it.
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let start = || Server::start_with(serving(careless(env!("CARGO_BIN_EXE_quotad")), &data, "127.0.0.1:0"), &data);
    let server = start();
    seed(&server.operator().await, None).await;
    verify(&server.operator().await).await;
    assert_private(&data);
    quotactl(&server, &data, &["backup", "--data-dir", data.to_str().unwrap(), "--to", copy.to_str().unwrap()]);
    assert_private(&copy);
    quotactl(&server, &data, &["ledger", "export", "--org", ORGANIZATION, "--csv", books.to_str().unwrap()]);
    assert_eq!(fs::metadata(&books).unwrap().permissions().mode() & 0o777, 0o600);
    server.kill();
    // After a crash the write-ahead logs lie there, too.
    for (path, _) in modes(&data) {
        let open = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
    }
    let server = start();
    verify(&server.operator().await).await;
    assert_private(&data);
    assert_eq!(server.terminate().await.code(), Some(0));
    assert_private(&data);
}

#[tokio::test]
async fn a_draft_of_a_token_that_somebody_left_does_not_become_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let draft = directory.path().join("operator.token.new");
    fs::write(&draft, "qo_known\n").unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::start(directory.path());
    verify(&server.operator().await).await;
    let token = directory.path().join("operator.token");
    assert_ne!(fs::read_to_string(&token).unwrap(), "qo_known\n");
    assert_private(directory.path());
}

#[test]
fn a_directory_that_is_not_only_quotads_is_refused_and_stays_as_it_is() {
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("letter.txt"), "").unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (status, said) = refused(command(shared.path()));
    assert!(!status.success() && said.contains("give a directory of its own"), "{said}");
    assert_eq!(fs::metadata(shared.path()).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!shared.path().join("lock").exists());
}

/// Callers may be other users: what the umask allowed them stays allowed, and no more.
#[tokio::test]
async fn a_socket_is_open_to_those_whom_the_umask_lets_in() {
    for (umask, expected) in [("000", 0o777), ("027", 0o750)] {
        let home = tempfile::tempdir().unwrap();
        let (data, socket) = (home.path().join("data"), home.path().join("q.sock"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_quotad")]);
        let mut command = serving(shell, &data, "127.0.0.1:0");
        command.arg("--socket").arg(&socket);
        let server = Server::start_with(command, &data);
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, expected);
        assert_eq!(server.terminate().await.code(), Some(0));
    }
}
