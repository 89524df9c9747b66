//! `quotactl store`: the books themselves, while no server writes them. Needs no server.

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use quotad::{
    config::Secret,
    store::migrate::{Moved, Place, Progress, migrate},
};
use serde_json::json;

use crate::{failure::Failure, output::Output, progress::progress_bar};

const EXAMPLES: &str = "\
Examples:
  quotactl store migrate --from ./quotad-data --to postgres://quotad@db.example.org/quotad
  quotactl store migrate --from postgres://quotad@db.example.org/quotad --to ./quotad-data

Stop the server first. Its journal stays where it is: start it again with the same data directory, and with the \
database_url that was given here, whole. Nothing is lost if this is stopped half-way: the books stay where they were.";

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Moves the books between SQLite and Postgres, and checks them there
    Migrate(Migrate),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Migrate {
    /// Where the books are: a data directory, or the URL of a Postgres database
    #[arg(long, value_name = "DIRECTORY|URL")]
    from: Secret,
    /// Where they go: a place without books
    #[arg(long, value_name = "DIRECTORY|URL")]
    to: Secret,
}

impl StoreCommand {
    pub(crate) async fn run(&self, out: Output) -> Result<(), Failure> {
        match self {
            Self::Migrate(command) => command.run(out).await,
        }
    }
}

impl Migrate {
    async fn run(&self, out: Output) -> Result<(), Failure> {
        let (from, to) = (Place::parse(self.from.reveal()), Place::parse(self.to.reveal()));
        let bar = if out.is_json() { ProgressBar::hidden() } else { progress_bar(None) };
        let mut show = |Progress { done, total }| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let moved = migrate(&from, &to, &mut show).await;
        bar.finish_and_clear();
        let moved = moved.map_err(|error| Failure::other(error.to_string()))?;
        let rows: serde_json::Map<_, _> =
            moved.rows.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
        let value = json!({
            "from": from.to_string(), "to": to.to_string(), "position": moved.position.to_string(),
            "organizations": moved.organizations, "rows": rows,
        });
        out.done(&sentence(&moved, &from, &to), &value)
    }
}

fn sentence(moved: &Moved, from: &Place, to: &Place) -> String {
    let Moved { position, rows, organizations } = moved;
    let of = |name: &str| rows.iter().find(|(table, _)| *table == name).map_or(0, |(_, rows)| *rows);
    let entries = of("ledger_entries");
    let total: u64 = rows.iter().map(|(_, rows)| rows).sum();
    let next = match to {
        Place::Database(_) => String::from(
            "start quotad with the data directory that it had, and with the URL given here as its database_url",
        ),
        Place::Directory(path) => {
            format!("start quotad with --data-dir {}, its journal in it, and without a database_url", path.display())
        }
    };
    format!(
        "{entries} ledger entries of {organizations} ledgers, {total} rows in all, moved from {from} to {to}, up to journal \
         position {position}\nchecked: rows and sums of money of every table, last entry and balance of every ledger\n\
         next: {next}\nthe books at {from} are closed: no server writes them any more"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_set_next_and_no_password() {
        let moved = Moved { position: 9, rows: vec![("ledger_entries", 7), ("teams", 2)], organizations: 1 };
        let directory = Place::parse("data");
        let database = Place::parse("postgres://quotad:secret@db.example.org:5432/quotad?sslmode=require");
        let there = sentence(&moved, &directory, &database);
        assert!(there.contains("the URL given here as its database_url\n"), "{there}");
        assert!(there.contains("7 ledger entries of 1 ledgers, 9 rows"), "{there}");
        let back = sentence(&moved, &database, &directory);
        assert!(back.contains("--data-dir data") && back.contains("without a database_url"), "{back}");
        assert!(!format!("{there}{back}").contains("secret"));
    }
}
