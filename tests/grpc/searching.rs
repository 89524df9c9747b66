//! Lists find what people take for the same text (case P18).

use quotad::api::proto::{
    self, Invitation, ListInvitationsRequest, ListMemberAllocationsRequest, ListMembersRequest,
    ListTeamAllocationsRequest, ListTeamsRequest,
};

use crate::world::{ACME, World};

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
