-- What keeps the ledger as it is, and its months: each in a partition of its own, made ahead, and dropped as a whole.

CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are never changed and never deleted; drop_ledger_month drops a whole month';
END;
$$;

COMMENT ON FUNCTION refuse_ledger_change() IS 'Fails whatever statement it is called by.';

CREATE TRIGGER ledger_entries_are_never_changed BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();

CREATE TRIGGER ledger_entries_are_never_truncated BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

CREATE FUNCTION ledger_month_name(at TIMESTAMPTZ) RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT 'ledger_entries_' || to_char(at AT TIME ZONE 'UTC', 'YYYY_MM');
$$;

COMMENT ON FUNCTION ledger_month_name(TIMESTAMPTZ) IS 'The partition of ledger_entries that an instant is in.';

CREATE FUNCTION make_ledger_month(at TIMESTAMPTZ) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name TEXT := ledger_month_name(at);
    month TIMESTAMP := date_trunc('month', at AT TIME ZONE 'UTC');
BEGIN
    IF to_regclass(format('%I.%I', current_schema(), name)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Made by itself and attached: readers of the ledger go on meanwhile.
    EXECUTE format('CREATE TABLE %I (LIKE ledger_entries INCLUDING ALL)', name);
    EXECUTE format('COMMENT ON TABLE %I IS %L', name, 'Entries of the ledger, of one month.');
    EXECUTE format(
        'ALTER TABLE ledger_entries ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    -- Unlike those for rows, such a trigger isn't inherited.
    EXECUTE format(
        'CREATE TRIGGER ledger_entries_are_never_truncated BEFORE TRUNCATE ON %I
         FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()', name);
END;
$$;

COMMENT ON FUNCTION make_ledger_month(TIMESTAMPTZ) IS 'Makes the partition of ledger_entries for the month of an instant, unless it is there.';

CREATE FUNCTION make_ledger_months(times TIMESTAMPTZ[]) RETURNS void LANGUAGE sql AS $$
    SELECT make_ledger_month(month AT TIME ZONE 'UTC') FROM (
        SELECT date_trunc('month', at AT TIME ZONE 'UTC') AS month FROM unnest(times) AS at
        UNION
        SELECT date_trunc('month', max(at) AT TIME ZONE 'UTC') + interval '1 month' FROM unnest(times) AS at
    ) AS months WHERE month IS NOT NULL;
$$;

COMMENT ON FUNCTION make_ledger_months(TIMESTAMPTZ[]) IS 'Makes the partitions for entries of these times, and for the month after them.';

CREATE FUNCTION drop_ledger_month(day DATE) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    -- A date has no zone that could make it another month.
    at TIMESTAMPTZ := day::timestamp AT TIME ZONE 'UTC';
    name TEXT := ledger_month_name(at);
    month_start TIMESTAMPTZ := date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    month_end TIMESTAMPTZ := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    dropped BIGINT;
    odd TEXT;
BEGIN
    IF month_end > now() - interval '3 days' THEN
        RAISE EXCEPTION 'this month may still be settled: drop it three days after its end';
    END IF;
    IF to_regclass(format('%I.%I', current_schema(), name)) IS NULL THEN
        RAISE EXCEPTION 'there is no table %', name;
    END IF;
    -- Nothing is projected meanwhile.
    PERFORM 1 FROM projector FOR UPDATE;
    IF EXISTS (SELECT FROM ledger_entries WHERE time < month_start) THEN
        RAISE EXCEPTION 'there are entries before this month: drop the earlier months first';
    END IF;
    INSERT INTO ledger_dropped_months (organization_id, month, first_entry, last_entry, entries, input_tokens,
            output_tokens, requests, cost, credits, wallet, balance)
        SELECT organization_id, month_start, min(entry), max(entry), count(*), sum(input_tokens), sum(output_tokens),
            sum(requests), sum(cost), sum(credits), sum(wallet), (array_agg(balance ORDER BY entry DESC))[1]
        FROM ledger_entries WHERE time >= month_start AND time < month_end GROUP BY organization_id;
    SELECT organization_id INTO odd FROM ledger_dropped_months AS months
        WHERE month = month_start AND (entries <> last_entry - first_entry + 1 OR first_entry <> 1 + coalesce(
            (SELECT max(last_entry) FROM ledger_dropped_months AS earlier
             WHERE earlier.organization_id = months.organization_id AND earlier.month < month_start), 0)) LIMIT 1;
    IF odd IS NOT NULL THEN
        RAISE EXCEPTION 'entries of organization % have a gap: quotactl ledger verify tells where', odd;
    END IF;
    INSERT INTO ledger_dropped_charges (organization_id, limit_no, window_start, amount)
        SELECT organization_id, (charge ->> 'limit_no')::bigint,
            timestamptz 'epoch' + (charge ->> 'window_start')::bigint * interval '1 microsecond',
            sum((charge ->> 'amount')::numeric) / 1000000000
        FROM ledger_entries, jsonb_array_elements(limits) AS charge
        WHERE time >= month_start AND time < month_end GROUP BY 1, 2, 3
        ON CONFLICT (organization_id, limit_no, window_start)
            DO UPDATE SET amount = ledger_dropped_charges.amount + excluded.amount;
    -- A request that moved money is never booked again, and is still answered as it was.
    UPDATE money_request_ids AS ids SET time = entries.time, actor = entries.actor, kind = entries.kind, detail = entries.detail
        FROM ledger_entries AS entries
        WHERE entries.time >= month_start AND entries.time < month_end
            AND ids.organization_id = entries.organization_id AND ids.entry = entries.entry;
    SELECT coalesce(sum(entries), 0) INTO dropped FROM ledger_dropped_months WHERE month = month_start;
    EXECUTE format('DROP TABLE %I', name);
    RETURN dropped;
END;
$$;

COMMENT ON FUNCTION drop_ledger_month(DATE) IS 'Drops the entries of the month of a day, in UTC, the oldest month first, and keeps their sums. Answers how many they were.';
