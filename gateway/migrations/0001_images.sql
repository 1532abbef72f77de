-- The images, their status and results; the row is also the outbox of its own Kafka event.

CREATE TYPE image_status AS ENUM ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED');

-- A model version with its default label set. The one that is active answers new uploads;
-- both keys are content addresses in the object store.
CREATE TABLE models (
    id              INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            TEXT NOT NULL,
    version         TEXT NOT NULL,
    manifest_key    TEXT NOT NULL,
    label_set_name  TEXT NOT NULL,
    label_set_key   TEXT NOT NULL,
    active          BOOLEAN NOT NULL,
    registered_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (manifest_key, label_set_key)
);
CREATE UNIQUE INDEX models_one_active ON models (active) WHERE active;

CREATE TABLE images (
    id                     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    s3_key                 TEXT NOT NULL,
    filename               TEXT,
    media_type             TEXT NOT NULL,
    size_bytes             INTEGER NOT NULL,
    width_px               INTEGER NOT NULL,
    height_px              INTEGER NOT NULL,
    description            TEXT,
    trace_id               TEXT NOT NULL,

    status                 image_status NOT NULL DEFAULT 'PENDING',
    model_key              TEXT NOT NULL,
    label_set              TEXT NOT NULL,
    label_set_key          TEXT NOT NULL,
    classification_result  JSONB,
    confidence_score       DOUBLE PRECISION,
    failure_code           TEXT,
    failure_reason         TEXT,
    label                  TEXT,
    other_labels           TEXT,

    created_at             TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    updated_at             TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),

    -- Delivery: NULL until a broker acknowledged the event, and again when it must be re-sent.
    published_at           TIMESTAMPTZ,
    publish_attempts       INTEGER NOT NULL DEFAULT 0,
    kafka_partition        INTEGER,
    kafka_offset           BIGINT,

    search                 TSVECTOR NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('english', coalesce(description, '')), 'A')
        || setweight(to_tsvector('english', coalesce(label, '')), 'B')
        || setweight(to_tsvector('english', coalesce(other_labels, '')), 'D')
    ) STORED
);

CREATE UNIQUE INDEX images_s3_key ON images (s3_key);
CREATE INDEX images_status ON images (status, id);
CREATE INDEX images_created_at ON images (created_at);
CREATE INDEX images_search ON images USING GIN (search);
CREATE INDEX images_outbox ON images (id)
    WHERE published_at IS NULL AND status IN ('PENDING', 'PROCESSING');
CREATE INDEX images_failed ON images (updated_at) WHERE status = 'FAILED';
CREATE INDEX images_in_flight ON images (published_at) WHERE status = 'PROCESSING';
