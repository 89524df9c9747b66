use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

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

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_others_could_read_is_mended() {
    let home = tempfile::tempdir().unwrap();
    let own = ["journal.db", "books.db", "books.db-wal", "snapshots.db-shm", "operator.token", "lock"];
    for name in own.into_iter().chain(["quotad.toml"]) {
        fs::write(home.path().join(name), "x").unwrap();
        set_mode(&home.path().join(name), 0o644);
    }
    let aside = home.path().join("set-aside-before-epoch-65536");
    fs::create_dir(&aside).unwrap();
    set_mode(&aside, 0o755);
    set_mode(home.path(), 0o755);
    let _data = DataDir::prepare(home.path()).unwrap();
    assert_eq!((mode(home.path()), mode(&aside)), (0o700, 0o700));
    for name in own {
        assert_eq!(mode(&home.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&home.path().join("quotad.toml")), 0o644, "that isn't quotad's");
}

#[test]
fn an_empty_directory_that_others_could_read_is_mended() {
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o1777);
    let _data = DataDir::prepare(home.path()).unwrap();
    assert_eq!(mode(home.path()), 0o700);
}

#[test]
fn a_directory_that_others_use_too_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("notes.txt"), "").unwrap();
    set_mode(home.path(), 0o755);
    assert!(matches!(DataDir::prepare(home.path()), Err(DataDirError::Shared { .. })));
    assert_eq!(mode(home.path()), 0o755);
    assert!(!home.path().join(LOCK).exists());
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    let user = rustix::process::geteuid();
    if !user.is_root() {
        let Err(DataDirError::Foreign { owner: 0, .. }) = DataDir::prepare(Path::new("/usr")) else { panic!("taken") };
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("journal.db");
    fs::write(&file, "").unwrap();
    let refused = |path: &Path| match DataDir::prepare(home.path()) {
        Err(DataDirError::Foreign { path: named, owner: 1000, .. }) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    };
    chown(&file, Some(1000), None).unwrap();
    refused(&file);
    fs::remove_file(&file).unwrap();
    symlink("/etc/hostname", &file).unwrap();
    lchown(&file, Some(1000), None).unwrap();
    refused(&file);
    chown(home.path(), Some(1000), None).unwrap();
    refused(home.path());
}

#[test]
fn a_draft_that_somebody_left_never_becomes_the_token() {
    for leave in [
        |draft: &Path, _: &Path| {
            fs::write(draft, "known").unwrap();
            set_mode(draft, 0o644);
        },
        |draft: &Path, elsewhere: &Path| symlink(elsewhere, draft).unwrap(),
        |draft: &Path, elsewhere: &Path| fs::hard_link(elsewhere, draft).unwrap(),
    ] {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = home.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        let data = DataDir::prepare(&home.path().join("data")).unwrap();
        leave(&data.path().join(TOKEN_DRAFT), &elsewhere);
        let token = data.operator_token().unwrap();
        assert!(token.starts_with("qo_"));
        let file = fs::symlink_metadata(data.token_file()).unwrap();
        assert!(
            file.is_file() && file.permissions().mode() & 0o777 == 0o600 && !data.path().join(TOKEN_DRAFT).exists()
        );
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(data.token_file()).unwrap().trim(), token);
    }
}

#[test]
fn a_link_in_the_lock_s_place_is_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o700);
    symlink(&elsewhere, data.join(LOCK)).unwrap();
    assert!(matches!(DataDir::prepare(&data), Err(DataDirError::Io { .. })));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
}
