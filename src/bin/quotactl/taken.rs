//! The questions before something is taken away: what it is, and what goes along with it, as far as reads tell.

use quotad::{
    api::proto::{
        AutoTopUp, GetAutoTopUpRequest, GetBalanceRequest, GetInvitationRequest, GetKeyRequest, GetMemberRequest,
        GetOrganizationRequest, GetPriceRequest, GetRuleRequest, GetTeamRequest, InvitationState, Key, ListKeysRequest,
        ListMemberTokensRequest, ListMembersRequest, ListMembershipsRequest, ListPaymentMethodsRequest,
        ListTeamsRequest,
    },
    client::Connection,
};

use crate::{
    failure::{Failure, required},
    format::amount,
    names::name,
};

/// The server's largest page: more than it is said to be "1,000 or more".
const PAGE: i32 = 1000;

/// `3 keys`, `1 key`, `1,000 or more keys`; nothing for none.
fn counted(count: usize, more: bool, noun: &str) -> Option<String> {
    let (number, or_more) = (amount(&count.to_string()), if more { " or more" } else { "" });
    (count > 0).then(|| format!("{number}{or_more} {noun}{}", if count == 1 && !more { "" } else { "s" }))
}

/// `ID (NAME)`.
fn named(id: &str, name: &str) -> String {
    if name.is_empty() { id.to_owned() } else { format!("{id} ({name})") }
}

/// Joins what goes along into `, with A, B and C`.
fn along(parts: impl IntoIterator<Item = Option<String>>) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match &parts[..] {
        [] => String::new(),
        [one] => format!(", with {one}"),
        [first @ .., last] => format!(", with {} and {last}", first.join(", ")),
    }
}

async fn keys(server: &Connection, organization: &str, member: &str, team: &str) -> Result<Option<String>, Failure> {
    let request = ListKeysRequest {
        organization_id: organization.to_owned(),
        member_id: member.to_owned(),
        team_id: team.to_owned(),
        page_size: PAGE,
        ..ListKeysRequest::default()
    };
    let page = server.keys().list_keys(request).await?.into_inner();
    Ok(counted(page.keys.len(), !page.next_page_token.is_empty(), "key"))
}

async fn memberships(
    server: &Connection,
    organization: &str,
    (member, team): (&str, &str),
    noun: &str,
) -> Result<Option<String>, Failure> {
    let request = ListMembershipsRequest {
        organization_id: organization.to_owned(),
        member_id: member.to_owned(),
        team_id: team.to_owned(),
        page_size: PAGE,
        ..ListMembershipsRequest::default()
    };
    let page = server.teams().list_memberships(request).await?.into_inner();
    Ok(counted(page.memberships.len(), !page.next_page_token.is_empty(), noun))
}

pub(crate) async fn with_organization(server: &Connection, id: &str) -> Result<String, Failure> {
    let organization_id = id.to_owned();
    let request = GetOrganizationRequest { organization_id: organization_id.clone() };
    let found = server.organizations().get_organization(request).await?.into_inner();
    let organization = required(found.organization, "organization")?;
    let request = ListMembersRequest { organization_id: organization_id.clone(), page_size: 1, ..Default::default() };
    let members = server.members().list_members(request).await?.into_inner().total_size;
    let request = ListTeamsRequest { organization_id: organization_id.clone(), page_size: 1, ..Default::default() };
    let teams = server.teams().list_teams(request).await?.into_inner().total_size;
    let wallet = server.wallets().get_balance(GetBalanceRequest { organization_id }).await?.into_inner();
    let money = |usd: &str, what: &str| (!usd.is_empty() && usd != "0").then(|| format!("{} USD {what}", amount(usd)));
    let parts = [
        counted(members as usize, false, "member"),
        counted(teams as usize, false, "team"),
        keys(server, id, "", "").await?,
        money(&wallet.balance_usd, "of balance"),
        money(&wallet.held_usd, "held for requests under way"),
    ];
    Ok(format!(
        "organization {}{}, ends for good; its keys stop at once, its ledger stays. Delete it?",
        named(id, &organization.name),
        along(parts),
    ))
}

pub(crate) async fn with_team(server: &Connection, organization: &str, id: &str) -> Result<String, Failure> {
    let request = GetTeamRequest { organization_id: organization.to_owned(), team_id: id.to_owned() };
    let team = required(server.teams().get_team(request).await?.into_inner().team, "team")?;
    let parts = [
        memberships(server, organization, ("", id), "membership").await?,
        keys(server, organization, "", id).await?,
        held(&team.limits),
    ];
    Ok(format!("team {}{}, ends for good; its keys stop at once. Delete it?", named(id, &team.name), along(parts)))
}

pub(crate) async fn with_member(server: &Connection, organization: &str, id: &str) -> Result<String, Failure> {
    let (organization_id, member_id) = (organization.to_owned(), id.to_owned());
    let request = GetMemberRequest { organization_id: organization_id.clone(), member_id: member_id.clone() };
    let member = required(server.members().get_member(request).await?.into_inner().member, "member")?;
    let request = ListMemberTokensRequest { organization_id, member_id };
    let tokens = server.tokens().list_member_tokens(request).await?.into_inner().tokens.len();
    let parts = [
        keys(server, organization, id, "").await?,
        memberships(server, organization, (id, ""), "membership").await?,
        counted(tokens, false, "access token"),
        held(&member.limits),
    ];
    let name = named(id, &member.name);
    Ok(format!("member {name}{}, is removed for good; its keys stop at once. Delete it?", along(parts)))
}

