//! What an event changes in the control plane, as the audit log says it: in JSON, without anything secret.

use serde_json::{Value, json};

use crate::domain::{
    access::{AccessToken, Bearer},
    alert::AlertSettings,
    event::{Event, Record, Stream},
    id::{MemberId, OrganizationId},
    payment::PaymentMethod,
    policy::{AllocationPlace, Place},
};

/// A row of the audit log to be. What it was before is the row before of the same kind and id.
#[derive(Debug)]
pub(super) struct ChangeRow<'a> {
    pub record: &'a Record,
    /// In whose log it stands.
    pub organization: &'a OrganizationId,
    pub kind: &'static str,
    pub id: String,
    pub after: Value,
}

fn shown(entity: &impl serde::Serialize) -> Value {
    serde_json::to_value(entity).unwrap_or_default()
}

fn place_id(place: &Place) -> String {
    match place {
        Place::Key(key) => format!("key/{key}"),
        Place::Membership(team, member) => format!("membership/{team}/{member}"),
        Place::Member(member) => format!("member/{member}"),
        Place::Team(team) => format!("team/{team}"),
        Place::Organization => String::from("organization"),
        Place::Rule(rule, key) => format!("rule/{rule}/{key}"),
        Place::Allocation(_) => String::from("allocation"),
    }
}

impl<'a> ChangeRow<'a> {
    /// `None` for what the data plane does, and for what only carries out a change: counters, deliveries, directory entries.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let (organization, (kind, id, after)) = match &record.stream {
            Stream::Organization(organization) => (organization, change(&record.event)?),
            Stream::System => system_change(&record.event)?,
        };
        Some(Self { record, organization, kind, id, after })
    }
}

type Changed = (&'static str, String, Value);

/// Of the access tokens of members: each organization sees the membership in it, and nothing of the person's others.
fn system_change(event: &Event) -> Option<(&OrganizationId, Changed)> {
    match event {
        Event::TokenSet(token) => {
            let Bearer::Member(grants) = &token.bearer else { return None };
            // The last is the one that came.
            let (organization, member) = grants.last()?;
            Some((organization, access(token, member, false)))
        }
        Event::GrantRemoved { organization, member, left } => Some((organization, access(left, member, true))),
        _ => None,
    }
}

fn access(token: &AccessToken, member: &MemberId, deleted: bool) -> Changed {
    let AccessToken { id, name, expire_time, .. } = token;
    let after = json!({ "name": name, "member": member.as_str(), "expire_time": expire_time, "deleted": deleted });
    ("access_token", id.to_string(), after)
}

fn change(event: &Event) -> Option<Changed> {
    Some(match event {
        Event::OrganizationSet(organization) => ("organization", String::new(), shown(organization)),
        Event::TeamSet(team) => ("team", team.id.to_string(), shown(team)),
        Event::MemberSet(member) => ("member", member.id.to_string(), shown(member)),
        Event::MembershipSet(of) => ("membership", format!("{}/{}", of.team, of.member), shown(of)),
        Event::KeySet(key) => ("key", key.id.to_string(), shown(key)),
        Event::PolicySet { place, limits } => {
            let limits: Vec<_> = limits.iter().map(|numbered| &numbered.limit).collect();
            ("policy", place_id(place), shown(&limits))
        }
        Event::RuleSet(rule) => ("rule", rule.id.to_string(), shown(rule)),
        Event::AllocationSettingsSet(settings) => ("allocation_settings", String::new(), shown(settings)),
        Event::CycleStarted { cycle, cause } => {
            ("cycle", String::new(), json!({ "start": cycle.start, "end": cycle.end, "cause": shown(cause) }))
        }
        Event::AllocationSet { place, allocation, .. } => {
            let id = match place {
                AllocationPlace::Organization => String::new(),
                AllocationPlace::Pool(team) => team.to_string(),
                AllocationPlace::Member(team, member) => format!("{team}/{member}"),
            };
            ("allocation", id, shown(allocation))
        }
        Event::AutoApproveSet { team, reserve } => {
            ("auto_approve_reserve", team.to_string(), json!({ "reserve": shown(reserve) }))
        }
        Event::CreditRequestSet(request) => ("credit_request", request.id.to_string(), shown(request)),
        Event::InvitationSet(invitation) => ("invitation", invitation.id.to_string(), shown(invitation)),
        Event::PaymentMethodSet(method) => {
            // Its owner reads the label with ListPaymentMethods; others learn that there is one.
            let PaymentMethod { id, member, label: _, token: _, deleted, create_time } = &**method;
            let after = json!({ "member": member.as_str(), "deleted": deleted, "create_time": shown(create_time) });
            ("payment_method", id.to_string(), after)
        }
        Event::OrderSet(order) => {
            let mut after = shown(order);
            after["failure"] = order.told_failure().into();
            ("top_up_order", order.id.to_string(), after)
        }
        Event::AutoTopUpSet(auto) => {
            let mut after = shown(auto);
            after["disabled_reason"] = auto.told_reason().into();
            ("auto_top_up", String::new(), after)
        }
        Event::Corrected(correction) => ("correction", correction.entry.to_string(), shown(correction)),
        Event::AlertSettingsSet(settings) => {
            let AlertSettings { recipients, webhook, low_balance } = &**settings;
            let url = webhook.as_ref().map(|webhook| webhook.url.as_str());
            let after = json!({ "recipients": recipients, "webhook_url": url, "low_balance": shown(low_balance) });
            ("alert_settings", String::new(), after)
        }
        _ => return None,
    })
}
