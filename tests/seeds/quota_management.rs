//! Document 002: reusable rules that cap credits and restrict hours.

use quotad::api::proto::{
    self, AccessHours, CreditCap, DayOfWeek, DenialCode, Key, Organization, PeriodKind, Rule, RuleStatus,
};
use tonic::Code;

use crate::{
    messages::{Failure, failed, failure, mask, reserve, usd},
    world::{ACME, World},
};

const WORKDAYS: [DayOfWeek; 5] =
    [DayOfWeek::Monday, DayOfWeek::Tuesday, DayOfWeek::Wednesday, DayOfWeek::Thursday, DayOfWeek::Friday];
const HOUR: i64 = 3600;
/// From the start, a Tuesday at 22:13:20 UTC, to Wednesday, 00:00.
const TO_MIDNIGHT: i64 = 6400;

fn cap(credits: &str, period: PeriodKind) -> Option<CreditCap> {
    Some(CreditCap { enabled: true, max_credits: credits.into(), period: period.into() })
}

fn hours(weekdays: &[DayOfWeek], hours: &str) -> Option<AccessHours> {
    let weekdays = weekdays.iter().map(|day| i32::from(*day)).collect();
    Some(AccessHours { enabled: true, weekdays, hours: hours.into() })
}

fn rule(id: &str, cap: Option<CreditCap>, hours: Option<AccessHours>) -> Rule {
    Rule { organization_id: ACME.into(), id: id.into(), name: id.into(), enabled: true, cap, hours, ..Rule::default() }
}

impl World {
    async fn try_create_rule(&self, rule: Rule) -> Result<Rule, Failure> {
        let new = proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
        let answer = self.operator.rules().create_rule(new).await.map_err(|status| failure(&status))?;
        Ok(answer.into_inner().rule.unwrap())
    }

    async fn create_rule(&self, rule: Rule) -> Rule {
        self.try_create_rule(rule).await.unwrap()
    }

    async fn update_rule(&self, rule: Rule, paths: &[&str]) -> Rule {
        let update = proto::UpdateRuleRequest { rule: Some(rule), update_mask: mask(paths), ..Default::default() };
        self.operator.rules().update_rule(update).await.unwrap().into_inner().rule.unwrap()
    }

    async fn get_rule(&self, id: &str) -> Rule {
        let asked = proto::GetRuleRequest { organization_id: ACME.into(), rule_id: id.into() };
        self.operator.rules().get_rule(asked).await.unwrap().into_inner().rule.unwrap()
    }

    async fn rules(&self, status: RuleStatus) -> Vec<String> {
        let asked = proto::ListRulesRequest {
            organization_id: ACME.into(),
            status: status.into(),
            ..proto::ListRulesRequest::default()
        };
        let listed = self.operator.rules().list_rules(asked).await.unwrap().into_inner();
        listed.rules.into_iter().map(|rule| rule.id).collect()
    }

    async fn delete_rule(&self, id: &str) -> Result<(), tonic::Status> {
        let delete = proto::DeleteRuleRequest { organization_id: ACME.into(), rule_id: id.into() };
        self.operator.rules().delete_rule(delete).await.map(drop)
    }

    /// An empty rule inherits the organization's default.
    async fn bind(&self, key: &str, rule: &str) -> Key {
        let key = Key { organization_id: ACME.into(), id: key.into(), rule_id: rule.into(), ..Key::default() };
        self.update_key(key, &["rule_id"]).await.unwrap()
    }

    async fn default_rule(&self, rule: &str) {
        let organization = Organization { default_rule_id: rule.into(), ..Organization::default() };
        self.update_organization(organization, &["default_rule_id"]).await;
    }

    /// Why not, if not.
    async fn refusal(&self, key: &str, id: &str, cost: &str) -> Option<proto::Denial> {
        self.reserve(reserve(key, id, usd(cost))).await.err()
    }

    async fn is_granted(&self, key: &str, id: &str, cost: &str) -> bool {
        self.refusal(key, id, cost).await.is_none()
    }
}

// C1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_rule_holds_at_once_for_every_key_bound_to_it() {
    let world = World::new().await;
    world.key("k2", "ada", "default").await;
    let described = Rule { description: "For development".into(), ..rule("dev", cap("5", PeriodKind::Daily), None) };
    let created = world.create_rule(described).await;
    assert_eq!(
        (created.name.as_str(), created.description.as_str(), created.enabled),
        ("dev", "For development", true)
    );
    for key in ["k1", "k2"] {
        world.bind(key, "dev").await;
        assert!(!world.is_granted(key, "a", "6").await);
    }
    let edited = world.update_rule(rule("dev", cap("6", PeriodKind::Daily), None), &["cap"]).await;
    assert_ne!(edited.etag, created.etag);
    for key in ["k1", "k2"] {
        assert!(world.is_granted(key, &format!("b-{key}"), "6").await);
    }
    let stale = Rule { etag: created.etag, ..rule("dev", None, None) };
    let update = proto::UpdateRuleRequest { rule: Some(stale), update_mask: mask(&["name"]), ..Default::default() };
    let refused = world.operator.rules().update_rule(update).await.unwrap_err();
    assert_eq!(failure(&refused), failed(Code::Aborted, "ETAG_STALE"));
}

