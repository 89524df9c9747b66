//! Values that the control plane can't take: each is refused by the name of its field, and nothing is changed.

use quotad::api::proto::{
    self, AccessHours, AlertSettings, Budget, BudgetAlerts, CreditCap, DayOfWeek, Invitation, Member, Membership,
    Period, PeriodKind, Policy, Rule, Team,
};
use tonic::{Response, Status};

use crate::{
    messages::{budget, mask, policy, seconds, wrong_field},
    people::invitation,
    reads::reads,
    world::{ACME, World},
};

/// The field that a refused call complains of.
#[track_caller]
pub(crate) fn field<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String {
    wrong_field(&answer.unwrap_err())
}

fn rule() -> Rule {
    let weekdays = vec![DayOfWeek::Monday.into()];
    Rule {
        organization_id: ACME.into(),
        id: "office".into(),
        enabled: true,
        hours: Some(AccessHours { enabled: true, weekdays, hours: "08:00-20:00".into() }),
        cap: Some(CreditCap { enabled: true, max_credits: "50".into(), period: PeriodKind::Daily.into() }),
        ..Rule::default()
    }
}

fn wrong_rules() -> Vec<(Rule, &'static str)> {
    let hours =
        |hours: &str| Rule { hours: Some(AccessHours { hours: hours.into(), ..rule().hours.unwrap() }), ..rule() };
    let days = |weekdays: Vec<i32>| Rule { hours: Some(AccessHours { weekdays, ..rule().hours.unwrap() }), ..rule() };
    let cap = |max: &str, period: PeriodKind| Rule {
        cap: Some(CreditCap { enabled: true, max_credits: max.into(), period: period.into() }),
        ..rule()
    };
    let daily = |max: &str| cap(max, PeriodKind::Daily);
    let mut wrong: Vec<_> = [
        "25:00-08:00",
        "08:00-08:00",
        "08:60-09:00",
        "08:00-24:01",
        "24:00-08:00",
        "8:00-9:00",
        "08:00",
        "08:00 - 20:00",
        "",
        "-",
    ]
    .into_iter()
    .map(|text| (hours(text), "rule.hours.hours"))
    .collect();
    wrong.extend(
        ["Mars/Base", "UTC+25", "UTC+8:75", "europe/berlin2"]
            .map(|zone| (Rule { time_zone: zone.into(), ..rule() }, "rule.time_zone")),
    );
    wrong.extend([
        (days(vec![1, 2, 1]), "rule.hours.weekdays"),
        (days(Vec::new()), "rule.hours.weekdays"),
        (days(vec![1, 0]), "rule.hours.weekdays[1]"),
        (days(vec![8]), "rule.hours.weekdays[0]"),
        (daily("-1"), "rule.cap.max_credits"),
        (daily("0.0000000001"), "rule.cap.max_credits"),
        (daily("NaN"), "rule.cap.max_credits"),
        (daily(""), "rule.cap.max_credits"),
        (cap("1", PeriodKind::OneTime), "rule.cap.period"),
        (cap("1", PeriodKind::Every), "rule.cap.period"),
        (cap("1", PeriodKind::Unspecified), "rule.cap.period"),
        (Rule { description: "x".repeat(1025), ..rule() }, "rule.description"),
        (Rule { id: "a/b".into(), ..rule() }, "rule.id"),
    ]);
    wrong
}

#[tokio::test]
async fn a_rule_that_means_nothing_is_neither_saved_nor_previewed() {
    let world = World::new().await;
    let mut rules = world.operator.rules();
    let create = |rule: Rule| proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
    rules.create_rule(create(rule())).await.unwrap();
    let before = reads(&world).await;
    for (wrong, named) in wrong_rules() {
        let preview = proto::PreviewRuleRequest { rule: Some(wrong.clone()) };
        assert_eq!(field(rules.preview_rule(preview).await), named, "{wrong:?}");
        let paths: &[&str] = &["description", "time_zone", "cap", "hours"];
        let update =
            proto::UpdateRuleRequest { rule: Some(wrong.clone()), update_mask: mask(paths), ..Default::default() };
        assert_eq!(field(rules.update_rule(update).await), named, "{wrong:?}");
        let id = if named == "rule.id" { wrong.id.clone() } else { String::from("new") };
        assert_eq!(field(rules.create_rule(create(Rule { id, ..wrong.clone() })).await), named, "{wrong:?}");
    }
    assert_eq!(reads(&world).await, before);
}

