-- What people read is said by columns and child tables in the API's words, not by JSON in Rust's.

DROP VIEW budget_status;

ALTER TABLE limits ADD COLUMN period_time_zone TEXT;
ALTER TABLE limits ADD COLUMN period_week_start TEXT;
ALTER TABLE limits ADD COLUMN period_seconds BIGINT;
ALTER TABLE limits ADD COLUMN period_anchor TIMESTAMPTZ;

UPDATE limits SET
    period_time_zone = coalesce(period #>> '{Daily,zone}', period #>> '{Weekly,zone}', period #>> '{Monthly,zone}'),
    period_week_start = CASE period #>> '{Weekly,start}'
        WHEN '0' THEN 'monday' WHEN '1' THEN 'tuesday' WHEN '2' THEN 'wednesday' WHEN '3' THEN 'thursday'
        WHEN '4' THEN 'friday' WHEN '5' THEN 'saturday' WHEN '6' THEN 'sunday' END,
    period_seconds = (period #>> '{Every,seconds}')::bigint,
    period_anchor = timestamptz 'epoch' + (period #>> '{Every,anchor}')::bigint * interval '1 second'
    WHERE period IS NOT NULL;

ALTER TABLE limits ALTER COLUMN period TYPE TEXT USING CASE
    WHEN jsonb_typeof(period) = 'string' THEN CASE period #>> '{}' WHEN 'OneTime' THEN 'one_time' ELSE 'cycle' END
    WHEN jsonb_exists(period, 'Daily') THEN 'daily'
    WHEN jsonb_exists(period, 'Weekly') THEN 'weekly'
    WHEN jsonb_exists(period, 'Monthly') THEN 'monthly'
    WHEN jsonb_exists(period, 'Every') THEN 'every'
END;

COMMENT ON COLUMN limits.period IS 'one_time, daily, weekly, monthly, every or cycle; null for quotas.';
COMMENT ON COLUMN limits.period_time_zone IS 'IANA zone, or UTC±HH:MM, of a daily, weekly or monthly period.';
COMMENT ON COLUMN limits.period_week_start IS 'First day of a weekly period.';
COMMENT ON COLUMN limits.period_seconds IS 'Length of a period of so many seconds (every).';
COMMENT ON COLUMN limits.period_anchor IS 'Where such a period''s windows are counted from.';

CREATE TABLE limit_models (
    organization_id TEXT COLLATE "C" NOT NULL,
    limit_no BIGINT NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (organization_id, limit_no, model),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
);

COMMENT ON TABLE limit_models IS 'The models that limits are narrowed to; a limit without any binds all.';
COMMENT ON COLUMN limit_models.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN limit_models.limit_no IS 'The limit.';
COMMENT ON COLUMN limit_models.model IS 'A name, or a pattern in which each * stands for any text; in lower case.';

INSERT INTO limit_models
    SELECT DISTINCT organization_id, limit_no, lower(trim(model) COLLATE "C") FROM limits, jsonb_array_elements_text(models) AS model;

ALTER TABLE limits DROP COLUMN models;

CREATE TABLE key_models (
    organization_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (organization_id, key_id, model),
    FOREIGN KEY (organization_id, key_id) REFERENCES keys
);

COMMENT ON TABLE key_models IS 'The models that keys may use; a key without any may use all.';
COMMENT ON COLUMN key_models.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN key_models.key_id IS 'The key.';
COMMENT ON COLUMN key_models.model IS 'A name, or a pattern in which each * stands for any text; in lower case.';

INSERT INTO key_models
    SELECT DISTINCT organization_id, key_id, lower(trim(model) COLLATE "C") FROM keys, jsonb_array_elements_text(models) AS model;

ALTER TABLE keys DROP COLUMN models;

ALTER TABLE rules ALTER COLUMN cap_period TYPE TEXT USING CASE
    WHEN jsonb_exists(cap_period, 'Daily') THEN 'daily'
    WHEN jsonb_exists(cap_period, 'Weekly') THEN 'weekly'
    WHEN jsonb_exists(cap_period, 'Monthly') THEN 'monthly'
END;

COMMENT ON COLUMN rules.cap_period IS 'daily, weekly or monthly, in the rule''s zone.';

CREATE TABLE alert_facts (
    organization_id TEXT COLLATE "C" NOT NULL,
    alert_id TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (organization_id, alert_id, position),
    FOREIGN KEY (organization_id, alert_id) REFERENCES alerts
);

COMMENT ON TABLE alert_facts IS 'What alerts say, line by line.';
COMMENT ON COLUMN alert_facts.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN alert_facts.alert_id IS 'The alert.';
COMMENT ON COLUMN alert_facts.position IS 'From 1, in the order in which people read them.';
COMMENT ON COLUMN alert_facts.name IS 'What the line is about.';
COMMENT ON COLUMN alert_facts.value IS 'What it says of that.';

INSERT INTO alert_facts
    SELECT organization_id, alert_id, row_number() OVER (PARTITION BY organization_id, alert_id ORDER BY fact.key),
        fact.key, fact.value
    FROM alerts, jsonb_each_text(facts) AS fact;

ALTER TABLE alerts DROP COLUMN facts;

CREATE TABLE alert_recipients (
    organization_id TEXT COLLATE "C" NOT NULL,
    alert_id TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (organization_id, alert_id, email),
    FOREIGN KEY (organization_id, alert_id) REFERENCES alerts
);

COMMENT ON TABLE alert_recipients IS 'Whom alerts are for.';
COMMENT ON COLUMN alert_recipients.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN alert_recipients.alert_id IS 'The alert.';
COMMENT ON COLUMN alert_recipients.email IS 'E-mail address.';

INSERT INTO alert_recipients
    SELECT DISTINCT organization_id, alert_id, recipient FROM alerts, jsonb_array_elements_text(recipients) AS recipient;

ALTER TABLE alerts DROP COLUMN recipients;

CREATE VIEW budget_status AS
    SELECT organization_id, limit_no, scope, key_id, team_id, member_id, rule_id, limit_id, unit, period, period_time_zone,
        period_week_start, period_seconds, period_anchor, window_start,
        coalesce(spent, 0) AS spent, max, soft, max - coalesce(spent, 0) AS remaining, spent >= max AS used_up
    FROM limits LEFT JOIN LATERAL (
        SELECT window_start, spent FROM budget_windows
        WHERE budget_windows.organization_id = limits.organization_id AND budget_windows.limit_no = limits.limit_no
        ORDER BY window_start DESC LIMIT 1
    ) AS latest ON TRUE
    WHERE active AND unit IN ('usd', 'credits');

COMMENT ON VIEW budget_status IS 'Budgets that are in force, and what was charged to each in the latest of its windows that was charged. What is held now isn''t in it.';
COMMENT ON COLUMN budget_status.organization_id IS 'The organization.';
COMMENT ON COLUMN budget_status.limit_no IS 'The budget''s number in the organization.';
COMMENT ON COLUMN budget_status.scope IS 'Where on a key''s path it stands.';
COMMENT ON COLUMN budget_status.key_id IS 'Of which key.';
COMMENT ON COLUMN budget_status.team_id IS 'Of which team.';
COMMENT ON COLUMN budget_status.member_id IS 'Of which member.';
COMMENT ON COLUMN budget_status.rule_id IS 'Of a counter under an access rule.';
COMMENT ON COLUMN budget_status.limit_id IS 'Its id in its policy.';
COMMENT ON COLUMN budget_status.unit IS 'usd or credits.';
COMMENT ON COLUMN budget_status.period IS 'one_time, daily, weekly, monthly, every or cycle.';
COMMENT ON COLUMN budget_status.period_time_zone IS 'IANA zone, or UTC±HH:MM, of a daily, weekly or monthly period.';
COMMENT ON COLUMN budget_status.period_week_start IS 'First day of a weekly period.';
COMMENT ON COLUMN budget_status.period_seconds IS 'Length of a period of so many seconds (every).';
COMMENT ON COLUMN budget_status.period_anchor IS 'Where such a period''s windows are counted from.';
COMMENT ON COLUMN budget_status.window_start IS 'Begin of that window; null before the first charge.';
COMMENT ON COLUMN budget_status.spent IS 'Charged in that window.';
COMMENT ON COLUMN budget_status.max IS 'Refuses beyond; null where there is no such cap here: an allocation''s stands in allocations.';
COMMENT ON COLUMN budget_status.soft IS 'Tells people beyond.';
COMMENT ON COLUMN budget_status.remaining IS 'Of max; below 0 where a charge came to more than was held.';
COMMENT ON COLUMN budget_status.used_up IS 'Whether nothing is left.';
