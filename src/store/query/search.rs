//! Finds what lists search for: rows of teams, members and invitations whose folded texts hold it.

use crate::{
    domain::{
        fold::for_search,
        id::{OrganizationId, TeamId},
    },
    store::{
        SearchQuery, Searched, StoreError,
        connection::{Connection, Dialect},
        tables::Kind::{self, Int, Text},
        value::{Row, Sql, Value},
    },
};

/// Rows that one look goes through at most: between two looks others have their turn.
const LOOK: i64 = 10_000;
/// Separates the texts of a row. No text holds it.
const BETWEEN: &str = "\n";
/// Rows that are folded at a time.
const FOLDED_AT_ONCE: i64 = 1000;

/// Returns the text of a row that is searched, as it stands in the books.
pub(in crate::store) fn search_text(texts: &[&str]) -> String {
    texts.iter().map(|text| for_search(text)).collect::<Vec<_>>().join(BETWEEN)
}

/// Returns true where a folded text can be part of any that stand in the books: those are of one line each.
fn may_be_found(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A table of those that are searched, and its column of ids.
struct Source {
    table: &'static str,
    id: &'static str,
    /// Condition that tells the rows that are there from those that were removed.
    live: &'static str,
    /// The columns of the texts that are searched.
    texts: &'static [&'static str],
}

const TEAMS: Source =
    Source { table: "teams", id: "team_id", live: " AND NOT teams.deleted", texts: &["name", "team_id"] };
const MEMBERS: Source = Source {
    table: "members",
    id: "member_id",
    live: " AND NOT members.deleted",
    texts: &["name", "email", "member_id"],
};
const INVITATIONS: Source =
    Source { table: "invitations", id: "invitation_id", live: "", texts: &["name", "email", "invitation_id"] };

fn source_of(among: &Searched) -> &'static Source {
    match among {
        Searched::Teams => &TEAMS,
        Searched::Members | Searched::MembersOf(_) => &MEMBERS,
        Searched::Invitations => &INVITATIONS,
    }
}

/// Some rows of a table in the order of their creation.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Look {
    /// The number of the first.
    from: u64,
    /// The number before which it ends; `None` goes to the last.
    end: Option<u64>,
}

/// Returns the key at which the next look begins, if there is one.
impl Look {
    pub(in crate::store) fn next(self) -> Option<u64> {
        self.end
    }
}

/// `SELECT what FROM` the rows of a look.
fn rows_of<'a>(query: &'a SearchQuery, what: &str, Look { from, end }: Look) -> Sql<'a> {
    let Source { table, live, .. } = source_of(&query.among);
    let mut sql = Sql::new(format!("SELECT {what} FROM {table}"));
    if let Searched::MembersOf(_) = query.among {
        sql.push(
            " JOIN memberships ON memberships.organization_id = members.organization_id
                AND memberships.member_id = members.member_id",
        );
    }
    push_place(&mut sql, table, &query.organization, from);
    sql.push(live);
    if let Some(end) = end {
        sql.push(&format!(" AND {table}.create_sequence < ")).bind(Value::count(end));
    }
    if let Searched::MembersOf(team) = &query.among {
        sql.push(" AND NOT memberships.deleted AND memberships.team_id = ").bind(Value::text(TeamId::as_str(team)));
    }
    sql
}

fn push_place<'a>(sql: &mut Sql<'a>, table: &str, organization: &'a OrganizationId, from: u64) {
    sql.push(&format!(" WHERE {table}.organization_id = ")).bind(Value::text(organization.as_str()));
    sql.push(&format!(" AND {table}.create_sequence >= ")).bind(Value::count(from));
}

fn push_text<'a>(sql: &mut Sql<'a>, dialect: &Dialect, query: &'a SearchQuery) {
    let table = source_of(&query.among).table;
    sql.push(&format!(" AND {}({table}.search_text, ", dialect.find_text)).bind(Value::text(&query.text)).push(") > 0");
}

