"""Keys of the object store: uploaded images, and the immutable artefacts that events name.

A label set is a NumPy `.npz`: `labels` unicode [N], `embeddings` float32 [N, D] of unit rows.
"""

import hashlib
import uuid

IMAGES_PREFIX = "images/"
MODELS_PREFIX = "models/"
LABEL_SETS_PREFIX = "label-sets/"


def new_image_key(stem: str, extension: str) -> str:
    """A key no other upload has: `images/{uuid}-{stem}.{extension}` (a safe `stem`)."""
    return f"{IMAGES_PREFIX}{uuid.uuid4()}-{stem}.{extension}"


def model_key(manifest: bytes) -> str:
    """The content address of a model manifest (JSON)."""
    return f"{MODELS_PREFIX}{_digest(manifest)}.json"


def label_set_key(matrix: bytes) -> str:
    """The content address of a label set (`.npz`)."""
    return f"{LABEL_SETS_PREFIX}{_digest(matrix)}.npz"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
