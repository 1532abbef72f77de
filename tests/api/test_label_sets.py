"""Label sets over HTTP: made, read, deleted; and 43: rubbish is refused and leaves nothing."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from gateway.database import Database
from gateway.labels.definitions import MAX_LABELS
from tests.api import road
from tests.api.conftest import Platform, Services
from tests.api.test_outages import away
from tests.api.wire import Wire
from tests.gateway import rows
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

LABEL_SETS = "/api/v1/label-sets"
JSON = {"content-type": "application/json"}
OWN = "imagenet-1k"
PETS: dict[str, Any] = {
    "name": "pets",
    "labels": ["tabby cat", " golden retriever ", "gold\u200bfish", "Gürteltier"],
    "templates": ["a photo of a {}.", "a {}, asleep"],
}


@pytest.fixture(autouse=True)
def _no_sets_but_the_models(rows_of: Database) -> Iterator[None]:
    yield
    rows.execute(rows_of, "DELETE FROM label_sets")


def create(client: httpx.Client, **changes: Any) -> httpx.Response:
    return client.post(LABEL_SETS, json={**PETS, **changes})


def test_a_set_is_made_read_listed_and_deleted(client: httpx.Client) -> None:
    answer = create(client)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{LABEL_SETS}/pets"
    assert made.pop("createdAt")
    assert made == {
        "name": "pets",
        "labels": [label.strip() for label in PETS["labels"]],
        "labelCount": 4,
        "templates": PETS["templates"],
        "default": False,
    }
    read = client.get(answer.headers["location"])
    assert read.status_code == 200
    assert read.json() == answer.json()
    page = client.get(LABEL_SETS).json()
    assert [(item["name"], item["default"]) for item in page["items"]] == [
        (OWN, True), ("pets", False),
    ]  # fmt: skip
    assert page["nextCursor"] is None
    assert "labels" not in page["items"][1]
    assert client.delete(f"{LABEL_SETS}/pets").status_code == 204
    for method in ("GET", "DELETE"):
        problem = road.problem_of(client.request(method, f"{LABEL_SETS}/pets"), 404)
        assert "'pets'" in problem["detail"]


def test_the_same_again_is_the_same_and_another_a_conflict(client: httpx.Client) -> None:
    first = create(client)
    again = create(client, labels=[label.strip() for label in PETS["labels"]])
    assert (again.status_code, again.json()) == (200, first.json())
    for changes in ({"labels": ["x"]}, {"templates": None}):
        problem = road.problem_of(create(client, **changes), 409)
        assert "'pets'" in problem["detail"]


def test_templates_may_be_left_to_the_model(client: httpx.Client) -> None:
    answer = client.post(LABEL_SETS, json={"name": "plain", "labels": ["x"]})
    assert (answer.status_code, answer.json()["templates"]) == (201, None)


def test_the_models_own_is_read_only(client: httpx.Client) -> None:
    own = client.get(f"{LABEL_SETS}/{OWN}").json()
    assert own["default"]
    assert own["labelCount"] == len(own["labels"]) > 900
    road.problem_of(create(client, name=OWN), 409)
    road.problem_of(client.delete(f"{LABEL_SETS}/{OWN}"), 409)
    assert client.get(f"{LABEL_SETS}/{OWN}").json() == own


def test_pages_follow_each_other(client: httpx.Client) -> None:
    names = [f"set-{number}" for number in range(5)]
    for name in names:
        assert create(client, name=name).status_code == 201
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get(LABEL_SETS, params=query).json()
        seen += [item["name"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == [OWN, *names]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=a/b", "cursor=%00"])
def test_a_page_that_cannot_be_is_refused(client: httpx.Client, query: str) -> None:
    road.problem_of(client.get(f"{LABEL_SETS}?{query}"), 422)


@pytest.mark.parametrize("name", ["ad-hoc", "nobody", "a b", "a\0b", "é", "x" * 101, "..%2f", "\n"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_set_of_nobody_is_not_found(client: httpx.Client, method: str, name: str) -> None:
    answer = client.request(method, f"{LABEL_SETS}/{quote(name)}")
    assert answer.status_code in {404, 422}, answer.text
    road.problem_of(answer, answer.status_code)


def texts(*labels: Any) -> bytes:
    return json.dumps({"name": "bad", "labels": labels}).encode()


BAD = {
    "10001-labels": (texts(*range(MAX_LABELS + 1)), 422),
    "10001-texts": (texts(*map(str, range(MAX_LABELS + 1))), 422),
    "1-mb-label": (texts("x" * 1_000_000), 422),
    "1-mb-of-combining-characters": (texts("a" + "\u0315\u0316" * 250_000), 413),
    "4-mb-label": (texts("x" * 4_000_000), 413),
    "no-labels": (texts(), 422),
    "empty-label": (texts("a", ""), 422),
    "blank-label": (texts("a", "  "), 422),
    "duplicates": (texts("a", "b", "a"), 422),
    "duplicates-once-trimmed": (texts("a", " a"), 422),
    "nul": (texts("a\0"), 422),
    "newline": (texts("a\nb"), 422),
    "escape": (texts("\x1b[31m"), 422),
    "lone-surrogate": (b'{"name": "bad", "labels": ["\\ud800"]}', 422),
    "numbers": (texts(1, 2), 422),
    "nested-labels": (texts(["a"]), 422),
    "null-labels": (b'{"name": "bad", "labels": null}', 422),
    "no-name": (b'{"labels": ["a"]}', 422),
    "name-of-dots": (b'{"name": "..", "labels": ["a"]}', 422),
    "name-ad-hoc": (b'{"name": "ad-hoc", "labels": ["a"]}', 422),
    "unknown-field": (b'{"name": "bad", "labels": ["a"], "template": "x"}', 422),
    "template-without-place": (b'{"name": "bad", "labels": ["a"], "templates": ["x"]}', 422),
    "20001-prompts": (
        json.dumps({"name": "bad", "labels": [str(n) for n in range(6_667)],
                    "templates": ["1 {}", "2 {}", "3 {}"]}).encode(), 422,
    ),
    "empty": (b"", 400),
    "cut": (b'{"name": "bad", "labels": ["a"', 400),
    "form": (b"name=bad&labels=a", 400),
    "utf-16": ('{"name": "bad"}'.encode("utf-16"), 400),
    "latin-1": (b'{"name": "bad", "labels": ["\xe9"]}', 400),
    "nan": (b'{"name": "bad", "labels": [NaN]}', 400),
    "huge-number": (b'{"name": ' + b"9" * 1_000_000 + b"}", 400),
    "huge-exponent": (b'{"name": 1e999999}', 400),
    "repeated-name": (b'{"name": "bad", "labels": ["a"], "name": "other"}', 400),
    "deep-lists": (b"[" * 500_000, 400),
    "deep-objects": (b'{"a":' * 300_000, 400),
    "a-list": (b"[]", 422),
    "many-empty-lists": (b"[" + b"[]," * 900_000 + b"[]]", 422),
    "a-text": (b'"pets"', 422),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD.keys())
def test_43_rubbish_is_refused_and_leaves_nothing(
    client: httpx.Client, platform: Platform, rows_of: Database, body: bytes, status: int
) -> None:
    before, pid = platform.api.resident_bytes(), platform.api.pid
    problem = road.problem_of(client.post(LABEL_SETS, content=body, headers=JSON), status)
    assert len(problem["detail"]) < 400
    assert rows.value(rows_of, "SELECT count(*) FROM label_sets") == 0
    assert platform.api.pid == pid
    assert platform.api.resident_bytes() - before < 200_000_000
    assert not platform.api.logged("Traceback")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": ""}, 415),
        ({**JSON, "content-encoding": "gzip"}, 415),
    ],
    ids=["text", "multipart", "none", "gzip"],
)
def test_other_bodies_are_refused(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    body = json.dumps(PETS).encode()
    problem = road.problem_of(client.post(LABEL_SETS, content=body, headers=headers), status)
    assert problem["detail"]


def head(length: str) -> bytes:
    return (
        f"POST {LABEL_SETS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"{length}\r\n\r\n"
    ).encode()


def test_a_body_over_the_limit_is_refused_before_and_while_it_is_read(platform: Platform) -> None:
    with Wire(platform.api.address) as connection:
        connection.send(head("Content-Length: 3000001"))
        answer = connection.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"GATEWAY_MAX_JSON_BYTES" in answer
    assert b"connection: close" in answer.lower()
    with Wire(platform.api.address) as connection:
        connection.send(head("Transfer-Encoding: chunked"))
        sent = connection.send_until_answered(b"8000\r\n" + b" " * 32_768 + b"\r\n", 20_000_000)
        assert connection.status() in {413, 0}  # 0: reset before the answer was read
    assert sent < 12_000_000


def test_07_a_slow_body_gets_408(services: Services) -> None:
    api = services.gateway.api(GATEWAY_BODY_GRACE_S="1", GATEWAY_BODY_MIN_RATE_BYTES_S="100000")
    with road.up(api), Wire(api.address) as connection:
        connection.send(head("Content-Length: 1000"))
        assert connection.drip(b" " * 500, every_s=0.1, within_s=10)
        answer = connection.read()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"GATEWAY_BODY_GRACE_S" in answer


def test_without_triton_new_sets_are_503_and_old_ones_go_on(
    client: httpx.Client, services: Services, rows_of: Database
) -> None:
    assert create(client).status_code == 201
    matrices = rows.value(rows_of, "SELECT count(*) FROM label_matrices")
    with away(services.triton):
        answer = create(client, name="new", labels=["never seen before"])
        road.problem_of(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert create(client).status_code == 200
        assert create(client, name="twin").status_code == 201  # the same labels: no inference
        assert client.delete(f"{LABEL_SETS}/pets").status_code == 204
        road.problem_of(client.get(f"{LABEL_SETS}/new"), 404)
    assert rows.value(rows_of, "SELECT count(*) FROM label_matrices") == matrices
    labels = ["never seen before"]
    until(lambda: create(client, name="new", labels=labels).status_code == 201)
