//! The directory that a server keeps all it knows in: one server at a time, readable to its user only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::service::{Error, secret};

#[cfg(test)]
mod tests;

const LOCK: &str = "lock";
const TOKEN: &str = "operator.token";

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
    #[error(transparent)]
    Secret(#[from] Error),
}

fn at(path: &Path) -> impl Fn(io::Error) -> DataDirError {
    move |source| DataDirError::Io { path: path.to_owned(), source }
}

impl DataDir {
    /// Makes the directory if there is none, and locks it.
    ///
    /// # Errors
    /// [`DataDirError`] when it can't be made or another process serves it.
    pub fn prepare(path: &Path) -> Result<Self, DataDirError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        let file = path.join(LOCK);
        let failed = at(&file);
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
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

    /// Written beside and renamed, so that a crash leaves a whole token or none.
    fn make_token(&self, file: &Path) -> Result<String, DataDirError> {
        let token = secret::new_secret("qo")?;
        let draft = self.path.join("operator.token.new");
        let write = || {
            let mut written = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
            writeln!(written, "{token}")?;
            written.sync_all()?;
            fs::rename(&draft, file)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(at(file))?;
        Ok(token)
    }
}
