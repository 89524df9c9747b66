-- What moves with the load: limits and what is charged to them, holds, and the ledger.

CREATE TABLE limits (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    limit_no BIGINT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('key', 'membership', 'member', 'team', 'organization', 'rule', 'allocation')),
    key_id TEXT COLLATE "C",
    team_id TEXT COLLATE "C",
    member_id TEXT COLLATE "C",
    rule_id TEXT COLLATE "C",
    limit_id TEXT COLLATE "C" NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('usd', 'credits', 'requests_per_minute', 'tokens_per_minute', 'in_flight')),
    period JSONB,
    max NUMERIC(38, 9),
    soft NUMERIC(38, 9),
    max_count BIGINT,
    models JSONB NOT NULL,
    active BOOLEAN NOT NULL,
    PRIMARY KEY (organization_id, limit_no)
);

COMMENT ON TABLE limits IS 'Budgets and quotas. A number means one limit for ever; one that was removed stays, not active.';
COMMENT ON COLUMN limits.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN limits.limit_no IS 'Unique in the organization.';
COMMENT ON COLUMN limits.scope IS 'Where on a key''s path it stands.';
COMMENT ON COLUMN limits.key_id IS 'Of which key.';
COMMENT ON COLUMN limits.team_id IS 'Of which team.';
COMMENT ON COLUMN limits.member_id IS 'Of which member.';
COMMENT ON COLUMN limits.rule_id IS 'Of a counter under an access rule.';
COMMENT ON COLUMN limits.limit_id IS 'Its id in its policy.';
COMMENT ON COLUMN limits.unit IS 'What it limits.';
COMMENT ON COLUMN limits.period IS 'Of a budget; null for quotas.';
COMMENT ON COLUMN limits.max IS 'Of a budget, USD or credits: refuses beyond. Null: no such cap.';
COMMENT ON COLUMN limits.soft IS 'Of a budget: tells people beyond.';
COMMENT ON COLUMN limits.max_count IS 'Of a quota: requests or tokens.';
COMMENT ON COLUMN limits.models IS 'Array of the models that it is narrowed to; empty means all.';
COMMENT ON COLUMN limits.active IS 'Whether it is in force.';

CREATE INDEX limits_by_rule ON limits (organization_id, rule_id) WHERE rule_id IS NOT NULL;
CREATE INDEX limits_by_place ON limits (organization_id, scope, coalesce(key_id, ''), coalesce(team_id, ''),
    coalesce(member_id, '')) WHERE active;

CREATE TABLE budget_windows (
    organization_id TEXT COLLATE "C" NOT NULL,
    limit_no BIGINT NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    spent NUMERIC(38, 9) NOT NULL,
    PRIMARY KEY (organization_id, limit_no, window_start),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
);

COMMENT ON TABLE budget_windows IS 'What was charged to a budget in one of its windows.';
COMMENT ON COLUMN budget_windows.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN budget_windows.limit_no IS 'The budget.';
COMMENT ON COLUMN budget_windows.window_start IS 'Begin of the window.';
COMMENT ON COLUMN budget_windows.spent IS 'USD or credits, as its limit counts.';

CREATE TABLE reservations (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    request_id TEXT COLLATE "C",
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT NOT NULL,
    holder TEXT,
    state TEXT NOT NULL CHECK (state IN ('open', 'revoked', 'released', 'expired', 'committed')),
    admit_time TIMESTAMPTZ NOT NULL,
    expire_time TIMESTAMPTZ NOT NULL,
    held_usd NUMERIC(38, 9) NOT NULL,
    held_credits NUMERIC(38, 9) NOT NULL,
    held_tokens BIGINT NOT NULL,
    held_requests BIGINT NOT NULL,
    reason TEXT,
    reserved BYTEA NOT NULL,
    settled BYTEA,
    PRIMARY KEY (organization_id, epoch, sequence)
);

COMMENT ON TABLE reservations IS 'Holds that are open, or that ended without an entry in the ledger; a committed one stands there instead.';
COMMENT ON COLUMN reservations.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN reservations.epoch IS 'Which start of a server admitted it.';
COMMENT ON COLUMN reservations.sequence IS 'Of its event in the organization.';
COMMENT ON COLUMN reservations.request_id IS 'The caller''s id of the request.';
COMMENT ON COLUMN reservations.key_id IS 'The key that pays.';
COMMENT ON COLUMN reservations.model IS 'Which model it is for.';
COMMENT ON COLUMN reservations.holder IS 'Who is told when it has to stop.';
COMMENT ON COLUMN reservations.state IS 'How it stands.';
COMMENT ON COLUMN reservations.admit_time IS 'When it was admitted: its windows are charged.';
COMMENT ON COLUMN reservations.expire_time IS 'When it ends by itself.';
COMMENT ON COLUMN reservations.held_usd IS 'USD held.';
COMMENT ON COLUMN reservations.held_credits IS 'Credits held.';
COMMENT ON COLUMN reservations.held_tokens IS 'Tokens held.';
COMMENT ON COLUMN reservations.held_requests IS 'Requests held.';
COMMENT ON COLUMN reservations.reason IS 'Why it was released, in the caller''s words.';
COMMENT ON COLUMN reservations.reserved IS 'The hold as journalled.';
COMMENT ON COLUMN reservations.settled IS 'A late settlement that booked nothing.';

