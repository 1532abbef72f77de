"""The three Kafka messages: JSON values keyed by image id, one per topic.

    ImageSubmitted       -> image-processing-topic
    ImageClassified      -> image-classification-results
    ImageFailed          -> image-processing-errors   (permanent failures only)

Unknown fields are ignored, so that a newer producer does not stop an older consumer; fields that
older producers do not write are None.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar


class InvalidEvent(ValueError):
    """The record is not an event of its topic; no retry can mend it."""


@dataclass(frozen=True)
class ImageSubmitted:
    """An upload was stored and its row committed: classify it.

    `model_key` and `label_set_key` are content addresses in the object store, so the event fixes
    which model version and labels answer it, however late it is read.
    """

    image_id: int
    s3_key: str
    media_type: str
    model_key: str
    label_set: str
    label_set_key: str
    trace_id: str

    def to_json(self) -> bytes:
        return _encode(self)

    @classmethod
    def from_json(cls, value: bytes | None) -> ImageSubmitted:
        return _decode(cls, value)


@dataclass(frozen=True)
class Score:
    """One label and its probability among the label set."""

    label: str
    confidence: float


@dataclass(frozen=True)
class ImageClassified:
    """The labels of an image, best first; confidences are the softmax over the whole label set.

    `embedding` is the image's, float32 little-endian (base64 in JSON), by the model whose manifest
    is at `model_key`.
    """

    image_id: int
    scores: tuple[Score, ...]
    label_set: str
    model: str
    model_version: str
    trace_id: str
    model_key: str | None = None
    embedding: bytes | None = None

    def to_json(self) -> bytes:
        return _encode(self)

    @classmethod
    def from_json(cls, value: bytes | None) -> ImageClassified:
        result = _decode(cls, value)
        if result.embedding is not None and result.model_key is None:
            raise InvalidEvent("modelKey must say which model the embedding is by")
        return result


@dataclass(frozen=True)
class ImageFailed:
    """A dead letter: an image that no retry can label, and where its event came from.

    `reason` is a word for programs, `detail` a sentence for people; `origin` is
    topic-partition-offset of the event that failed. The reason MODEL_GONE is no fault of the
    image: the model at `model_key` is not served any more, another one can still answer it.
    """

    image_id: int
    reason: str
    detail: str
    attempts: int
    origin: str
    trace_id: str
    model_key: str | None = None

    def to_json(self) -> bytes:
        return _encode(self)

    @classmethod
    def from_json(cls, value: bytes | None) -> ImageFailed:
        return _decode(cls, value)


MODEL_GONE = "model_gone"
MAX_IMAGE_ID = 2**63 - 1
MAX_EMBEDDING_DIM = 8_192
FLOAT32_BYTES = 4
OPTIONAL = " | None"  # as the dataclasses above spell it
NO_TRACE = "0" * 32  # W3C Trace Context's invalid trace id, where none is known
Event = ImageSubmitted | ImageClassified | ImageFailed
E = TypeVar("E", ImageSubmitted, ImageClassified, ImageFailed)


def message_key(image_id: int) -> bytes:
    """Every message about an image has the same key, so they stay in order on one partition."""
    return str(image_id).encode()


def image_id_of(key: bytes | None) -> int | None:
    """The inverse of `message_key`; None for any other key."""
    if key is None or not re.fullmatch(rb"[1-9][0-9]{0,18}", key):
        return None
    image_id = int(key)
    return image_id if image_id <= MAX_IMAGE_ID else None


def _encode(event: Event) -> bytes:
    camel = {_camel(name): value for name, value in vars(event).items() if value is not None}
    text = json.dumps(camel, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return text.encode()


def _plain(value: Any) -> Any:
    """What JSON has no word for: an embedding or a score."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else vars(value)


def _decode(event: type[E], value: bytes | None) -> E:
    try:
        record = json.loads(value or b"")
    except (ValueError, RecursionError) as exc:
        raise InvalidEvent(f"not JSON: {exc}") from exc
    if not isinstance(record, dict):
        raise InvalidEvent("not a JSON object")
    return event(**{f.name: _field(record, f.name, str(f.type)) for f in fields(event)})


def _field(record: Mapping[str, Any], name: str, kind: str) -> Any:
    """One field of `record`, converted to the type its dataclass declares."""
    value: Any = record.get(_camel(name))
    if kind.endswith(OPTIONAL):
        if value is None:
            return None
        kind = kind.removesuffix(OPTIONAL)
    if kind.startswith("tuple"):
        return _scores(value)
    if kind == "bytes":
        return _embedding(value)
    if type(value).__name__ != kind:
        raise InvalidEvent(f"{_camel(name)} must be {kind}, not {value!r:.100}")
    if isinstance(value, str) and not _is_storable(value):
        raise InvalidEvent(f"{_camel(name)} holds characters that cannot be stored")
    if name == "image_id" and not 0 < value <= MAX_IMAGE_ID:
        raise InvalidEvent(f"{_camel(name)} must be from 1 to {MAX_IMAGE_ID}")
    return value


def _scores(value: Any) -> tuple[Score, ...]:
    try:
        scores = tuple(_score(**{k: s[k] for k in ("label", "confidence")}) for s in value)
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidEvent(f"scores must be a list of label and confidence: {exc}") from exc
    if not scores:
        raise InvalidEvent("scores must not be empty")
    return scores


def _score(label: Any, confidence: Any) -> Score:
    if not isinstance(label, str) or not _is_storable(label):
        raise ValueError(f"label {label!r:.100}")
    if type(confidence) not in {int, float} or not 0 <= confidence <= 1:  # NaN is not either
        raise ValueError(f"confidence {confidence!r:.100}")
    return Score(label, float(confidence))


def _embedding(value: Any) -> bytes:
    """Numbers, all of them finite: a sum is not where one of them is not."""
    try:
        packed = base64.b64decode(value, validate=True)
        dim = len(packed) // FLOAT32_BYTES
        is_finite = math.isfinite(sum(struct.unpack(f"<{dim}f", packed)))
    except (TypeError, ValueError, struct.error) as exc:
        raise InvalidEvent(f"embedding must be base64 of float32: {exc}") from exc
    if not is_finite or not 0 < dim <= MAX_EMBEDDING_DIM:
        raise InvalidEvent(f"embedding must be 1 to {MAX_EMBEDDING_DIM} finite numbers, not {dim}")
    return packed


def _is_storable(text: str) -> bool:
    """Neither NUL nor half a surrogate pair: JSON can spell both, a database takes neither."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


@cache
def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
