"""Rubbish over real HTTP: each gets its code and a word, and none leaves a trace."""

import io
import json
import zlib
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from gateway.database import Database
from tests import photos
from tests.api import road, wire
from tests.api.conftest import Platform, Services
from tests.api.wire import END, Wire
from tests.gateway import rows

pytestmark = pytest.mark.integration

LIMIT_BYTES = 10_000_000
GROWTH_LIMIT_BYTES = 200_000_000
GOOD = photos.jpeg()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def header_only(data: bytes) -> bytes:
    return data[: data.index(b"\xff\xda") + 14]


def over_the_pixel_cap() -> bytes:
    return photos.encode(Image.new("L", (8_000, 6_300)), "JPEG", quality=10)


@pytest.fixture(autouse=True, scope="module")
def _server_survives(platform: Platform) -> Iterator[None]:
    """Alive behind all of this, the same process, and not much bigger."""
    before, pid = platform.api.resident_bytes(), platform.api.pid
    yield
    assert platform.api.pid == pid
    with road.client_of(platform.api) as client:
        assert road.terminal(client, road.uploaded_id(client))["status"] == "COMPLETED"
    assert platform.api.resident_bytes() - before < GROWTH_LIMIT_BYTES
    assert not platform.api.logged("unexpected error")
    assert not platform.api.logged("Traceback")


class Traces:
    """What uploads leave behind: rows and objects."""

    def __init__(self, services: Services, database: Database) -> None:
        self._services = services
        self._database = database

    def now(self) -> tuple[int, set[str]]:
        count = rows.value(self._database, "SELECT count(*) FROM images")
        return count, self._services.gateway.stored()


@pytest.fixture
def traces(services: Services, rows_of: Database) -> Traces:
    return Traces(services, rows_of)


UNTYPED = "multipart/form-data"
RAW = {
    "01-empty-file": (wire.request(wire.part(b"") + END), 422),
    "02-no-file-part": (wire.request(wire.part(GOOD, name=b"picture") + END), 422),
    "02-no-part-at-all": (wire.request(END), 422),
    "03-no-boundary": (wire.request(wire.part(GOOD) + END, UNTYPED), 400),
    "04-no-end-boundary": (wire.request(wire.part(GOOD)), 400),
    "04-cut-mid-part": (wire.request(half(wire.part(GOOD))), 400),
    "05-too-large-by-content-length": (wire.upload_head(LIMIT_BYTES * 3), 413),
    "not-multipart": (wire.request(b"{}", "application/json"), 415),
}


@pytest.mark.parametrize(("sent", "status"), RAW.values(), ids=RAW)
def test_malformed_bodies(platform: Platform, traces: Traces, sent: bytes, status: int) -> None:
    before = traces.now()
    with Wire(platform.api.address) as connection:
        connection.send(sent)
        answer = connection.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["status"] == status
    assert traces.now() == before


def test_04_a_client_that_hangs_up_leaves_nothing(platform: Platform, traces: Traces) -> None:
    before = traces.now()
    with Wire(platform.api.address) as connection:
        connection.send(half(wire.request(wire.part(GOOD) + END)))
        connection.end_sending()
        assert connection.status() in {0, 400}
    assert traces.now() == before


def test_05_a_file_over_the_limit_is_refused(client: httpx.Client, traces: Traces) -> None:
    before = traces.now()
    answer = road.upload(client, GOOD + bytes(LIMIT_BYTES))
    assert "GATEWAY_MAX_UPLOAD_BYTES" in road.problem_of(answer, 413)["detail"]
    assert traces.now() == before


def test_06_a_chunked_body_is_refused_while_it_streams(platform: Platform, traces: Traces) -> None:
    before = traces.now()
    with Wire(platform.api.address) as connection:
        head = wire.part(b"")[:-2]
        connection.send(wire.upload_head(None) + wire.chunk(head))
        sent = connection.send_until_answered(wire.chunk(bytes(100_000)), 10 * LIMIT_BYTES)
        assert connection.status() == 413
    assert sent < 5 * LIMIT_BYTES
    assert traces.now() == before


OTHER_TYPES = photos.not_images()


