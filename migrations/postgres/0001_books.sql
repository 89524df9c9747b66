-- The books of quotad, on Postgres. Written by the projector alone, one transaction a batch of journal records, together with
-- the position that it has reached.
--
-- Every table and column has its comment: \d+ shows them. Ids are compared byte by byte (COLLATE "C"). Money and credits are
-- NUMERIC(38, 9). Rows refer to their organization; what a hold or an entry says of keys, members and teams is what was true
-- when it was booked, so it refers to none.

CREATE TABLE projector (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    store_id BYTEA NOT NULL,
    position BIGINT NOT NULL
);

COMMENT ON TABLE projector IS 'How far the journal is written into these tables. One row, which every writing transaction locks.';
COMMENT ON COLUMN projector.id IS 'Always 1.';
COMMENT ON COLUMN projector.store_id IS 'Tells these books from any other: 16 random bytes.';
COMMENT ON COLUMN projector.position IS 'Position of the last journal record that is in the books.';

INSERT INTO projector (id, store_id, position) VALUES (1, uuid_send(gen_random_uuid()), 0);

CREATE TABLE writer_lease (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    journal_id BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL,
    renewed_at TIMESTAMPTZ NOT NULL,
    released BOOLEAN NOT NULL
);

COMMENT ON TABLE writer_lease IS 'Which journal may write the books, by which start of a server: checked in every transaction that writes. One row.';
COMMENT ON COLUMN writer_lease.id IS 'Always 1.';
COMMENT ON COLUMN writer_lease.journal_id IS 'The journal: 16 random bytes.';
COMMENT ON COLUMN writer_lease.epoch IS 'Which start of a server; only ever rises.';
COMMENT ON COLUMN writer_lease.holder IS 'Names the server to people.';
COMMENT ON COLUMN writer_lease.renewed_at IS 'When its server last said that it runs, by this database''s clock.';
COMMENT ON COLUMN writer_lease.released IS 'Given back.';

CREATE TABLE stream_states (
    stream TEXT COLLATE "C" NOT NULL,
    part BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    position BIGINT NOT NULL,
    state BYTEA NOT NULL,
    PRIMARY KEY (stream, part)
);

COMMENT ON TABLE stream_states IS 'A state of every stream, encoded, for a server that has lost its disk.';
COMMENT ON COLUMN stream_states.stream IS 'An organization; empty: the system.';
COMMENT ON COLUMN stream_states.part IS 'From 0; a large state has several.';
COMMENT ON COLUMN stream_states.sequence IS 'Of the stream''s last event in the state.';
COMMENT ON COLUMN stream_states.position IS 'Journal position up to which the stream''s events are in the state.';
COMMENT ON COLUMN stream_states.state IS 'Read by quotad alone.';

-- It is compressed as much as it can be.
ALTER TABLE stream_states ALTER COLUMN state SET STORAGE EXTERNAL;

CREATE TABLE recent_events (
    first BIGINT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL,
    records BYTEA NOT NULL
);

COMMENT ON TABLE recent_events IS 'Records of the journal since the oldest of the kept states, by batches.';
COMMENT ON COLUMN recent_events.first IS 'Journal position of the first record.';
COMMENT ON COLUMN recent_events.last IS 'Journal position of the last record.';
COMMENT ON COLUMN recent_events.records IS 'Read by quotad alone.';

CREATE INDEX recent_events_by_last ON recent_events (last);
-- Kept for minutes: compressing it costs more than its place.
ALTER TABLE recent_events ALTER COLUMN records SET STORAGE EXTERNAL;

CREATE TABLE organizations (
    organization_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('team', 'personal')),
    default_rule_id TEXT COLLATE "C",
    credit_factor NUMERIC(38, 9) NOT NULL,
    wallet_mode TEXT NOT NULL CHECK (wallet_mode IN ('enforced', 'off')),
    expiry_policy TEXT NOT NULL CHECK (expiry_policy IN ('release', 'charge_held')),
    disabled BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL
);

COMMENT ON TABLE organizations IS 'Who holds a wallet and a ledger of its own.';
COMMENT ON COLUMN organizations.organization_id IS 'Id for ever.';
COMMENT ON COLUMN organizations.name IS 'Name for people.';
COMMENT ON COLUMN organizations.kind IS 'A team account, or a personal one.';
COMMENT ON COLUMN organizations.default_rule_id IS 'The access rule of keys that have none of their own.';
COMMENT ON COLUMN organizations.credit_factor IS 'Credits per USD; 0 while credits aren''t tracked.';
COMMENT ON COLUMN organizations.wallet_mode IS 'Whether a balance used up refuses requests.';
COMMENT ON COLUMN organizations.expiry_policy IS 'What becomes of a hold that nobody settled: let go, or charged.';
COMMENT ON COLUMN organizations.disabled IS 'Switched off by hand.';
COMMENT ON COLUMN organizations.deleted IS 'Removed; the row stays for what refers to it.';
COMMENT ON COLUMN organizations.create_time IS 'When it was made.';
COMMENT ON COLUMN organizations.update_time IS 'When it was changed last.';

