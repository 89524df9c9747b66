-- What of the control plane is over, whole: for when memory has given it up.
CREATE TABLE ended_entities (
    organization_id TEXT NOT NULL,
    -- As in the audit log.
    kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    -- Of an order: nothing else of the organization can have it.
    request_id TEXT,
    -- As journalled last.
    detail BLOB NOT NULL,
    PRIMARY KEY (organization_id, kind, entity_id)
) STRICT;

CREATE INDEX ended_entities_by_request ON ended_entities (organization_id, request_id) WHERE request_id IS NOT NULL;
