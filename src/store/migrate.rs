//! Moves books from one database to another, in one transaction, and compares what arrived with what was there.
//!
//! The place that they were at is closed for servers: one that was started with it would write books that nobody reads.

use std::{
    fmt,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    LEASE_SECONDS, LeaseStatus, MOVED_TO, Store as _, StoreError, StoreStatus,
    connection::{Connection, Database},
    lease,
    postgres::{PostgresStore, is_sound},
    sqlite::SqliteStore,
    tables::{self, Kind, Table},
    value::{How, Rows, Sql, Value},
};
use crate::domain::{
    error::Invalid,
    lease::{JournalId, Lease},
    money::Nanos,
};

mod compare;

/// Rows that are in memory at a time, and of tables with large cells.
const PAGE: i64 = 2_000;
const LARGE_PAGE: i64 = 4;
const RENEW_EVERY: Duration = Duration::from_secs(LEASE_SECONDS as u64 / 3);
const HOLDER: &str = "quotactl store migrate";

/// Where books are.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A server's data directory.
    Directory(PathBuf),
    /// The URL of a Postgres database.
    Database(String),
}

impl Place {
    pub fn parse(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Self::Database(text.to_owned())
        } else {
            Self::Directory(PathBuf::from(text))
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Without the password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Database(url) => {
                if !is_sound(url) {
                    return f.write_str("a Postgres database");
                }
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let authority = rest.find('/').unwrap_or(rest.len());
                let (login, host) = rest[..authority].rsplit_once('@').unwrap_or(("", &rest[..authority]));
                let user = login.split(':').next().unwrap_or_default();
                let at = if login.is_empty() { "" } else { "@" };
                let path = rest[authority..].split('?').next().unwrap_or_default();
                write!(f, "{scheme}://{user}{at}{host}{path}")
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Place(#[from] Invalid),
    #[error("{place}: {source}")]
    Store { place: Place, source: StoreError },
    #[error("{0}: there is no books.db in it: name the data directory of a server that keeps its books in it")]
    NoBooks(Place),
    #[error("both places are {0}")]
    Same(Place),
    #[error(
        "{place}: {holder} writes these books; stop that server first, or wait {LEASE_SECONDS} seconds if it has crashed"
    )]
    Leased { place: Place, holder: String },
    #[error("{place}: there are books already, its table {table} has rows; name a new database or an empty directory")]
    NotEmpty { place: Place, table: &'static str },
    #[error("what arrived isn't what was there: {0}; nothing was moved")]
    Differs(String),
    #[error(
        "the books were moved to {to}, but those at {from} couldn't be closed ({source}): don't start a server with them"
    )]
    NotClosed { from: Place, to: Place, source: StoreError },
}

/// Rows copied so far, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Journal position of the books.
    pub position: u64,
    /// Of each table.
    pub rows: Vec<(&'static str, u64)>,
    pub organizations: u64,
}

