//! A data directory, copied whole while its server goes on, and put back elsewhere.
//!
//! Of books in a file; those in Postgres are backed up with Postgres' own means.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{DataDir, DataDirError, join::move_files};
use crate::{
    domain::lease::{Lease, first_epoch_after},
    journal::{
        Journal as _, JournalError, Snapshots as _,
        snapshots::SqliteSnapshots,
        sqlite::{SqliteJournal, TRIMMED},
    },
    service::{self, Difference, Recovered, Refusal, drain, recover, verify_recovered},
    sqlite_copy::{CopyError, Pinned, read_number},
    store::{Store as _, StoreError, sqlite::SqliteStore},
};

/// In the order in which they are pinned: what follows from the journal before the journal.
pub const FILES: [&str; 3] = ["books.db", "snapshots.db", "journal.db"];
const JOURNAL: &str = FILES[2];
/// What is restored, until it is whole.
const RESTORING: &str = "restoring";
/// How often the files are pinned anew because the journal was trimmed meanwhile, which is seldom.
const ATTEMPTS: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} has no {JOURNAL}: it isn't a data directory of quotad, nor a backup of one", .0.display())]
    NoData(PathBuf),
    #[error(
        "the books of {} aren't in it but in Postgres: back that up, with pg_dump or continuous archiving. A data directory is \
         built anew from the books", .0.display()
    )]
    OtherBooks(PathBuf),
    #[error("{} is there already; name a directory that isn't", .0.display())]
    Exists(PathBuf),
    #[error("the journal is trimmed too often to be copied; try again")]
    Busy,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Service(#[from] service::Error),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("what was copied doesn't agree with itself: {} of {}: {} instead of {}", .0.what, .0.organization(), .0.found, .0.expected)]
    Differs(Box<Difference>),
}

/// What a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Of the last event.
    pub position: u64,
    pub organizations: usize,
    pub bytes: u64,
}

/// What was restored, compared with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    pub position: u64,
    pub organizations: u64,
    pub entries: u64,
    pub windows: u64,
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::Io { path: path.to_owned(), source }
}

/// The databases of one data directory.
struct Files {
    journal: Arc<SqliteJournal>,
    snapshots: SqliteSnapshots,
    store: SqliteStore,
}

impl Files {
    async fn open(directory: &Path) -> Result<Self, BackupError> {
        let (journal, snapshots) = (SqliteJournal::open(directory).await?, SqliteSnapshots::open(directory).await?);
        Ok(Self { journal: Arc::new(journal), snapshots, store: SqliteStore::open(directory).await? })
    }

    /// As a start would.
    async fn recover(&self) -> Result<Recovered, BackupError> {
        let books = self.store.status().await?;
        Ok(recover(&*self.journal, &self.snapshots, books.position).await?)
    }

    async fn close(self) {
        self.journal.close().await;
        self.snapshots.close().await;
        self.store.close().await;
    }
}

/// Copies journal, snapshots and books of a data directory, whether a server runs on it or not, into a new directory, and
/// proves that a server could start from the copy.
///
/// # Errors
/// [`BackupError`]; there is no `to` then, only what was begun beside it.
pub async fn back_up(data: &Path, to: &Path) -> Result<Contents, BackupError> {
    check_source(data)?;
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    check_at_rest(data).await?;
    let partial = to.with_added_extension("partial");
    make_anew(&partial)?;
    copy_all(data, &partial).await?;
    let files = Files::open(&partial).await?;
    let books = files.store.status().await?.id;
    if files.journal.books().await?.is_some_and(|own| own != books) {
        return Err(BackupError::OtherBooks(data.to_owned()));
    }
    let recovered = files.recover().await?;
    files.close().await;
    let bytes = FILES.iter().map(|file| fs::metadata(partial.join(file)).map_or(0, |found| found.len())).sum();
    finish(&partial, to).map_err(at(to))?;
    Ok(Contents { position: recovered.position, organizations: recovered.organizations(), bytes })
}

