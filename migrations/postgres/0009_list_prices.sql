-- A price says what was set. What wasn't follows the input's price, and is null. Names of models are in lower case.

ALTER TABLE prices ALTER COLUMN cached_input_per_million DROP NOT NULL;
ALTER TABLE prices ALTER COLUMN cache_write_per_million DROP NOT NULL;

COMMENT ON COLUMN prices.model IS 'Name of the model, trimmed and in lower case.';
COMMENT ON COLUMN prices.cached_input_per_million IS 'USD per million input tokens read from a prompt cache; null: not set, so that they cost what input costs.';
COMMENT ON COLUMN prices.cache_write_per_million IS 'USD per million input tokens written to a prompt cache; null: not set, so that they cost what input costs.';

-- Of two spellings the one that was set last is kept, as in memory.
DELETE FROM prices AS older USING prices AS newer
    WHERE lower(trim(older.model)) = lower(trim(newer.model))
        AND (older.update_time, older.model) < (newer.update_time, newer.model);
UPDATE prices SET model = lower(trim(model)) WHERE model <> lower(trim(model));
