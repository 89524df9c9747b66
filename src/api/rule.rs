//! Access rules, in and out.

use std::sync::Arc;

use super::{
    convert::{
        MAX_FREE_TEXT, etag_in,
        mask::Mask,
        name_in, optional,
        page::{page_in, query_name, token_out},
        repeatable, required,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, rule_service_server::RuleService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        error::Invalid,
        id::{OrganizationId, RuleId},
        money::Nanos,
        rule::{Cap, CapPeriod, DailyHours, Hours, Rule, Weekdays},
        text::check_text,
        zone::Zone,
    },
    service::{Caller, Error, Found, NewRule, References, Repeatable, RuleChange, RuleStatus, RuleView, Service},
};

/// Stands for the id of a rule that is only looked at.
const PREVIEW: &str = "preview";

pub(super) struct RuleApi(pub(super) Arc<Service>);

serve! {
    RuleService, RuleApi {
        create_rule(CreateRuleRequest) -> CreateRuleResponse = create.await;
        get_rule(GetRuleRequest) -> GetRuleResponse = get;
        list_rules(ListRulesRequest) -> ListRulesResponse = list;
        update_rule(UpdateRuleRequest) -> UpdateRuleResponse = update.await;
        delete_rule(DeleteRuleRequest) -> DeleteRuleResponse = delete.await;
        preview_rule(PreviewRuleRequest) -> PreviewRuleResponse = preview;
    }
}

scoped! {
    CreateRuleRequest: rule.organization_id, of Rule(rule.id);
    GetRuleRequest: organization_id, of Rule(rule_id);
    ListRulesRequest: organization_id;
    UpdateRuleRequest: rule.organization_id, of Rule(rule.id), fields update_mask;
    DeleteRuleRequest: organization_id, of Rule(rule_id);
    PreviewRuleRequest: rule.organization_id;
}

