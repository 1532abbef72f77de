"""Multipart: every bound is kept while the body streams, and every refusal says what to change."""

import asyncio
import time
import tracemalloc
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from gateway.api.multipart import BodyLimits, Upload, read_upload
from gateway.problems import Malformed, Problem, TooLarge, TooSlow, UnsupportedType, Unusable
from tests import photos

BOUNDARY = "----frontier"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
SMALL = BodyLimits(max_upload_bytes=1_000, max_field_bytes=100, max_parts=3)
END = f"--{BOUNDARY}--\r\n".encode()


def part(name: str, content: bytes, extra: str = "", headers: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


def file(content: bytes = b"pixels", name: str = "a.jpg") -> bytes:
    return part("file", content, f'; filename="{name}"', "Content-Type: image/jpeg\r\n")


def parts(count: int) -> bytes:
    return b"".join(part(f"f{number}", b"") for number in range(count))


class Wire:
    """A client whose body arrives in `chunks`; `delay_s` passes on the clock before each."""

    def __init__(self, chunks: Iterable[bytes], delay_s: float = 0, *, hangs_up: bool = False):
        self._chunks = list(chunks)
        self._delay_s = delay_s
        self._hangs_up = hangs_up
        self.now_s = 0.0
        self.received = 0

    async def receive(self) -> dict[str, Any]:
        self.now_s += self._delay_s
        self.received += 1
        if self._chunks:
            chunk = self._chunks.pop(0)
            more = bool(self._chunks) or self._hangs_up
            return {"type": "http.request", "body": chunk, "more_body": more}
        return {"type": "http.disconnect"}

    def clock(self) -> float:
        return self.now_s


def request(wire: Wire, headers: Mapping[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    return Request(scope, wire.receive)


def read(
    body: bytes | Wire, limits: BodyLimits = SMALL, headers: Mapping[str, str] | None = None
) -> Upload:
    wire = body if isinstance(body, Wire) else Wire([body])
    sent = {"content-type": TYPE} if headers is None else headers
    return asyncio.run(read_upload(request(wire, sent), limits, wire.clock))


def cut(data: bytes, size_bytes: int) -> list[bytes]:
    return [data[at : at + size_bytes] for at in range(0, len(data), size_bytes)]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64, 10_000])
def test_a_form_is_read_however_it_is_cut(chunk_bytes: int) -> None:
    content = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n" + photos.random_bytes(400)
    body = part("description", "Grüße".encode()) + file(content, "ü.jpg") + END
    upload = read(Wire(cut(body, chunk_bytes)))
    assert upload == Upload(content, "ü.jpg", "image/jpeg", {"description": "Grüße"})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(part("file", b"x") + END, (b"x", None), id="no-file-name-is-a-file-still"),
        pytest.param(file(b"", "") + END, (b"", ""), id="1-empty-file-is-for-validation"),
        pytest.param(file(b"x" * 1_000) + END, (b"x" * 1_000, "a.jpg"), id="5-at-the-limit"),
        pytest.param(part("unknown", b"y") + file() + END, (b"pixels", "a.jpg"), id="unknown"),
        pytest.param(
            file(name="../../etc/passwd") + END, (b"pixels", "../../etc/passwd"), id="22-path"
        ),
        pytest.param(file(name="a%0d%0ab") + END, (b"pixels", "a%0d%0ab"), id="24-encoded-crlf"),
        pytest.param(file(name="a\nb\x00c") + END, (b"pixels", "a\nb\x00c"), id="24-raw-lf-nul"),
        pytest.param(file(name="x" * 3_000) + END, (b"pixels", "x" * 3_000), id="23-3-kB-name"),
        pytest.param(file() + END + b"epilogue", (b"pixels", "a.jpg"), id="epilogue"),
    ],
)
def test_what_is_taken(body: bytes, expected: tuple[bytes, str | None]) -> None:
    upload = read(body)
    assert (upload.file, upload.filename) == expected


REFUSED: list[tuple[str, bytes, type[Problem], str]] = [
    ("2-no-file-part", part("description", b"x") + END, Unusable, "no part named 'file'"),
    ("2-empty-form", END, Unusable, "no part named 'file'"),
    ("4-cut-mid-part", file()[:-10], Malformed, "end boundary"),
    ("4-no-end-boundary", file(), Malformed, "end boundary"),
    ("4-no-body", b"", Malformed, "end boundary"),
    ("4-other-boundary", file().replace(b"frontier", b"border00"), Malformed, "malformed"),
    ("6-file-over-the-limit", file(b"x" * 1_001) + END, TooLarge, "GATEWAY_MAX_UPLOAD_BYTES"),
    ("23-10-kB-name", file(name="x" * 10_000) + END, Malformed, "malformed"),
    ("25-4-parts", parts(4) + END, TooLarge, "MAX_PARTS"),
    ("25-1001-parts", parts(1_001) + END, TooLarge, "MAX_PARTS"),
    ("26-field-over-the-limit", part("description", b"x" * 101) + END, TooLarge, "MAX_FIELD_BYTES"),
    ("30-two-files", file() + file() + END, Unusable, "two 'file' parts"),
    ("two-descriptions", part("d", b"1") + part("d", b"2") + file() + END, Unusable, "twice"),
    ("field-not-utf-8", part("d", b"\xff\xfe") + file() + END, Unusable, "UTF-8"),
    ("field-with-nul", part("d", b"a\x00b") + file() + END, Unusable, "NUL"),
    ("part-without-a-name", file().replace(b"name=", b"nome="), Malformed, "no name"),
    ("9-part-headers", part("d", b"", headers="X: y\r\n" * 9) + END, Malformed, "malformed"),
    ("45-json", b'{"file": 1}', Malformed, "malformed"),
]  # fmt: skip


