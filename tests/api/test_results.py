"""Reading over real HTTP: an image's fields, its bytes, pages of images, and their end."""

import io
import json
import re
import time
import uuid
from datetime import datetime

import httpx
import pytest
from PIL import Image

from gateway.database import Database
from tests import photos
from tests.api import road
from tests.api.conftest import Platform
from tests.gateway import rows

pytestmark = pytest.mark.integration

IMAGES = "/api/v1/images"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")


def test_an_upload_is_answered_with_exactly_what_was_promised(client: httpx.Client) -> None:
    answer = road.upload(client)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    accepted = answer.json()
    assert list(accepted) == ["id", "imageUrl", "status", "createdAt"]
    assert accepted["status"] == "PENDING"
    assert TIMESTAMP.fullmatch(accepted["createdAt"])
    assert answer.headers["location"] == f"{IMAGES}/{accepted['id']}"
    assert accepted["imageUrl"].endswith("-cat.jpg")


def test_a_photo_travels_the_whole_road(client: httpx.Client) -> None:
    image_id = road.uploaded_id(client)
    image = road.terminal(client, image_id)
    assert list(image) == [
        "id", "imageUrl", "status", "classificationResult", "confidenceScore", "createdAt",
        "updatedAt",
    ]  # fmt: skip
    assert image["status"] == "COMPLETED"
    result = json.loads(image["classificationResult"])
    assert list(result) == ["class", "confidence", "top5", "labelSet", "model", "modelVersion"] or {
        "class", "confidence", "top5", "labelSet", "model", "modelVersion",
    } == set(result)  # fmt: skip
    assert len(result["top5"]) == 5
    assert result["top5"][0] == {"class": result["class"], "confidence": result["confidence"]}
    assert (result["labelSet"], result["model"]) == ("imagenet-1k", "starter")
    assert image["confidenceScore"] == result["confidence"]
    assert 0 < image["confidenceScore"] <= 1
    created, updated = (datetime.fromisoformat(image[f]) for f in ("createdAt", "updatedAt"))
    assert created < updated
    assert client.get(f"{IMAGES}/{image_id}").json() == image


def test_a_picture_only_a_decode_can_tell_from_a_good_one_fails_in_words(
    client: httpx.Client,
) -> None:
    good = photos.jpeg(200, 200)
    scan = good.index(b"\xff\xda")
    broken = good[: scan + 40] + good[-2:]
    image = road.terminal(client, road.uploaded_id(client, broken))
    assert image["status"] == "FAILED"
    assert len(image["failureReason"].split()) > 3
    assert image["classificationResult"] is None


def test_wait_s_holds_the_answer_until_it_is_there(client: httpx.Client) -> None:
    image_id = road.uploaded_id(client)
    started_s = time.monotonic()
    answer = client.get(f"{IMAGES}/{image_id}", params={"wait_s": 30})
    assert answer.json()["status"] == "COMPLETED"
    assert time.monotonic() - started_s < 10


def lookups(client: httpx.Client) -> float:
    """How often the API looked an image up."""
    text = client.get("/actuator/prometheus").text
    return sum(map(float, re.findall(r"image_cache_requests_total\{.*\} ([\d.e+]+)", text)))


def test_wait_s_looks_once_where_there_is_nothing_to_wait_for(client: httpx.Client) -> None:
    image_id = road.uploaded_id(client)
    road.terminal(client, image_id)
    before = lookups(client)
    for number in range(1, 4):
        answer = client.get(f"{IMAGES}/{image_id}", params={"wait_s": 30})
        assert answer.json()["status"] == "COMPLETED"
        assert lookups(client) - before == number
    road.problem_of(client.get(f"{IMAGES}/{2**62}", params={"wait_s": 30}), 404)
    assert lookups(client) - before == 4


@pytest.mark.parametrize("wait_s", ["-1", "30.1", "inf", "nan", "soon", "1e9"])
def test_a_wait_that_cannot_be_is_refused(client: httpx.Client, wait_s: str) -> None:
    image_id = road.uploaded_id(client)
    answer = client.get(f"{IMAGES}/{image_id}", params={"wait_s": wait_s})
    road.problem_of(answer, 422)


IDS = [
    "0",
    "-1",
    "9e9",
    "abc",
    str(2**63),
    "1;drop table",
    "1%00",
    "%2e%2e",
    "٣",
    str(2**63 - 1),
]


@pytest.mark.parametrize("image_id", IDS, ids=[f"42-{i!a}" for i in IDS])
@pytest.mark.parametrize("what", ["GET", "GET /content", "DELETE"])
def test_an_id_that_is_none_is_refused(client: httpx.Client, what: str, image_id: str) -> None:
    method, _, suffix = what.partition(" ")
    answer = client.request(method, f"{IMAGES}/{image_id}{suffix}")
    assert answer.status_code in {404, 422}
    road.problem_of(answer, answer.status_code)


def test_content_is_what_was_stored_and_cannot_be_a_page(client: httpx.Client) -> None:
    data = photos.after_soi(photos.jpeg(), photos.segment(0xFE, b"<script>alert(1)</script>"))
    image_id = road.uploaded_id(client, data)
    answer = client.get(f"{IMAGES}/{image_id}/content")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-length"] == str(len(answer.content))
    with Image.open(io.BytesIO(answer.content)) as stored, Image.open(io.BytesIO(data)) as sent:
        assert stored.tobytes() == sent.tobytes()


@pytest.mark.parametrize(
    ("kind", "media_type", "extension"),
    [("JPEG", "image/jpeg", "jpg"), ("PNG", "image/png", "png"), ("WEBP", "image/webp", "webp")],
)
def test_image_url_is_served_with_its_true_type(
    client: httpx.Client, kind: str, media_type: str, extension: str
) -> None:
    answer = road.upload(client, photos.encode(photos.picture(), kind))
    url = answer.json()["imageUrl"]
    assert url.endswith(f".{extension}")
    served = client.get(url)
    assert (served.status_code, served.headers["content-type"]) == (200, media_type)
    assert served.headers["x-content-type-options"] == "nosniff"


