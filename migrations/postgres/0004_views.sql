-- Answers to what people ask most.

CREATE VIEW usage_by_member_day AS
    SELECT organization_id, member_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, count(*) AS entries,
        sum(requests) AS requests, sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost) AS cost, sum(credits) AS credits
    FROM ledger_entries WHERE key_id IS NOT NULL GROUP BY organization_id, member_id, day;

COMMENT ON VIEW usage_by_member_day IS 'What was used, by member and day. Months that were dropped aren''t in it.';
COMMENT ON COLUMN usage_by_member_day.organization_id IS 'The organization.';
COMMENT ON COLUMN usage_by_member_day.member_id IS 'Whose keys were used.';
COMMENT ON COLUMN usage_by_member_day.day IS 'In UTC, of when the request was admitted.';
COMMENT ON COLUMN usage_by_member_day.entries IS 'Ledger entries.';
COMMENT ON COLUMN usage_by_member_day.requests IS 'Requests booked.';
COMMENT ON COLUMN usage_by_member_day.input_tokens IS 'Input tokens booked.';
COMMENT ON COLUMN usage_by_member_day.cached_input_tokens IS 'Those of them read from a prompt cache.';
COMMENT ON COLUMN usage_by_member_day.output_tokens IS 'Output tokens booked.';
COMMENT ON COLUMN usage_by_member_day.cost IS 'USD booked.';
COMMENT ON COLUMN usage_by_member_day.credits IS 'Credits booked.';

CREATE VIEW usage_by_key_day AS
    SELECT organization_id, key_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, count(*) AS entries,
        sum(requests) AS requests, sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost) AS cost, sum(credits) AS credits
    FROM ledger_entries WHERE key_id IS NOT NULL GROUP BY organization_id, key_id, day;

COMMENT ON VIEW usage_by_key_day IS 'What was used, by key and day. Months that were dropped aren''t in it.';
COMMENT ON COLUMN usage_by_key_day.organization_id IS 'The organization.';
COMMENT ON COLUMN usage_by_key_day.key_id IS 'The key used.';
COMMENT ON COLUMN usage_by_key_day.day IS 'In UTC, of when the request was admitted.';
COMMENT ON COLUMN usage_by_key_day.entries IS 'Ledger entries.';
COMMENT ON COLUMN usage_by_key_day.requests IS 'Requests booked.';
COMMENT ON COLUMN usage_by_key_day.input_tokens IS 'Input tokens booked.';
COMMENT ON COLUMN usage_by_key_day.cached_input_tokens IS 'Those of them read from a prompt cache.';
COMMENT ON COLUMN usage_by_key_day.output_tokens IS 'Output tokens booked.';
COMMENT ON COLUMN usage_by_key_day.cost IS 'USD booked.';
COMMENT ON COLUMN usage_by_key_day.credits IS 'Credits booked.';

CREATE VIEW budget_status AS
    SELECT organization_id, limit_no, scope, key_id, team_id, member_id, rule_id, limit_id, unit, period, window_start,
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
COMMENT ON COLUMN budget_status.period IS 'How long a window is.';
COMMENT ON COLUMN budget_status.window_start IS 'Begin of that window; null before the first charge.';
COMMENT ON COLUMN budget_status.spent IS 'Charged in that window.';
COMMENT ON COLUMN budget_status.max IS 'Refuses beyond; null where there is no such cap here: an allocation''s stands in allocations.';
COMMENT ON COLUMN budget_status.soft IS 'Tells people beyond.';
COMMENT ON COLUMN budget_status.remaining IS 'Of max; below 0 where a charge came to more than was held.';
COMMENT ON COLUMN budget_status.used_up IS 'Whether nothing is left.';
