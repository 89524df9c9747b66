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
    place: Place,
}

enum Place {
    File(TempDir),
    Database(String),
}

impl Books {
    pub(crate) async fn in_a_file() -> Self {
        Self::at(Place::File(tempfile::tempdir().unwrap())).await
    }

    pub(crate) async fn in_a_database() -> Self {
        Self::at(Place::Database(CLUSTER.database())).await
    }

    /// [`LEASE`] may write them.
    async fn at(place: Place) -> Self {
        let store = open(&place).await;
        store.take_lease(LEASE, "here", None).await.unwrap();
        Self { store, place }
    }

    /// The same ones, opened once more.
    pub(crate) async fn again(&self) -> Arc<dyn Store> {
        open(&self.place).await
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

    /// Where they are, as `quotactl store migrate` wants it.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::File(directory) => directory.path().to_str().unwrap().to_owned(),
            Place::Database(url) => url.clone(),
        }
    }
}

async fn open(place: &Place) -> Arc<dyn Store> {
    match place {
        Place::File(directory) => Arc::new(SqliteStore::open(directory.path()).await.unwrap()),
        Place::Database(url) => Arc::new(PostgresStore::new(url).unwrap()),
    }
}
