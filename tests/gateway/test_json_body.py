"""JSON bodies: bounded before they are parsed, and only what JSON can say once comes out."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from gateway.api.json_body import JsonLimits, parse_object, read_json
from gateway.problems import Malformed, Problem, TooLarge, TooSlow, UnsupportedType, Unusable
from tests.gateway.test_multipart import Wire, cut, request

LIMITS = JsonLimits(max_json_bytes=100)
HEADERS = {"content-type": "application/json"}


def read(wire: Wire, headers: Mapping[str, str] = HEADERS) -> bytes:
    return asyncio.run(read_json(request(wire, headers), LIMITS, wire.clock))


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_body_is_read_however_it_is_cut(content_type: str) -> None:
    body = b'{"name": "pets"}'
    assert read(Wire(cut(body, 3)), {"content-type": content_type}) == body


@pytest.mark.parametrize(
    ("wire", "headers", "kind"),
    [
        (Wire([b"x" * 60] * 2), HEADERS, TooLarge),
        (Wire([]), {**HEADERS, "content-length": "101"}, TooLarge),
        (Wire([b"{}"]), {}, UnsupportedType),
        (Wire([b"{}"]), {"content-type": "text/plain"}, UnsupportedType),
        (Wire([b"{}"]), {**HEADERS, "content-encoding": "gzip"}, UnsupportedType),
        (Wire([b"x"] * 99, delay_s=1), HEADERS, TooSlow),
        (Wire([b"{"], hangs_up=True), HEADERS, ClientDisconnect),
    ],
    ids=["chunked", "content-length", "no-type", "text", "gzip", "slow", "hung-up"],
)
def test_what_is_refused_before_it_is_parsed(
    wire: Wire, headers: Mapping[str, str], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        read(wire, headers)
    if isinstance(caught.value, Problem):
        assert caught.value.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": ["\\u00e9", 1, -2.5, true, null]}', {"a": ["é", 1, -2.5, True, None]}),
        ('{"a": "é"}'.encode("utf-8-sig"), {"a": "é"}),
        (b" {} \n", {}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_what_is_taken(data: bytes, value: dict[str, Any]) -> None:
    assert parse_object(data) == value


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", Malformed, "not JSON"),
        (b"{", Malformed, "not JSON"),
        (b'{"a": 1} x', Malformed, "not JSON"),
        (b"{'a': 1}", Malformed, "not JSON"),
        (b'{"a": "\n"}', Malformed, "not JSON"),
        (b'{"a": "\xff"}', Malformed, "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), Malformed, "UTF-8"),
        (b'{"a": NaN}', Malformed, "NaN is no JSON number"),
        (b'{"a": -Infinity}', Malformed, "Infinity"),
        (b'{"a": 1e999}', Malformed, "too large"),
        (b'{"a": ' + b"9" * 21 + b"}", Malformed, "more than 20 digits"),
        (b'{"a": ' + b"9" * 100_000 + b"}", Malformed, "more than 20 digits"),
        (b'{"a": 1, "b": 2, "a": 3}', Malformed, "names 'a' twice"),
        (b"[" * 100_000, Malformed, "nested"),
        (b'{"a":' * 100_000, Malformed, "nested"),
        (b"[]", Unusable, "object"),
        (b"null", Unusable, "object"),
        (b'"name"', Unusable, "object"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_object(data: bytes, kind: type[Problem], words: str) -> None:
    with pytest.raises(kind, match=words):
        parse_object(data)


def test_many_keys_are_read_in_little_time() -> None:
    pairs = ",".join(f'"{number}":0' for number in range(200_000))
    started_s = time.monotonic()
    with pytest.raises(Malformed, match="twice"):
        parse_object(f'{{{pairs},"199999":1}}'.encode())
    assert time.monotonic() - started_s < 3
