-- Labels of the callers' own: their definitions, and where the matrices made of them are.

CREATE TABLE label_sets (
    name        TEXT COLLATE "C" PRIMARY KEY,
    labels      TEXT[] NOT NULL,
    templates   TEXT[],  -- NULL: those of whichever model is active
    created_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- The text embeddings of a definition by one model; both keys are content addresses in the object
-- store. Rows outlive their label set: events in flight name the object, and the same labels may
-- come back under any name or none.
CREATE TABLE label_matrices (
    definition     TEXT NOT NULL,  -- SHA-256 of labels and templates
    manifest_key   TEXT NOT NULL,
    label_set_key  TEXT NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (definition, manifest_key)
);
