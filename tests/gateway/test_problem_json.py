"""Problems: every error of the application, the framework's own included, is problem+json."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
import structlog
from fastapi import Body, FastAPI, Query
from starlette.requests import ClientDisconnect

from gateway import problems
from gateway.api import problem_json

SECRET = "postgres://user:hunter2@db"


def application() -> FastAPI:
    app = FastAPI()
    problem_json.install(app)

    @app.get("/raise/{name}", responses=problem_json.documented(problems.TooLarge))
    async def fail(name: str) -> None:
        kind = getattr(problems, name)
        raise kind("Do this instead.")

    @app.get("/number/{number}")
    async def number(number: int, limit: Annotated[int, Query(le=10)] = 1) -> int:
        return number + limit

    @app.post("/labels")
    async def labels(names: Annotated[list[int], Body()]) -> int:
        return len(names)

    @app.post("/scores")
    async def scores(by_name: Annotated[dict[str, int], Body()]) -> int:
        return len(by_name)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError(SECRET)

    @app.get("/gone")
    async def gone() -> None:
        raise ClientDisconnect

    return app


def call(method: str, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(application())
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.mark.parametrize(
    ("name", "status", "type_uri"),
    [
        ("Malformed", 400, "urn:problem-type:malformed"),
        ("NotFound", 404, "urn:problem-type:not-found"),
        ("TooSlow", 408, "urn:problem-type:too-slow"),
        ("TooLarge", 413, "urn:problem-type:too-large"),
        ("UnsupportedType", 415, "urn:problem-type:unsupported-type"),
        ("Unusable", 422, "urn:problem-type:unusable"),
        ("Overloaded", 503, "urn:problem-type:overloaded"),
        ("StorageFull", 507, "urn:problem-type:storage-full"),
    ],
)
def test_each_kind_has_its_status_and_name(name: str, status: int, type_uri: str) -> None:
    answer = call("GET", f"/raise/{name}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": type_uri,
        "title": getattr(problems, name).title,
        "status": status,
        "detail": "Do this instead.",
        "instance": f"/raise/{name}",
    }


@pytest.mark.parametrize("name", ["Overloaded"])
def test_a_503_and_a_429_say_when_to_come_back(name: str) -> None:
    assert int(call("GET", f"/raise/{name}").headers["retry-after"]) > 0


def test_408_closes_the_connection() -> None:
    assert call("GET", "/raise/TooSlow").headers["connection"] == "close"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing", 404, id="45-unknown-path"),
        pytest.param("PURGE", "/nothing", 404, id="45-unknown-method"),
        pytest.param("DELETE", "/number/1", 405, id="45-wrong-method"),
        pytest.param("GET", "/number/abc", 422, id="42-abc"),
        pytest.param("GET", "/number/9e9", 422, id="42-9e9"),
        pytest.param("GET", "/number/1;drop%20table", 422, id="42-sql"),
        pytest.param("GET", "/number/1?limit=11", 422, id="bad-query"),
        pytest.param("GET", "/number/1?limit=%00", 422, id="45-nul-in-query"),
        pytest.param("GET", "/" + "a" * 60_000, 404, id="45-path-of-60-kB"),
        pytest.param("GET", "/gone", 400, id="4-client-hung-up"),
    ],
)
def test_the_frameworks_errors_are_problems_too(method: str, path: str, status: int) -> None:
    answer = call(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert len(answer.content) < 2_000


def test_a_wrong_method_is_told_the_right_ones() -> None:
    assert call("DELETE", "/number/1").headers["allow"] == "GET"


def test_a_bad_field_is_named_and_not_repeated() -> None:
    body = call("GET", "/number/1?limit=hunter2").json()
    assert body["errors"][0]["loc"] == ["query", "limit"]
    assert "limit" in body["detail"]
    assert "hunter2" not in json.dumps(body)


@pytest.mark.parametrize("content", [b"{", b'["\\ud800"]', b"[NaN]", json.dumps(["x"] * 10_001)])
def test_43_bad_json_gets_a_bounded_answer(content: bytes) -> None:
    answer = call("POST", "/labels", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["errors"]) <= problem_json.MAX_FIELD_ERRORS


@pytest.mark.parametrize("scores", [{f"n{n}": "x" for n in range(10_000)}, {"n" * 10**6: "x"}])
def test_43_keys_that_the_client_chose_are_not_all_sent_back(scores: dict[str, str]) -> None:
    answer = call("POST", "/scores", json=scores)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) < 500
    assert len(answer.content) < 10_000


def test_an_unexpected_error_is_logged_once_and_says_nothing_of_itself(logged: list[Any]) -> None:
    answer = call("GET", "/crash")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in answer.text
    assert [line["action"] for line in logged] == ["answer"]


def test_the_documented_answers_stand_in_openapi() -> None:
    schema = application().openapi()
    answers = schema["paths"]["/raise/{name}"]["get"]["responses"]
    assert "application/problem+json" in answers["413"]["content"]
