//! What a server keeps its data in.

use std::{path::Path, sync::Arc};

use super::ServeError;
use crate::{
    config::Settings,
    journal::{Journal, Snapshots, snapshots::SqliteSnapshots, sqlite::SqliteJournal},
    store::{Store, postgres::PostgresStore, sqlite::SqliteStore},
};

#[derive(Clone)]
pub(super) struct Backends {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) snapshots: Arc<dyn Snapshots>,
    pub(super) store: Arc<dyn Store>,
}

/// Journal and snapshots in files of the data directory, and so the books unless a database is named.
pub(super) async fn open(directory: &Path, settings: &Settings) -> Result<Backends, ServeError> {
    let (journal, snapshots) = open_files(directory).await?;
    let store = open_store(directory, settings).await?;
    Ok(Backends { journal, snapshots, store })
}

pub(super) async fn open_files(directory: &Path) -> Result<(Arc<dyn Journal>, Arc<dyn Snapshots>), ServeError> {
    let journal = Arc::new(SqliteJournal::open(directory).await?);
    Ok((journal, Arc::new(SqliteSnapshots::open(directory).await?)))
}

async fn open_store(directory: &Path, settings: &Settings) -> Result<Arc<dyn Store>, ServeError> {
    Ok(match &settings.database_url {
        Some(url) => Arc::new(PostgresStore::new(url.reveal())?),
        None => Arc::new(SqliteStore::open(directory).await?),
    })
}
