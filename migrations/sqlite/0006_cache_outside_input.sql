-- How providers count prompt caches, and entries of what had been used of a hold that was given back.

ALTER TABLE prices ADD COLUMN cache_outside_input INTEGER NOT NULL DEFAULT 0 CHECK (cache_outside_input IN (0, 1));

-- One more kind of entry. The rows stay as they are, so that only the text of the check is changed, as SQLite's documentation on
-- ALTER TABLE has it for checks that are widened: the ledger may have many millions of rows. What was added above makes every
-- connection read the schema anew.
PRAGMA writable_schema = ON;

UPDATE sqlite_schema
SET sql = replace(sql, '''reversal''', '''reversal'', ''release''')
WHERE type = 'table' AND name = 'ledger_entries';

PRAGMA writable_schema = RESET;
