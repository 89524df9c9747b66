-- What people read is said by columns and child tables in the API's words, not by JSON in Rust's.

ALTER TABLE limits ADD COLUMN period_time_zone TEXT;
ALTER TABLE limits ADD COLUMN period_week_start TEXT;
ALTER TABLE limits ADD COLUMN period_seconds INTEGER;
-- Where its windows are counted from, of a period of so many seconds.
ALTER TABLE limits ADD COLUMN period_anchor INTEGER;

UPDATE limits SET
    period_time_zone = coalesce(period ->> '$.Daily.zone', period ->> '$.Weekly.zone', period ->> '$.Monthly.zone'),
    period_week_start = CASE period ->> '$.Weekly.start'
        WHEN 0 THEN 'monday' WHEN 1 THEN 'tuesday' WHEN 2 THEN 'wednesday' WHEN 3 THEN 'thursday'
        WHEN 4 THEN 'friday' WHEN 5 THEN 'saturday' WHEN 6 THEN 'sunday' END,
    period_seconds = period ->> '$.Every.seconds',
    period_anchor = (period ->> '$.Every.anchor') * 1000000,
    -- one_time, daily, weekly, monthly, every or cycle.
    period = CASE json_type(period)
        WHEN 'text' THEN CASE period ->> '$' WHEN 'OneTime' THEN 'one_time' ELSE 'cycle' END
        ELSE (SELECT lower(kind.key) FROM json_each(limits.period) AS kind) END
    WHERE period IS NOT NULL;

-- The models that a limit is narrowed to: names, or patterns in which * stands for any text. None: all models.
CREATE TABLE limit_models (
    organization_id TEXT NOT NULL,
    limit_no INTEGER NOT NULL,
    model TEXT NOT NULL,
    PRIMARY KEY (organization_id, limit_no, model),
    FOREIGN KEY (organization_id, limit_no) REFERENCES limits
) STRICT, WITHOUT ROWID;

INSERT INTO limit_models
    SELECT DISTINCT organization_id, limit_no, lower(trim(model.value)) FROM limits, json_each(limits.models) AS model;

ALTER TABLE limits DROP COLUMN models;

-- The models that a key may use, as limit_models.
CREATE TABLE key_models (
    organization_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    PRIMARY KEY (organization_id, key_id, model),
    FOREIGN KEY (organization_id, key_id) REFERENCES keys
) STRICT, WITHOUT ROWID;

INSERT INTO key_models
    SELECT DISTINCT organization_id, key_id, lower(trim(model.value)) FROM keys, json_each(keys.models) AS model;

ALTER TABLE keys DROP COLUMN models;

-- daily, weekly or monthly, in the rule's zone.
UPDATE rules SET cap_period = (SELECT lower(kind.key) FROM json_each(rules.cap_period) AS kind) WHERE cap_period IS NOT NULL;

-- What an alert says, line by line.
CREATE TABLE alert_facts (
    organization_id TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (organization_id, alert_id, position),
    FOREIGN KEY (organization_id, alert_id) REFERENCES alerts
) STRICT, WITHOUT ROWID;

INSERT INTO alert_facts
    SELECT organization_id, alert_id, row_number() OVER (PARTITION BY organization_id, alert_id ORDER BY fact.id),
        fact.key, fact.value
    FROM alerts, json_each(alerts.facts) AS fact;

ALTER TABLE alerts DROP COLUMN facts;

-- Whom an alert is for, by e-mail address.
CREATE TABLE alert_recipients (
    organization_id TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    email TEXT NOT NULL,
    PRIMARY KEY (organization_id, alert_id, email),
    FOREIGN KEY (organization_id, alert_id) REFERENCES alerts
) STRICT, WITHOUT ROWID;

INSERT INTO alert_recipients
    SELECT DISTINCT organization_id, alert_id, recipient.value FROM alerts, json_each(alerts.recipients) AS recipient;

ALTER TABLE alerts DROP COLUMN recipients;
