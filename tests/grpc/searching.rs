//! Lists find what people take for the same text (case P18).

use futures::{StreamExt as _, stream};
use quotad::api::proto::{
    self, CreateTeamRequest, DeleteTeamRequest, Invitation, ListInvitationsRequest, ListMemberAllocationsRequest,
    ListMembersRequest, ListTeamAllocationsRequest, ListTeamsRequest,
};

use crate::{
    messages::mask,
    world::{ACME, World},
};

/// What is searched for, and the name that has it.
const FOUND: [(&str, &str); 8] = [
    ("strasse", "Straße"),
    ("STRASSE", "Straße"),
    ("istanbul", "İstanbul"),
    ("İSTANBUL", "istanbul"),
    ("Åsa", "A\u{30a}sa"),
    ("a\u{30a}sa", "Åsa"),
    (" joan", "Joanna"),
    ("joanna\u{a0}", "Joanna"),
];

impl World {
    /// Returns how many each list has: of members, invitations, teams, and what both have been allotted.
    async fn found(&self, search: &str) -> [usize; 5] {
        let (organization_id, search) = (String::from(ACME), search.to_owned());
        let members = ListMembersRequest { search: search.clone(), ..by(&organization_id) };
        let members = self.operator.members().list_members(members).await.unwrap().into_inner();
        assert_eq!(members.members.len(), members.total_size as usize);
        let invitations = ListInvitationsRequest {
            organization_id: organization_id.clone(),
            search: search.clone(),
            ..ListInvitationsRequest::default()
        };
        let invitations = self.operator.members().list_invitations(invitations).await.unwrap().into_inner();
        let teams = ListTeamsRequest {
            organization_id: organization_id.clone(),
            search: search.clone(),
            ..ListTeamsRequest::default()
        };
        let teams = self.operator.teams().list_teams(teams).await.unwrap().into_inner();
        let of_teams = ListTeamAllocationsRequest {
            organization_id: organization_id.clone(),
            search: search.clone(),
            ..ListTeamAllocationsRequest::default()
        };
        let of_teams = self.operator.allocations().list_team_allocations(of_teams).await.unwrap().into_inner();
        let of_members = ListMemberAllocationsRequest {
            organization_id,
            team_id: "default".into(),
            search,
            ..ListMemberAllocationsRequest::default()
        };
        let of_members = self.operator.allocations().list_member_allocations(of_members).await.unwrap().into_inner();
        [
            members.members.len(),
            invitations.invitations.len(),
            teams.teams.len(),
            of_teams.teams.len(),
            of_members.members.len(),
        ]
    }
}

fn by(organization_id: &str) -> ListMembersRequest {
    ListMembersRequest { organization_id: organization_id.to_owned(), ..ListMembersRequest::default() }
}

#[tokio::test]
async fn every_list_finds_whatever_case_and_normal_form_a_name_is_written_in() {
    for (search, name) in FOUND {
        let world = World::new().await;
        let organization_id = String::from(ACME);
        let named = proto::Member {
            organization_id: organization_id.clone(),
            id: "m1".into(),
            name: name.into(),
            ..proto::Member::default()
        };
        let new = proto::CreateMemberRequest { member: Some(named), ..proto::CreateMemberRequest::default() };
        world.operator.members().create_member(new).await.unwrap();
        let named = proto::Team {
            organization_id: organization_id.clone(),
            id: "t1".into(),
            name: name.into(),
            ..proto::Team::default()
        };
        let new = proto::CreateTeamRequest { team: Some(named), ..proto::CreateTeamRequest::default() };
        world.operator.teams().create_team(new).await.unwrap();
        let invited = Invitation {
            organization_id,
            email: "i1@example.org".into(),
            name: name.into(),
            role: proto::Role::Basic.into(),
            ..Invitation::default()
        };
        let new =
            proto::CreateInvitationRequest { invitation: Some(invited), ..proto::CreateInvitationRequest::default() };
        world.operator.members().create_invitation(new).await.unwrap();
        assert_eq!(world.found(search).await, [1; 5], "{search:?} in {name:?}");
        assert_eq!(world.found("elsewhere").await, [0; 5]);
        let everything = world.found("").await;
        assert_eq!(world.found("  ").await, everything, "spaces alone are nothing");
    }
}

impl World {
    async fn named_team(&self, id: &str, name: &str) {
        let team = proto::Team { organization_id: ACME.into(), id: id.into(), name: name.into(), ..Default::default() };
        let new = CreateTeamRequest { team: Some(team), ..CreateTeamRequest::default() };
        self.operator.teams().create_team(new).await.unwrap();
    }