/// The look that begins at a number.
async fn look_from(connection: &mut dyn Connection, query: &SearchQuery, from: u64) -> Result<Look, StoreError> {
    let Source { table, live, .. } = source_of(&query.among);
    let mut sql = Sql::new(format!("SELECT {table}.create_sequence FROM {table}"));
    push_place(&mut sql, table, &query.organization, from);
    sql.push(live).push(&format!(" ORDER BY {table}.create_sequence LIMIT 1 OFFSET ")).bind(Value::Int(LOOK));
    let end = connection.fetch(sql, &[Int]).await?.into_iter().next();
    Ok(Look { from, end: end.map(|mut row| row.count(0)).transpose()? })
}

/// Returns the rows that one look finds, and the look.
pub(in crate::store) async fn find(
    connection: &mut dyn Connection,
    query: &SearchQuery,
    from: u64,
    limit: usize,
) -> Result<(Vec<(u64, String)>, Look), StoreError> {
    if !may_be_found(&query.text) {
        return Ok((Vec::new(), Look { from, end: None }));
    }
    let look = look_from(connection, query, from).await?;
    let Source { table, id, .. } = source_of(&query.among);
    let mut sql = rows_of(query, &format!("{table}.create_sequence, {table}.{id}"), look);
    push_text(&mut sql, connection.dialect(), query);
    sql.push(&format!(" ORDER BY {table}.create_sequence LIMIT "));
    sql.bind(Value::count(limit as u64));
    let rows = connection.fetch(sql, &[Int, Text]).await?;
    let found = rows.into_iter().map(|mut row| Ok((row.count(0)?, row.text(1)?)));
    Ok((found.collect::<Result<_, StoreError>>()?, look))
}

/// Returns the number of rows of one look that have it, and the look.
pub(in crate::store) async fn count(
    connection: &mut dyn Connection,
    query: &SearchQuery,
    from: u64,
) -> Result<(u64, Look), StoreError> {
    if !may_be_found(&query.text) {
        return Ok((0, Look { from, end: None }));
    }
    let look = look_from(connection, query, from).await?;
    let mut sql = rows_of(query, "count(*)", look);
    push_text(&mut sql, connection.dialect(), query);
    let counted = connection.fetch(sql, &[Int]).await?.into_iter().next();
    Ok((counted.map_or(Ok(0), |mut row| row.count(0))?, look))
}

/// Folds texts of rows that an older server wrote, some at a time. Returns how many; call again while that is not 0.
pub(in crate::store) async fn fold_some(connection: &mut dyn Connection) -> Result<usize, StoreError> {
    let mut folded = 0;
    for Source { table, id, texts, .. } in [&TEAMS, &MEMBERS, &INVITATIONS] {
        let columns = texts.join(", ");
        let mut sql =
            Sql::new(format!("SELECT organization_id, {id}, {columns} FROM {table} WHERE search_text IS NULL"));
        sql.push(" LIMIT ").bind(Value::Int(FOLDED_AT_ONCE));
        let kinds: Vec<Kind> = vec![Text; texts.len() + 2];
        for row in connection.fetch(sql, &kinds).await? {
            connection.execute(folding(table, id, row, texts.len())?).await?;
            folded += 1;
        }
    }
    Ok(folded)
}

fn folding(table: &str, id: &str, mut row: Row, texts: usize) -> Result<Sql<'static>, StoreError> {
    let words = (0..texts).map(|at| row.text(at + 2)).collect::<Result<Vec<_>, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut sql = Sql::new(format!("UPDATE {table} SET search_text = "));
    sql.bind(Value::owned(search_text(&words)));
    sql.push(" WHERE organization_id = ").bind(Value::owned(row.text(0)?));
    sql.push(&format!(" AND {id} = ")).bind(Value::owned(row.text(1)?));
    Ok(sql)
}
