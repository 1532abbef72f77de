-- What the model made of each image, to score it against other labels without asking it again;
-- and how an image finds another model when its own is gone.

-- float32, little-endian, by the model whose manifest is at model_key. It is noise to a compressor:
-- rows of up to 2,000 dimensions stay whole and uncompressed on the table's own pages.
CREATE TABLE image_embeddings (
    image_id   BIGINT PRIMARY KEY REFERENCES images ON DELETE CASCADE,
    model_key  TEXT NOT NULL,
    embedding  BYTEA NOT NULL
) WITH (toast_tuple_target = 8160);
ALTER TABLE image_embeddings ALTER COLUMN embedding SET STORAGE EXTERNAL;

-- Neither published nor to be: the event would name a model that nothing serves any more.
ALTER TABLE images ADD COLUMN awaits_model BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX images_awaiting_model ON images (model_key, label_set, label_set_key)
    WHERE awaits_model AND status = 'PENDING';

-- With these and the labels in the object, a matrix can be made again by another model.
ALTER TABLE label_matrices ADD COLUMN templates TEXT[];  -- NULL: the model's own
CREATE INDEX label_matrices_key ON label_matrices (label_set_key, manifest_key);
