//! `quotactl backup` and `quotactl restore`: work on a data directory, with or without its server, and need no token.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueHint};
use indicatif::{HumanBytes, ProgressBar};
use quotad::server::backup::{FILES, back_up, restore};
use serde_json::json;
use tokio::time::interval;

use crate::{failure::Failure, format::thousands, output::Output, progress::bytes_bar};

const BACKUP_EXAMPLES: &str = "\
Examples:
  quotactl backup --data-dir /var/lib/quotad --to /backup/quotad-2026-11-21
  quotactl backup --to copy --json

The server may go on meanwhile. All that it acknowledged before the command began is in the copy. The operator's token isn't: a \
server that starts from the copy makes another. Books in Postgres are backed up with Postgres' own means.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  quotactl restore --from /backup/quotad-2026-11-21 --data-dir /var/lib/quotad

Compares what was copied with itself before it becomes a data directory. Never run a server on it while the original goes on: \
both would give out the same money.";

const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Copies a data directory while its server goes on
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct Backup {
    /// The server's data directory
    #[arg(long, value_name = "DIRECTORY", default_value = "quotad-data", value_hint = ValueHint::DirPath)]
    data_dir: PathBuf,
    /// Where the copy goes; must not exist
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    to: PathBuf,
}

/// Makes a data directory of a backup, and proves that it adds up
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct Restore {
    /// The backup
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    from: PathBuf,
    /// The data directory to be; must not hold one
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    data_dir: PathBuf,
}

impl Backup {
    pub(crate) async fn run(self, out: Output) -> Result<(), Failure> {
        let Self { data_dir, to } = self;
        let copying = watched(&data_dir, to.with_added_extension("partial"), back_up(&data_dir, &to));
        let made = copying.await.map_err(|error| Failure::other(error.to_string()))?;
        if out.is_json() {
            return out.value(&json!({
                "path": to,
                "position": made.position,
                "organizations": made.organizations,
                "bytes": made.bytes,
            }));
        }
        out.text(&format!(
            "copied to {}: {}, {} organizations, up to journal position {}; a server could start from it",
            to.display(),
            HumanBytes(made.bytes),
            thousands(made.organizations as u64),
            thousands(made.position),
        ))
    }
}

impl Restore {
    pub(crate) async fn run(self, out: Output) -> Result<(), Failure> {
        let Self { from, data_dir } = self;
        let copying = watched(&from, data_dir.join("restoring"), restore(&from, &data_dir));
        let restored = copying.await.map_err(|error| Failure::other(error.to_string()))?;
        if out.is_json() {
            return out.value(&json!({
                "path": data_dir,
                "position": restored.position,
                "organizations": restored.organizations,
                "entries": restored.entries,
                "windows": restored.windows,
            }));
        }
        out.text(&format!(
            "restored to {}: {} organizations, {} entries, {} budget windows, up to journal position {}; journal and books \
             agree\nstart it with: quotad --data-dir {}",
            data_dir.display(),
            thousands(restored.organizations),
            thousands(restored.entries),
            thousands(restored.windows),
            thousands(restored.position),
            data_dir.display(),
        ))
    }
}

/// With a bar of the bytes that have arrived at `to`.
async fn watched<T>(from: &Path, to: PathBuf, work: impl Future<Output = T>) -> T {
    let bar = bytes_bar(size_of(from));
    let draw = async |bar: &ProgressBar| {
        let mut ticks = interval(DRAW_EVERY);
        loop {
            ticks.tick().await;
            bar.set_position(size_of(&to));
        }
    };
    let done = tokio::select! {
        done = work => done,
        never = draw(&bar) => never,
    };
    bar.finish_and_clear();
    done
}

fn size_of(directory: &Path) -> u64 {
    FILES.iter().filter_map(|file| fs::metadata(directory.join(file)).ok()).map(|found| found.len()).sum()
}
