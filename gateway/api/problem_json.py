"""A problem goes in, an RFC 9457 problem+json answer comes out, and its place in OpenAPI."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Malformed, Problem, Unusable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
UNTYPED = "about:blank"  # RFC 9457: the status says it all
MAX_INSTANCE_CHARS = 256  # a path of 64 kB is not sent back whole
MAX_KEY_CHARS = 64  # a key of a JSON object is the client's own text
MAX_FIELD_ERRORS = 20  # ten thousand bad labels get twenty answers


def install(app: FastAPI) -> None:
    """Make `app` answer every error, its framework's own included, as problem+json."""
    app.exception_handler(Problem)(answer)
    app.exception_handler(RequestValidationError)(_answer_invalid_fields)
    app.exception_handler(HTTPException)(_answer_http_exception)
    app.exception_handler(ClientDisconnect)(_answer_nobody)
    app.add_middleware(UnexpectedErrors)


def documented(
    *kinds: type[Problem],
    instance: str = "/api/v1/images/upload",
    examples: Mapping[type[Problem], str] = MappingProxyType({}),
) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can refuse in these ways, for OpenAPI.

    `examples` are details in place of the kinds' own.
    """
    return {
        kind.status: _documented(kind, examples.get(kind, kind.example), instance) for kind in kinds
    }


class UnexpectedErrors:
    """ASGI middleware: an exception nobody handled is logged once and answered without its text.

    Starlette's own handler for it raises again behind the answer, so the server logs it twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:
            if started:
                raise  # the server cuts the connection: half an answer must not look whole
            request = Request(scope)
            log.exception(
                "unexpected error",
                action="answer",
                method=request.method,
                path=_instance(request),
            )
            await _internal_error(request)(scope, receive, send)


class ProblemResponse(Response):
    """JSON in plain ASCII: a lone surrogate in a client's text cannot break the encoding."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


async def answer(request: Request, exc: Problem) -> Response:
    """The answer to `exc`, for handlers that translate other exceptions into problems."""
    body = _body(request, exc.status, exc.title, exc.detail, exc.type_uri())
    if exc.errors:
        body["errors"] = exc.errors[:MAX_FIELD_ERRORS]
    return ProblemResponse(body, exc.status, exc.headers)


async def _answer_invalid_fields(request: Request, exc: RequestValidationError) -> Response:
    """FastAPI's list of field errors, without the client's own input in it."""
    errors = [
        {"loc": _shortened(error["loc"]), "msg": error["msg"], "type": error["type"]}
        for error in exc.errors()[:MAX_FIELD_ERRORS]
    ]
    names = {[step for step in error["loc"] if isinstance(step, str)][-1] for error in errors}
    fields = ", ".join(sorted(names))
    problem = Unusable(f"Correct {fields}: see errors.", errors=errors)
    return await answer(request, problem)


def _shortened(loc: Sequence[str | int]) -> list[str | int]:
    return [step[:MAX_KEY_CHARS] if isinstance(step, str) else step for step in loc]


async def _answer_http_exception(request: Request, exc: HTTPException) -> Response:
    """Unknown paths and methods, and whatever else Starlette refuses by itself."""
    phrase = HTTPStatus(exc.status_code).phrase
    detail = exc.detail if exc.detail != phrase else _ADVICE.get(exc.status_code, phrase)
    body = _body(request, exc.status_code, phrase, detail, UNTYPED)
    return ProblemResponse(body, exc.status_code, exc.headers)


async def _answer_nobody(request: Request, exc: Exception) -> Response:
    """The client hung up: nobody reads this, and it is no fault of ours to log."""
    return await answer(request, Malformed("The connection closed before the body ended."))


def _internal_error(request: Request) -> Response:
    detail = "The fault is the server's, not yours. Try again; if it stays, tell the operator."
    body = _body(request, 500, HTTPStatus(500).phrase, detail, UNTYPED)
    return ProblemResponse(body, 500)


_ADVICE = {
    404: "There is nothing at this path. See /docs for what there is.",
    405: "This path does not take this method. The Allow header names those it takes.",
}


def _body(request: Request, status: int, title: str, detail: str, uri: str) -> dict[str, Any]:
    return {
        "type": uri,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": _instance(request),
    }


def _instance(request: Request) -> str:
    path: str = request.scope["path"]
    return quote(path[:MAX_INSTANCE_CHARS], errors="replace")


def _documented(kind: type[Problem], detail: str, instance: str) -> dict[str, Any]:
    example = {
        "type": kind.type_uri(),
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
    }
    content = {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "example": example}}
    return {"description": kind.title, "content": content}


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {
                        "type": "array",
                        "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    },
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
}
