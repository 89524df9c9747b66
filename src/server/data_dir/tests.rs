use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_second_server_is_told_who_serves_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b");
    let first = DataDir::prepare(&path).unwrap();
    let Err(DataDirError::Locked { pid, .. }) = DataDir::prepare(&path) else { panic!("locked twice") };
    assert_eq!(pid, std::process::id().to_string());
    drop(first);
    assert!(DataDir::prepare(&path).is_ok());
}

#[test]
fn the_operator_token_is_made_once_and_for_its_user_only() {
    let home = tempfile::tempdir().unwrap();
    let data = DataDir::prepare(&home.path().join("data")).unwrap();
    let token = data.operator_token().unwrap();
    assert!(token.starts_with("qo_"));
    assert_eq!(data.operator_token().unwrap(), token);
    assert_eq!((mode(data.path()), mode(&data.token_file())), (0o700, 0o600));
}

#[test]
fn an_empty_token_lets_nobody_in() {
    let home = tempfile::tempdir().unwrap();
    let data = DataDir::prepare(home.path()).unwrap();
    fs::write(data.token_file(), "\n").unwrap();
    assert!(matches!(data.operator_token(), Err(DataDirError::TokenUnreadable { .. })));
}
