-- The books of quotad, on SQLite. Written by the projector alone, one transaction a batch of journal records, together with
-- the position that it has reached.
--
-- Money and credits are integer nano-units (10^-9 USD or credits), because SQLite's NUMERIC rounds. Instants are
-- microseconds since the Unix epoch, UTC: datetime(time / 1000000, 'unixepoch') reads them.

-- How far the journal is written into these tables. One row.
CREATE TABLE projector (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL
) STRICT;

INSERT INTO projector (id, position) VALUES (1, 0);

-- Who holds a wallet and a ledger of its own.
CREATE TABLE organizations (
    organization_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- Credits per USD, nano-units; 0 while credits aren't tracked.
    credit_factor INTEGER NOT NULL,
    wallet_mode TEXT NOT NULL CHECK (wallet_mode IN ('enforced', 'off')),
    expiry_policy TEXT NOT NULL CHECK (expiry_policy IN ('release', 'charge_held')),
    disabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;

CREATE TABLE teams (
    organization_id TEXT NOT NULL REFERENCES organizations,
    team_id TEXT NOT NULL,
    name TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (organization_id, team_id)
) STRICT;

CREATE TABLE members (
    organization_id TEXT NOT NULL REFERENCES organizations,
    member_id TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (organization_id, member_id)
) STRICT;

-- Which member is in which team.
CREATE TABLE memberships (
    organization_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (organization_id, team_id, member_id),
    FOREIGN KEY (organization_id, team_id) REFERENCES teams,
    FOREIGN KEY (organization_id, member_id) REFERENCES members
) STRICT;

-- API keys. Their secrets are kept nowhere; the hashes stand in key_directory.
CREATE TABLE keys (
    organization_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    name TEXT NOT NULL,
    secret_prefix TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    expire_time INTEGER,
    -- JSON array of the models that the key may use; empty means all.
    models TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (organization_id, key_id),
    FOREIGN KEY (organization_id, team_id, member_id) REFERENCES memberships
) STRICT;

-- Which organization a key belongs to, over all of them, and the BLAKE3 hash of its secret.
CREATE TABLE key_directory (
    key_id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- Budgets and quotas. A number means one limit for ever; one that was removed stays, not active.
CREATE TABLE limits (
    organization_id TEXT NOT NULL REFERENCES organizations,
    limit_no INTEGER NOT NULL,
    -- Where on a key's path it stands.
    scope TEXT NOT NULL CHECK (scope IN ('key', 'membership', 'member', 'team', 'organization')),
    key_id TEXT,
    team_id TEXT,
    member_id TEXT,
    limit_id TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('usd', 'credits', 'requests_per_minute', 'tokens_per_minute', 'in_flight')),
    -- JSON; null for quotas.
    period TEXT,
    -- In the unit's own smallest step: nano-units, requests or tokens. Null: no such cap.
    max INTEGER,
    soft INTEGER,
    -- JSON array of the models that it is narrowed to; empty means all.
    models TEXT NOT NULL,
    active INTEGER NOT NULL,
    PRIMARY KEY (organization_id, limit_no)
) STRICT;

-- What was charged to a budget in one of its windows.
CREATE TABLE budget_windows (
    organization_id TEXT NOT NULL,
    limit_no INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    -- Nano-units.
    spent INTEGER NOT NULL,
    PRIMARY KEY (organization_id, limit_no, window_start),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
) STRICT, WITHOUT ROWID;

-- Holds that are open, or that ended without an entry in the ledger; a committed one stands there instead.
CREATE TABLE reservations (
    organization_id TEXT NOT NULL REFERENCES organizations,
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

CREATE INDEX reservations_by_request ON reservations (organization_id, request_id);
CREATE INDEX reservations_ended ON reservations (admit_time) WHERE state IN ('released', 'expired', 'committed');

-- The ledger: what was charged and what was paid in. Append-only; entries count from 1 without gaps in each organization.
CREATE TABLE ledger_entries (
    organization_id TEXT NOT NULL REFERENCES organizations,
    entry INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('top_up', 'commit', 'charge', 'expiry', 'late_commit')),
    time INTEGER NOT NULL,
    -- When the request was admitted: its windows are charged.
    occurred_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    key_id TEXT,
    member_id TEXT,
    team_id TEXT,
    model TEXT,
    request_id TEXT,
    reservation_epoch INTEGER,
    reservation_sequence INTEGER,
    -- What the entry books; negative where a late commit gives back.
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    -- What was not held and put a limit above its cap.
    overage_usd INTEGER NOT NULL,
    -- What the entry did to the balance, and the balance after it.
    wallet INTEGER NOT NULL,
    balance INTEGER NOT NULL,
    reason TEXT,
    -- JSON array of {limit_no, unit, window_start, amount}: what it charged to each budget.
    limits TEXT NOT NULL,
    -- JSON object: the caller's own names and values.
    labels TEXT NOT NULL,
    -- The event as journalled.
    detail BLOB NOT NULL,
    PRIMARY KEY (organization_id, entry)
) STRICT;

CREATE UNIQUE INDEX ledger_money_once ON ledger_entries (organization_id, request_id) WHERE kind IN ('charge', 'top_up');
CREATE UNIQUE INDEX ledger_commit_once ON ledger_entries (organization_id, reservation_epoch, reservation_sequence)
    WHERE kind IN ('commit', 'late_commit');
CREATE INDEX ledger_by_reservation ON ledger_entries (organization_id, reservation_epoch, reservation_sequence);
CREATE INDEX ledger_by_request ON ledger_entries (organization_id, request_id);
CREATE INDEX ledger_by_time ON ledger_entries (organization_id, time);

CREATE TRIGGER ledger_entries_are_never_changed BEFORE UPDATE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never changed');
END;

CREATE TRIGGER ledger_entries_are_never_deleted BEFORE DELETE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never deleted');
END;

-- What a model costs now, nano-USD. The price that was applied to an entry stands in the entry.
CREATE TABLE prices (
    model TEXT PRIMARY KEY,
    input_per_million INTEGER NOT NULL,
    cached_input_per_million INTEGER NOT NULL,
    cache_write_per_million INTEGER NOT NULL,
    output_per_million INTEGER NOT NULL,
    per_request INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;

-- What callers of the data plane authenticate with: the BLAKE3 hash of the secret.
CREATE TABLE service_tokens (
    token_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER
) STRICT;
