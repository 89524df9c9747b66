//! Credits handed out per cycle, in and out.

use std::sync::Arc;

use super::{
    convert::{
        mask::Mask,
        name_in,
        page::{page_in, query_name, token_out},
        required,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, allocation_service_server::AllocationService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        allocation::{Allocation, AllocationSettings, Cadence},
        error::Invalid,
        id::{MemberId, OrganizationId, TeamId},
        money::Nanos,
        period::Window,
        zone::Zone,
    },
    service::{
        AccountCredits, AllocationChange, Caller, CreditOverview, Error, Found, MemberCredits, Service, SettingsChange,
        TeamAllocation, TeamCredits, TeamView,
    },
};

pub(super) struct AllocationApi(pub(super) Arc<Service>);

serve! {
    AllocationService, AllocationApi {
        get_allocation_settings(GetAllocationSettingsRequest) -> GetAllocationSettingsResponse = settings.await;
        update_allocation_settings(UpdateAllocationSettingsRequest)
            -> UpdateAllocationSettingsResponse = change_settings.await;
        reset_cycle(ResetCycleRequest) -> ResetCycleResponse = reset.await;
        get_overview(GetOverviewRequest) -> GetOverviewResponse = overview.await;
        list_team_allocations(ListTeamAllocationsRequest) -> ListTeamAllocationsResponse = teams.await;
        update_team_allocation(UpdateTeamAllocationRequest) -> UpdateTeamAllocationResponse = change_team.await;
        list_member_allocations(ListMemberAllocationsRequest) -> ListMemberAllocationsResponse = members.await;
        update_member_allocation(UpdateMemberAllocationRequest)
            -> UpdateMemberAllocationResponse = change_member.await;
    }
}

scoped! {
    GetAllocationSettingsRequest: organization_id;
    UpdateAllocationSettingsRequest: settings.organization_id, fields update_mask;
    ResetCycleRequest: organization_id;
    GetOverviewRequest: organization_id;
    ListTeamAllocationsRequest: organization_id;
    UpdateTeamAllocationRequest: allocation.organization_id, fields update_mask;
    ListMemberAllocationsRequest: organization_id;
    UpdateMemberAllocationRequest: allocation.organization_id, fields update_mask;
}