def test_where_it_was_taken_is_not_told(client: httpx.Client) -> None:
    data = photos.jpeg(exif=photos.exif(6))
    assert photos.MAKER.encode() in data
    image_id = road.uploaded_id(client, data)
    served = client.get(f"{IMAGES}/{image_id}/content").content
    assert photos.MAKER.encode() not in served
    with Image.open(io.BytesIO(served)) as image:
        assert not image.getexif().get_ifd(photos.GPS_IFD)


@pytest.mark.parametrize(
    "name", ["nothing.jpg", "..%2f..%2fetc%2fpasswd", "a%00b", "%0d%0a", "x" * 5_000]
)
def test_an_image_url_of_nobody_is_not_found(client: httpx.Client, name: str) -> None:
    road.problem_of(client.get(f"/images/{name}"), 404)


def test_pages_hold_every_image_once(client: httpx.Client) -> None:
    word = f"paging{uuid.uuid4().hex}"
    inserted = [road.uploaded_id(client, description=f"A {word} picture") for _ in range(7)]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        page = client.get(IMAGES, params={"q": word, "limit": 2, **cursor}).json()
        assert list(page) == ["items", "nextCursor"]
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == sorted(inserted, reverse=True)
    assert page["nextCursor"] is None


def test_pages_are_filtered(client: httpx.Client) -> None:
    image_id = road.uploaded_id(client)
    image = road.terminal(client, image_id)
    label = json.loads(image["classificationResult"])["class"]
    for params in (
        {"status": "COMPLETED"},
        {"createdAfter": image["createdAt"]},
        {"createdBefore": "2100-01-01T00:00:00Z"},
        {"q": f'"{label}"'},
    ):
        items = client.get(IMAGES, params={"limit": 200, **params}).json()["items"]
        assert image_id in [item["id"] for item in items], params
    for params in ({"status": "FAILED"}, {"createdBefore": image["createdAt"]}):
        items = client.get(IMAGES, params={"limit": 200, **params}).json()["items"]
        assert image_id not in [item["id"] for item in items], params


@pytest.mark.parametrize(
    "query",
    [
        "cursor=rubbish",
        "cursor=%00",
        "cursor=%ed%a0%80",
        "limit=0",
        "limit=201",
        "limit=many",
        "status=LOST",
        "createdAfter=yesterday",
        "q=a%00b",
        "q=" + "x" * 501,
    ],
)
def test_a_query_that_cannot_be_is_refused(client: httpx.Client, query: str) -> None:
    road.problem_of(client.get(f"{IMAGES}?{query}"), 422)


@pytest.mark.parametrize(
    "query",
    [
        "createdAfter=0001-01-01T00:00:00%2B23:59",
        "createdBefore=9999-12-31T23:59:59-23:59",
        "q=%ff%fe",
        "q=%ed%a0%80",
        "q=%26%7C%21%28%3A%2A",
        "status=COMPLETED&status=FAILED",
        "unknown=1",
    ],
)
def test_an_odd_query_is_answered(client: httpx.Client, query: str) -> None:
    assert client.get(f"{IMAGES}?{query}").status_code in {200, 422}


def test_a_deleted_image_is_gone_everywhere(client: httpx.Client, platform: Platform) -> None:
    answer = road.upload(client)
    image_id, url = answer.json()["id"], answer.json()["imageUrl"]
    road.terminal(client, image_id)
    assert client.delete(f"{IMAGES}/{image_id}").status_code == 204
    for gone in (f"{IMAGES}/{image_id}", f"{IMAGES}/{image_id}/content", url):
        road.problem_of(client.get(gone), 404)
    road.problem_of(client.delete(f"{IMAGES}/{image_id}"), 404)
    assert image_id not in [item["id"] for item in client.get(IMAGES).json()["items"]]
    assert url.rpartition("/")[2] not in platform.services.gateway.stored()


def test_an_image_deleted_on_its_way_does_not_come_back(
    client: httpx.Client, rows_of: Database
) -> None:
    doomed = [road.uploaded_id(client) for _ in range(5)]
    for image_id in doomed:
        answer = client.delete(f"{IMAGES}/{image_id}")
        assert answer.status_code == 204, answer.text
    road.terminal(client, road.uploaded_id(client))  # what came behind them is through
    for image_id in doomed:
        road.problem_of(client.get(f"{IMAGES}/{image_id}"), 404)
    left = "SELECT count(*) FROM images WHERE id = ANY(%s)"
    assert rows.value(rows_of, left, doomed) == 0


def test_the_callers_trace_reaches_the_row(client: httpx.Client, rows_of: Database) -> None:
    trace_id = uuid.uuid4().hex
    image_id = road.uploaded_id(client, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    stored = rows.value(rows_of, "SELECT trace_id FROM images WHERE id = %s", image_id)
    assert stored == trace_id


def test_a_second_read_comes_from_the_cache(client: httpx.Client) -> None:
    def counts() -> dict[str, float]:
        text = client.get("/actuator/prometheus").text
        found = re.findall(r'image_cache_requests_total\{result="(\w+)"\} ([\d.e+]+)', text)
        return {result: float(count) for result, count in found}

    image_id = road.uploaded_id(client)
    road.terminal(client, image_id)
    before = counts()
    for _ in range(5):
        assert client.get(f"{IMAGES}/{image_id}").status_code == 200
    after = counts()
    assert after["hit"] - before["hit"] == 5
    assert after.get("miss") == before.get("miss")