    async fn rename_team(&self, id: &str, name: &str) {
        let team = proto::Team { organization_id: ACME.into(), id: id.into(), name: name.into(), ..Default::default() };
        let update = proto::UpdateTeamRequest { team: Some(team), update_mask: mask(&["name"]), ..Default::default() };
        self.operator.teams().update_team(update).await.unwrap();
    }

    async fn delete_team(&self, id: &str) {
        let delete = DeleteTeamRequest { organization_id: ACME.into(), team_id: id.into(), ..Default::default() };
        self.operator.teams().delete_team(delete).await.unwrap();
    }

    async fn search_teams(&self, search: &str, page_size: i32, page_token: String) -> proto::ListTeamsResponse {
        let list = ListTeamsRequest { organization_id: ACME.into(), search: search.into(), page_size, page_token };
        self.operator.teams().list_teams(list).await.unwrap().into_inner()
    }

    async fn ids_of_teams(&self, search: &str) -> Vec<String> {
        let found = self.search_teams(search, 100, String::new()).await;
        assert_eq!(found.teams.len(), found.total_size as usize);
        found.teams.into_iter().map(|team| team.id).collect()
    }
}

#[tokio::test]
async fn a_search_knows_every_change_that_was_acknowledged_before_it() {
    let world = World::new().await;
    for no in 0..20 {
        let id = format!("t{no}");
        world.named_team(&id, "Lange Straße").await;
        assert_eq!(world.ids_of_teams("STRASSE").await, [id.as_str()]);
        world.rename_team(&id, "Allee").await;
        assert!(world.ids_of_teams("strasse").await.is_empty());
        assert_eq!(world.ids_of_teams("allee").await, [id.as_str()]);
        world.delete_team(&id).await;
        assert!(world.ids_of_teams("allee").await.is_empty());
    }
}

#[tokio::test]
async fn a_search_goes_on_by_key_while_rows_come_and_go() {
    let world = World::new().await;
    let made: Vec<String> = (0..12).map(|no| format!("red-{no}")).collect();
    for id in &made {
        world.named_team(id, "").await;
        world.named_team(&id.replace("red", "blue"), "").await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    for page in 0.. {
        let found = world.search_teams("RED-", 5, page_token).await;
        for team in &found.teams {
            // What was seen goes: an offset would leave as many out.
            world.delete_team(&team.id).await;
        }
        seen.extend(found.teams.into_iter().map(|team| team.id));
        if page == 0 {
            world.named_team("red-late", "").await;
        }
        page_token = found.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made.into_iter().chain([String::from("red-late")]).collect::<Vec<_>>());
}

#[tokio::test]
async fn part_of_no_text_is_found_nowhere() {
    let world = World::new().await;
    world.named_team("t1", "one two").await;
    assert_eq!(world.ids_of_teams("e t").await, ["t1"]);
    for search in ["two\nt1", "\0", "%", "_", "one%two", "'"] {
        assert!(world.ids_of_teams(search).await.is_empty(), "{search:?}");
    }
}

/// Issue 18, finding 4: totals come from the books and from what memory keeps, not from counting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_right_beyond_ten_thousand_rows() {
    const TEAMS: usize = 10_100;
    let world = World::new().await;
    let create =
        async |no: usize| world.named_team(&format!("team-{no}"), if no.is_multiple_of(2) { "Even" } else { "" }).await;
    stream::iter(0..TEAMS).for_each_concurrent(256, create).await;
    for (search, expected) in [("", TEAMS + 1), ("TEAM-", TEAMS), ("even", TEAMS / 2), ("team-1009", 11)] {
        let first = world.search_teams(search, 10, String::new()).await;
        assert_eq!((first.total_size as usize, first.teams.len()), (expected, 10), "{search:?}");
    }
    let of_teams = ListTeamAllocationsRequest {
        organization_id: ACME.into(),
        search: String::from("even"),
        page_size: 1,
        ..ListTeamAllocationsRequest::default()
    };
    let of_teams = world.operator.allocations().list_team_allocations(of_teams).await.unwrap().into_inner();
    assert_eq!(of_teams.total_size as usize, TEAMS / 2);
    // All of them are found, each once.
    let (mut seen, mut page_token) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let found = world.search_teams("even", 1000, page_token).await;
        for team in found.teams {
            assert!(seen.insert(team.id));
        }
        page_token = found.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), TEAMS / 2);
}
