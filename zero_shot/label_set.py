"""Label names and their text embeddings go in, the bytes of an object go out; and back.

The object is a NumPy `.npz`: `labels` unicode [N], `embeddings` float32 [N, D] of unit rows. The
same content is always the same bytes, so its digest can be its address.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
MATRIX_DIMENSIONS = 2
TEXT_BYTES = 60  # of a text in memory, beside its characters

Embeddings = npt.NDArray[np.float32]


class BadLabelSet(ValueError):
    """The bytes are no label set; the message says why."""


@dataclass(frozen=True)
class LabelSet:
    """Names and their text embeddings: `embeddings` float32 [N, D], rows of unit length."""

    labels: tuple[str, ...]
    embeddings: Embeddings

    @property
    def memory_bytes(self) -> int:
        """About what it takes."""
        return self.embeddings.nbytes + sum(TEXT_BYTES + len(label) for label in self.labels)


def encode(labels: Sequence[str], embeddings: Embeddings) -> bytes:
    """`embeddings` is [N, D], a row a label. `numpy.savez` would write the time into it."""
    arrays = {"labels": np.array(labels), "embeddings": np.ascontiguousarray(embeddings)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", ZIP_EPOCH), entry.getvalue())
    return buffer.getvalue()


def decode(data: bytes) -> LabelSet:
    """Raises BadLabelSet for anything that `encode` would not write."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            labels = tuple(str(label) for label in arrays["labels"])
            embeddings = np.ascontiguousarray(arrays["embeddings"], dtype=np.float32)
    except Exception as exc:  # a damaged zip raises nearly anything
        raise BadLabelSet(f"not a label set: {exc}") from exc
    if embeddings.ndim != MATRIX_DIMENSIONS or len(labels) != len(embeddings) or not labels:
        raise BadLabelSet("the label set's names and embeddings do not match")
    if not np.isfinite(embeddings).all():
        raise BadLabelSet("the label set's embeddings are not all numbers")
    return LabelSet(labels, embeddings)
