//! Keeps what the server writes from the other users of its machine.
//!
//! The journal, the books and their copies hold provider tokens and webhook secrets in the clear.

use std::{
    fs::{self, Metadata, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::OnceLock,
};

use rustix::{
    fs::Mode,
    process::{geteuid, umask},
};

use super::data_dir::{DataDirError, at};

/// Bits of a mode that let the group and all others in.
const OTHERS: u32 = 0o077;
const OWNER: u32 = 0o700;

static FORMER_UMASK: OnceLock<Mode> = OnceLock::new();

/// Makes every file that this process creates from now on readable to its user alone, whatever its umask was.
pub fn keep_files_private() {
    FORMER_UMASK.get_or_init(|| umask(Mode::RWXG | Mode::RWXO));
}

/// Returns what the umask that the process was started with leaves to a socket: callers may be other users, and each call needs
/// a token. `None` where the umask wasn't changed.
pub(super) fn socket_permissions() -> Option<Permissions> {
    FORMER_UMASK.get().map(|mask| Permissions::from_mode(0o777 & !mask.bits()))
}

/// Refuses what another user owns, who could always let himself in. A link must be ours as well as what it leads to.
pub(super) fn check_owner(path: &Path) -> Result<Metadata, DataDirError> {
    let user = geteuid().as_raw();
    let (link, found) = (fs::symlink_metadata(path).map_err(at(path))?, fs::metadata(path).map_err(at(path))?);
    match [link.uid(), found.uid()].into_iter().find(|owner| *owner != user) {
        None => Ok(found),
        Some(owner) => Err(DataDirError::Foreign { path: path.to_owned(), owner, user }),
    }
}

pub(super) fn is_open(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

/// Takes the permissions of everyone but the owner away.
pub(super) fn close(path: &Path) -> Result<(), DataDirError> {
    let found = check_owner(path)?;
    if is_open(&found) {
        fs::set_permissions(path, Permissions::from_mode(found.mode() & OWNER)).map_err(at(path))?;
        let mode = format!("{:04o}", found.mode() & 0o7777);
        tracing::warn!(path = %path.display(), mode, "others could get at this; now only its owner can");
    }
    Ok(())
}
