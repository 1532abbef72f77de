"""Events: what one service writes the other reads, and what is no event is named and refused."""

import base64
import dataclasses
import json
import struct
from typing import Any

import pytest

from contracts.events import (
    MAX_EMBEDDING_DIM,
    Event,
    ImageClassified,
    ImageFailed,
    ImageSubmitted,
    InvalidEvent,
    Score,
    message_key,
)

SUBMITTED = ImageSubmitted(7, "images/a.jpg", "image/jpeg", "models/m.json", "l", "ls/l.npz", "ab")
EMBEDDING = struct.pack("<3f", 0.6, -0.8, 1e-30)
CLASSIFIED = ImageClassified(
    7, (Score("cat", 0.75), Score("dog", 0.25)), "l", "clip", "1", "ab", "models/m.json", EMBEDDING
)
FAILED = ImageFailed(7, "undecodable_image", "Füße & 猫", 1, "topic-0-41", "ab", "models/m.json")
# What producers did not write before, each with what it then is.
OPTIONAL = {"modelKey": "model_key", "embedding": "embedding"}
EVENTS: tuple[Event, ...] = (SUBMITTED, CLASSIFIED, FAILED)

by_name = pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)


@by_name
def test_round_trip(event: Event) -> None:
    assert type(event).from_json(event.to_json()) == event


@by_name
def test_the_id_is_in_the_value_and_is_the_key(event: Event) -> None:
    assert json.loads(event.to_json())["imageId"] == 7
    assert message_key(event.image_id) == b"7"


@by_name
def test_names_are_camel_case_and_text_is_utf8(event: Event) -> None:
    record = json.loads(event.to_json().decode("utf-8"))
    assert "traceId" in record
    assert not any("_" in name for name in record)


@by_name
def test_unknown_fields_are_ignored(event: Event) -> None:
    record = {**json.loads(event.to_json()), "newer": {"a": [1]}, "image_id": 9}
    assert type(event).from_json(json.dumps(record).encode()) == event


@by_name
def test_every_field_is_needed(event: Event) -> None:
    record = json.loads(event.to_json())
    optional = set() if isinstance(event, ImageSubmitted) else OPTIONAL.keys()
    for name in record.keys() - optional:
        without = {key: value for key, value in record.items() if key != name}
        with pytest.raises(InvalidEvent, match=name):
            type(event).from_json(json.dumps(without).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("imageId", "7"),
        ("imageId", 7.0),
        ("imageId", True),
        ("imageId", None),
        ("imageId", [7]),
        ("imageId", float("nan")),
        ("imageId", 2**63),
        ("imageId", 10**400),
        ("imageId", 0),
        ("imageId", -1),
        ("s3Key", 1),
        ("s3Key", None),
        ("s3Key", "images/\0.jpg"),
        ("traceId", "\ud800"),
        ("traceId", {}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_field_of_the_wrong_kind_is_named(field: str, value: Any) -> None:
    record = {**json.loads(SUBMITTED.to_json()), field: value}
    with pytest.raises(InvalidEvent, match=field) as refusal:
        ImageSubmitted.from_json(json.dumps(record).encode())
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "scores",
    [
        [],
        None,
        "cat",
        5,
        [{}],
        [1],
        [{"label": "cat"}],
        [{"confidence": 0.5}],
        [{"label": "cat", "confidence": "half"}],
        [{"label": "cat", "confidence": None}],
        [{"label": 5, "confidence": 0.5}],
        [{"label": "a\0b", "confidence": 0.5}],
        [{"label": "cat", "confidence": True}],
        [{"label": "cat", "confidence": -0.1}],
        [{"label": "cat", "confidence": 1.1}],
        [{"label": "cat", "confidence": float("nan")}],
        [{"label": "cat", "confidence": float("inf")}],
        [{"label": "cat", "confidence": 10**400}],
        {"label": "cat", "confidence": 0.5},
    ],
    ids=lambda scores: ascii(scores)[:40],
)
def test_bad_scores_are_named(scores: Any) -> None:
    record = {**json.loads(CLASSIFIED.to_json()), "scores": scores}
    with pytest.raises(InvalidEvent, match="scores"):
        ImageClassified.from_json(json.dumps(record).encode())


@pytest.mark.parametrize("event", [CLASSIFIED, FAILED], ids=lambda event: type(event).__name__)
def test_records_of_an_older_producer_are_read(event: ImageClassified | ImageFailed) -> None:
    record = json.loads(event.to_json())
    older = {name: value for name, value in record.items() if name not in OPTIONAL}
    unknown: dict[str, Any] = {name: None for name in OPTIONAL.values() if hasattr(event, name)}
    expected = dataclasses.replace(event, **unknown)
    for text in (json.dumps(older), json.dumps({**older, **dict.fromkeys(OPTIONAL)})):
        assert type(event).from_json(text.encode()) == expected
    assert "null" not in expected.to_json().decode(), "what is not known is not written"


def test_an_embedding_is_base64_of_little_endian_floats() -> None:
    record = json.loads(CLASSIFIED.to_json())
    assert base64.b64decode(record["embedding"]) == EMBEDDING
    assert struct.unpack("<f", EMBEDDING[:4]) == pytest.approx((0.6,))


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    "embedding",
    [
        "",
        5,
        True,
        [0.6, 0.8],
        {},
        "not base64!",
        "AAAA",
        packed(0.6)[:-1],
        packed(0.6) + "\n",
        "é" * 8,
        packed(0.6, float("nan")),
        packed(float("inf"), 0.8),
        packed(float("inf"), float("-inf")),
        packed(*[0.1] * (MAX_EMBEDDING_DIM + 1)),
    ],
    ids=lambda embedding: ascii(embedding)[:20],
)
def test_an_embedding_that_cannot_be_one_is_named(embedding: Any) -> None:
    record = {**json.loads(CLASSIFIED.to_json()), "embedding": embedding}
    with pytest.raises(InvalidEvent, match="embedding") as refusal:
        ImageClassified.from_json(json.dumps(record).encode())
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("dim", [1, 512, MAX_EMBEDDING_DIM])
def test_an_embedding_of_any_usual_length_is_read(dim: int) -> None:
    numbers = [3.4e38] * dim  # their sum would be beyond float32
    event = dataclasses.replace(CLASSIFIED, embedding=struct.pack(f"<{dim}f", *numbers))
    assert ImageClassified.from_json(event.to_json()) == event


def test_an_embedding_says_whose_it_is() -> None:
    event = dataclasses.replace(CLASSIFIED, model_key=None)
    with pytest.raises(InvalidEvent, match="modelKey"):
        ImageClassified.from_json(event.to_json())


@pytest.mark.parametrize("count", [4_301, 100_000])
def test_a_number_of_too_many_digits_is_refused(count: int) -> None:
    value = SUBMITTED.to_json().replace(b'"imageId":7', b'"imageId":' + b"9" * count)
    with pytest.raises(InvalidEvent):
        ImageSubmitted.from_json(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"\x80abc",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"NaN",
        SUBMITTED.to_json()[:-1],
        b"[" * 100_000,
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_json_object_is_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidEvent, match="not"):
        ImageSubmitted.from_json(value)