fn wrong_budgets() -> Vec<(Budget, &'static str)> {
    let every = |length| {
        let period = Period { kind: PeriodKind::Every.into(), interval: length, ..Period::default() };
        Budget { period: Some(period), ..budget("b", "5") }
    };
    let alerts = |thresholds: &[&str], recipients: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let alerts = BudgetAlerts { thresholds: texts(thresholds), recipients: texts(recipients) };
        Budget { alerts: Some(alerts), ..budget("b", "5") }
    };
    vec![
        (every(seconds(0)), ".budgets[0].period.interval"),
        (every(seconds(-60)), ".budgets[0].period.interval"),
        (every(None), ".budgets[0].period.interval"),
        (Budget { soft: "5.000000001".into(), ..budget("b", "5") }, ""),
        (budget("b", "-0.1"), ".budgets[0].max"),
        (budget("b", "1.0000000001"), ".budgets[0].max"),
        (Budget { soft: "-1".into(), ..budget("b", "5") }, ".budgets[0].soft"),
        (alerts(&["80 percent"], &[]), ".budgets[0].alerts.thresholds[0]"),
        (alerts(&["1", "-1"], &[]), ".budgets[0].alerts.thresholds[1]"),
        (alerts(&["x%"], &[]), ".budgets[0].alerts.thresholds[0]"),
        (alerts(&["0%"], &[]), ""),
        (alerts(&["101%"], &[]), ""),
        (alerts(&["80%", "80%"], &[]), ""),
        (alerts(&["6"], &[]), ""),
        (alerts(&[], &["ops@example.com", "ops"]), ".budgets[0].alerts.recipients[1]"),
        (alerts(&[], &["a@b@c", "ops@example.com"]), ".budgets[0].alerts.recipients[0]"),
    ]
}

#[tokio::test]
async fn limits_that_mean_nothing_are_taken_nowhere() {
    let world = World::new().await;
    let asked =
        proto::CreateInvitationRequest { invitation: Some(invitation("ivy@example.com")), ..Default::default() };
    let open = world.operator.members().create_invitation(asked).await.unwrap().into_inner().invitation.unwrap();
    let before = reads(&world).await;
    let (mut teams, mut members) = (world.operator.teams(), world.operator.members());
    let (organization_id, of_policy) = (|| String::from(ACME), || mask(&["policy"]));
    for (wrong, named) in wrong_budgets() {
        let set: Option<Policy> = policy(vec![wrong.clone()], Vec::new());
        let team = |own: Option<Policy>, each: Option<Policy>| {
            let (id, policy, member_policy) = ("default".into(), own, each);
            Some(Team { organization_id: organization_id(), id, policy, member_policy, ..Team::default() })
        };
        let update =
            proto::UpdateTeamRequest { team: team(set.clone(), None), update_mask: of_policy(), ..Default::default() };
        assert_eq!(field(teams.update_team(update).await), format!("team.policy{named}"), "{wrong:?}");
        let each = team(None, set.clone());
        let update =
            proto::UpdateTeamRequest { team: each, update_mask: mask(&["member_policy"]), ..Default::default() };
        assert_eq!(field(teams.update_team(update).await), format!("team.member_policy{named}"), "{wrong:?}");
        let membership = Some(Membership {
            organization_id: organization_id(),
            team_id: "default".into(),
            member_id: "ada".into(),
            policy: set.clone(),
            ..Membership::default()
        });
        let update = proto::UpdateMembershipRequest { membership, update_mask: of_policy(), ..Default::default() };
        assert_eq!(field(teams.update_membership(update).await), format!("membership.policy{named}"), "{wrong:?}");
        let ada =
            Member { organization_id: organization_id(), id: "ada".into(), policy: set.clone(), ..Member::default() };
        let update = proto::UpdateMemberRequest { member: Some(ada), update_mask: of_policy(), ..Default::default() };
        assert_eq!(field(members.update_member(update).await), format!("member.policy{named}"), "{wrong:?}");
        let invitation = Some(Invitation { policy: set, ..open.clone() });
        let update = proto::UpdateInvitationRequest { invitation, update_mask: of_policy() };
        assert_eq!(field(members.update_invitation(update).await), format!("invitation.policy{named}"), "{wrong:?}");
    }
    assert_eq!(reads(&world).await, before);
}

