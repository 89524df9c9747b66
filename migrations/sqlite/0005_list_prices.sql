-- A price says what was set. What wasn't follows the input's price, and is null. Names of models are in lower case.

ALTER TABLE prices RENAME TO prices_before;

-- What a model costs now, nano-USD. The price that was applied to an entry stands in the entry.
CREATE TABLE prices (
    -- Trimmed, in lower case.
    model TEXT PRIMARY KEY,
    input_per_million INTEGER NOT NULL,
    -- Null: not set, so that such tokens cost what input costs.
    cached_input_per_million INTEGER,
    cache_write_per_million INTEGER,
    output_per_million INTEGER NOT NULL,
    per_request INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;

-- Of two spellings the one that was set last is kept, as in memory.
INSERT OR REPLACE INTO prices
    SELECT lower(trim(model)), input_per_million, cached_input_per_million, cache_write_per_million, output_per_million,
        per_request, update_time
    FROM prices_before ORDER BY update_time;

DROP TABLE prices_before;