/// Copies all books at `from` to `to`, which has none, checks them, and closes those at `from`. Unless that succeeds, `to` is left
/// without books.
///
/// # Errors
/// [`MigrateError`], with the way out.
pub async fn migrate(
    from: &Place,
    to: &Place,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Moved, MigrateError> {
    if from == to {
        return Err(MigrateError::Same(from.clone()));
    }
    if let Place::Directory(directory) = from
        && !directory.join("books.db").exists()
    {
        return Err(MigrateError::NoBooks(from.clone()));
    }
    let at = |place: &Place| {
        let place = place.clone();
        move |source| MigrateError::Store { place, source }
    };
    let (source, target) = (open(from).await?, open(to).await?);
    let former = former(&*source, from).await?;
    let held = hold(&*source, former.as_ref()).await.map_err(at(from))?;
    let copied = tokio::select! {
        copied = copy((&*source, from), (&*target, to), former.as_ref(), progress) => copied,
        lapsed = keep(&*source, held) => Err(at(from)(lapsed)),
    };
    let moved = match copied {
        Ok(moved) => moved,
        Err(error) => {
            let given_back = give_back(&*source, held).await;
            return Err(given_back.map_or_else(at(from), |()| error));
        }
    };
    let closed = close(&*source, &*target, held, to).await;
    closed.map_err(|source| MigrateError::NotClosed { from: from.clone(), to: to.clone(), source })?;
    source.close().await;
    target.close().await;
    Ok(moved)
}

async fn open(place: &Place) -> Result<Box<dyn Database>, MigrateError> {
    Ok(match place {
        Place::Database(url) => Box::new(PostgresStore::new(url)?),
        Place::Directory(directory) => {
            let opened = open_directory(directory).await;
            Box::new(opened.map_err(|source| MigrateError::Store { place: place.clone(), source })?)
        }
    })
}

async fn open_directory(directory: &Path) -> Result<SqliteStore, StoreError> {
    let mut private = DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(directory);
    made.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    SqliteStore::open(directory).await
}

/// Who wrote them last.
async fn former(source: &dyn Database, from: &Place) -> Result<Option<LeaseStatus>, MigrateError> {
    let at = |source| MigrateError::Store { place: from.clone(), source };
    let mut view = source.view().await.map_err(at)?;
    let former = lease::status(&mut *view).await.map_err(at)?.lease;
    match former {
        Some(held) if !held.free => Err(MigrateError::Leased { place: from.clone(), holder: held.holder }),
        former => Ok(former),
    }
}

/// Keeps servers away while the books are copied. One of the same journal may go on as soon as this runs out.
async fn hold(source: &dyn Database, former: Option<&LeaseStatus>) -> Result<Option<Lease>, StoreError> {
    let Some(LeaseStatus { lease: former, .. }) = former else { return Ok(None) };
    let held = Lease { epoch: former.epoch.saturating_add(1), ..*former };
    source.take_lease(held, HOLDER, Some(*former)).await?;
    Ok(Some(held))
}

async fn give_back(source: &dyn Database, held: Option<Lease>) -> Result<(), StoreError> {
    match held {
        Some(held) => source.release_lease(held).await,
        None => Ok(()),
    }
}

/// No journal writes the books at this place any more.
async fn close(
    source: &dyn Database,
    target: &dyn Database,
    held: Option<Lease>,
    to: &Place,
) -> Result<(), StoreError> {
    let StoreStatus { id, .. } = target.status().await?;
    let epoch = held.map_or(1, |held| held.epoch.saturating_add(1));
    let closed = Lease { journal: JournalId::new(*id.as_bytes()), epoch };
    source.take_lease(closed, &format!("{MOVED_TO}{to}"), held).await?;
    source.release_lease(closed).await
}

/// Renews the lease until that fails.
async fn keep(source: &dyn Database, held: Option<Lease>) -> StoreError {
    let Some(held) = held else { return std::future::pending().await };
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Err(error) = source.renew_lease(held).await {
            return error;
        }
    }
}

