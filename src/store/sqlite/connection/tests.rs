use super::*;
use crate::store::{connection::Database as _, project, sqlite::SqliteStore, tables};

/// What says of a step of a plan that it reads all of an organization's rows.
const OF_AN_ORGANIZATION: [&str; 2] = ["(organization_id=?)", "(organization_id=? AND scope=?)"];

/// Steps of the plan of a statement that read all of a table, or all that an organization has in it.
async fn walks(connection: &mut dyn Connection, sql: &Sql<'_>) -> Vec<String> {
    let explain = Sql { text: format!("EXPLAIN QUERY PLAN {}", sql.text), values: sql.values.clone() };
    let steps = connection.fetch(explain, &[Kind::Int, Kind::Int, Kind::Int, Kind::Text]).await.unwrap();
    let steps = steps.into_iter().map(|mut row| row.text(3).unwrap());
    let is_walk = |step: &String| {
        let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
        scanned.is_some_and(|scanned| tables::ALL.iter().any(|table| table.name == scanned))
            || OF_AN_ORGANIZATION.iter().any(|all| step.ends_with(all))
    };
    steps.filter(is_walk).collect()
}

/// By a statement of so many rows.
fn written(table: &'static Table, how: How, rows: usize) -> Sql<'static> {
    let width = Rows { table, how, cells: Vec::new() }.width();
    Sql { text: statement(table, how, rows), values: vec![Value::Null; width * rows] }
}

/// The books grow for years: what a batch costs must not grow with them.
#[tokio::test]
async fn what_a_batch_changes_or_removes_is_looked_up_and_not_searched_for() {
    let place = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(place.path()).await.unwrap();
    let mut connection = store.view().await.unwrap();
    let connection = &mut *connection;
    let mut of_a_batch = vec![written(&tables::RESERVATIONS, How::Patch, 3)];
    of_a_batch.extend(
        [&tables::RESERVATIONS, &tables::PRICES, &tables::ACCESS_TOKENS].map(|table| written(table, How::Delete, 3)),
    );
    let parts =
        [&tables::MODELS_OF_KEY, &tables::MODELS_OF_LIMIT, &tables::FACTS_OF_ALERT, &tables::RECIPIENTS_OF_ALERT];
    of_a_batch.extend(parts.map(|table| written(table, How::Delete, 3)));
    let text = Value::text;
    of_a_batch.push(project::retirement((0..3).map(|_| ["o", "key", "k", "", ""].map(text))));
    of_a_batch.push(project::following((0..3).map(|_| ["o", "r"].map(text))));
    of_a_batch.push(project::pruning(Timestamp::from_seconds(1)));
    for sql in &of_a_batch {
        assert_eq!(walks(connection, sql).await, [""; 0], "{}", sql.text);
    }
    // What it looks for is what SQLite says.
    for (sql, walk) in [
        ("DELETE FROM reservations WHERE epoch = 1", "SCAN reservations"),
        (
            "UPDATE limits SET active = FALSE WHERE active AND (organization_id, scope, coalesce(key_id, ''),
             coalesce(team_id, ''), coalesce(member_id, '')) IN (VALUES (1, 2, 3, 4, 5), (6, 7, 8, 9, 10))",
            "SEARCH limits USING INDEX limits_by_place (organization_id=? AND scope=?)",
        ),
    ] {
        assert_eq!(walks(connection, &Sql::new(sql)).await, [walk]);
    }
}

/// What is booked late is rare in a ledger of years: its index is read, and nothing else of the ledger.
#[tokio::test]
async fn late_entries_are_found_by_their_own_index() {
    let place = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(place.path()).await.unwrap();
    let mut connection = store.view().await.unwrap();
    let text = format!(
        "EXPLAIN QUERY PLAN SELECT sum(cost) FROM ledger_entries WHERE organization_id = 'o' AND entry > 1 AND entry <= 9
         AND occurred_at >= 3 AND occurred_at < 5 AND {}",
        DIALECT.late
    );
    let steps = connection.fetch(Sql::new(text), &[Kind::Int, Kind::Int, Kind::Int, Kind::Text]).await.unwrap();
    let steps: Vec<_> = steps.into_iter().map(|mut step| step.text(3).unwrap()).collect();
    assert!(
        steps.iter().all(|step| step.contains("USING INDEX ledger_late (organization_id=? AND entry>?")),
        "{steps:?}"
    );
}

/// Whether to insert into a table looks rows of other tables up, for which SQLite also keeps what the statement changes, to undo it.
async fn refers(connection: &mut dyn Connection, table: &'static Table) -> bool {
    let insert = written(table, How::Insert, 3);
    let explain = Sql { text: format!("EXPLAIN {}", insert.text), values: insert.values };
    let steps = connection.fetch(explain, &[Kind::Int, Kind::Text]).await.unwrap();
    steps.into_iter().any(|mut step| step.text(1).unwrap() == "FkCounter")
}

#[tokio::test]
async fn holds_and_entries_are_inserted_without_a_look_at_other_tables() {
    let place = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(place.path()).await.unwrap();
    let mut connection = store.view().await.unwrap();
    for table in [&tables::RESERVATIONS, &tables::LEDGER_ENTRIES] {
        assert!(!refers(&mut *connection, table).await, "{}", table.name);
    }
    // What it looks for is what SQLite says.
    assert!(refers(&mut *connection, &tables::BUDGET_WINDOWS).await);
}
