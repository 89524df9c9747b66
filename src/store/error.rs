//! Which failures of a database pass by themselves, which are its surroundings', and which are damage.

use sqlx::migrate::MigrateError;

use super::StoreError;

/// Of a pooler that takes connections apart: statements and settings are lost from one transaction to the next.
pub(super) const POOLED: &str = "a pooler before the database gives each transaction another of its connections (PgBouncer's \
    pool_mode = transaction), but quotad prepares statements and keeps settings in a connection: let the pooler use \
    pool_mode = session, or connect to Postgres itself";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Database(database) => match database.code() {
                // A SQLSTATE has five characters, a result code of SQLite is a small number.
                Some(code) if code.len() == 5 => of_postgres(&code),
                Some(code) => code.parse().map_or(Kind::Damaged, of_sqlite),
                None => Kind::Damaged,
            },
            // What a broken connection says last isn't always whole.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Kind::Passes,
            sqlx::Error::Configuration(_) | sqlx::Error::BeginFailed => Kind::Unfit,
            _ => Kind::Damaged,
        };
        match kind {
            Kind::Passes => Self::Unavailable(error.to_string()),
            Kind::Unfit => Self::Unfit(error.to_string()),
            Kind::Pooled => Self::Unfit(format!("{POOLED} ({error})")),
            Kind::Damaged => Self::Damaged(error.to_string()),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(version) => Self::Unfit(format!(
                "their tables are of version {version}, which this program doesn't know: run the version that made them, or a later one"
            )),
            MigrateError::VersionMismatch(version) => Self::Unfit(format!(
                "version {version} of their tables was made by a migration that isn't this program's: it may not be a quotad's, or an unreleased one's"
            )),
            error => Self::Damaged(error.to_string()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// By itself, sooner or later.
    Passes,
    /// When somebody changes what the database is used with.
    Unfit,
    /// The same, of a known cause.
    Pooled,
    Damaged,
}

/// By primary result code: NOMEM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN and PROTOCOL pass; PERM and AUTH are rights
/// that are missing.
fn of_sqlite(code: i32) -> Kind {
    match code & 0xff {
        5..=8 | 10 | 13..=15 => Kind::Passes,
        3 | 23 => Kind::Unfit,
        _ => Kind::Damaged,
    }
}

/// By class: connections, logins, rolled back by others, out of resources, an operator's doing, I/O; and single states.
fn of_postgres(state: &str) -> Kind {
    match &state[..2] {
        "08" | "28" | "40" | "53" | "57" | "58" => Kind::Passes,
        // Statements that an earlier transaction prepared, and didn't.
        "26" => Kind::Pooled,
        _ => match state {
            // A standby, a transaction ended by a timeout, a database that isn't there, and locks that others hold.
            "25006" | "25P03" | "3D000" | "55006" | "55P03" => Kind::Passes,
            "25P01" | "42P05" => Kind::Pooled,
            // Rights, features and schemas that are missing.
            "0A000" | "3F000" | "42501" => Kind::Unfit,
            _ => Kind::Damaged,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for state in ["08006", "57P01", "57P02", "57P03", "53300", "53100", "40001", "40P01", "55P03", "57014"] {
            assert_eq!(of_postgres(state), Kind::Passes, "{state}");
        }
        for state in ["23505", "23514", "22021", "42P01", "XX001", "55000"] {
            assert_eq!(of_postgres(state), Kind::Damaged, "{state}");
        }
        for code in [5, 7, 10, 13, 266] {
            assert_eq!(of_sqlite(code), Kind::Passes, "{code}");
        }
        for code in [1, 11, 19, 26, 1555] {
            assert_eq!(of_sqlite(code), Kind::Damaged, "{code}");
        }
    }

    #[test]
    fn an_environment_is_never_told_as_damage() {
        for state in ["26000", "42P05", "25P01"] {
            assert_eq!(of_postgres(state), Kind::Pooled, "{state}");
        }
        for state in ["42501", "3F000", "0A000"] {
            assert_eq!(of_postgres(state), Kind::Unfit, "{state}");
        }
        assert_eq!((of_sqlite(3), of_sqlite(23)), (Kind::Unfit, Kind::Unfit));
        let configured = StoreError::from(sqlx::Error::Configuration("no such certificate".into()));
        assert!(matches!(configured, StoreError::Unfit(_)), "{configured}");
        let missing = StoreError::from(MigrateError::VersionMissing(99));
        assert!(matches!(missing, StoreError::Unfit(_)), "{missing}");
    }
}