async fn copy(
    (source, from): (&dyn Database, &Place),
    (target, to): (&dyn Database, &Place),
    former: Option<&LeaseStatus>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Moved, MigrateError> {
    let at_source = |source| MigrateError::Store { place: from.clone(), source };
    let at_target = |source| MigrateError::Store { place: to.clone(), source };
    let mut view = source.view().await.map_err(at_source)?;
    view.be_patient().await.map_err(at_source)?;
    let mut session = target.begin().await.map_err(at_target)?;
    session.be_patient().await.map_err(at_target)?;
    // Locked for the whole copy: of two that want to fill it, the second finds it filled.
    lease::lock(&mut *session).await.map_err(at_target)?;
    if let Some(table) = compare::filled(&mut *session).await.map_err(at_target)? {
        return Err(MigrateError::NotEmpty { place: to.clone(), table });
    }
    let status = lease::status(&mut *view).await.map_err(at_source)?;
    let sums = compare::sums(&mut *view).await.map_err(at_source)?;
    let (mut done, total) = (0, sums.iter().map(|sums| sums.rows).sum());
    for table in tables::ALL {
        let mut last: Option<Vec<Value<'static>>> = None;
        while let Some(rows) = page(&mut *view, table, last.as_deref()).await.map_err(at_source)? {
            make_room(&mut *session, &rows).await.map_err(at_target)?;
            session.write(&rows).await.map_err(at_target)?;
            done += rows.count() as u64;
            last = Some(last_key(&rows));
            progress(Progress { done, total });
        }
    }
    take_over(&mut *session, &status, former).await.map_err(at_target)?;
    let arrived = compare::sums(&mut *session).await.map_err(at_target)?;
    compare::same(&sums, &arrived).map_err(MigrateError::Differs)?;
    let ends = compare::ends(&mut *view).await.map_err(at_source)?;
    let arrived = compare::ends(&mut *session).await.map_err(at_target)?;
    compare::same_ends(&ends, &arrived).map_err(MigrateError::Differs)?;
    session.commit().await.map_err(at_target)?;
    let rows = sums.iter().map(|sums| (sums.table, sums.rows)).collect();
    Ok(Moved { position: status.position, rows, organizations: ends.len() as u64 })
}

/// The next rows of a table by its key; `None` at its end.
async fn page(
    view: &mut dyn Connection,
    table: &'static Table,
    after: Option<&[Value<'static>]>,
) -> Result<Option<Rows<'static>>, StoreError> {
    let names: Vec<_> = table.columns.iter().map(|column| column.name).collect();
    let keys = table.keys().map(|key| key.name).collect::<Vec<_>>().join(", ");
    let mut sql = Sql::new(format!("SELECT {} FROM {}", names.join(", "), table.name));
    if let Some(after) = after {
        sql.push(&format!(" WHERE ({keys}) > ")).bind_list(after.iter().cloned());
    }
    let large = [tables::STREAM_STATES.name, tables::RECENT_EVENTS.name].contains(&table.name);
    sql.push(&format!(" ORDER BY {keys} LIMIT ")).bind(Value::Int(if large { LARGE_PAGE } else { PAGE }));
    let kinds: Vec<Kind> = table.columns.iter().map(|column| column.kind).collect();
    let read = view.fetch(sql, &kinds).await?;
    let mut rows = Rows::new(table, How::Insert);
    rows.cells.extend(read.into_iter().flat_map(|row| row.0));
    Ok((!rows.is_empty()).then_some(rows))
}

fn last_key(rows: &Rows<'static>) -> Vec<Value<'static>> {
    let last = rows.cells.len().saturating_sub(rows.width());
    let keys = rows.table.columns.iter().zip(&rows.cells[last..]);
    keys.filter(|(column, _)| column.merge == tables::Merge::Key).map(|(_, value)| value.clone()).collect()
}

async fn make_room(session: &mut dyn Connection, rows: &Rows<'_>) -> Result<(), StoreError> {
    if rows.table.name != tables::LEDGER_ENTRIES.name {
        return Ok(());
    }
    let time = rows.table.columns.iter().position(|column| column.name == "time").unwrap_or_default();
    let times = rows.cells.iter().skip(time).step_by(rows.width());
    let times: Vec<_> =
        times.filter_map(|cell| if let Value::Time(time) = cell { Some(*time) } else { None }).collect();
    session.make_room(&times).await
}

/// The position, and the right of the journal that wrote them last to go on.
async fn take_over(
    session: &mut dyn Connection,
    status: &StoreStatus,
    former: Option<&LeaseStatus>,
) -> Result<(), StoreError> {
    let mut sql = Sql::new("UPDATE projector SET position = ");
    sql.bind(Value::count(status.position));
    session.execute(sql).await?;
    if let Some(LeaseStatus { lease, holder, .. }) = former {
        lease::take(session, *lease, holder, None).await?;
        lease::touch(session, *lease, true).await?;
    }
    Ok(())
}

/// Whole units and the nano-units beyond, as [`Dialect::sum_of`](super::connection::Dialect::sum_of) answers them.
fn sum_of(units: i64, nanos: i64) -> i128 {
    i128::from(units) * i128::from(Nanos::units(1).get()) + i128::from(nanos)
}
