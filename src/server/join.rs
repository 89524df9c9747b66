//! Brings journal and books together at the start: takes the lease, or builds the data directory anew from the books.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{DataDir, ServeError, backends, backends::Backends};
use crate::{
    clock::Stopwatch,
    config::Settings,
    domain::lease::Lease,
    service::{self, Admission, Claimant, Refusal, admit},
    store::{LEASE_SECONDS, StoreError, StoreStatus},
};

const ASK_EVERY: Duration = Duration::from_millis(500);
/// A lease that still runs after this long is in use.
const LONGEST_WAIT: Duration = Duration::from_secs(LEASE_SECONDS as u64 + 5);
/// What a data directory is built anew from the books in, until it is complete.
const BUILDING: &str = "rebuilding";
const FILES: [&str; 2] = ["snapshots.db", "journal.db"];
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Journal and books that belong together.
pub(super) struct Joined {
    pub(super) backends: Backends,
    /// `None` while the store can't be reached.
    pub(super) lease: Option<Lease>,
    pub(super) holder: String,
    /// Journal position that the books have at least reached.
    pub(super) stored: u64,
    /// Built from the books: what hadn't reached them is missing.
    pub(super) rebuilt: bool,
}

/// # Errors
/// [`Refusal`] when this journal may not write these books.
pub(super) async fn join(settings: &Settings, data: &DataDir, backends: Backends) -> Result<Joined, ServeError> {
    let holder = holder(data.path());
    let Backends { journal, store, .. } = &backends;
    let waiting = Stopwatch::start();
    loop {
        let extent = journal.extent().await?;
        let status = match store.status().await {
            Ok(status) => status,
            Err(StoreError::Unavailable(why)) => {
                if journal.books().await?.is_none() {
                    return Err(Refusal::Unknown { why }.into());
                }
                tracing::warn!(why, "the database can't be reached; the books follow when it can");
                return Ok(Joined { lease: None, holder, stored: extent.trimmed, rebuilt: false, backends });
            }
            Err(error) => return Err(error.into()),
        };
        let accept_loss = settings.accept_journal_loss;
        let claimant = Claimant { journal: journal.id(), extent, holder: &holder, accept_loss };
        let former = status.lease.as_ref().map(|former| former.lease);
        let admitted = admit(&claimant, &status);
        if let Err(Refusal::Foreign { .. } | Refusal::Ahead { .. } | Refusal::Moved { .. }) = &admitted {
            // From now on it doesn't start without them.
            journal.set_books(None).await?;
        }
        match admitted? {
            Admission::Continue { epoch } => {
                let lease = Lease { journal: journal.id(), epoch };
                store.take_lease(lease, &holder, former).await?;
                journal.set_books(Some(status.id)).await?;
                return Ok(Joined { lease: Some(lease), holder, stored: status.position, rebuilt: false, backends });
            }
            Admission::Rebuild { epoch } => return rebuild(data, backends, holder, &status, epoch).await,
            Admission::Wait => {
                let held_by = status.lease.map_or_else(String::new, |former| former.holder);
                if waiting.elapsed() > LONGEST_WAIT {
                    return Err(Refusal::Held { holder: held_by }.into());
                }
                tracing::info!(held_by, "waiting until the lease on the books runs out");
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }
}

/// Names this data directory: locked, so that no other server has the same.
fn holder(directory: &Path) -> String {
    let host = gethostname::gethostname();
    let path = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    format!("{}:{}", host.to_string_lossy(), path.display())
}

/// Fills new files from the books, takes the lease for them, and only then puts them in the place of the old ones.
async fn rebuild(
    data: &DataDir,
    backends: Backends,
    holder: String,
    status: &StoreStatus,
    epoch: u32,
) -> Result<Joined, ServeError> {
    let Backends { journal, snapshots, store } = backends;
    journal.close().await;
    snapshots.close().await;
    let building = data.path().join(BUILDING);
    in_place(&building, || match fs::remove_dir_all(&building) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => private_directory(&building),
    })?;
    let (journal, snapshots) = backends::open_files(&building).await?;
    let stored = service::rebuild(&*store, &*journal, &*snapshots).await?;
    let lease = Lease { journal: journal.id(), epoch };
    store.take_lease(lease, &holder, status.lease.as_ref().map(|former| former.lease)).await?;
    let now = store.status().await?;
    if now.position != stored {
        // Its next start finds the books at rest.
        return Err(
            Refusal::Held { holder: status.lease.as_ref().map_or(holder, |former| former.holder.clone()) }.into()
        );
    }
    journal.set_books(Some(now.id)).await?;
    journal.close().await;
    snapshots.close().await;
    let aside = data.path().join(format!("set-aside-before-epoch-{epoch}"));
    in_place(data.path(), || replace_files(data.path(), &building, &aside))?;
    let (journal, snapshots) = backends::open_files(data.path()).await?;
    let backends = Backends { journal, snapshots, store: Arc::clone(&store) };
    Ok(Joined { backends, lease: Some(lease), holder, stored, rebuilt: true })
}

fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn in_place(path: &Path, work: impl FnOnce() -> io::Result<()>) -> Result<(), ServeError> {
    work().map_err(|source| ServeError::SetAside { path: path.to_owned(), source })
}

/// The journal comes last: a directory without one is empty, whatever snapshots lie there.
fn replace_files(data: &Path, new: &Path, aside: &Path) -> io::Result<()> {
    private_directory(aside)?;
    move_files(&FILES, data, aside)?;
    move_files(&FILES, new, data)?;
    fs::remove_dir_all(new)
}

/// Moves databases with what belongs to them, as far as they are there, in this order.
pub(super) fn move_files(files: &[&str], from: &Path, to: &Path) -> io::Result<()> {
    for file in files.iter().flat_map(|file| SUFFIXES.iter().map(move |suffix| format!("{file}{suffix}"))) {
        match fs::rename(from.join(&file), to.join(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    for directory in [from, to] {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