CREATE TABLE teams (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    team_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, team_id)
);

COMMENT ON TABLE teams IS 'Groups of members.';
COMMENT ON COLUMN teams.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN teams.team_id IS 'Unique in the organization.';
COMMENT ON COLUMN teams.name IS 'Name for people.';
COMMENT ON COLUMN teams.disabled IS 'Switched off by hand.';
COMMENT ON COLUMN teams.deleted IS 'Removed; the row stays for what refers to it.';
COMMENT ON COLUMN teams.create_time IS 'When it was made.';
COMMENT ON COLUMN teams.update_time IS 'When it was changed last.';

CREATE TABLE members (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    member_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'finance_admin', 'developer', 'basic')),
    disabled BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, member_id)
);

COMMENT ON TABLE members IS 'People in an organization.';
COMMENT ON COLUMN members.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN members.member_id IS 'Unique in the organization.';
COMMENT ON COLUMN members.name IS 'Name for people.';
COMMENT ON COLUMN members.email IS 'Identifies the person over all organizations.';
COMMENT ON COLUMN members.role IS 'What the member may do.';
COMMENT ON COLUMN members.disabled IS 'Switched off by hand.';
COMMENT ON COLUMN members.deleted IS 'Removed; the row stays for what refers to it.';
COMMENT ON COLUMN members.create_time IS 'When it was made.';
COMMENT ON COLUMN members.update_time IS 'When it was changed last.';

CREATE TABLE memberships (
    organization_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    member_id TEXT COLLATE "C" NOT NULL,
    deleted BOOLEAN NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, team_id, member_id),
    FOREIGN KEY (organization_id, team_id) REFERENCES teams,
    FOREIGN KEY (organization_id, member_id) REFERENCES members
);

COMMENT ON TABLE memberships IS 'Which member is in which team.';
COMMENT ON COLUMN memberships.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN memberships.team_id IS 'The team.';
COMMENT ON COLUMN memberships.member_id IS 'The member.';
COMMENT ON COLUMN memberships.deleted IS 'Removed; the row stays for what refers to it.';
COMMENT ON COLUMN memberships.create_time IS 'When it was made.';
COMMENT ON COLUMN memberships.update_time IS 'When it was changed last.';

CREATE TABLE keys (
    organization_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    member_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    secret_prefix TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    expire_time TIMESTAMPTZ,
    models JSONB NOT NULL,
    rule_id TEXT COLLATE "C",
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, key_id),
    FOREIGN KEY (organization_id, team_id, member_id) REFERENCES memberships
);

COMMENT ON TABLE keys IS 'API keys. Their secrets are kept nowhere; the hashes stand in key_directory.';
COMMENT ON COLUMN keys.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN keys.key_id IS 'Unique over all organizations.';
COMMENT ON COLUMN keys.member_id IS 'Whose it is.';
COMMENT ON COLUMN keys.team_id IS 'In which team it is used.';
COMMENT ON COLUMN keys.name IS 'Name for people.';
COMMENT ON COLUMN keys.secret_prefix IS 'Beginning of the secret, to recognize it by.';
COMMENT ON COLUMN keys.disabled IS 'Switched off by hand.';
COMMENT ON COLUMN keys.deleted IS 'Removed; the row stays for what refers to it.';
COMMENT ON COLUMN keys.expire_time IS 'From when on it is refused; null: never.';
COMMENT ON COLUMN keys.models IS 'Array of the models that it may use; empty means all.';
COMMENT ON COLUMN keys.rule_id IS 'The access rule that it is bound to.';
COMMENT ON COLUMN keys.create_time IS 'When it was made.';
COMMENT ON COLUMN keys.update_time IS 'When it was changed last.';

CREATE TABLE key_directory (
    key_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL
);

COMMENT ON TABLE key_directory IS 'Which organization a key belongs to, over all of them.';
COMMENT ON COLUMN key_directory.key_id IS 'The key.';
COMMENT ON COLUMN key_directory.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN key_directory.hash IS 'BLAKE3 of its secret.';

CREATE TABLE access_tokens (
    token_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('service', 'member', 'invitation')),
    organization_id TEXT COLLATE "C",
    member_id TEXT COLLATE "C",
    hash BYTEA NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    expire_time TIMESTAMPTZ
);

