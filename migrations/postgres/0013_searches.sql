-- What lists search stands in the books, folded as the server folds what is searched for. It folds the rows that are there when it
-- opens these books next: SQL can't.

ALTER TABLE teams ADD COLUMN create_sequence BIGINT NOT NULL DEFAULT 0;
ALTER TABLE teams ADD COLUMN search_text TEXT;
ALTER TABLE members ADD COLUMN create_sequence BIGINT NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN search_text TEXT;

UPDATE teams SET create_sequence = coalesce((
    SELECT min(sequence) FROM audit_log WHERE audit_log.organization_id = teams.organization_id
        AND audit_log.kind = 'team' AND audit_log.entity_id = teams.team_id), 0);
UPDATE members SET create_sequence = coalesce((
    SELECT min(sequence) FROM audit_log WHERE audit_log.organization_id = members.organization_id
        AND audit_log.kind = 'member' AND audit_log.entity_id = members.member_id), 0);

CREATE INDEX teams_by_creation ON teams (organization_id, create_sequence) WHERE NOT deleted;
CREATE INDEX members_by_creation ON members (organization_id, create_sequence) WHERE NOT deleted;
CREATE INDEX teams_to_fold ON teams (organization_id) WHERE search_text IS NULL;
CREATE INDEX members_to_fold ON members (organization_id) WHERE search_text IS NULL;

COMMENT ON COLUMN teams.create_sequence IS 'Sequence of the event that made the row: the order of lists.';
COMMENT ON COLUMN teams.search_text IS 'Name and id, in compatible composition and folded case, a line each; NULL before it is folded.';
COMMENT ON COLUMN members.create_sequence IS 'Sequence of the event that made the row: the order of lists.';
COMMENT ON COLUMN members.search_text IS 'Name, e-mail address and id, in compatible composition and folded case, a line each; NULL before it is folded.';

CREATE TABLE invitations (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    invitation_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    state TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    create_sequence BIGINT NOT NULL,
    search_text TEXT,
    PRIMARY KEY (organization_id, invitation_id)
);

INSERT INTO invitations
    SELECT last.organization_id, last.entity_id, coalesce(last.after ->> 'name', ''), coalesce(last.after ->> 'email', ''),
        CASE WHEN last.after ->> 'state' ILIKE '%accepted%' THEN 'accepted' ELSE lower(coalesce(last.after ->> 'state', '')) END,
        first.time, last.time, first.sequence, NULL
    FROM (SELECT organization_id, entity_id, min(time) AS time, min(sequence) AS sequence, max(position) AS position
            FROM audit_log WHERE kind = 'invitation' GROUP BY organization_id, entity_id) AS first
        JOIN audit_log AS last ON last.position = first.position;

CREATE INDEX invitations_by_creation ON invitations (organization_id, create_sequence);
CREATE INDEX invitations_to_fold ON invitations (organization_id) WHERE search_text IS NULL;

COMMENT ON TABLE invitations IS 'Who was invited.';
COMMENT ON COLUMN invitations.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN invitations.invitation_id IS 'Unique in the organization.';
COMMENT ON COLUMN invitations.name IS 'Name for people.';
COMMENT ON COLUMN invitations.email IS 'Whom it was sent to.';
COMMENT ON COLUMN invitations.state IS 'pending, accepted or revoked. One that has expired stays pending.';
COMMENT ON COLUMN invitations.create_time IS 'When it was made.';
COMMENT ON COLUMN invitations.update_time IS 'When it was changed last.';
COMMENT ON COLUMN invitations.create_sequence IS 'Sequence of the event that made the row: the order of lists.';
COMMENT ON COLUMN invitations.search_text IS 'Name, e-mail address and id, in compatible composition and folded case, a line each; NULL before it is folded.';