#[tokio::test]
async fn an_address_that_is_none_is_invited_alerted_and_kept_nowhere() {
    let world = World::new().await;
    let before = reads(&world).await;
    let (mut members, mut alerts) = (world.operator.members(), world.operator.alerts());
    for bad in [
        "ops",
        "@example.com",
        "ops@",
        "ops@ex ample.com",
        "ops@127.0.0.1",
        "Ops <ops@example.com>",
        "a@b.c, d@e.f",
        "a@b.c\r\nBcc: x@y.z",
    ] {
        let member = Member { organization_id: ACME.into(), id: "new".into(), email: bad.into(), ..Member::default() };
        let new = proto::CreateMemberRequest { member: Some(member.clone()), ..Default::default() };
        assert_eq!(field(members.create_member(new).await), "member.email", "{bad:?}");
        let update = proto::UpdateMemberRequest {
            member: Some(Member { id: "ada".into(), ..member }),
            update_mask: mask(&["email"]),
            ..Default::default()
        };
        assert_eq!(field(members.update_member(update).await), "member.email", "{bad:?}");
        let new = proto::CreateInvitationRequest { invitation: Some(invitation(bad)), ..Default::default() };
        assert_eq!(field(members.create_invitation(new).await), "invitation.email", "{bad:?}");
        let recipients = vec![String::from("ops@example.com"), bad.into()];
        let settings =
            AlertSettings { organization_id: ACME.into(), recipients: recipients.clone(), ..Default::default() };
        let update = proto::UpdateAlertSettingsRequest { settings: Some(settings), update_mask: mask(&["recipients"]) };
        assert_eq!(field(alerts.update_alert_settings(update).await), "settings.recipients[1]", "{bad:?}");
        let test = proto::SendTestAlertRequest { organization_id: ACME.into(), recipients };
        assert_eq!(field(alerts.send_test_alert(test).await), "recipients[1]", "{bad:?}");
    }
    let nobody = proto::CreateInvitationRequest { invitation: Some(invitation("")), ..Default::default() };
    assert_eq!(field(members.create_invitation(nobody).await), "invitation.email");
    for ttl in [0, 3599, 30 * 86_400 + 1] {
        let new = proto::CreateInvitationRequest {
            invitation: Some(invitation("ivy@example.com")),
            ttl: seconds(ttl),
            ..Default::default()
        };
        assert_eq!(field(members.create_invitation(new).await), "ttl", "{ttl} s");
    }
    assert_eq!(reads(&world).await, before);
}

#[tokio::test]
async fn a_webhook_goes_to_an_http_address_and_is_signed_with_a_secret() {
    let world = World::new().await;
    let before = reads(&world).await;
    let mut alerts = world.operator.alerts();
    let mut set = async |url: &str, secret: &str, paths: &[&str]| {
        let settings = AlertSettings {
            organization_id: ACME.into(),
            webhook_url: url.into(),
            webhook_secret: secret.into(),
            low_balance_usd: "-1".into(),
            ..Default::default()
        };
        let update = proto::UpdateAlertSettingsRequest { settings: Some(settings), update_mask: mask(paths) };
        field(alerts.update_alert_settings(update).await)
    };
    for bad in [
        "ftp://example.com/x",
        "example.com/x",
        "//example.com",
        "http://",
        "http://u:p@example.com",
        "https://example.com/#x",
        "http://example.com:0/",
        "javascript:alert(1)",
    ] {
        assert_eq!(set(bad, "", &["webhook_url"]).await, "settings.webhook_url", "{bad:?}");
    }
    let secret = format!("whsec_{}", "A".repeat(32));
    for bad in ["", "secret", "whsec_", "whsec_AAAA", "whsec_!!!!"] {
        assert_eq!(set("", bad, &["webhook_secret"]).await, "settings.webhook_secret", "{bad:?}");
    }
    assert_eq!(set("", &secret, &["webhook_secret"]).await, "settings.webhook_secret", "without a URL");
    assert_eq!(set("", "", &["low_balance_usd"]).await, "settings.low_balance_usd");
    assert_eq!(reads(&world).await, before);
}

/// Case M7: a filter that nothing can match is refused, not answered with nothing.
#[tokio::test]
async fn a_filter_of_the_audit_log_that_nothing_has_is_refused_by_field() {
    let world = World::new().await;
    let all = || proto::ListAuditEventsRequest { organization_id: ACME.into(), ..Default::default() };
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    for (wrong, field) in [
        (proto::ListAuditEventsRequest { kind: "keys".into(), ..all() }, "kind"),
        (proto::ListAuditEventsRequest { actor: "ada".into(), ..all() }, "actor"),
        (proto::ListAuditEventsRequest { actor: "member:".into(), ..all() }, "actor"),
        (proto::ListAuditEventsRequest { start_time: at(2), end_time: at(2), ..all() }, "end_time"),
    ] {
        let status = world.operator.organizations().list_audit_events(wrong).await.unwrap_err();
        assert_eq!(wrong_field(&status), field);
    }
    for actor in ["operator", "system", "member:ada", "service:token"] {
        let query = proto::ListAuditEventsRequest { kind: "key".into(), actor: actor.into(), ..all() };
        world.operator.organizations().list_audit_events(query).await.unwrap();
    }
}
