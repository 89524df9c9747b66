//! `quotactl journal import`: brings what only a set-aside journal has into the server that has the books now.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, ValueHint};
use futures::{StreamExt as _, stream};
use quotad::{
    domain::time::Span,
    server::salvage::{Salvage, SalvageError, Salvaged},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::Failure,
    format::thousands,
    output::{Column, Item, jsons, number, tabulated, text},
    progress::progress_bar,
    service_access::ServiceAccess,
};

mod bring;

use bring::{Brought, Target, bring};

const EXAMPLES: &str = "\
Examples:
  quotactl journal import --from /var/lib/quotad/set-aside-before-epoch-65536 --dry-run
  quotactl journal import --from /var/lib/quotad/set-aside-before-epoch-65536 --after 4183

Commits, charges and top-ups are done again by the ids that they were made with: whatever the server has already stays as it \
is, so the command may be repeated. The server's log says from which position the books lacked something; without --after all \
that the journal has is gone through. Reservations can be settled for 24 hours after their admission, so don't wait. Changes \
of the control plane and corrections are listed, not repeated: make those again that still make sense.";

/// Journals that another server's books lack something of
#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    Import(Import),
}

/// Books what only this journal has: of a server that lost its lease, or that was built anew
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// The data directory of a server that was stopped, or what a server set aside in its own
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    from: PathBuf,
    /// Journal position up to which the books have everything
    #[arg(long, value_name = "POSITION", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only show what the journal has
    #[arg(long)]
    dry_run: bool,
}

/// Calls at a time: each waits for the server's disk.
const AT_ONCE: usize = 64;
/// Most things left that are shown.
const SHOWN: usize = 100;

const TOKEN_LIFE: Span = Span::DAY;

/// What became of one kind.
#[derive(Debug, Default)]
struct Tally {
    found: u64,
    booked: u64,
    known: u64,
    left: u64,
}

/// Something that a person has to look at.
struct Left {
    what: String,
    why: String,
}

#[derive(Default)]
struct Report {
    tallies: BTreeMap<&'static str, Tally>,
    left: Vec<Left>,
}

impl JournalCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let Self::Import(import) = self;
        import.run(context).await
    }
}

impl Import {
    async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let mut salvage = Salvage::open(&self.from, self.after).await.map_err(|error| unreadable(&error))?;
        let begin = salvage.position();
        let access = ServiceAccess::open(&context.server, TOKEN_LIFE).await?;
        let report =
            self.bring_all(&mut salvage, &Target { control: &context.server, data: access.connection() }).await;
        access.close().await;
        report?.show(context, (begin, salvage.end))
    }

    async fn bring_all(&self, salvage: &mut Salvage, target: &Target<'_>) -> Result<Report, Failure> {
        let begin = salvage.position();
        let bar = progress_bar(Some(salvage.end.saturating_sub(begin)));
        let mut report = Report::default();
        while let Some(found) = salvage.next().await.map_err(|error| unreadable(&error))? {
            let mut brought = stream::iter(found)
                .map(async |salvaged| {
                    let kind = kind_of(&salvaged);
                    if self.dry_run { (kind, None) } else { (kind, Some(bring(target, salvaged).await)) }
                })
                .buffer_unordered(AT_ONCE);
            while let Some((kind, outcome)) = brought.next().await {
                report.add(kind, outcome.transpose()?);
            }
            bar.set_position(salvage.position() - begin);
        }
        bar.finish_and_clear();
        Ok(report)
    }
}

fn unreadable(error: &SalvageError) -> Failure {
    Failure::other(error.to_string())
}

fn kind_of(salvaged: &Salvaged) -> &'static str {
    match salvaged {
        Salvaged::Committed { .. } => "commit",
        Salvaged::Charged { .. } => "charge",
        Salvaged::Expired { .. } => "expiry",
        Salvaged::Released { .. } => "release",
        Salvaged::ToppedUp { .. } => "top-up",
        Salvaged::Changed { .. } => "change",
    }
}

impl Report {
    fn add(&mut self, kind: &'static str, outcome: Option<Brought>) {
        let tally = self.tallies.entry(kind).or_default();
        tally.found += 1;
        match outcome {
            None => {}
            Some(Brought::Booked) => tally.booked += 1,
            Some(Brought::Known) => tally.known += 1,
            Some(Brought::Left { what, why }) => {
                tally.left += 1;
                self.left.push(Left { what, why });
            }
        }
    }

    fn show(&self, context: &Context, (begin, end): (u64, u64)) -> Result<ExitCode, Failure> {
        let rows: Vec<Row<'_>> = self.tallies.iter().map(|(kind, tally)| Row(kind, tally)).collect();
        let left = &self.left[..self.left.len().min(SHOWN)];
        if context.out.is_json() {
            context.out.value(&json!({
                "after": begin,
                "position": end,
                "kinds": jsons(&rows),
                "left": jsons(&self.left),
            }))?;
        } else if rows.is_empty() {
            context.out.text(&format!(
                "nothing to bring in between positions {} and {}",
                thousands(begin),
                thousands(end)
            ))?;
        } else {
            context.out.text(&tabulated(&rows))?;
            if !left.is_empty() {
                context.out.text(&format!("\nleft for you to look at:\n{}", tabulated(left)))?;
            }
            if self.left.len() > left.len() {
                context.out.text(&format!("and {} more; --json lists all", self.left.len() - left.len()))?;
            }
        }
        Ok(if self.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

struct Row<'a>(&'static str, &'a Tally);

impl Item for Row<'_> {
    const COLUMNS: &'static [Column] =
        &[text("kind"), number("in the journal"), number("booked now"), number("there already"), number("left")];

    fn cells(&self) -> Vec<String> {
        let Self(kind, Tally { found, booked, known, left }) = self;
        let counts = [found, booked, known, left].map(|count| thousands(*count));
        [vec![(*kind).to_owned()], counts.to_vec()].concat()
    }

    fn json(&self) -> Value {
        let Self(kind, Tally { found, booked, known, left }) = self;
        json!({ "kind": kind, "found": found, "booked": booked, "known": known, "left": left })
    }
}

impl Item for Left {
    const COLUMNS: &'static [Column] = &[text("what"), text("why")];

    fn cells(&self) -> Vec<String> {
        vec![self.what.clone(), self.why.clone()]
    }

    fn json(&self) -> Value {
        json!({ "what": self.what, "why": self.why })
    }
}
