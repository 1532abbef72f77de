"""Events: what one service writes the other reads, and what is no event is named and refused."""

import json
from typing import Any

import pytest

from contracts.events import (
    Event,
    ImageClassified,
    ImageFailed,
    ImageSubmitted,
    InvalidEvent,
    Score,
    message_key,
)

SUBMITTED = ImageSubmitted(7, "images/a.jpg", "image/jpeg", "models/m.json", "l", "ls/l.npz", "ab")
CLASSIFIED = ImageClassified(7, (Score("cat", 0.75), Score("dog", 0.25)), "l", "clip", "1", "ab")
FAILED = ImageFailed(7, "undecodable_image", "Füße & 猫", 1, "topic-0-41", "ab")
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
    for name in record:
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
