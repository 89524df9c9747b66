//! `quotactl allocation`: credits handed out per cycle, to teams and their members.

use clap::{Args, Subcommand};
use quotad::api::proto::{CreditOverview, ResetCycleRequest};

use crate::{
    arguments::{Organization, decimal},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{amount, instant},
    overview,
};

mod member;
mod settings;
mod team;

use member::MemberAllocationCommand;
use settings::SettingsCommand;
use team::TeamAllocationCommand;

const EXAMPLES: &str = "\
Examples:
  quotactl allocation settings set --org acme --credits 10000 --cadence calendar-month --zone Europe/Berlin --validate-only
  quotactl allocation team set research --org acme --monthly 4000 --auto-approve-reserve 200
  quotactl allocation member set research ada --org acme --monthly 500
  quotactl allocation member list research --org acme --search lovelace
  quotactl allocation reset --org acme --validate-only
  quotactl overview --org acme

A member without an allocation of its own draws on its team's pool.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AllocationCommand {
    /// The organization's credits per cycle, and how long a cycle is
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Starts a fresh cycle now: used returns to 0, extra credits are gone
    Reset(Reset),
    /// What teams have
    #[command(subcommand)]
    Team(TeamAllocationCommand),
    /// What a team's members have
    #[command(subcommand)]
    Member(MemberAllocationCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    org: Organization,
    /// Shows what would be, and changes nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    consent: Consent,
}

/// What a team or a member is given.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// Credits in every cycle
    #[arg(long, value_name = "CREDITS", value_parser = decimal)]
    monthly: Option<String>,
    /// Credits in this cycle besides
    #[arg(long, value_name = "CREDITS", value_parser = decimal)]
    extra: Option<String>,
    /// Takes its own allocation away, extra credits too
    #[arg(long, conflicts_with_all = ["monthly", "extra"])]
    none: bool,
}

impl Given {
    /// Both amounts, and which of them are to be changed.
    fn fields(self) -> (String, String, Vec<&'static str>) {
        let given = [("monthly", self.monthly.is_some()), ("extra", self.extra.is_some())];
        let named = given.into_iter().filter(|(_, given)| *given || self.none).map(|(name, _)| name).collect();
        (self.monthly.unwrap_or_default(), self.extra.unwrap_or_default(), named)
    }
}

impl AllocationCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Settings(command) => command.run(context).await,
            Self::Reset(reset) => reset.run(context).await,
            Self::Team(command) => command.run(context).await,
            Self::Member(command) => command.run(context).await,
        }
    }
}

impl Reset {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let out = context.out;
        let reset = async |validate_only| {
            let request = ResetCycleRequest { organization_id: self.org.id.clone(), validate_only };
            let answer = context.server.allocations().reset_cycle(request).await?.into_inner();
            required(answer.overview, "overview")
        };
        if self.validate_only {
            return overview::print(out, &reset(true).await?);
        }
        let planned = async || reset(true).await.map(|planned| question(&self.org.id, &planned));
        if !self.consent.given(out, planned).await? {
            return Ok(());
        }
        overview::print(out, &reset(false).await?)
    }
}

fn question(organization: &str, planned: &CreditOverview) -> String {
    format!(
        "{organization}: used credits return to {}, extra credits are gone, the cycle then ends at {}. This can't be \
         undone. Reset now?",
        amount(&planned.used),
        instant(planned.cycle_end.as_ref()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_given_amounts_are_changed_and_none_takes_both_away() {
        let given = |monthly: Option<&str>, extra: Option<&str>, none| {
            let given = Given { monthly: monthly.map(Into::into), extra: extra.map(Into::into), none };
            given.fields().2
        };
        assert_eq!(given(Some("5"), None, false), ["monthly"]);
        assert_eq!(given(None, Some("5"), false), ["extra"]);
        assert_eq!(given(None, None, true), ["monthly", "extra"]);
        assert!(given(None, None, false).is_empty());
    }

    #[test]
    fn the_question_says_what_a_reset_does() {
        let planned = CreditOverview { used: "0".into(), ..CreditOverview::default() };
        let question = question("acme", &planned);
        assert!(question.starts_with("acme: used credits return to 0") && question.contains("can't be undone"));
    }
}
