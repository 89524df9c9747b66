-- The books of quotad, on SQLite. Written by the projector alone, one transaction a batch of journal records, together with
-- the position that it has reached.
--
-- Money and credits are integer nano-units (10^-9 USD or credits), because SQLite's NUMERIC rounds. Instants are
-- microseconds since the Unix epoch, UTC: datetime(time / 1000000, 'unixepoch') reads them.

-- How far the journal is written into these tables. One row.
CREATE TABLE projector (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- Tells these books from any other.
    store_id BLOB NOT NULL,
    position INTEGER NOT NULL
) STRICT;

INSERT INTO projector (id, store_id, position) VALUES (1, randomblob(16), 0);

-- Which journal may write, by which start of a server: checked in every transaction that writes. One row.
CREATE TABLE writer_lease (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    journal_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    -- Names the server to people.
    holder TEXT NOT NULL,
    -- Seconds since the Unix epoch.
    renewed_at INTEGER NOT NULL,
    released INTEGER NOT NULL
) STRICT;

-- A state of every stream (an organization; empty: the system), encoded, for a server that has lost its disk.
CREATE TABLE stream_states (
    stream TEXT NOT NULL,
    part INTEGER NOT NULL,
    -- Of the stream's last event in the state, and its place in the journal.
    sequence INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (stream, part)
) STRICT;

-- Records of the journal since the oldest of those states, by batches.
CREATE TABLE recent_events (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    records BLOB NOT NULL
) STRICT;

CREATE INDEX recent_events_by_last ON recent_events (last);

-- Who holds a wallet and a ledger of its own.
CREATE TABLE organizations (
    organization_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('team', 'personal')),
    -- The access rule of keys that have none of their own.
    default_rule_id TEXT,
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
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'finance_admin', 'developer', 'basic')),
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
    -- The access rule that it is bound to.
    rule_id TEXT,
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
    scope TEXT NOT NULL CHECK (scope IN ('key', 'membership', 'member', 'team', 'organization', 'rule', 'allocation')),
    key_id TEXT,
    team_id TEXT,
    member_id TEXT,
    -- Of a counter under an access rule.
    rule_id TEXT,
    limit_id TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('usd', 'credits', 'requests_per_minute', 'tokens_per_minute', 'in_flight')),
    -- JSON; null for quotas.
    period TEXT,
    -- Of a budget, in nano-units. Null: no such cap.
    max INTEGER,
    soft INTEGER,
    -- Of a quota: requests or tokens.
    max_count INTEGER,
    -- JSON array of the models that it is narrowed to; empty means all.
    models TEXT NOT NULL,
    active INTEGER NOT NULL,
    PRIMARY KEY (organization_id, limit_no)
) STRICT;

CREATE INDEX limits_by_rule ON limits (organization_id, rule_id) WHERE rule_id IS NOT NULL;
CREATE INDEX limits_by_place ON limits (organization_id, scope, coalesce(key_id, ''), coalesce(team_id, ''),
    coalesce(member_id, '')) WHERE active;

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

-- The ledger: what was charged and what was paid in. Append-only; entries count from 1 without gaps in each organization. That
-- their organization is there is the doing of ledger_heads, which has one row for all entries of a transaction.
CREATE TABLE ledger_entries (
    organization_id TEXT NOT NULL,
    entry INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('top_up', 'commit', 'charge', 'expiry', 'late_commit',
                                       'refund', 'adjustment', 'reversal')),
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
    -- The entry that this one corrects.
    corrects_entry INTEGER,
    -- The event as journalled.
    detail BLOB NOT NULL,
    PRIMARY KEY (organization_id, entry)
) STRICT;

CREATE UNIQUE INDEX ledger_commit_once ON ledger_entries (organization_id, reservation_epoch, reservation_sequence)
    WHERE kind IN ('commit', 'late_commit');
CREATE INDEX ledger_by_expiry ON ledger_entries (organization_id, reservation_epoch, reservation_sequence)
    WHERE kind = 'expiry';
CREATE INDEX ledger_by_request ON ledger_entries (organization_id, request_id)
    WHERE kind IN ('commit', 'late_commit');
CREATE INDEX ledger_by_time ON ledger_entries (organization_id, time);

CREATE TRIGGER ledger_entries_are_never_changed BEFORE UPDATE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never changed');
END;

CREATE TRIGGER ledger_entries_are_never_deleted BEFORE DELETE ON ledger_entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never deleted');
END;

-- The last entry of each ledger. Every transaction that adds entries checks and moves it, so that none is missing or there
-- twice.
CREATE TABLE ledger_heads (
    organization_id TEXT PRIMARY KEY REFERENCES organizations,
    entry INTEGER NOT NULL,
    -- After that entry.
    balance INTEGER NOT NULL
) STRICT;