CREATE INDEX reservations_by_request ON reservations (organization_id, request_id);
CREATE INDEX reservations_ended ON reservations (admit_time) WHERE state IN ('released', 'expired', 'committed');

CREATE TABLE ledger_entries (
    organization_id TEXT COLLATE "C" NOT NULL,
    entry BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('top_up', 'commit', 'charge', 'expiry', 'late_commit', 'refund', 'adjustment', 'reversal')),
    time TIMESTAMPTZ NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    key_id TEXT COLLATE "C",
    member_id TEXT COLLATE "C",
    team_id TEXT COLLATE "C",
    model TEXT COLLATE "C",
    request_id TEXT COLLATE "C",
    reservation_epoch BIGINT,
    reservation_sequence BIGINT,
    input_tokens BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    cost NUMERIC(38, 9) NOT NULL,
    credits NUMERIC(38, 9) NOT NULL,
    overage_usd NUMERIC(38, 9) NOT NULL,
    wallet NUMERIC(38, 9) NOT NULL,
    balance NUMERIC(38, 9) NOT NULL,
    reason TEXT,
    limits JSONB NOT NULL,
    labels JSONB NOT NULL,
    corrects_entry BIGINT,
    detail BYTEA NOT NULL,
    PRIMARY KEY (organization_id, entry, time)
) PARTITION BY RANGE (time);

COMMENT ON TABLE ledger_entries IS 'The ledger: what was charged and what was paid in. Append-only; entries count from 1 without gaps in each organization. Partitioned by month of time.';
COMMENT ON COLUMN ledger_entries.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN ledger_entries.entry IS 'Number in the organization.';
COMMENT ON COLUMN ledger_entries.kind IS 'What was booked.';
COMMENT ON COLUMN ledger_entries.time IS 'When it was booked; never before the entry before it.';
COMMENT ON COLUMN ledger_entries.occurred_at IS 'When the request was admitted: its windows are charged.';
COMMENT ON COLUMN ledger_entries.actor IS 'Who booked it.';
COMMENT ON COLUMN ledger_entries.key_id IS 'The key that pays; null where no usage is booked.';
COMMENT ON COLUMN ledger_entries.member_id IS 'Whose key it is, or who paid in.';
COMMENT ON COLUMN ledger_entries.team_id IS 'The key''s team.';
COMMENT ON COLUMN ledger_entries.model IS 'The model used.';
COMMENT ON COLUMN ledger_entries.request_id IS 'The caller''s id of the request.';
COMMENT ON COLUMN ledger_entries.reservation_epoch IS 'The reservation that it settles: its epoch.';
COMMENT ON COLUMN ledger_entries.reservation_sequence IS 'The reservation that it settles: its sequence.';
COMMENT ON COLUMN ledger_entries.input_tokens IS 'Input tokens booked; like all that is booked negative where a late commit gives back.';
COMMENT ON COLUMN ledger_entries.cached_input_tokens IS 'Those of them read from a prompt cache.';
COMMENT ON COLUMN ledger_entries.cache_write_tokens IS 'Those of them written to a prompt cache.';
COMMENT ON COLUMN ledger_entries.output_tokens IS 'Output tokens booked.';
COMMENT ON COLUMN ledger_entries.requests IS 'Requests booked.';
COMMENT ON COLUMN ledger_entries.cost IS 'USD booked.';
COMMENT ON COLUMN ledger_entries.credits IS 'Credits booked.';
COMMENT ON COLUMN ledger_entries.overage_usd IS 'USD that weren''t held and put a limit above its cap.';
COMMENT ON COLUMN ledger_entries.wallet IS 'What the entry did to the balance, in USD.';
COMMENT ON COLUMN ledger_entries.balance IS 'The balance after it, in USD.';
COMMENT ON COLUMN ledger_entries.reason IS 'In people''s words, where money was moved by hand.';
COMMENT ON COLUMN ledger_entries.limits IS 'Array of {limit_no, unit, window_start, amount}: what it charged to each budget; the instant in microseconds since 1970, the amount in billionths of a USD or credit.';
COMMENT ON COLUMN ledger_entries.labels IS 'Object: the caller''s own names and values.';
COMMENT ON COLUMN ledger_entries.corrects_entry IS 'The entry that this one corrects.';
COMMENT ON COLUMN ledger_entries.detail IS 'The event as journalled.';