impl RuleApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateRuleRequest,
    ) -> Result<proto::CreateRuleResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::CreateRuleRequest { rule, request_id: _ } = message;
        let (organization, new) = new_in(required("rule", rule)?)?;
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.create_rule(caller, &organization, new, repeatable).await?;
        Ok(proto::CreateRuleResponse { rule: Some(out(&organization, view)) })
    }

    fn get(&self, _: &Caller, message: proto::GetRuleRequest) -> Result<proto::GetRuleResponse, Error> {
        let proto::GetRuleRequest { organization_id, rule_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.rule(&organization, &RuleId::parse("rule_id", &rule_id)?)?;
        Ok(proto::GetRuleResponse { rule: Some(out(&organization, view)) })
    }

    fn list(&self, _: &Caller, message: proto::ListRulesRequest) -> Result<proto::ListRulesResponse, Error> {
        let filters = proto::ListRulesRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("rules", &filters);
        let proto::ListRulesRequest { organization_id, status, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let found = self.0.list_rules(&organization, status_in(status)?, page_in(&list, page_size, &page_token)?)?;
        let Found { items, next, total } = found;
        Ok(proto::ListRulesResponse {
            rules: items.into_iter().map(|view| out(&organization, view)).collect(),
            next_page_token: token_out(&list, next),
            total_size: total,
        })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateRuleRequest,
    ) -> Result<proto::UpdateRuleResponse, Error> {
        const FIELDS: [&str; 6] = ["name", "description", "enabled", "time_zone", "cap", "hours"];
        let proto::UpdateRuleRequest { rule, update_mask, restart_spending } = message;
        let mask = Mask::of(update_mask, &FIELDS)?;
        let proto::Rule {
            organization_id,
            id,
            name,
            description,
            enabled,
            time_zone,
            cap,
            hours,
            preview: _,
            bound_keys: _,
            inherited_keys: _,
            create_time: _,
            update_time: _,
            etag,
            credits_tracked: _,
        } = required("rule", rule)?;
        let organization = OrganizationId::parse("rule.organization_id", &organization_id)?;
        let id = RuleId::parse("rule.id", &id)?;
        let change = RuleChange {
            name: mask.pick("name", || name_in("rule.name", name))?,
            description: mask.pick("description", || description_in(description))?,
            enabled: mask.pick("enabled", || Ok(enabled))?,
            zone: mask.pick("time_zone", || Zone::parse("rule.time_zone", &time_zone))?,
            cap: mask.pick("cap", || cap.map(cap_in).transpose())?,
            hours: mask.pick("hours", || hours.map(hours_in).transpose())?,
            restart_spending,
        };
        let view = self.0.update_rule(caller, &organization, &id, change, etag_in(&etag)).await?;
        Ok(proto::UpdateRuleResponse { rule: Some(out(&organization, view)) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteRuleRequest,
    ) -> Result<proto::DeleteRuleResponse, Error> {
        let proto::DeleteRuleRequest { organization_id, rule_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        self.0.delete_rule(caller, &organization, &RuleId::parse("rule_id", &rule_id)?).await?;
        Ok(proto::DeleteRuleResponse {})
    }

    fn preview(&self, _: &Caller, message: proto::PreviewRuleRequest) -> Result<proto::PreviewRuleResponse, Error> {
        let proto::PreviewRuleRequest { rule } = message;
        let (organization, new) = new_in(required("rule", rule)?)?;
        let credits_tracked = self.0.tracks_credits(&organization)?;
        let now = self.0.now();
        let id = new.id.clone().unwrap_or_else(|| RuleId::trusted(PREVIEW));
        let rule = new.into_rule(id, now);
        let closed = rule.restricting().filter(|hours| rule.enabled && !hours.is_open(rule.zone, now));
        Ok(proto::PreviewRuleResponse {
            preview: rule.preview(credits_tracked),
            credits_tracked,
            open_now: closed.is_none(),
            opens_time: closed.and_then(|hours| hours.opens_after(rule.zone, now)).map(timestamp_out),
        })
    }
}

fn new_in(rule: proto::Rule) -> Result<(OrganizationId, NewRule), Invalid> {
    let proto::Rule {
        organization_id,
        id,
        name,
        description,
        enabled,
        time_zone,
        cap,
        hours,
        preview: _,
        bound_keys: _,
        inherited_keys: _,
        create_time: _,
        update_time: _,
        etag: _,
        credits_tracked: _,
    } = rule;
    let new = NewRule {
        id: optional("rule.id", &id, RuleId::parse)?,
        name: name_in("rule.name", name)?,
        description: description_in(description)?,
        enabled,
        zone: Zone::parse("rule.time_zone", &time_zone)?,
        cap: cap.map(cap_in).transpose()?,
        hours: hours.map(hours_in).transpose()?,
    };
    Ok((OrganizationId::parse("rule.organization_id", &organization_id)?, new))
}

fn description_in(description: String) -> Result<String, Invalid> {
    check_text("rule.description", &description, MAX_FREE_TEXT)?;
    Ok(description)
}

fn status_in(status: i32) -> Result<RuleStatus, Invalid> {
    match proto::RuleStatus::try_from(status) {
        Ok(proto::RuleStatus::Unspecified) => Ok(RuleStatus::Any),
        Ok(proto::RuleStatus::Enabled) => Ok(RuleStatus::Enabled),
        Ok(proto::RuleStatus::Disabled) => Ok(RuleStatus::Disabled),
        Err(_) => {
            Err(Invalid::new("status", format!("{status} is neither RULE_STATUS_ENABLED nor RULE_STATUS_DISABLED")))
        }
    }
}

fn cap_in(cap: proto::CreditCap) -> Result<Cap, Invalid> {
    let proto::CreditCap { enabled, max_credits, period } = cap;
    Ok(Cap { enabled, max: Nanos::parse("rule.cap.max_credits", &max_credits)?, period: period_in(period)? })
}

fn period_in(kind: i32) -> Result<CapPeriod, Invalid> {
    use proto::PeriodKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::Daily) => Ok(CapPeriod::Daily),
        Ok(Kind::Weekly) => Ok(CapPeriod::Weekly),
        Ok(Kind::Monthly) => Ok(CapPeriod::Monthly),
        Ok(Kind::Unspecified | Kind::OneTime | Kind::Every | Kind::Cycle) | Err(_) => {
            let problem = format!("{kind} is none of PERIOD_KIND_DAILY, PERIOD_KIND_WEEKLY or PERIOD_KIND_MONTHLY");
            Err(Invalid::new("rule.cap.period", problem))
        }
    }
}

fn hours_in(hours: proto::AccessHours) -> Result<Hours, Invalid> {
    let proto::AccessHours { enabled, weekdays, hours } = hours;
    let days = weekdays.iter().enumerate().map(|(i, day)| weekday_in(&format!("rule.hours.weekdays[{i}]"), *day));
    let days = days.collect::<Result<Vec<_>, _>>()?;
    Ok(Hours {
        enabled,
        weekdays: Weekdays::checked("rule.hours.weekdays", &days)?,
        daily: DailyHours::parse("rule.hours.hours", &hours)?,
    })
}

/// Days from Monday.
fn weekday_in(field: &str, day: i32) -> Result<u8, Invalid> {
    use proto::DayOfWeek as Day;
    match Day::try_from(day) {
        Ok(Day::Monday) => Ok(0),
        Ok(Day::Tuesday) => Ok(1),
        Ok(Day::Wednesday) => Ok(2),
        Ok(Day::Thursday) => Ok(3),
        Ok(Day::Friday) => Ok(4),
        Ok(Day::Saturday) => Ok(5),
        Ok(Day::Sunday) => Ok(6),
        Ok(Day::Unspecified) | Err(_) => {
            Err(Invalid::new(field, format!("{day} is none of DAY_OF_WEEK_MONDAY to DAY_OF_WEEK_SUNDAY")))
        }
    }
}

fn out(organization: &OrganizationId, view: RuleView) -> proto::Rule {
    let RuleView { rule, references: References { bound, inherited }, credits_tracked, etag } = view;
    let preview = rule.preview(credits_tracked);
    let Rule { id, name, description, enabled, zone, cap, hours, deleted: _, create_time, update_time } = rule;
    proto::Rule {
        organization_id: organization.to_string(),
        id: id.to_string(),
        name,
        description,
        enabled,
        time_zone: zone.to_string(),
        cap: cap.map(cap_out),
        hours: hours.map(hours_out),
        preview,
        bound_keys: bound,
        inherited_keys: inherited,
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        etag,
        credits_tracked,
    }
}

fn cap_out(cap: Cap) -> proto::CreditCap {
    let Cap { enabled, max, period } = cap;
    let period = match period {
        CapPeriod::Daily => proto::PeriodKind::Daily,
        CapPeriod::Weekly => proto::PeriodKind::Weekly,
        CapPeriod::Monthly => proto::PeriodKind::Monthly,
    };
    proto::CreditCap { enabled, max_credits: nanos_out(max), period: period.into() }
}

fn hours_out(hours: Hours) -> proto::AccessHours {
    let Hours { enabled, weekdays, daily } = hours;
    // The domain counts days from Monday, 0; the API from 1.
    let weekdays = weekdays.days().map(|day| i32::from(day) + 1).collect();
    proto::AccessHours { enabled, weekdays, hours: daily.to_string() }
}