COMMENT ON TABLE access_tokens IS 'What callers authenticate with.';
COMMENT ON COLUMN access_tokens.token_id IS 'Id for ever.';
COMMENT ON COLUMN access_tokens.name IS 'Name for people.';
COMMENT ON COLUMN access_tokens.kind IS 'Of a service, of a member, or an invitation.';
COMMENT ON COLUMN access_tokens.organization_id IS 'Of a member''s or an invitation''s.';
COMMENT ON COLUMN access_tokens.member_id IS 'Of a member''s.';
COMMENT ON COLUMN access_tokens.hash IS 'BLAKE3 of its secret.';
COMMENT ON COLUMN access_tokens.create_time IS 'When it was made.';
COMMENT ON COLUMN access_tokens.expire_time IS 'From when on it is refused; null: never.';

CREATE TABLE prices (
    model TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    input_per_million NUMERIC(38, 9) NOT NULL,
    cached_input_per_million NUMERIC(38, 9) NOT NULL,
    cache_write_per_million NUMERIC(38, 9) NOT NULL,
    output_per_million NUMERIC(38, 9) NOT NULL,
    per_request NUMERIC(38, 9) NOT NULL,
    update_time TIMESTAMPTZ NOT NULL
);

COMMENT ON TABLE prices IS 'What a model costs now, in USD. The price that was applied to an entry stands in the entry.';
COMMENT ON COLUMN prices.model IS 'Name of the model.';
COMMENT ON COLUMN prices.input_per_million IS 'USD per million input tokens.';
COMMENT ON COLUMN prices.cached_input_per_million IS 'USD per million input tokens read from a prompt cache.';
COMMENT ON COLUMN prices.cache_write_per_million IS 'USD per million input tokens written to a prompt cache.';
COMMENT ON COLUMN prices.output_per_million IS 'USD per million output tokens.';
COMMENT ON COLUMN prices.per_request IS 'USD per request.';
COMMENT ON COLUMN prices.update_time IS 'When it was changed last.';

CREATE TABLE rules (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    rule_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    time_zone TEXT NOT NULL,
    cap_enabled BOOLEAN NOT NULL,
    cap_max NUMERIC(38, 9),
    cap_period JSONB,
    hours_enabled BOOLEAN NOT NULL,
    weekdays TEXT,
    hours TEXT,
    deleted BOOLEAN NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, rule_id)
);

COMMENT ON TABLE rules IS 'Access rules: a cap on credits per key and period, and hours.';
COMMENT ON COLUMN rules.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN rules.rule_id IS 'Unique in the organization.';
COMMENT ON COLUMN rules.name IS 'Name for people.';
COMMENT ON COLUMN rules.description IS 'In people''s words.';
COMMENT ON COLUMN rules.enabled IS 'Whether it is in force; if not, the next in the chain is.';
COMMENT ON COLUMN rules.time_zone IS 'IANA zone, or UTC±HH:MM, of its hours.';
COMMENT ON COLUMN rules.cap_enabled IS 'Whether it caps credits.';
COMMENT ON COLUMN rules.cap_max IS 'Credits per key and period.';
COMMENT ON COLUMN rules.cap_period IS 'The period.';
COMMENT ON COLUMN rules.hours_enabled IS 'Whether it keeps to hours.';
COMMENT ON COLUMN rules.weekdays IS 'Days on which they begin.';
COMMENT ON COLUMN rules.hours IS 'HH:MM-HH:MM; may pass midnight.';
COMMENT ON COLUMN rules.deleted IS 'Removed; the row stays for what refers to it.';
COMMENT ON COLUMN rules.create_time IS 'When it was made.';
COMMENT ON COLUMN rules.update_time IS 'When it was changed last.';

CREATE TABLE allocations (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    team_id TEXT COLLATE "C" NOT NULL,
    member_id TEXT COLLATE "C" NOT NULL,
    monthly NUMERIC(38, 9),
    extra NUMERIC(38, 9),
    PRIMARY KEY (organization_id, team_id, member_id)
);

COMMENT ON TABLE allocations IS 'Credits that teams, and members in them, have of their own.';
COMMENT ON COLUMN allocations.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN allocations.team_id IS 'The team.';
COMMENT ON COLUMN allocations.member_id IS 'The member in it; empty: the team''s own.';
COMMENT ON COLUMN allocations.monthly IS 'Credits each cycle; null: unset.';
COMMENT ON COLUMN allocations.extra IS 'Credits of the cycle in which they were set; null: unset.';

CREATE TABLE credit_requests (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    credit_request_id TEXT COLLATE "C" NOT NULL,
    member_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    amount NUMERIC(38, 9) NOT NULL,
    approved NUMERIC(38, 9) NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'auto_approved')),
    reason TEXT NOT NULL,
    note TEXT NOT NULL,
    decided_by TEXT COLLATE "C",
    create_time TIMESTAMPTZ NOT NULL,
    decide_time TIMESTAMPTZ,
    PRIMARY KEY (organization_id, credit_request_id)
);

