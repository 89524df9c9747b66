//! The directory that a server keeps all it knows in: one server at a time, readable to its user only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::private::{check_owner, close, is_open};
use crate::service::{Error, secret};

#[cfg(test)]
mod tests;

const LOCK: &str = "lock";
const TOKEN: &str = "operator.token";
const TOKEN_DRAFT: &str = "operator.token.new";
const DATABASES: [&str; 3] = ["journal.db", "books.db", "snapshots.db"];
/// Beginnings of the names of directories that hold databases, too.
const OTHER_PLACES: [&str; 3] = ["rebuilding", "restoring", "set-aside-"];

/// Locked for as long as it lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("another quotad serves this data directory (pid {pid}): {}; stop it, or give another --data-dir", path.display())]
    Locked { path: PathBuf, pid: String },
    #[error("{} holds no token; remove the file and a new one is made", path.display())]
    TokenUnreadable { path: PathBuf },
    #[error(
        "{} belongs to user {owner}, and this is user {user}: whoever owns it can read all that is kept here. Change its owner, or give a \
         directory in it, which is made for this user alone", path.display()
    )]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error(
        "{} is open to other users and holds other things than quotad's: give a directory of its own, or take its permissions from \
         all but its owner (chmod 700)", path.display()
    )]
    Shared { path: PathBuf },
    #[error(transparent)]
    Secret(#[from] Error),
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> DataDirError {
    move |source| DataDirError::Io { path: path.to_owned(), source }
}

/// Fails to open a symbolic link.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Whether a server makes files or directories of this name here.
fn is_own(name: &str) -> bool {
    [LOCK, TOKEN, TOKEN_DRAFT].contains(&name)
        || DATABASES.iter().any(|file| {
            name.strip_prefix(file).is_some_and(|suffix| ["", "-wal", "-shm", "-journal"].contains(&suffix))
        })
        || OTHER_PLACES.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether a server has its databases there, or nobody else has anything.
fn is_own_or_empty(directory: &Path) -> io::Result<bool> {
    let mut is_own_alone = true;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if DATABASES.iter().any(|file| name == *file) {
            return Ok(true);
        }
        is_own_alone &= is_own(&name.to_string_lossy());
    }
    Ok(is_own_alone)
}

impl DataDir {
    /// Makes the directory if there is none, locks it, and takes it and its files from other users.
    ///
    /// # Errors
    /// [`DataDirError`] when it can't be made, another process serves it, or it is another user's.
    pub fn prepare(path: &Path) -> Result<Self, DataDirError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        if is_open(&check_owner(path)?) {
            // A home or a system's directory, named by mistake, must stay as it is.
            if !is_own_or_empty(path).map_err(at(path))? {
                return Err(DataDirError::Shared { path: path.to_owned() });
            }
            close(path)?;
        }
        let data = Self::lock(path)?;
        for entry in fs::read_dir(path).map_err(at(path))? {
            let entry = entry.map_err(at(path))?;
            if is_own(&entry.file_name().to_string_lossy()) {
                match close(&entry.path()) {
                    // A database's log goes with its last connection, which a server that just ended may still close.
                    Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    closed => closed?,
                }
            }
        }
        Ok(data)
    }

    /// Locks a directory that is there, whoever owns it.
    ///
    /// # Errors
    /// [`DataDirError`] when another process serves it.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let file = path.join(LOCK);
        let failed = at(&file);
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            // What it might lead to would be emptied.
            .custom_flags(NO_FOLLOW)
            .open(&file)
            .map_err(&failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only to say who it is: the answer stays the same without it.
                let _ = lock.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
                return Err(DataDirError::Locked { path: path.to_owned(), pid: pid.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0).map_err(&failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(&failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn token_file(&self) -> PathBuf {
        self.path.join(TOKEN)
    }

    /// The operator's token: made at the first start, from then on what the file says.
    ///
    /// # Errors
    /// [`DataDirError`] when the file can't be read or written.
    pub fn operator_token(&self) -> Result<String, DataDirError> {
        let file = self.token_file();
        match fs::read_to_string(&file) {
            Ok(text) if text.trim().is_empty() => Err(DataDirError::TokenUnreadable { path: file }),
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_token(&file),
            Err(error) => Err(at(&file)(error)),
        }
    }

    /// Written beside and renamed, so that a crash leaves a whole token or none. What stands there already, whoever made it, never
    /// becomes the token.
    fn make_token(&self, file: &Path) -> Result<String, DataDirError> {
        let token = secret::new_secret("qo")?;
        let draft = self.path.join(TOKEN_DRAFT);
        let write = || {
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut written = options.write(true).create_new(true).mode(0o600).custom_flags(NO_FOLLOW).open(&draft)?;
            writeln!(written, "{token}")?;
            written.sync_all()?;
            fs::rename(&draft, file)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(at(file))?;
        Ok(token)
    }
}
