-- What lists search stands in the books, folded as the server folds what is searched for. It folds the rows that are there when it
-- opens these books next: SQL can't.

-- Of the event that made the row: the order of lists.
ALTER TABLE teams ADD COLUMN create_sequence INTEGER NOT NULL DEFAULT 0;
-- Name and id, in compatible composition and folded case, a line each. NULL: not folded yet.
ALTER TABLE teams ADD COLUMN search_text TEXT;

-- As in teams.
ALTER TABLE members ADD COLUMN create_sequence INTEGER NOT NULL DEFAULT 0;
-- As in teams; with the e-mail address.
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

-- Who was invited.
CREATE TABLE invitations (
    organization_id TEXT NOT NULL REFERENCES organizations,
    invitation_id TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    -- pending, accepted or revoked. One that has expired stays pending.
    state TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    -- As in teams.
    create_sequence INTEGER NOT NULL,
    -- As in members.
    search_text TEXT,
    PRIMARY KEY (organization_id, invitation_id)
) STRICT;

INSERT INTO invitations
    SELECT last.organization_id, last.entity_id, coalesce(last.after ->> '$.name', ''),
        coalesce(last.after ->> '$.email', ''), lower(coalesce(last.after ->> '$.state', '')), first.time, last.time,
        first.sequence, NULL
    FROM (SELECT min(time) AS time, min(sequence) AS sequence, max(position) AS position
            FROM audit_log WHERE kind = 'invitation' GROUP BY organization_id, entity_id) AS first
        JOIN audit_log AS last ON last.position = first.position;
UPDATE invitations SET state = 'accepted' WHERE state LIKE '{"accepted"%';

CREATE INDEX invitations_by_creation ON invitations (organization_id, create_sequence);
CREATE INDEX invitations_to_fold ON invitations (organization_id) WHERE search_text IS NULL;
