//! A SQLite file as it stood at one moment, copied while others go on writing it.
//!
//! Knows files, never what their tables are for.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

/// A file, of which nothing newer is seen any more.
pub struct Pinned {
    /// Of the copy, to which the file is attached as `source`.
    connection: SqliteConnection,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CopyError {
    pub path: PathBuf,
    source: sqlx::Error,
}

fn at<E: Into<sqlx::Error>>(path: &Path) -> impl Fn(E) -> CopyError {
    move |error| CopyError { path: path.to_owned(), source: error.into() }
}

async fn open(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    // Rows are copied as they are, in whatever order.
    SqliteConnectOptions::new().filename(file).foreign_keys(false).disable_statement_logging().connect().await
}

/// The number that a query answers, of a file that others may be writing.
///
/// # Errors
/// [`CopyError`] when it can't be read.
pub async fn read_number(file: &Path, query: &'static str) -> Result<u64, CopyError> {
    let read = async {
        let mut connection = open(file).await?;
        let number: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<u64, sqlx::Error>(number.unsigned_abs())
    };
    read.await.map_err(at(file))
}

impl Pinned {
    /// Pins `file`. `copy`, which must not exist, is where it goes: readable to its owner only.
    ///
    /// # Errors
    /// [`CopyError`] when one can't be read or the other not be made.
    pub async fn new(file: &Path, copy: &Path) -> Result<Self, CopyError> {
        if !file.exists() {
            return Err(at(file)(io::Error::from(io::ErrorKind::NotFound)));
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(at(copy))?;
        let mut connection = open(copy).await.map_err(at(copy))?;
        let name = file.to_str().ok_or_else(|| at(file)(io::Error::other("its name isn't UTF-8")))?;
        let pin = async {
            sqlx::query("ATTACH DATABASE ? AS source").bind(name).execute(&mut connection).await?;
            sqlx::query("BEGIN").execute(&mut connection).await?;
            // A transaction sees the moment of its first read.
            sqlx::query("SELECT count(*) FROM source.sqlite_schema").execute(&mut connection).await
        };
        pin.await.map_err(at(file))?;
        Ok(Self { connection, path: copy.to_owned() })
    }

    /// Copies all of it, through to the disk.
    ///
    /// # Errors
    /// [`CopyError`] when it can't be read or the copy not be written.
    pub async fn copy(self) -> Result<(), CopyError> {
        let path = self.path.clone();
        self.copy_rows().await.map_err(at(&path))
    }

    async fn copy_rows(mut self) -> Result<(), sqlx::Error> {
        let schema: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT type, name, sql FROM source.sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let (tables, others): (Vec<_>, Vec<_>) = schema.into_iter().partition(|(kind, ..)| kind == "table");
        for (_, name, sql) in tables {
            self.execute(sql).await?;
            self.execute(format!("INSERT INTO main.\"{name}\" SELECT * FROM source.\"{name}\"")).await?;
        }
        // Triggers would refuse or repeat what is copied.
        for (_, _, sql) in others {
            self.execute(sql).await?;
        }
        self.execute(String::from("COMMIT")).await?;
        self.connection.close().await
    }

    async fn execute(&mut self, sql: String) -> Result<(), sqlx::Error> {
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut self.connection).await?;
        Ok(())
    }
}