@pytest.mark.parametrize("chunk_bytes", [5, 100_000])
@pytest.mark.parametrize(
    ("body", "kind", "words"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_what_is_refused(body: bytes, kind: type[Problem], words: str, chunk_bytes: int) -> None:
    with pytest.raises(kind, match=words) as caught:
        read(Wire(cut(body, chunk_bytes) or [b""]))
    assert 400 <= caught.value.status < 500


@pytest.mark.parametrize(
    ("headers", "kind", "words"),
    [
        pytest.param({"content-type": "multipart/form-data"}, Malformed, "boundary", id="3"),
        pytest.param(
            {"content-type": f"multipart/form-data; boundary={'x' * 300}"},
            Malformed,
            "boundary",
            id="3-boundary-of-300",
        ),
        pytest.param(
            {"content-type": "application/json"}, UnsupportedType, "multipart", id="45-json"
        ),
        pytest.param({}, UnsupportedType, "multipart", id="no-type"),
        pytest.param(
            {"content-type": TYPE, "content-encoding": "gzip"},
            UnsupportedType,
            "compressed",
            id="28-gzip",
        ),
        pytest.param(
            {"content-type": TYPE, "content-length": "50000000"},
            TooLarge,
            "GATEWAY_MAX_UPLOAD_BYTES",
            id="5-content-length",
        ),
    ],
)
def test_headers_alone_are_enough_to_refuse(
    headers: Mapping[str, str], kind: type[Problem], words: str
) -> None:
    wire = Wire([file() + END])
    with pytest.raises(kind, match=words) as caught:
        read(wire, headers=headers)
    assert wire.received == 0
    assert caught.value.headers["Connection"] == "close"


def test_6_a_body_without_a_length_is_refused_as_it_streams() -> None:
    wire = Wire([file(b"x" * 900)[:-2], *([b"x" * 200] * 50), END])
    with pytest.raises(TooLarge) as caught:
        read(wire)
    assert wire.received == 2
    assert caught.value.headers["Connection"] == "close"


def test_an_epilogue_without_end_is_refused() -> None:
    with pytest.raises(TooLarge):
        read(Wire([file() + END, *([b"x" * 50_000] * 20)]))


def test_a_refusal_at_the_end_of_the_body_keeps_the_connection() -> None:
    with pytest.raises(Unusable) as caught:
        read(part("description", b"x") + END)
    assert "Connection" not in caught.value.headers


def test_4_a_client_that_hangs_up_is_told_apart() -> None:
    with pytest.raises(ClientDisconnect):
        read(Wire([file()], hangs_up=True))


def test_7_one_byte_a_second_is_refused_within_30_s() -> None:
    wire = Wire(cut(file() + END, 1), delay_s=1)
    with pytest.raises(TooSlow, match="GATEWAY_BODY_GRACE_S") as caught:
        read(wire)
    assert wire.now_s < 30
    assert caught.value.headers["Connection"] == "close"


def test_a_slow_line_above_the_least_rate_is_served() -> None:
    limits = BodyLimits(grace_s=15, min_rate_bytes_s=16_384)
    content = bytes(4_000_000)
    wire = Wire(cut(file(content) + END, 20_000), delay_s=1)
    assert read(wire, limits).file == content
    assert wire.now_s > 100


def test_7_a_body_that_never_comes_is_refused_in_time() -> None:
    async def silent() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    wire = Wire([])
    wire.receive = silent  # type: ignore[method-assign]
    started_s = time.monotonic()
    with pytest.raises(TooSlow):
        read(wire, BodyLimits(grace_s=0.05))
    assert time.monotonic() - started_s < 1


def test_memory_holds_the_file_about_once() -> None:
    content = bytes(8_000_000)
    chunks = cut(file(content) + END, 65_536)
    del content
    limits = BodyLimits()
    tracemalloc.start()
    try:
        upload = read(Wire(chunks), limits)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(upload.file) == 8_000_000
    assert peak_bytes < 12_000_000  # a buffer grows in eighths; a second copy would make it 16


def test_a_name_in_an_odd_encoding_is_still_taken() -> None:
    body = file().replace(b"a.jpg", b"caf\xe9.jpg") + END
    assert read(body).filename == "caf\ufffd.jpg"
