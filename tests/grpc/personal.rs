//! M16: what only a team account has, a personal one has on no verb.

use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage as _, Value};
use quotad::api::proto::Organization;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    messages::{failed, failure},
    rpc::{about, call, methods, name, set_mask},
    world::World,
};

const HOME: &str = "home";
const TEAMS: &str = "teams";
const OWNER: &str = "pia";

/// Services of which a personal account has nothing.
const OF_TEAMS: [&str; 2] = ["AllocationService", "CreditRequestService"];
/// Of others, what it hasn't beside invitations.
const ALSO: [&str; 3] = ["TeamService/CreateTeam", "MemberService/CreateMember", "MemberService/GetMemberBudget"];
/// Those end what the others are asked about.
const ENDING: [&str; 2] = ["OrganizationService/DeleteOrganization", "OrganizationService/ConvertToTeamAccount"];

fn needs_a_team(method: &MethodDescriptor) -> bool {
    let of_service = OF_TEAMS.contains(&method.parent_service().name());
    of_service || method.name().contains("Invitation") || ALSO.contains(&&*name(method))
}

/// What an Update changes: something that a personal account has too, where there is such a thing.
fn changed(entity: &str) -> &'static [&'static str] {
    match entity {
        "AllocationSettings" => &["signup_credits"],
        "TeamAllocation" | "MemberAllocation" => &["monthly"],
        "Invitation" => &["policy"],
        _ => &["name"],
    }
}

/// Fills in what a method can't do without.
fn fill(message: &mut DynamicMessage, is_new: bool) {
    for field in message.descriptor().fields() {
        let named = field.name().to_owned();
        if named == "update_mask" {
            let entity =
                message.descriptor().fields().find_map(|field| Some(field.kind().as_message()?.name().to_owned()));
            set_mask(message, changed(&entity.unwrap_or_default()));
            continue;
        }
        if field.is_list() || field.is_map() || message.has_field(&field) {
            if let Value::Message(inner) = message.get_field_mut(&field) {
                fill(inner, is_new);
            }
            continue;
        }
        let text = match &*named {
            "team_id" => "default",
            "member_id" => OWNER,
            "email" => "sam@example.org",
            "id" if is_new => "new",
            "id" => "none",
            "request_id" => "",
            "amount" | "amount_usd" | "monthly" | "signup_credits" => "1",
            _ if named.ends_with("_id") => "none",
            _ => continue,
        };
        if matches!(field.kind(), Kind::String) {
            message.set_field(&field, Value::String(text.to_owned()));
        }
    }
}

async fn channel(world: &World) -> (Channel, String) {
    let token = std::fs::read_to_string(world.data_dir().join("operator.token")).unwrap();
    let endpoint = Endpoint::from_shared(world.address()).unwrap();
    (endpoint.connect().await.unwrap(), token.trim().to_owned())
}

/// What each method about an organization answers for this one, as the operator asks.
async fn walk(world: &World, organization: &str) -> Vec<(MethodDescriptor, Result<(), Status>)> {
    let (channel, token) = channel(world).await;
    let mut answers = Vec::new();
    for method in methods() {
        let Some(mut message) = about(&method, organization) else { continue };
        if ENDING.contains(&&*name(&method)) || method.parent_service().name() == "QuotaService" {
            continue;
        }
        fill(&mut message, method.name().starts_with("Create"));
        let answer = call(&channel, Some(&token), &method, &message).await;
        answers.push((method, answer));
    }
    answers
}

// M16
#[tokio::test]
async fn what_only_a_team_account_has_a_personal_one_is_refused_on_every_verb() {
    let world = World::new().await;
    world.personal(HOME, OWNER).await;
    let refused = failed(Code::FailedPrecondition, "TEAM_ACCOUNT_REQUIRED");
    let (mut wrong, mut of_teams, mut others) = (Vec::new(), 0, 0);
    for (method, answer) in walk(&world, HOME).await {
        let is_refused = answer.as_ref().is_err_and(|status| failure(status) == refused);
        let said = answer.map_or_else(|status| format!("{status:?}"), |()| String::from("done"));
        if is_refused != needs_a_team(&method) {
            wrong.push(format!("{}: {said}", name(&method)));
        }
        if needs_a_team(&method) {
            of_teams += 1;
        } else {
            others += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(of_teams > 15 && others > 40, "{of_teams} and {others} methods");
}

// M16
#[tokio::test]
async fn a_team_account_is_refused_nothing_for_its_kind() {
    let world = World::new().await;
    let organization = Organization { id: TEAMS.into(), ..Organization::default() };
    let new = quotad::api::proto::CreateOrganizationRequest { organization: Some(organization), ..Default::default() };
    world.operator.organizations().create_organization(new).await.unwrap();
    world.member_of(TEAMS, OWNER, &[]).await;
    for (method, answer) in walk(&world, TEAMS).await {
        let reason = answer.err().map(|status| failure(&status));
        let refused = failed(Code::FailedPrecondition, "TEAM_ACCOUNT_REQUIRED");
        assert_ne!(reason, Some(refused), "{}", name(&method));
    }
}