/// Makes a data directory of a backup: brings its books up to its journal, compares all of both, and counts on from an epoch
/// that no server of the original has used, so that no reservation of before is taken for one of after.
///
/// # Errors
/// [`BackupError`]; the data directory is no server's yet then, and may be given again.
pub async fn restore(from: &Path, data: &Path) -> Result<Restored, BackupError> {
    check_source(from)?;
    let data = DataDir::prepare(data)?;
    if let Some(file) = FILES.iter().map(|file| data.path().join(file)).find(|file| file.exists()) {
        return Err(BackupError::Exists(file));
    }
    let restoring = data.path().join(RESTORING);
    make_anew(&restoring)?;
    copy_all(from, &restoring).await?;
    let files = Files::open(&restoring).await?;
    let restored = take_over(&files).await?;
    files.close().await;
    move_files(&FILES, &restoring, data.path()).map_err(at(data.path()))?;
    fs::remove_dir_all(&restoring).map_err(at(&restoring))?;
    Ok(restored)
}

async fn take_over(files: &Files) -> Result<Restored, BackupError> {
    let status = files.store.status().await?;
    let former = status.lease.map(|former| former.lease);
    let last = former.map_or(0, |former| former.epoch).max(files.journal.extent().await?.epoch);
    let epoch = first_epoch_after(last).ok_or(Refusal::NoEpochLeft(last))?;
    let lease = Lease { journal: files.journal.id(), epoch };
    files.store.take_lease(lease, "restored", former).await?;
    let position = drain(files.journal.clone(), &files.store, lease).await?;
    files.store.release_lease(lease).await?;
    let verified = verify_recovered(&files.recover().await?, &files.store).await?;
    match verified.differences.into_iter().next() {
        Some(first) => Err(BackupError::Differs(Box::new(first))),
        None => Ok(Restored {
            position,
            organizations: verified.organizations,
            entries: verified.entries,
            windows: verified.windows,
        }),
    }
}

/// Where no server runs, the first to open the journal after a crash must see what is damaged: SQLite would drop it.
async fn check_at_rest(data: &Path) -> Result<(), BackupError> {
    match DataDir::lock(data) {
        Ok(_locked) => SqliteJournal::open(data).await?.close().await,
        Err(DataDirError::Locked { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn check_source(directory: &Path) -> Result<(), BackupError> {
    if !directory.join(JOURNAL).exists() {
        return Err(BackupError::NoData(directory.to_owned()));
    }
    if !directory.join(FILES[0]).exists() {
        return Err(BackupError::OtherBooks(directory.to_owned()));
    }
    Ok(())
}

/// An empty directory that only its owner reads; what an interrupted attempt left is removed.
fn make_anew(directory: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(directory)(error)),
        _ => {}
    }
    let mut private = DirBuilder::new();
    private.mode(0o700);
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        private.recursive(true).create(parent).map_err(at(parent))?;
    }
    // Not one that somebody else made meanwhile.
    private.recursive(false).create(directory).map_err(at(directory))
}

/// Each file as it stood at a moment, in an order that makes them fit: books and snapshots follow the journal, so the journal comes
/// last; and were it trimmed meanwhile, it might lack what the snapshots, as they were pinned, don't have yet.
async fn copy_all(from: &Path, to: &Path) -> Result<(), BackupError> {
    let journal = from.join(JOURNAL);
    for _ in 0..ATTEMPTS {
        let trimmed = read_number(&journal, TRIMMED).await?;
        let mut pinned = Vec::new();
        for file in FILES {
            pinned.push(Pinned::new(&from.join(file), &to.join(file)).await?);
        }
        if read_number(&journal, TRIMMED).await? != trimmed {
            drop(pinned);
            make_anew(to)?;
            continue;
        }
        for pinned in pinned {
            pinned.copy().await?;
        }
        return Ok(());
    }
    Err(BackupError::Busy)
}

/// Gives a whole directory its name.
fn finish(partial: &Path, to: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
