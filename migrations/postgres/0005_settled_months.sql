-- Without the time a partitioned table can't say that a commit comes once: what keeps it so are position and heads.
ALTER INDEX ledger_commit_once RENAME TO ledger_by_commit;

-- Books that lag behind may still get entries of a month that is long over by the clock.
CREATE FUNCTION refuse_unsettled_month() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger_entries
            WHERE time >= ((NEW.month AT TIME ZONE 'UTC') + interval '1 month 3 days') AT TIME ZONE 'UTC') THEN
        RAISE EXCEPTION 'this month may still get entries: the books have none yet of three days after its end';
    END IF;
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION refuse_unsettled_month() IS 'Fails where the books haven''t come far enough to drop a month.';

CREATE TRIGGER ledger_months_are_settled BEFORE INSERT ON ledger_dropped_months
    FOR EACH ROW EXECUTE FUNCTION refuse_unsettled_month();