// C2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_cap_restarts_with_each_period_and_is_switched_by_itself() {
    let world = World::new().await;
    let factor = Organization { credit_factor: "10".into(), ..Organization::default() };
    world.update_organization(factor, &["credit_factor"]).await;
    for (id, period, to_next) in [
        ("daily", PeriodKind::Daily, TO_MIDNIGHT),
        ("weekly", PeriodKind::Weekly, 4 * 24 * HOUR),
        ("monthly", PeriodKind::Monthly, 13 * 24 * HOUR),
    ] {
        world.key(id, "ada", "default").await;
        world.create_rule(rule(id, cap("50", period), None)).await;
        world.bind(id, id).await;
        assert!(world.is_granted(id, &format!("{id}-a"), "5").await, "5 USD are 50 credits");
        let denial = world.refusal(id, &format!("{id}-b"), "0.1").await.unwrap();
        assert_eq!(denial.code(), DenialCode::BudgetExceeded);
        let limit = denial.violations[0].limit.as_ref().unwrap();
        assert_eq!((limit.scope(), limit.scope_id.as_str(), limit.held.as_str()), (proto::Scope::Rule, id, "50"));
        world.advance(to_next);
        assert!(world.is_granted(id, &format!("{id}-c"), "5").await, "{id}");
        assert!(!world.is_granted(id, &format!("{id}-d"), "0.1").await);
        let off = Some(CreditCap { enabled: false, ..cap("50", period).unwrap() });
        world.update_rule(rule(id, off, None), &["cap"]).await;
        assert!(world.is_granted(id, &format!("{id}-e"), "100").await, "switched off");
    }
}

// C3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_let_in_on_their_weekdays_in_their_zone_and_across_midnight() {
    let world = World::new().await;
    // In Shanghai it is Wednesday, 06:13:20.
    let office = Rule { time_zone: "Asia/Shanghai".into(), ..rule("office", None, hours(&WORKDAYS, "08:00-20:00")) };
    world.create_rule(office).await;
    world.bind("k1", "office").await;
    let denial = world.refusal("k1", "a", "1").await.unwrap();
    assert_eq!((denial.code(), denial.http_status), (DenialCode::OutsideTimeWindow, 403));
    assert_eq!(denial.message, "Outside the allowed hours");
    assert_eq!(denial.retry_after.unwrap().seconds, TO_MIDNIGHT, "08:00 there is 00:00 UTC");
    world.advance(TO_MIDNIGHT);
    assert!(world.is_granted("k1", "b", "1").await);
    world.advance(12 * HOUR);
    assert!(!world.is_granted("k1", "c", "1").await, "20:00");
    // Now Wednesday, 12:00 UTC: 20:00 at UTC+8. The night belongs to the day it began on.
    let night =
        Rule { time_zone: "UTC+8".into(), ..rule("night", None, hours(&[DayOfWeek::Wednesday], "22:00-06:00")) };
    let night = world.create_rule(night).await;
    assert_eq!(night.time_zone, "UTC+08:00");
    world.bind("k1", "night").await;
    assert!(!world.is_granted("k1", "d", "1").await);
    world.advance(2 * HOUR);
    assert!(world.is_granted("k1", "e", "1").await, "Wednesday, 22:00");
    world.advance(7 * HOUR);
    assert!(world.is_granted("k1", "f", "1").await, "Thursday, 05:00");
    world.advance(HOUR);
    assert!(!world.is_granted("k1", "g", "1").await, "Thursday, 06:00");
    world.advance(16 * HOUR);
    assert!(!world.is_granted("k1", "h", "1").await, "Thursday, 22:00");
    let off = hours(&[DayOfWeek::Wednesday], "22:00-06:00").map(|hours| AccessHours { enabled: false, ..hours });
    world.update_rule(rule("night", None, off), &["hours"]).await;
    assert!(world.is_granted("k1", "i", "1").await, "switched off");
}

// C3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_follow_the_wall_clock_over_a_daylight_saving_change() {
    let world = World::new().await;
    let every_day: Vec<_> = WORKDAYS.into_iter().chain([DayOfWeek::Saturday, DayOfWeek::Sunday]).collect();
    let office = Rule { time_zone: "Europe/Berlin".into(), ..rule("office", None, hours(&every_day, "08:00-20:00")) };
    world.create_rule(office).await;
    world.bind("k1", "office").await;
    // 2024-03-30T06:30:00Z, the last day of winter time: 07:30 in Berlin.
    world.advance(1_711_780_200 - crate::world::START);
    let denial = world.refusal("k1", "a", "1").await.unwrap();
    assert_eq!(denial.retry_after.unwrap().seconds, HOUR / 2);
    world.advance(24 * HOUR);
    assert!(world.is_granted("k1", "b", "1").await, "the same instant of the next day is 08:30");
}