impl AllocationApi {
    async fn settings(
        &self,
        _: &Caller,
        message: proto::GetAllocationSettingsRequest,
    ) -> Result<proto::GetAllocationSettingsResponse, Error> {
        let proto::GetAllocationSettingsRequest { organization_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let settings = self.0.allocation_settings(&organization).await?;
        let tracked = self.0.tracks_credits(&organization)?;
        Ok(proto::GetAllocationSettingsResponse { settings: Some(settings_out(&organization, settings, tracked)) })
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        message: proto::UpdateAllocationSettingsRequest,
    ) -> Result<proto::UpdateAllocationSettingsResponse, Error> {
        let proto::UpdateAllocationSettingsRequest { settings, update_mask, validate_only, restart_spending } = message;
        let mask = Mask::of(update_mask, &["credits_per_cycle", "cadence", "time_zone", "signup_credits"])?;
        let proto::AllocationSettings {
            organization_id,
            credits_per_cycle,
            cadence,
            time_zone,
            signup_credits,
            credits_tracked: _,
        } = required("settings", settings)?;
        let organization = OrganizationId::parse("settings.organization_id", &organization_id)?;
        let credits = || amount_in("settings.credits_per_cycle", &credits_per_cycle);
        let change = SettingsChange {
            credits_per_cycle: mask.pick("credits_per_cycle", credits)?,
            cadence: mask.pick("cadence", || cadence_in(cadence))?,
            zone: mask.pick("time_zone", || Zone::parse("settings.time_zone", &time_zone))?,
            signup_credits: mask.pick("signup_credits", || Nanos::parse("settings.signup_credits", &signup_credits))?,
        };
        let (settings, overview) =
            self.0.update_allocation_settings(caller, &organization, change, (validate_only, restart_spending)).await?;
        Ok(proto::UpdateAllocationSettingsResponse {
            settings: Some(settings_out(&organization, settings, overview.credits_tracked)),
            overview: Some(overview_out(&organization, overview)),
        })
    }

    async fn reset(
        &self,
        caller: &Caller,
        message: proto::ResetCycleRequest,
    ) -> Result<proto::ResetCycleResponse, Error> {
        let proto::ResetCycleRequest { organization_id, validate_only } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let overview = self.0.reset_cycle(caller, &organization, validate_only).await?;
        Ok(proto::ResetCycleResponse { overview: Some(overview_out(&organization, overview)) })
    }

    async fn overview(
        &self,
        _: &Caller,
        message: proto::GetOverviewRequest,
    ) -> Result<proto::GetOverviewResponse, Error> {
        let proto::GetOverviewRequest { organization_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let overview = self.0.credit_overview(&organization).await?;
        Ok(proto::GetOverviewResponse { overview: Some(overview_out(&organization, overview)) })
    }

    async fn teams(
        &self,
        caller: &Caller,
        message: proto::ListTeamAllocationsRequest,
    ) -> Result<proto::ListTeamAllocationsResponse, Error> {
        let filters = proto::ListTeamAllocationsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("team_allocations", &filters);
        let proto::ListTeamAllocationsRequest { organization_id, search, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let search = name_in("search", search)?;
        let at = page_in(&list, page_size, &page_token)?;
        let found = self.0.list_team_credits(caller, &organization, &search, at).await?;
        let Found { items, next, total } = found;
        Ok(proto::ListTeamAllocationsResponse {
            teams: items.into_iter().map(|team| team_out(&organization, team)).collect(),
            next_page_token: token_out(&list, next),
            total_size: total,
        })
    }

    async fn change_team(
        &self,
        caller: &Caller,
        message: proto::UpdateTeamAllocationRequest,
    ) -> Result<proto::UpdateTeamAllocationResponse, Error> {
        let proto::UpdateTeamAllocationRequest { allocation, update_mask } = message;
        let mask = Mask::of(update_mask, &["monthly", "extra", "auto_approve_reserve"])?;
        let proto::TeamAllocation {
            organization_id,
            team_id,
            name: _,
            monthly,
            extra,
            auto_approve_reserve,
            member_count: _,
            used: _,
            distributed: _,
            shared_used: _,
            available: _,
            auto_approved: _,
            credits_tracked: _,
        } = required("allocation", allocation)?;
        let organization = OrganizationId::parse("allocation.organization_id", &organization_id)?;
        let team = TeamId::parse("allocation.team_id", &team_id)?;
        let change = change_in(&mask, &monthly, &extra)?;
        let reserve = || Nanos::parse("allocation.auto_approve_reserve", &auto_approve_reserve);
        let reserve = mask.pick("auto_approve_reserve", reserve)?;
        let view = self.0.update_team_allocation(caller, &organization, &team, change, reserve).await?;
        Ok(proto::UpdateTeamAllocationResponse { allocation: Some(team_out(&organization, view)) })
    }

    async fn members(
        &self,
        caller: &Caller,
        message: proto::ListMemberAllocationsRequest,
    ) -> Result<proto::ListMemberAllocationsResponse, Error> {
        let filters =
            proto::ListMemberAllocationsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("member_allocations", &filters);
        let proto::ListMemberAllocationsRequest { organization_id, team_id, search, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let team = TeamId::parse("team_id", &team_id)?;
        let search = name_in("search", search)?;
        let at = page_in(&list, page_size, &page_token)?;
        let found = self.0.list_member_credits(caller, &organization, &team, &search, at).await?;
        let Found { items, next, total } = found;
        Ok(proto::ListMemberAllocationsResponse {
            members: items.into_iter().map(|member| member_out(&organization, member)).collect(),
            next_page_token: token_out(&list, next),
            total_size: total,
        })
    }

    async fn change_member(
        &self,
        caller: &Caller,
        message: proto::UpdateMemberAllocationRequest,
    ) -> Result<proto::UpdateMemberAllocationResponse, Error> {
        let proto::UpdateMemberAllocationRequest { allocation, update_mask } = message;
        let mask = Mask::of(update_mask, &["monthly", "extra"])?;
        let proto::MemberAllocation {
            organization_id,
            team_id,
            member_id,
            name: _,
            email: _,
            monthly,
            extra,
            used: _,
            remaining: _,
            credits_tracked: _,
        } = required("allocation", allocation)?;
        let organization = OrganizationId::parse("allocation.organization_id", &organization_id)?;
        let team = TeamId::parse("allocation.team_id", &team_id)?;
        let member = MemberId::parse("allocation.member_id", &member_id)?;
        let change = change_in(&mask, &monthly, &extra)?;
        let (member, team) = self.0.update_member_allocation(caller, &organization, (&team, &member), change).await?;
        Ok(proto::UpdateMemberAllocationResponse {
            allocation: Some(member_out(&organization, member)),
            team: Some(team_out(&organization, team)),
        })
    }
}

/// Empty means unset.
fn amount_in(field: &str, amount: &str) -> Result<Option<Nanos>, Invalid> {
    if amount.is_empty() { Ok(None) } else { Nanos::parse(field, amount).map(Some) }
}

fn amount_out(amount: Option<Nanos>) -> String {
    amount.map_or_else(String::new, nanos_out)
}

fn change_in(mask: &Mask, monthly: &str, extra: &str) -> Result<AllocationChange, Invalid> {
    Ok(AllocationChange {
        monthly: mask.pick("monthly", || amount_in("allocation.monthly", monthly))?,
        extra: mask.pick("extra", || amount_in("allocation.extra", extra))?,
    })
}

fn cadence_in(cadence: i32) -> Result<Cadence, Invalid> {
    match proto::Cadence::try_from(cadence) {
        Ok(proto::Cadence::CalendarMonth) => Ok(Cadence::CalendarMonth),
        Ok(proto::Cadence::FifteenDays) => Ok(Cadence::Days15),
        Ok(proto::Cadence::Week) => Ok(Cadence::Week),
        Ok(proto::Cadence::Day) => Ok(Cadence::Day),
        Ok(proto::Cadence::TwelveHours) => Ok(Cadence::Hours12),
        Ok(proto::Cadence::SixHours) => Ok(Cadence::Hours6),
        Ok(proto::Cadence::Hour) => Ok(Cadence::Hour),
        Ok(proto::Cadence::Unspecified) | Err(_) => {
            let choices = "CADENCE_CALENDAR_MONTH, _FIFTEEN_DAYS, _WEEK, _DAY, _TWELVE_HOURS, _SIX_HOURS or _HOUR";
            Err(Invalid::new("settings.cadence", format!("{cadence} is none of {choices}")))
        }
    }
}

fn cadence_out(cadence: Cadence) -> proto::Cadence {
    match cadence {
        Cadence::CalendarMonth => proto::Cadence::CalendarMonth,
        Cadence::Days15 => proto::Cadence::FifteenDays,
        Cadence::Week => proto::Cadence::Week,
        Cadence::Day => proto::Cadence::Day,
        Cadence::Hours12 => proto::Cadence::TwelveHours,
        Cadence::Hours6 => proto::Cadence::SixHours,
        Cadence::Hour => proto::Cadence::Hour,
    }
}

fn settings_out(
    organization: &OrganizationId,
    settings: AllocationSettings,
    credits_tracked: bool,
) -> proto::AllocationSettings {
    let AllocationSettings { credits_per_cycle, cadence, zone, signup_credits } = settings;
    proto::AllocationSettings {
        organization_id: organization.to_string(),
        credits_per_cycle: amount_out(credits_per_cycle),
        cadence: cadence_out(cadence).into(),
        time_zone: zone.to_string(),
        signup_credits: nanos_out(signup_credits),
        credits_tracked,
    }
}

fn overview_out(organization: &OrganizationId, overview: CreditOverview) -> proto::CreditOverview {
    let CreditOverview { credits_tracked, account, teams } = overview;
    let AccountCredits { cycle: Window { start, end }, credits_per_cycle, used, given, beyond: _, available, balance } =
        account;
    proto::CreditOverview {
        cycle_start: Some(timestamp_out(start)),
        cycle_end: Some(timestamp_out(end)),
        credits_per_cycle: amount_out(credits_per_cycle),
        used: nanos_out(used),
        used_percent: used_percent(used, credits_per_cycle),
        balance: amount_out(balance),
        distributed: nanos_out(given),
        available: amount_out(available),
        teams: teams.into_iter().map(|team| team_out(organization, team)).collect(),
        credits_tracked,
    }
}

/// With two decimals, rounded down, so that 100.00 is said only of what is used up. Empty where there is no total.
fn used_percent(used: Nanos, total: Option<Nanos>) -> String {
    let Some(total) = total.filter(|total| total.is_positive()) else { return String::new() };
    let hundredths = (i128::from(used.get()) * 10_000).div_euclid(i128::from(total.get()));
    // Less than nothing is used where late commits gave back more than was charged.
    let (sign, hundredths) = (if hundredths < 0 { "-" } else { "" }, hundredths.unsigned_abs());
    format!("{sign}{}.{:02}", hundredths / 100, hundredths % 100)
}

fn team_out(organization: &OrganizationId, view: TeamView) -> proto::TeamAllocation {
    let TeamView { team, name, credits, credits_tracked } = view;
    let TeamCredits { allocated, shared_used, shared_held: _, available } = credits;
    let TeamAllocation { allocation, distributed, lasting: _, reserve, approved, pool: _, members, used } = allocated;
    let Allocation { monthly, extra } = allocation;
    proto::TeamAllocation {
        organization_id: organization.to_string(),
        team_id: team.to_string(),
        name,
        monthly: amount_out(monthly),
        extra: amount_out(extra),
        auto_approve_reserve: nanos_out(reserve),
        member_count: members,
        used: nanos_out(used),
        distributed: nanos_out(distributed),
        shared_used: nanos_out(shared_used),
        available: amount_out(available),
        auto_approved: nanos_out(approved),
        credits_tracked,
    }
}

pub(super) fn member_out(organization: &OrganizationId, credits: MemberCredits) -> proto::MemberAllocation {
    let MemberCredits { team, member, name, email, allocation, used, remaining, credits_tracked } = credits;
    let Allocation { monthly, extra } = allocation;
    proto::MemberAllocation {
        organization_id: organization.to_string(),
        team_id: team.to_string(),
        member_id: member.to_string(),
        name,
        email,
        monthly: amount_out(monthly),
        extra: amount_out(extra),
        used: nanos_out(used),
        remaining: amount_out(remaining),
        credits_tracked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_exact_for_the_largest_amounts() {
        let percent = |used, total| used_percent(Nanos::new(used), total);
        let credits = |units| Some(Nanos::units(units));
        assert_eq!(percent(Nanos::units(1).get(), credits(3)), "33.33");
        assert_eq!(percent(Nanos::units(3).get() - 1, credits(3)), "99.99");
        assert_eq!(percent(Nanos::units(7).get(), credits(2)), "350.00");
        assert_eq!(percent(i64::MAX, Some(Nanos::MAX)), "100.00");
        assert_eq!(percent(0, credits(5)), "0.00");
        assert_eq!(percent(-1, credits(5)), "-0.01");
    }

    #[test]
    fn nothing_has_no_share() {
        assert_eq!(used_percent(Nanos::units(1), None), "");
        assert_eq!(used_percent(Nanos::units(1), Some(Nanos::ZERO)), "");
    }
}