-- The request ids of what moves money, each unique for ever, also when its entry isn't kept any more.
CREATE TABLE money_request_ids (
    organization_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    entry INTEGER NOT NULL,
    -- The entry itself, where its month was dropped from the ledger.
    time INTEGER,
    actor TEXT,
    kind TEXT,
    detail BLOB,
    PRIMARY KEY (organization_id, request_id)
) STRICT, WITHOUT ROWID;

-- What the months come to whose entries were dropped. Here months are dropped from books in Postgres only; their sums stay
-- when those are moved into a file.
CREATE TABLE ledger_dropped_months (
    organization_id TEXT NOT NULL REFERENCES organizations,
    -- Its first instant.
    month INTEGER NOT NULL,
    first_entry INTEGER NOT NULL,
    last_entry INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    wallet INTEGER NOT NULL,
    -- After its last entry.
    balance INTEGER NOT NULL,
    PRIMARY KEY (organization_id, month)
) STRICT, WITHOUT ROWID;

-- What dropped entries charged to budgets.
CREATE TABLE ledger_dropped_charges (
    organization_id TEXT NOT NULL,
    limit_no INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (organization_id, limit_no, window_start),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
) STRICT, WITHOUT ROWID;

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

-- What callers authenticate with: the BLAKE3 hash of the secret.
CREATE TABLE access_tokens (
    token_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('service', 'member', 'invitation')),
    -- Of a member's or an invitation's.
    organization_id TEXT,
    member_id TEXT,
    hash BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER
) STRICT;

-- Access rules: a cap on credits per key and period, and hours.
CREATE TABLE rules (
    organization_id TEXT NOT NULL REFERENCES organizations,
    rule_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    cap_enabled INTEGER NOT NULL,
    -- Nano-credits.
    cap_max INTEGER,
    -- JSON.
    cap_period TEXT,
    hours_enabled INTEGER NOT NULL,
    weekdays TEXT,
    hours TEXT,
    deleted INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (organization_id, rule_id)
) STRICT;

-- Credits that teams, and members in them, have of their own. Nano-credits; null: unset.
CREATE TABLE allocations (
    organization_id TEXT NOT NULL REFERENCES organizations,
    team_id TEXT NOT NULL,
    -- Empty: the team's.
    member_id TEXT NOT NULL,
    monthly INTEGER,
    -- Of the cycle in which it was set.
    extra INTEGER,
    PRIMARY KEY (organization_id, team_id, member_id)
) STRICT;

CREATE TABLE credit_requests (
    organization_id TEXT NOT NULL REFERENCES organizations,
    credit_request_id TEXT NOT NULL,
    member_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    -- Nano-credits.
    amount INTEGER NOT NULL,
    approved INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'auto_approved')),
    reason TEXT NOT NULL,
    note TEXT NOT NULL,
    decided_by TEXT,
    create_time INTEGER NOT NULL,
    decide_time INTEGER,
    PRIMARY KEY (organization_id, credit_request_id)
) STRICT;

-- Orders to pay into a wallet. What was settled stands in the ledger, by its entry.
CREATE TABLE top_up_orders (
    organization_id TEXT NOT NULL REFERENCES organizations,
    order_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- Nano-USD.
    amount INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'failed', 'reversed')),
    actor TEXT NOT NULL,
    payment_method_id TEXT,
    reason TEXT NOT NULL,
    provider_reference TEXT NOT NULL,
    failure TEXT NOT NULL,
    entry INTEGER,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (organization_id, order_id)
) STRICT;

-- What people were told, and whether it reached them.
CREATE TABLE alerts (
    organization_id TEXT NOT NULL REFERENCES organizations,
    alert_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'undeliverable')),
    subject TEXT NOT NULL,
    -- JSON object.
    facts TEXT NOT NULL,
    -- JSON array of e-mail addresses.
    recipients TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    acknowledged_by TEXT,
    acknowledge_time INTEGER,
    PRIMARY KEY (organization_id, alert_id)
) STRICT;

-- Every change of the control plane. What it was before is the row before of the same kind and id.
CREATE TABLE audit_log (
    -- Of the event in the journal.
    position INTEGER PRIMARY KEY,
    organization_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    time INTEGER NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- Empty for what an organization has one of.
    entity_id TEXT NOT NULL,
    -- JSON as it is since.
    after TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_entity ON audit_log (organization_id, kind, entity_id, position);
CREATE INDEX audit_by_position ON audit_log (organization_id, position);
