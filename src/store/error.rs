//! Which failures of a database pass by themselves, and which need somebody.

use sqlx::migrate::MigrateError;

use super::StoreError;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let passes = match &error {
            sqlx::Error::Database(database) => match database.code() {
                // A SQLSTATE has five characters, a result code of SQLite is a small number.
                Some(code) if code.len() == 5 => postgres_passes(&code),
                Some(code) => code.parse().is_ok_and(sqlite_passes),
                None => false,
            },
            // What a broken connection says last isn't always whole.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        if passes { Self::Unavailable(error.to_string()) } else { Self::Damaged(error.to_string()) }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(version) => Self::Damaged(format!(
                "its tables are of version {version}, which this program doesn't know: run the version that made them, or a later one"
            )),
            MigrateError::VersionMismatch(version) => Self::Damaged(format!(
                "version {version} of its tables was made by a migration that isn't this program's: it may not be a quotad's, or an unreleased one's"
            )),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Primary result codes: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
fn sqlite_passes(code: i32) -> bool {
    matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14)
}

/// By class: connections, logins, rolled back by others, out of resources, an operator's doing, I/O; and single states.
fn postgres_passes(state: &str) -> bool {
    match &state[..2] {
        "08" | "28" | "40" | "53" | "57" | "58" => true,
        // A standby, a transaction ended by a timeout, a database that isn't there, and locks that others hold.
        _ => matches!(state, "25006" | "25P03" | "3D000" | "55006" | "55P03"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for state in ["08006", "57P01", "57P02", "57P03", "53300", "53100", "40001", "40P01", "55P03", "57014"] {
            assert!(postgres_passes(state), "{state}");
        }
        for state in ["23505", "23514", "22021", "42P01", "XX001", "55000"] {
            assert!(!postgres_passes(state), "{state}");
        }
        for code in [5, 10, 13, 266] {
            assert!(sqlite_passes(code), "{code}");
        }
        for code in [1, 11, 19, 1555] {
            assert!(!sqlite_passes(code), "{code}");
        }
    }
}
