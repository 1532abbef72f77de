"""What a failure says can be stored by every reader of it."""

import pytest

from contracts.events import ImageFailed
from dispatcher.work import DETAIL_CHARACTERS, read, storable
from tests.dispatcher.test_classification import record


@pytest.mark.parametrize(
    ("detail", "stored"),
    [
        ("It is cut off.", "It is cut off."),
        ("naïve 猫 🐈", "naïve 猫 🐈"),
        ("a\0b\0", "ab"),
        ("a\ud800b", "a?b"),
        ("x" * 501, "x" * 500),
        ("", ""),
    ],
)
def test_storable(detail: str, stored: str) -> None:
    assert storable(detail) == stored


def test_dead_letters_of_odd_records_can_be_read() -> None:
    value = b'{"imageId": "' + b"\\u0000\\ud800" * 1_000 + b'"}'
    _works, [letter] = read([record(9, value)])
    assert ImageFailed.from_json(letter.to_json()) == letter
    assert len(letter.detail) <= DETAIL_CHARACTERS