// C4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_said_in_plain_english_before_saving_and_on_every_read() {
    let world = World::new().await;
    let both = Rule {
        time_zone: "Asia/Shanghai".into(),
        ..rule("r", cap("50", PeriodKind::Daily), hours(&WORKDAYS, "08:00-20:00"))
    };
    let said =
        "Up to 50.00 credits per day. Monday to Friday, 08:00–20:00 (Asia/Shanghai). Otherwise requests are blocked.";
    let preview = proto::PreviewRuleRequest { rule: Some(both.clone()) };
    let preview = world.operator.rules().preview_rule(preview).await.unwrap().into_inner();
    assert_eq!((preview.preview.as_str(), preview.open_now), (said, false));
    assert_eq!(preview.opens_time.unwrap().seconds, crate::world::START + TO_MIDNIGHT);
    assert_eq!(world.rules(RuleStatus::Unspecified).await, Vec::<String>::new(), "nothing was saved");
    assert_eq!(world.create_rule(both).await.preview, said);
    assert_eq!(world.get_rule("r").await.preview, said);
}

// C5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_follows_its_own_rule_then_the_default_then_none() {
    let world = World::new().await;
    world.create_rule(rule("own", cap("1", PeriodKind::Daily), None)).await;
    world.create_rule(rule("default", cap("2", PeriodKind::Daily), None)).await;
    assert!(world.is_granted("k1", "a", "100").await, "no rule: no restriction");
    world.default_rule("default").await;
    assert!(!world.is_granted("k1", "b", "3").await);
    let bound = world.bind("k1", "own").await;
    assert_eq!((bound.rule_id.as_str(), bound.effective_rule_id.as_str()), ("own", "own"));
    assert!(!world.is_granted("k1", "c", "2").await);
    let inherits = world.bind("k1", "").await;
    assert_eq!((inherits.rule_id.as_str(), inherits.effective_rule_id.as_str()), ("", "default"));
    assert!(world.is_granted("k1", "d", "2").await);
    world.default_rule("").await;
    assert!(world.is_granted("k1", "e", "100").await);
}

// C6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_shows_status_and_who_uses_a_rule_and_one_that_is_off_is_skipped() {
    let world = World::new().await;
    for key in ["k2", "k3"] {
        world.key(key, "ada", "default").await;
    }
    world.create_rule(rule("a", cap("1", PeriodKind::Daily), None)).await;
    world.create_rule(rule("b", None, hours(&WORKDAYS, "08:00-20:00"))).await;
    world.bind("k1", "b").await;
    world.default_rule("a").await;
    let (a, b) = (world.get_rule("a").await, world.get_rule("b").await);
    assert_eq!(((a.bound_keys, a.inherited_keys), (b.bound_keys, b.inherited_keys)), ((0, 2), (1, 0)));
    let off = Rule { enabled: false, ..rule("b", None, None) };
    world.update_rule(off, &["enabled"]).await;
    assert_eq!(world.rules(RuleStatus::Enabled).await, ["a"], "what is suggested for binding");
    assert_eq!(world.rules(RuleStatus::Disabled).await, ["b"], "it is kept");
    assert_eq!(world.rules(RuleStatus::Unspecified).await, ["a", "b"]);
    let (a, b) = (world.get_rule("a").await, world.get_rule("b").await);
    assert_eq!(((a.bound_keys, a.inherited_keys), (b.bound_keys, b.inherited_keys)), ((0, 3), (1, 0)));
    assert!(b.hours.is_some());
    let denial = world.refusal("k1", "x", "2").await.unwrap();
    assert_eq!(denial.code(), DenialCode::BudgetExceeded, "the chain goes on to the default");
}

// C7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_in_use_is_not_deleted_and_the_error_says_by_how_many_keys() {
    let world = World::new().await;
    world.key("k2", "ada", "default").await;
    world.create_rule(rule("r", None, None)).await;
    world.bind("k1", "r").await;
    world.bind("k2", "r").await;
    let refused = world.delete_rule("r").await.unwrap_err();
    assert_eq!(failure(&refused), failed(Code::FailedPrecondition, "RULE_IN_USE"));
    assert!(refused.message().contains("2 keys"), "{}", refused.message());
    assert_eq!(world.get_rule("r").await.bound_keys, 2);
    world.bind("k1", "").await;
    world.bind("k2", "").await;
    world.delete_rule("r").await.unwrap();
    assert_eq!(world.delete_rule("r").await.unwrap_err().code(), Code::NotFound);
    let again = world.try_create_rule(rule("r", None, None)).await;
    assert_eq!(again, Err(failed(Code::AlreadyExists, "ID_DELETED")));
}