COMMENT ON TABLE credit_requests IS 'What members asked for.';
COMMENT ON COLUMN credit_requests.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN credit_requests.credit_request_id IS 'Unique in the organization.';
COMMENT ON COLUMN credit_requests.member_id IS 'Who asks.';
COMMENT ON COLUMN credit_requests.team_id IS 'For use in which team.';
COMMENT ON COLUMN credit_requests.amount IS 'Credits asked for.';
COMMENT ON COLUMN credit_requests.approved IS 'Credits given.';
COMMENT ON COLUMN credit_requests.state IS 'How far it got.';
COMMENT ON COLUMN credit_requests.reason IS 'In the member''s words.';
COMMENT ON COLUMN credit_requests.note IS 'In the words of who decided.';
COMMENT ON COLUMN credit_requests.decided_by IS 'Who decided; null while pending.';
COMMENT ON COLUMN credit_requests.create_time IS 'When it was made.';
COMMENT ON COLUMN credit_requests.decide_time IS 'When it was decided; null while pending.';

CREATE TABLE top_up_orders (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    order_id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    amount NUMERIC(38, 9) NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'failed', 'reversed')),
    actor TEXT NOT NULL,
    payment_method_id TEXT COLLATE "C",
    reason TEXT NOT NULL,
    provider_reference TEXT NOT NULL,
    failure TEXT NOT NULL,
    entry BIGINT,
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, order_id)
);

COMMENT ON TABLE top_up_orders IS 'Orders to pay into a wallet. What was settled stands in the ledger, by its entry.';
COMMENT ON COLUMN top_up_orders.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN top_up_orders.order_id IS 'Unique in the organization.';
COMMENT ON COLUMN top_up_orders.request_id IS 'The caller''s id of the request: unique for ever.';
COMMENT ON COLUMN top_up_orders.amount IS 'USD.';
COMMENT ON COLUMN top_up_orders.state IS 'How far it got.';
COMMENT ON COLUMN top_up_orders.actor IS 'Who ordered.';
COMMENT ON COLUMN top_up_orders.payment_method_id IS 'What is charged; null: decided by an operator.';
COMMENT ON COLUMN top_up_orders.reason IS 'In the words of who ordered.';
COMMENT ON COLUMN top_up_orders.provider_reference IS 'The payment provider''s own id.';
COMMENT ON COLUMN top_up_orders.failure IS 'Why it failed; empty if it didn''t.';
COMMENT ON COLUMN top_up_orders.entry IS 'Its entry in the ledger, once settled.';
COMMENT ON COLUMN top_up_orders.create_time IS 'When it was made.';
COMMENT ON COLUMN top_up_orders.update_time IS 'When it was changed last.';

CREATE TABLE alerts (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    alert_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'undeliverable')),
    subject TEXT NOT NULL,
    facts JSONB NOT NULL,
    recipients JSONB NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    acknowledged_by TEXT,
    acknowledge_time TIMESTAMPTZ,
    PRIMARY KEY (organization_id, alert_id)
);

COMMENT ON TABLE alerts IS 'What people were told, and whether it reached them.';
COMMENT ON COLUMN alerts.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN alerts.alert_id IS 'Unique in the organization.';
COMMENT ON COLUMN alerts.kind IS 'What it is about.';
COMMENT ON COLUMN alerts.state IS 'Whether it reached them.';
COMMENT ON COLUMN alerts.subject IS 'Which limit, order or person, and when: once each.';
COMMENT ON COLUMN alerts.facts IS 'Object: what the message says.';
COMMENT ON COLUMN alerts.recipients IS 'Array of e-mail addresses.';
COMMENT ON COLUMN alerts.create_time IS 'When it was made.';
COMMENT ON COLUMN alerts.acknowledged_by IS 'Who has seen to it.';
COMMENT ON COLUMN alerts.acknowledge_time IS 'When that was.';

CREATE TABLE audit_log (
    position BIGINT NOT NULL PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL,
    after JSONB NOT NULL
);

COMMENT ON TABLE audit_log IS 'Every change of the control plane. What it was before is the row before of the same kind and id.';
COMMENT ON COLUMN audit_log.position IS 'Of the event in the journal.';
COMMENT ON COLUMN audit_log.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN audit_log.sequence IS 'Of the event in its stream.';
COMMENT ON COLUMN audit_log.time IS 'When it was changed.';
COMMENT ON COLUMN audit_log.actor IS 'Who changed it.';
COMMENT ON COLUMN audit_log.kind IS 'What was changed.';
COMMENT ON COLUMN audit_log.entity_id IS 'Which one; empty for what an organization has one of.';
COMMENT ON COLUMN audit_log.after IS 'As it is since.';

CREATE INDEX audit_by_entity ON audit_log (organization_id, kind, entity_id, position);
CREATE INDEX audit_by_position ON audit_log (organization_id, position);
