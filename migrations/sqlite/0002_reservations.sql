-- Holds are inserted by thousands, and each looked its organization up; to undo a statement that such a check fails, SQLite also kept a
-- copy of every page that it changed. As in the ledger, the organization is there: nothing of one comes before itself in the journal.

ALTER TABLE reservations RENAME TO reservations_before;

-- Holds that are open, or that ended without an entry in the ledger; a committed one stands there instead.
CREATE TABLE reservations (
    organization_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    request_id TEXT,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    holder TEXT,
    state TEXT NOT NULL CHECK (state IN ('open', 'revoked', 'released', 'expired', 'committed')),
    admit_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    held_usd INTEGER NOT NULL,
    held_credits INTEGER NOT NULL,
    held_tokens INTEGER NOT NULL,
    held_requests INTEGER NOT NULL,
    -- Why it was released, in the caller's words.
    reason TEXT,
    -- The hold as journalled.
    reserved BLOB NOT NULL,
    -- A late settlement that booked nothing.
    settled BLOB,
    PRIMARY KEY (organization_id, epoch, sequence)
) STRICT;

INSERT INTO reservations SELECT * FROM reservations_before;

DROP TABLE reservations_before;

CREATE INDEX reservations_by_request ON reservations (organization_id, request_id);
CREATE INDEX reservations_ended ON reservations (admit_time) WHERE state IN ('released', 'expired', 'committed');
