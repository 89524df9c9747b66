//! What an event changes in the control plane, as the audit log says it: in JSON with the names of the API, without anything
//! secret.

use serde_json::{Value, json};

use crate::domain::{
    access::{AccessToken, Bearer},
    event::{Event, Record, Stream},
    id::{MemberId, OrganizationId},
    policy::{AllocationPlace, Place},
};

mod shown;

/// Every kind of thing that the audit log knows.
pub const KINDS: [&str; 19] = [
    "access_token",
    "alert_settings",
    "allocation",
    "allocation_settings",
    "auto_approve_reserve",
    "auto_top_up",
    "correction",
    "credit_request",
    "cycle",
    "invitation",
    "key",
    "member",
    "membership",
    "organization",
    "payment_method",
    "policy",
    "rule",
    "team",
    "top_up_order",
];

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

fn place_id(place: &Place) -> String {
    match place {
        Place::Key(key) => format!("key/{key}"),
        Place::Membership(team, member) => format!("membership/{team}/{member}"),
        Place::Member(member) => format!("member/{member}"),
        Place::Team(team) => format!("team/{team}"),
        Place::Organization => String::from("organization"),
        Place::Ceiling => String::from("ceiling"),
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
        debug_assert!(KINDS.contains(&kind), "{kind} can't be asked for");
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
    let after = json!({ "name": name, "member_id": member.as_str(), "expire_time": expire_time, "deleted": deleted });
    ("access_token", id.to_string(), after)
}

fn change(event: &Event) -> Option<Changed> {
    Some(match event {
        Event::OrganizationSet(organization) => ("organization", String::new(), shown::organization(organization)),
        Event::TeamSet(team) => ("team", team.id.to_string(), shown::team(team)),
        Event::MemberSet(member) => ("member", member.id.to_string(), shown::member(member)),
        Event::MembershipSet(of) => ("membership", format!("{}/{}", of.team, of.member), shown::membership(of)),
        Event::KeySet(key) => ("key", key.id.to_string(), shown::key(key)),
        Event::PolicySet { place, limits, retired: _ } => {
            let limits = limits.iter().map(|numbered| &numbered.limit);
            ("policy", place_id(place), shown::policy(limits))
        }
        Event::RuleSet(rule) => ("rule", rule.id.to_string(), shown::rule(rule)),
        Event::AllocationSettingsSet(settings) => {
            ("allocation_settings", String::new(), shown::allocation_settings(settings))
        }
        Event::CycleStarted { cycle, cause } => {
            let after = json!({ "start": cycle.start, "end": cycle.end, "cause": shown::cause(*cause) });
            ("cycle", String::new(), after)
        }
        Event::AllocationSet { place, allocation, .. } => {
            let id = match place {
                AllocationPlace::Organization => String::new(),
                AllocationPlace::Pool(team) => team.to_string(),
                AllocationPlace::Member(team, member) => format!("{team}/{member}"),
            };
            ("allocation", id, shown::allocation(allocation))
        }
        Event::AutoApproveSet { team, reserve } => {
            ("auto_approve_reserve", team.to_string(), json!({ "auto_approve_reserve": reserve }))
        }
        Event::CreditRequestSet(request) => ("credit_request", request.id.to_string(), shown::credit_request(request)),
        Event::InvitationSet(invitation) => ("invitation", invitation.id.to_string(), shown::invitation(invitation)),
        Event::PaymentMethodSet(method) => ("payment_method", method.id.to_string(), shown::payment_method(method)),
        Event::OrderSet(order) => ("top_up_order", order.id.to_string(), shown::order(order)),
        Event::AutoTopUpSet(auto) => ("auto_top_up", String::new(), shown::auto_top_up(auto)),
        Event::Corrected(correction) => ("correction", correction.entry.to_string(), shown::correction(correction)),
        Event::AlertSettingsSet(settings) => ("alert_settings", String::new(), shown::alert_settings(settings)),
        _ => return None,
    })
}