pub(crate) async fn with_key(server: &Connection, organization: &str, id: &str) -> Result<String, Failure> {
    let request = GetKeyRequest { organization_id: organization.to_owned(), key_id: id.to_owned() };
    let key = required(server.keys().get_key(request).await?.into_inner().key, "key")?;
    let Key { name, member_id, team_id, limits, .. } = &key;
    Ok(format!(
        "key {} of member {member_id} in team {team_id}{}, ends for good, at once. Delete it?",
        named(id, name),
        along([held(limits)]),
    ))
}

/// What requests under way hold of these limits.
fn held(limits: &[quotad::api::proto::LimitState]) -> Option<String> {
    let held = limits.iter().find(|limit| !limit.held.is_empty() && limit.held != "0")?;
    let unit = name::<quotad::api::proto::Unit>(held.unit);
    Some(format!("requests under way ({} {unit} held)", amount(&held.held)))
}

pub(crate) async fn with_rule(server: &Connection, organization: &str, id: &str) -> Result<String, Failure> {
    let request = GetRuleRequest { organization_id: organization.to_owned(), rule_id: id.to_owned() };
    let rule = required(server.rules().get_rule(request).await?.into_inner().rule, "rule")?;
    let keys = [counted((rule.bound_keys + rule.inherited_keys) as usize, false, "key")]
        .map(|keys| keys.map(|keys| format!("{keys} under it")));
    Ok(format!(
        "rule {}{}, ends for good, with what was counted under it. Delete it?",
        named(id, &rule.name),
        along(keys)
    ))
}

pub(crate) async fn with_membership(
    server: &Connection,
    organization: &str,
    (team, member): (&str, &str),
) -> Result<String, Failure> {
    let keys = keys(server, organization, member, team).await?;
    Ok(format!("member {member}{} leaves team {team}, and loses its limits and credits there. Remove?", along([keys])))
}

pub(crate) async fn with_price(server: &Connection, model: &str) -> Result<String, Failure> {
    let request = GetPriceRequest { model: model.to_owned() };
    let price = required(server.prices().get_price(request).await?.into_inner().price, "price")?;
    Ok(format!(
        "{model} loses its price (input {}, output {} USD per million): requests for it are refused from now on, in every \
         organization. Delete it?",
        or_none(&price.input_per_million),
        or_none(&price.output_per_million),
    ))
}

fn or_none(usd: &str) -> &str {
    if usd.is_empty() { "none" } else { usd }
}

pub(crate) async fn with_payment_method(server: &Connection, organization: &str, id: &str) -> Result<String, Failure> {
    let organization_id = organization.to_owned();
    let request = ListPaymentMethodsRequest { organization_id: organization_id.clone() };
    let methods = server.wallets().list_payment_methods(request).await?.into_inner().payment_methods;
    let label = methods.iter().find(|method| method.id == id).map(|method| method.label.as_str()).unwrap_or_default();
    // Not everybody with a card may read it; what it says is a help, not a condition.
    let auto = server.wallets().get_auto_top_up(GetAutoTopUpRequest { organization_id }).await;
    let auto = auto.ok().and_then(|answer| answer.into_inner().auto_top_up);
    let pays = auto.is_some_and(|AutoTopUp { enabled, payment_method_id, .. }| enabled && payment_method_id == id);
    let auto = if pays { ", and auto top-up by it stops" } else { "" };
    Ok(format!("payment method {} goes{auto}. Delete it?", named(id, label)))
}

pub(crate) async fn with_invitation(server: &Connection, organization: &str, id: &str) -> Result<String, Failure> {
    let request = GetInvitationRequest { organization_id: organization.to_owned(), invitation_id: id.to_owned() };
    let found = server.members().get_invitation(request).await?.into_inner();
    let invitation = required(found.invitation, "invitation")?;
    let (email, state) = (&invitation.email, name::<InvitationState>(invitation.state));
    Ok(format!("invitation {id} of {email} ({state}) ends, and its tokens aren't taken any more. Revoke it?"))
}

pub(crate) fn with_token(id: &str, of_member: bool) -> String {
    let whose = if of_member { "of a member" } else { "of an inference server" };
    format!("token {id} {whose} ends at once: whoever uses it is refused. Delete it?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_along_reads_as_a_phrase() {
        let part = |text: &str| Some(text.to_owned());
        assert_eq!(along([None, None]), "");
        assert_eq!(along([part("1 key"), None]), ", with 1 key");
        assert_eq!(along([part("2 members"), part("1 team"), part("3 keys")]), ", with 2 members, 1 team and 3 keys");
    }

    #[test]
    fn counts_have_their_number_and_say_where_they_end() {
        assert_eq!(counted(0, false, "key"), None);
        assert_eq!(counted(1, false, "key").unwrap(), "1 key");
        assert_eq!(counted(1000, true, "key").unwrap(), "1,000 or more keys");
    }
}
