-- The operator's word: organizations that it suspended, and its limits on them, of the scope `ceiling`.

ALTER TABLE organizations ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;

-- SQLite changes no check in place: the limits are made anew, and so are the tables that refer to them.
CREATE TABLE budget_windows_before AS SELECT * FROM budget_windows;
DROP TABLE budget_windows;
CREATE TABLE ledger_dropped_charges_before AS SELECT * FROM ledger_dropped_charges;
DROP TABLE ledger_dropped_charges;
CREATE TABLE limits_before AS SELECT * FROM limits;
DROP TABLE limits;

-- Budgets and quotas. A number means one limit for ever; one that was removed stays, not active.
CREATE TABLE limits (
    organization_id TEXT NOT NULL REFERENCES organizations,
    limit_no INTEGER NOT NULL,
    -- Where on a key's path it stands.
    scope TEXT NOT NULL CHECK (scope IN ('key', 'membership', 'member', 'team', 'organization', 'rule', 'allocation', 'ceiling')),
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

INSERT INTO limits SELECT * FROM limits_before;
DROP TABLE limits_before;

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

INSERT INTO budget_windows SELECT * FROM budget_windows_before;
DROP TABLE budget_windows_before;

-- What dropped entries charged to budgets.
CREATE TABLE ledger_dropped_charges (
    organization_id TEXT NOT NULL,
    limit_no INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (organization_id, limit_no, window_start),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
) STRICT, WITHOUT ROWID;

INSERT INTO ledger_dropped_charges SELECT * FROM ledger_dropped_charges_before;
DROP TABLE ledger_dropped_charges_before;