@pytest.mark.parametrize("data", OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_other_types_are_refused_whatever_they_are_called(
    client: httpx.Client, traces: Traces, data: bytes
) -> None:
    before = traces.now()
    answer = road.upload(client, data)
    assert "JPEG, PNG and WebP" in road.problem_of(answer, 415)["detail"]
    assert traces.now() == before


REFUSED = {
    "14-jpeg-cut-at-half": (half(photos.jpeg(400, 300)), {422}),
    "15-jpeg-header-only": (header_only(GOOD), {422}),
    "16-png-of-50000x50000": (photos.png_claiming(50_000, 50_000), {413}),
    "17-real-jpeg-over-the-pixel-cap": (over_the_pixel_cap(), {413}),
    "20-arithmetic-jpeg": (photos.jpeg_with_frame(marker=0xC9), {415, 422}),
    "20-12-bit-jpeg": (photos.jpeg_with_frame(bits=12), {415, 422}),
}


@pytest.mark.parametrize(("data", "statuses"), REFUSED.values(), ids=REFUSED)
def test_pictures_that_cannot_be_used_are_refused(
    client: httpx.Client, traces: Traces, data: bytes, statuses: set[int]
) -> None:
    before = traces.now()
    answer = road.upload(client, data)
    assert answer.status_code in statuses
    road.problem_of(answer, answer.status_code)
    assert traces.now() == before


def test_16_the_refusal_names_the_limit(client: httpx.Client) -> None:
    answer = road.upload(client, photos.png_claiming(50_000, 50_000))
    assert "GATEWAY_MAX_PIXELS" in road.problem_of(answer, 413)["detail"]


def png_of_small_header_and_huge_data() -> bytes:
    pixels = zlib.compress(bytes(60_000_000), 9)
    parts = (photos.png_header(8, 8), photos.chunk(b"IDAT", pixels), photos.chunk(b"IEND", b""))
    return photos.PNG_SIGNATURE + b"".join(parts)


BOUNDED = {
    "18-png-header-small-data-huge": png_of_small_header_and_huge_data(),
    "18-jpeg-header-small-data-huge": photos.jpeg_with_frame(size=(8, 8)),
    "19-progressive-jpeg-of-2000-scans": photos.jpeg_of_scans(2_000),
}


@pytest.mark.parametrize("data", BOUNDED.values(), ids=BOUNDED)
def test_what_only_a_decode_can_tell_ends_in_bounded_time(
    client: httpx.Client, data: bytes
) -> None:
    answer = road.upload(client, data)
    assert answer.status_code in {201, 422}
    if answer.status_code == 201:
        image = road.terminal(client, answer.json()["id"], within_s=30)
        assert (image["status"] == "FAILED") is bool(image.get("failureReason"))


TRUE_TYPES = {
    "12-png-declared-jpeg": (photos.png(), "image/jpeg", "image/png"),
    "13-jpeg-declared-octet-stream": (GOOD, "application/octet-stream", "image/jpeg"),
    "13-webp-declared-html": (photos.webp(), "text/html", "image/webp"),
    "21-mpo-of-a-phone": (photos.mpo(), "image/mpo", "image/jpeg"),
}


@pytest.mark.parametrize(("data", "declared", "stored"), TRUE_TYPES.values(), ids=TRUE_TYPES)
def test_the_content_counts_not_what_it_is_called(
    client: httpx.Client, data: bytes, declared: str, stored: str
) -> None:
    answer = client.post(road.UPLOAD, files={"file": ("x.php", data, declared)})
    assert answer.status_code == 201
    image_id = answer.json()["id"]
    served = client.get(f"/api/v1/images/{image_id}/content")
    assert served.headers["content-type"] == stored
    with Image.open(io.BytesIO(served.content)) as image:
        assert image.format == stored.removeprefix("image/").upper()
    assert road.terminal(client, image_id)["status"] == "COMPLETED"


NAMES = {
    "22-up-the-tree": (b"../../etc/passwd", {201}),
    "22-quoted-up": (b"..%2f..%2fx.jpg", {201}),
    "22-nul-php": (b"a.jpg%00.php", {201}),
    "23-3-kB": (b"n" * 3_000 + b".jpg", {201}),
    "23-10-kB": (b"n" * 10_000 + b".jpg", {201, 400, 422}),
    "24-right-to-left": ("\u202egpj.exe".encode(), {201}),
    "24-emoji": ("🐈.jpg".encode(), {201}),
    "24-quoted-crlf": (b"a%0d%0aSet-Cookie: x=1.jpg", {201}),
    "24-sql": (b"'; DROP TABLE images; --.jpg", {201}),
    "24-raw-lf": (b"a\nb.jpg", {201, 400, 422}),
    "24-raw-nul": (b"a\x00b.jpg", {201, 400, 422}),
    "24-no-utf-8": (b"\xff\xfe.jpg", {201, 400, 422}),
}


@pytest.mark.parametrize(("name", "statuses"), NAMES.values(), ids=NAMES)
def test_file_names_are_text_and_nothing_more(
    platform: Platform, client: httpx.Client, traces: Traces, name: bytes, statuses: set[int]
) -> None:
    count, _ = traces.now()
    with Wire(platform.api.address) as connection:
        connection.send(wire.request(wire.part(GOOD, name) + END))
        head, _, body = connection.read().partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in statuses, head
    assert b"set-cookie" not in head.lower()
    answer = json.loads(body)
    if status != 201:
        assert answer["detail"]
        assert traces.now()[0] == count
        return
    key = answer["imageUrl"].rpartition("/")[2]
    assert key.isascii()
    assert "%" not in key
    assert ".." not in key
    assert len(key) < 150
    assert key in platform.services.gateway.stored()
    assert client.get(answer["imageUrl"]).status_code == 200


def test_24_no_name_breaks_out_of_the_log(platform: Platform) -> None:
    name = b'a\n{"event": "forged"}.jpg'
    with Wire(platform.api.address) as connection:
        connection.send(wire.request(wire.part(GOOD, name) + END))
        connection.read()
    lines = platform.api.log_path.read_text().splitlines()
    assert lines
    assert not [line for line in lines if json.loads(line).get("event") == "forged"]
