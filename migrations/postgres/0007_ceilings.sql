-- The operator's word: organizations that it suspended, and its limits on them, of the scope `ceiling`.

ALTER TABLE organizations ADD COLUMN suspended BOOLEAN NOT NULL DEFAULT FALSE;

COMMENT ON COLUMN organizations.suspended IS 'By the operator: nothing runs, whatever the organization itself says of disabled.';

ALTER TABLE limits DROP CONSTRAINT limits_scope_check;
ALTER TABLE limits ADD CONSTRAINT limits_scope_check CHECK (
    scope IN ('key', 'membership', 'member', 'team', 'organization', 'rule', 'allocation', 'ceiling')
);
