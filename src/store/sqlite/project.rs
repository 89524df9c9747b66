//! Writes a batch, in the order that foreign keys want.

use sqlx::SqliteConnection;

use super::{StoreError, change, project_finance, project_ledger, project_state};
use crate::{
    domain::time::{Span, Timestamp},
    store::batch::Batch,
};

/// Rows a statement: below SQLite's 32,766 variables for every table.
pub(super) const ROWS: usize = 500;
/// How long ended holds are kept: twice as long as they can be asked for.
const KEEP_ENDED: Span = Span::seconds(2 * 86_400);

pub(super) async fn write(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    project_state::entities(connection, batch).await?;
    change::write(connection, batch).await?;
    project_state::system(connection, batch).await?;
    project_state::policies(connection, batch).await?;
    project_finance::write(connection, batch).await?;
    project_ledger::windows(connection, batch).await?;
    project_ledger::reservations(connection, batch).await?;
    project_ledger::entries(connection, batch).await
}

/// Drops ended holds that nobody can ask for any more.
pub(super) async fn prune(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM reservations WHERE state IN ('released', 'expired', 'committed') AND admit_time < ?")
        .bind((now - KEEP_ENDED).micros())
        .execute(connection)
        .await?;
    Ok(())
}