-- That their organization is there is the doing of ledger_heads, which has one row for all entries of a transaction: looking it
-- up for each of them costs more than the entry itself. Neither is there an index by time: a month's partition is one.
CREATE UNIQUE INDEX ledger_commit_once ON ledger_entries (organization_id, reservation_epoch, reservation_sequence, time)
    WHERE kind IN ('commit', 'late_commit');
CREATE INDEX ledger_by_expiry ON ledger_entries (organization_id, reservation_epoch, reservation_sequence)
    WHERE kind = 'expiry';
CREATE INDEX ledger_by_request ON ledger_entries (organization_id, request_id)
    WHERE kind IN ('commit', 'late_commit');

CREATE TABLE ledger_heads (
    organization_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES organizations,
    entry BIGINT NOT NULL,
    balance NUMERIC(38, 9) NOT NULL
);

COMMENT ON TABLE ledger_heads IS 'The last entry of each ledger. Every transaction that adds entries checks and moves it, so that none is missing or there twice.';
COMMENT ON COLUMN ledger_heads.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN ledger_heads.entry IS 'Number of the last entry.';
COMMENT ON COLUMN ledger_heads.balance IS 'USD after that entry.';

CREATE TABLE money_request_ids (
    organization_id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    entry BIGINT NOT NULL,
    time TIMESTAMPTZ,
    actor TEXT,
    kind TEXT,
    detail BYTEA,
    PRIMARY KEY (organization_id, request_id)
);

COMMENT ON TABLE money_request_ids IS 'The request ids of what moves money, each unique for ever, also when its entry isn''t kept any more.';
COMMENT ON COLUMN money_request_ids.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN money_request_ids.request_id IS 'The caller''s id of the request.';
COMMENT ON COLUMN money_request_ids.entry IS 'Its entry in the ledger.';
COMMENT ON COLUMN money_request_ids.time IS 'When it was booked, where its month was dropped from the ledger; else null, like the rest.';
COMMENT ON COLUMN money_request_ids.actor IS 'Who booked it.';
COMMENT ON COLUMN money_request_ids.kind IS 'What was booked.';
COMMENT ON COLUMN money_request_ids.detail IS 'The event as journalled.';

CREATE TABLE ledger_dropped_months (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES organizations,
    month TIMESTAMPTZ NOT NULL,
    first_entry BIGINT NOT NULL,
    last_entry BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    cost NUMERIC(38, 9) NOT NULL,
    credits NUMERIC(38, 9) NOT NULL,
    wallet NUMERIC(38, 9) NOT NULL,
    balance NUMERIC(38, 9) NOT NULL,
    PRIMARY KEY (organization_id, month)
);

COMMENT ON TABLE ledger_dropped_months IS 'What the months come to whose entries were dropped.';
COMMENT ON COLUMN ledger_dropped_months.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN ledger_dropped_months.month IS 'Its first instant, in UTC.';
COMMENT ON COLUMN ledger_dropped_months.first_entry IS 'First entry of it.';
COMMENT ON COLUMN ledger_dropped_months.last_entry IS 'Last entry of it.';
COMMENT ON COLUMN ledger_dropped_months.entries IS 'How many there were.';
COMMENT ON COLUMN ledger_dropped_months.input_tokens IS 'Sum.';
COMMENT ON COLUMN ledger_dropped_months.output_tokens IS 'Sum.';
COMMENT ON COLUMN ledger_dropped_months.requests IS 'Sum.';
COMMENT ON COLUMN ledger_dropped_months.cost IS 'Sum, USD.';
COMMENT ON COLUMN ledger_dropped_months.credits IS 'Sum.';
COMMENT ON COLUMN ledger_dropped_months.wallet IS 'What it did to the balance, USD.';
COMMENT ON COLUMN ledger_dropped_months.balance IS 'After its last entry, USD.';

CREATE TABLE ledger_dropped_charges (
    organization_id TEXT COLLATE "C" NOT NULL,
    limit_no BIGINT NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    amount NUMERIC(38, 9) NOT NULL,
    PRIMARY KEY (organization_id, limit_no, window_start),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
);

COMMENT ON TABLE ledger_dropped_charges IS 'What dropped entries charged to budgets.';
COMMENT ON COLUMN ledger_dropped_charges.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN ledger_dropped_charges.limit_no IS 'The budget.';
COMMENT ON COLUMN ledger_dropped_charges.window_start IS 'Begin of the window.';
COMMENT ON COLUMN ledger_dropped_charges.amount IS 'USD or credits, as its limit counts.';
