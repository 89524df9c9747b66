//! What a server keeps its data in.

use std::{path::Path, sync::Arc};

use super::ServeError;
use crate::{
    journal::{Journal, Snapshots, snapshots::SqliteSnapshots, sqlite::SqliteJournal},
    store::{Store, sqlite::SqliteStore},
};

#[derive(Clone)]
pub(super) struct Backends {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) snapshots: Arc<dyn Snapshots>,
    pub(super) store: Arc<dyn Store>,
}

/// All of them in files of the data directory.
pub(super) async fn open(directory: &Path) -> Result<Backends, ServeError> {
    Ok(Backends {
        journal: Arc::new(SqliteJournal::open(directory).await?),
        snapshots: Arc::new(SqliteSnapshots::open(directory).await?),
        store: Arc::new(SqliteStore::open(directory).await?),
    })
}
