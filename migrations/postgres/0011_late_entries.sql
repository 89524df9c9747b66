-- Reports go by when something was used. Nearly all of it is booked within a day of that, and found by entry numbers; what is booked
-- later, such as a correction of an older entry, is found by this index.

CREATE INDEX ledger_late ON ledger_entries (organization_id, entry) WHERE time - occurred_at > interval '25 hours';
