//! Handing out credits: settings, cycles, what teams and members have of their own.

use smallvec::SmallVec;

use super::{Outcome, Turn, control::live};
use crate::{
    domain::{
        alert::AlertKind,
        allocation::{Allocation, AllocationSettings, CycleCause, Drawn},
        error::SumTooLarge,
        event::{Event, LimitNo, NumberedLimit},
        id::{MemberId, TeamId},
        money::Nanos,
        period::Window,
        policy::{AllocationPlace, Scope, Unit},
        time::Span,
    },
    engine::{
        conflict::{Conflict, WouldRestart},
        state::TeamCredits,
        turn::alert::Notice,
        windows::Counted,
    },
};

/// Fields to change; `None` leaves one as it is, an inner `None` unsets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocationChange {
    pub monthly: Option<Option<Nanos>>,
    pub extra: Option<Option<Nanos>>,
}

impl AllocationChange {
    fn of(self, before: Allocation) -> Allocation {
        Allocation { monthly: self.monthly.unwrap_or(before.monthly), extra: self.extra.unwrap_or(before.extra) }
    }
}

impl Turn<'_> {
    /// Starts the cycle that is due. Whoever reads or changes allocations comes by here first.
    pub fn tick(&mut self) {
        let cycle = self.state.allocations.cycle;
        if self.now >= cycle.end {
            let AllocationSettings { cadence, zone, .. } = self.state.allocations.settings;
            let cycle = cadence.cycle_at(self.now, cycle, zone);
            self.emit(Event::CycleStarted { cycle, cause: CycleCause::Elapsed });
        }
    }

    /// Opens the counters that requests of this key count in and that aren't open yet.
    pub(super) fn open_counters(&mut self, key: u32) {
        while let Some((place, limit)) = self.state.missing_counter(key) {
            let no = LimitNo(self.state.next_limit_no());
            self.emit(Event::CounterOpened { place, limit: Box::new(NumberedLimit { no, limit }) });
        }
    }

    /// Changes how credits are handed out. Another cadence or zone starts a cycle at once, which begins at zero and needs `restart`
    /// where credits were used.
    ///
    /// # Errors
    /// [`Conflict`] for a personal account, a cap on credits that aren't tracked, or a cycle that would forget what was used.
    pub fn set_allocation_settings(&mut self, settings: AllocationSettings, restart: bool) -> Outcome<()> {
        self.check_organization()?;
        self.check_team_account("the allocation of credits")?;
        self.tick();
        let before = self.state.allocations.settings;
        if before == settings {
            return Ok(());
        }
        let is_new = settings.credits_per_cycle.is_some() && settings.credits_per_cycle != before.credits_per_cycle;
        if is_new || settings.signup_credits > before.signup_credits {
            self.check_credits_tracked()?;
        }
        let starts = (settings.cadence, settings.zone) != (before.cadence, before.zone);
        if starts && !restart {
            self.check_nothing_used()?;
        }
        self.emit(Event::AllocationSettingsSet(settings));
        if starts {
            self.start_cycle(settings, CycleCause::Changed);
        }
        let total = self.counters_of(&AllocationPlace::Organization);
        self.revoke_above_caps(&total);
        Ok(())
    }

    /// # Errors
    /// [`Conflict::WouldRestartSpending`] when credits were used in this cycle.
    fn check_nothing_used(&self) -> Outcome<()> {
        let used = self.state.credits().account().used;
        if used == Nanos::ZERO {
            return Ok(());
        }
        let scope_id = self.state.organization.id.as_str().into();
        let (scope, limit, unit) = (Scope::Allocation, "allocation".into(), Unit::Credits.name());
        Err(WouldRestart { scope, scope_id, limit, spent: used.to_string(), unit }.into())
    }

    pub(super) fn check_credits_tracked(&self) -> Outcome<()> {
        if self.state.organization.credit_factor.is_on() {
            return Ok(());
        }
        let problem = "credits aren't tracked while the organization's credit_factor is 0; set one first";
        Err(Conflict::Precondition(problem.to_owned()))
    }

    /// Ends the running cycle now. Answers the new one.
    ///
    /// # Errors
    /// [`Conflict`] for a personal account.
    pub fn reset_cycle(&mut self) -> Outcome<Window> {
        self.check_organization()?;
        self.check_team_account("the allocation of credits")?;
        self.tick();
        Ok(self.start_cycle(self.state.allocations.settings, CycleCause::Reset))
    }

    /// Starts a cycle now. Counters know cycles by their start, so that no two begin in the same instant.
    fn start_cycle(&mut self, settings: AllocationSettings, cause: CycleCause) -> Window {
        self.now = self.now.max(self.state.allocations.cycle.start + Span::micros(1));
        let cycle = settings.cadence.cycle_from(self.now, settings.zone);
        self.emit(Event::CycleStarted { cycle, cause });
        cycle
    }

    /// # Errors
    /// [`Conflict`] when there is no such team, it has given out more, or the organization has less left.
    pub fn set_team_allocation(
        &mut self,
        team: &TeamId,
        change: AllocationChange,
        reserve: Option<Nanos>,
    ) -> Outcome<()> {
        self.check_change_of_allocation(team)?;
        let place = self.state.teams.place(team).unwrap_or(u32::MAX);
        let before = self.state.allocations.team(place);
        let next = change.of(before.allocation);
        if next != before.allocation {
            self.check_credits_tracked()?;
            if let Some(total) = next.cap().filter(|total| *total < before.distributed) {
                let have = before.distributed.shown();
                let problem = format!(
                    "team {team} can't have {} credits: {have} of them are given out to its members; lower theirs first",
                    total.shown()
                );
                return Err(Conflict::Precondition(problem));
            }
            let committed = self.state.credits().team(place).committed();
            let taken = |allocation: Allocation| TeamCredits::taken(allocation.given(), committed);
            self.check_account(taken(next) - taken(before.allocation))?;
            self.set_allocation(AllocationPlace::Pool(team.clone()), next);
        }
        if let Some(reserve) = reserve.filter(|reserve| *reserve != before.reserve) {
            if reserve > before.reserve {
                self.check_credits_tracked()?;
            }
            self.emit(Event::AutoApproveSet { team: team.clone(), reserve });
        }
        Ok(())
    }

    fn check_change_of_allocation(&mut self, team: &TeamId) -> Outcome<()> {
        self.check_organization()?;
        self.check_team_account("the allocation of credits")?;
        live(&self.state.teams, team, team.as_str())?;
        self.tick();
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the member isn't in the team, or the team or the organization has less left.
    pub fn set_member_allocation(&mut self, team: &TeamId, member: &MemberId, change: AllocationChange) -> Outcome<()> {
        self.check_change_of_allocation(team)?;
        let id = (team.clone(), member.clone());
        live(&self.state.memberships, &id, &format!("{team}/{member}"))?;
        let membership = self.state.memberships.place(&id).unwrap_or(u32::MAX);
        let before = self.state.allocations.member(membership);
        let next = change.of(before);
        if next == before {
            return Ok(());
        }
        self.check_credits_tracked()?;
        self.check_own(team, member, next)?;
        self.set_allocation(AllocationPlace::Member(team.clone(), member.clone()), next);
        Ok(())
    }

    /// What a member has of its own with more extra credits.
    ///
    /// # Errors
    /// [`SumTooLarge`] when that is more than can be counted.
    pub(super) fn with_extra(
        &self,
        team: &TeamId,
        member: &MemberId,
        credits: Nanos,
    ) -> Result<Allocation, SumTooLarge> {
        let at = self.state.memberships.place(&(team.clone(), member.clone())).unwrap_or(u32::MAX);
        let before = self.state.allocations.member(at);
        Nanos::checked_sum(|| format!("what {member} has in team {team}"), [before.given(), credits])?;
        Ok(Allocation { extra: Some(before.extra.unwrap_or_default() + credits), ..before })
    }

    /// Whether a member can have this of its own: the team, or where it has no cap the organization, must have what that takes
    /// beyond what the member has or used already.
    pub(super) fn check_own(&self, team: &TeamId, member: &MemberId, next: Allocation) -> Outcome<()> {
        let at = self.state.memberships.place(&(team.clone(), member.clone())).unwrap_or(u32::MAX);
        let (before, next) = (self.state.allocations.member(at).given(), next.given());
        let Counted { spent, held } = self.state.credits_of(at);
        let place = self.state.teams.place(team).unwrap_or(u32::MAX);
        let credits = self.state.credits().team(place);
        let Some(free) = credits.free() else {
            let (given, committed) = (credits.allocated.allocation.given(), credits.committed());
            let after = committed + next.max(spent) - before.max(spent);
            return self.check_account(TeamCredits::taken(given, after) - TeamCredits::taken(given, committed));
        };
        let more = next.max(spent + held) - before.max(spent + held);
        if more.is_positive() && more > free {
            return Err(Conflict::Precondition(format!(
                "{} more credits can't be given out: team {team} has {} available in this cycle",
                more.shown(),
                free.shown()
            )));
        }
        Ok(())
    }

    fn check_account(&self, more: Nanos) -> Outcome<()> {
        let account = self.state.credits().account();
        if more.is_positive() {
            let what = || String::from("what the organization gives out in a cycle");
            Nanos::checked_sum(what, [account.given, account.beyond, more])?;
        }
        match account.available {
            Some(free) if more.is_positive() && more > free => Err(Conflict::Precondition(format!(
                "{} more credits can't be given out: the organization has {} available in this cycle",
                more.shown(),
                free.shown()
            ))),
            _ => Ok(()),
        }
    }

    /// Sets what was checked. What a member used and holds beyond it, its team's pool bears.
    pub(super) fn set_allocation(&mut self, place: AllocationPlace, allocation: Allocation) {
        let drawn = match &place {
            AllocationPlace::Member(team, member) => {
                let at = self.state.memberships.place(&(team.clone(), member.clone())).unwrap_or(u32::MAX);
                let before = self.state.drawn_with(at, self.state.allocations.member(at));
                self.state.drawn_with(at, allocation).minus(before)
            }
            AllocationPlace::Organization | AllocationPlace::Pool(_) => Drawn::default(),
        };
        let counters = self.counters_of(&place);
        self.emit(Event::AllocationSet { place, allocation, drawn });
        self.revoke_above_caps(&counters);
    }

    /// The counters whose caps or sums change with an allocation: its team's pool is there for all that its members have.
    fn counters_of(&self, place: &AllocationPlace) -> SmallVec<[LimitNo; 2]> {
        let (team, member) = match place {
            AllocationPlace::Organization => return self.state.allocations.total_counter().into_iter().collect(),
            AllocationPlace::Pool(team) => (team, None),
            AllocationPlace::Member(team, member) => (team, Some(member)),
        };
        let at = member.and_then(|member| self.state.memberships.place(&(team.clone(), member.clone())));
        let own = at.and_then(|at| self.state.allocations.counter(at));
        let pool = self.state.teams.place(team).and_then(|at| self.state.allocations.team(at).pool);
        own.into_iter().chain(pool).collect()
    }

    /// Credits for a new member of the default team, out of what the team has available.
    pub(super) fn give_signup_credits(&mut self, team: &TeamId, member: &MemberId) {
        let credits = self.state.allocations.settings.signup_credits;
        if !credits.is_positive() || !self.state.organization.credit_factor.is_on() {
            return;
        }
        self.tick();
        let next = self.with_extra(team, member, credits).map_err(Conflict::from);
        match next.and_then(|next| self.check_own(team, member, next).map(|()| next)) {
            Ok(next) => self.set_allocation(AllocationPlace::Member(team.clone(), member.clone()), next),
            Err(refused) => self.notice(Notice {
                kind: AlertKind::SignupCreditsMissing,
                cause: None,
                subject: format!("{member} joined without its signup credits"),
                facts: vec![
                    ("member", member.to_string()),
                    ("credits", credits.shown()),
                    ("problem", refused.to_string()),
                ],
                recipients: Vec::new(),
            }),
        }
    }
}
