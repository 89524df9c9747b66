//! Invitations: whoever accepts one becomes a member.

use crate::{
    domain::{
        access::{Invitation, InvitationState},
        alert::AlertKind,
        bounds::Bounds,
        entity::Member,
        event::Event,
        fold,
        id::{InvitationId, MemberId, TeamId},
        money::Factor,
        policy::{Place, Policy},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        state::Counted,
        table::Entity,
        turn::{
            Outcome, Turn,
            alert::Notice,
            control::{free, live},
        },
    },
};

impl Turn<'_> {
    /// Invites somebody. Its address must be neither a member's nor that of another invitation that is open.
    ///
    /// # Errors
    /// [`Conflict`] when it is, for a personal account, when a team is missing, or the policy doesn't fit.
    pub fn invite(&mut self, invitation: Invitation) -> Outcome<()> {
        self.check_organization()?;
        self.check_team_account("an invitation")?;
        free(&self.state.invitations, &invitation.id, invitation.id.as_str())?;
        let Invitation { email, teams, policy, .. } = &invitation;
        self.check_email(&MemberId::trusted(""), email)?;
        self.check_invited(&invitation.id, email)?;
        self.check_invitations(email, false)?;
        for team in teams {
            live(&self.state.teams, team, team.as_str())?;
        }
        self.check_credits(&Place::Organization, policy, self.state.organization.credit_factor)?;
        self.emit(Event::InvitationSet(Box::new(invitation)));
        Ok(())
    }

    /// One that memory has given up, once its time was over, doesn't count until it is sent again.
    ///
    /// # Errors
    /// [`Conflict`] when another invitation to this address is open, or there may be no more.
    fn check_invited(&self, id: &InvitationId, email: &str) -> Outcome<()> {
        match self.state.invited.get(&fold::address(email)) {
            Some(open) if open == id => return Ok(()),
            Some(other) => {
                let problem = format!("{email} was invited already, as {other}; resend or revoke that invitation");
                return Err(Conflict::Precondition(problem));
            }
            None => {}
        }
        let invited = u32::try_from(self.state.invited.len()).unwrap_or(u32::MAX);
        let taken = self.state.members.live_count().saturating_add(invited);
        Self::check_count("members and invitations", taken, self.bounds().members)
    }

    /// # Errors
    /// [`Conflict::Exhausted`] when there were too many of late, or too many to this address.
    fn check_invitations(&self, email: &str, is_known: bool) -> Outcome<()> {
        let Bounds { invitations_per_hour, resends_per_day, .. } = self.bounds();
        let what = "invitations of the organization in an hour";
        self.check_frequency(&Counted::Invitations, what, 1, invitations_per_hour)?;
        let to = Counted::resends_to(email);
        if is_known || self.state.frequencies.is_recent(&to, self.now) {
            self.check_frequency(&to, "further invitations to one address in a day", 1, resends_per_day)?;
        }
        Ok(())
    }

    /// Tells whom it is for. The token is told to nobody else: alerts are listed.
    pub fn announce(&mut self, id: &InvitationId) {
        let Some(row) = self.state.invitations.find(id) else { return };
        let Invitation { email, role, invited_by, expire_time, .. } = row.entity.clone();
        let organization = self.organization_name();
        self.notice(Notice {
            kind: AlertKind::Invitation,
            cause: None,
            subject: format!("You are invited to join {organization}"),
            facts: vec![
                ("invitation", id.to_string()),
                ("role", role.to_string()),
                ("invited by", invited_by.as_str().to_owned()),
                ("expires", expire_time.to_string()),
            ],
            recipients: vec![email],
        });
    }

    fn pending_invitation(&self, id: &InvitationId) -> Outcome<Invitation> {
        self.check_team_account("an invitation")?;
        let missing = || Conflict::NotFound { kind: Invitation::KIND, id: id.to_string() };
        let invitation = self.state.invitations.find(id).map(|row| row.entity.clone()).ok_or_else(missing)?;
        match invitation.state {
            InvitationState::Pending => Ok(invitation),
            InvitationState::Accepted(member) => {
                Err(Conflict::Precondition(format!("invitation {id} was accepted already, by member {member}")))
            }
            InvitationState::Revoked => Err(Conflict::Precondition(format!("invitation {id} was revoked"))),
        }
    }

    /// Lets it be accepted until another time. Also changes the limits that it gives, if told.
    ///
    /// # Errors
    /// [`Conflict`] when it isn't open, or was sent too often of late.
    pub fn renew_invitation(&mut self, id: &InvitationId, expire_time: Timestamp) -> Outcome<()> {
        let invitation = self.pending_invitation(id)?;
        self.check_invited(id, &invitation.email)?;
        self.check_invitations(&invitation.email, true)?;
        self.emit(Event::InvitationSet(Box::new(Invitation { expire_time, update_time: self.now, ..invitation })));
        Ok(())
    }

    /// The limits that the member will have.
    ///
    /// # Errors
    /// [`Conflict`] when it isn't open, the address was invited anew, or the policy doesn't fit.
    pub fn set_invitation_policy(&mut self, id: &InvitationId, policy: Policy) -> Outcome<()> {
        let invitation = self.pending_invitation(id)?;
        self.check_invited(id, &invitation.email)?;
        self.check_credits(&Place::Organization, &policy, self.state.organization.credit_factor)?;
        self.emit(Event::InvitationSet(Box::new(Invitation { policy, update_time: self.now, ..invitation })));
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when it isn't open.
    pub fn revoke_invitation(&mut self, id: &InvitationId) -> Outcome<()> {
        let state = InvitationState::Revoked;
        let invitation = self.pending_invitation(id)?;
        self.emit(Event::InvitationSet(Box::new(Invitation { state, update_time: self.now, ..invitation })));
        Ok(())
    }

    /// Makes a member of who was invited. Teams that were deleted meanwhile are left out.
    ///
    /// # Errors
    /// [`Conflict`] when it isn't open or has expired, or the member can't be created.
    pub fn accept_invitation(&mut self, id: &InvitationId, member: MemberId, name: Option<String>) -> Outcome<()> {
        let invitation = self.pending_invitation(id)?;
        if self.now >= invitation.expire_time {
            let problem = format!("invitation {id} has expired; ask {} for another", invitation.invited_by.as_str());
            return Err(Conflict::Precondition(problem));
        }
        let mut teams = invitation.teams.clone();
        teams.retain(|team| self.state.teams.find_live(team).is_some());
        if teams.is_empty() {
            teams.push(TeamId::trusted(crate::domain::id::DEFAULT_TEAM));
        }
        let new = Member {
            id: member.clone(),
            name: name.unwrap_or_else(|| invitation.name.clone()),
            email: invitation.email.clone(),
            role: invitation.role,
            disabled: false,
            deleted: false,
            create_time: self.now,
            update_time: self.now,
        };
        // A credit cap that it was given before credits weren't tracked any more stays, and doesn't bind.
        self.add_member(new, &teams, &invitation.policy, Factor::ONE)?;
        let state = InvitationState::Accepted(member);
        self.emit(Event::InvitationSet(Box::new(Invitation { state, update_time: self.now, ..invitation })));
        Ok(())
    }
}
