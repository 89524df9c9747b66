//! Books in a file or in a database of the test's own.

use std::sync::{Arc, LazyLock};

use quotad::{
    domain::lease::{JournalId, Lease},
    store::{Store, StoreError, StoreStatus, postgres::PostgresStore, sqlite::SqliteStore},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::cluster::Cluster;

pub(crate) const LEASE: Lease = Lease { journal: JournalId::new([1; 16]), epoch: 1 };

/// For tests that don't care what survives a loss of power.
pub(crate) static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(&["fsync = off"]));

pub(crate) struct Books {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) place: Place,
}

pub(crate) enum Place {
    File(TempDir),
    Database(String),
}

impl Books {
    pub(crate) async fn in_a_file() -> Self {
        Self::at(Place::file()).await
    }

    pub(crate) async fn in_a_database() -> Self {
        Self::at(Place::database()).await
    }

    /// [`LEASE`] may write them.
    async fn at(place: Place) -> Self {
        let store = place.open().await;
        store.take_lease(LEASE, "here", None).await.unwrap();
        Self { store, place }
    }

    /// The same ones, opened once more.
    pub(crate) async fn again(&self) -> Arc<dyn Store> {
        self.place.open().await
    }

    /// Fails where they can't be read.
    pub(crate) async fn try_again(&self) -> Result<StoreStatus, StoreError> {
        match &self.place {
            Place::File(directory) => SqliteStore::open(directory.path()).await?.status().await,
            Place::Database(url) => PostgresStore::new(url).unwrap().status().await,
        }
    }

    /// What somebody with the database's own tools does. The number of rows.
    pub(crate) async fn run(&self, statement: &str) -> Result<u64, sqlx::Error> {
        Ok(match &self.place {
            Place::File(directory) => {
                let file = directory.path().join("books.db");
                let mut connection = SqliteConnection::connect(file.to_str().unwrap()).await?;
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?.rows_affected()
            }
            Place::Database(url) => {
                let mut connection = PgConnection::connect(url).await?;
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?.rows_affected()
            }
        })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }
}

impl Place {
    /// Without books.
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// Without books.
    pub(crate) fn database() -> Self {
        Self::Database(CLUSTER.database())
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::File(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
            Self::Database(url) => Arc::new(PostgresStore::new(url).unwrap()),
        }
    }

    /// As `quotactl store migrate` wants it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(directory) => directory.path().to_str().unwrap().to_owned(),
            Self::Database(url) => url.clone(),
        }
    }
}
