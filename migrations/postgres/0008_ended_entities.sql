CREATE TABLE ended_entities (
    organization_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C",
    detail BYTEA NOT NULL,
    PRIMARY KEY (organization_id, kind, entity_id)
);

CREATE INDEX ended_entities_by_request ON ended_entities (organization_id, request_id) WHERE request_id IS NOT NULL;

COMMENT ON TABLE ended_entities IS 'What of the control plane is over, whole: for when memory has given it up.';
COMMENT ON COLUMN ended_entities.organization_id IS 'Organization that the row belongs to.';
COMMENT ON COLUMN ended_entities.kind IS 'As in the audit log.';
COMMENT ON COLUMN ended_entities.entity_id IS 'Unique in the organization among its kind.';
COMMENT ON COLUMN ended_entities.request_id IS 'Of an order: nothing else of the organization can have it.';
COMMENT ON COLUMN ended_entities.detail IS 'As journalled last.';
