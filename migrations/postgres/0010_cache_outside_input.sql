-- How providers count prompt caches, and entries of what had been used of a hold that was given back.

ALTER TABLE prices ADD COLUMN cache_outside_input BOOLEAN NOT NULL DEFAULT FALSE;

COMMENT ON COLUMN prices.cache_outside_input IS 'The provider counts cached and cache-write tokens beside the input tokens, where a usage doesn''t say.';

-- Each month has the check of its own, which goes with it.
DO $$
DECLARE
    month REGCLASS;
BEGIN
    ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_kind_check;
    FOR month IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'ledger_entries'::regclass LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS ledger_entries_kind_check', month);
    END LOOP;
    ALTER TABLE ledger_entries ADD CONSTRAINT ledger_entries_kind_check CHECK (
        kind IN ('top_up', 'commit', 'charge', 'expiry', 'late_commit', 'refund', 'adjustment', 'reversal', 'release')
    );
END;
$$;
