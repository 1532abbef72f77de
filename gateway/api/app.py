"""The ASGI application: routes, error answers and request metrics, over services made elsewhere."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import metrics, problems
from gateway.api import embeddings, label_sets, operations, problem_json, results, uploads
from gateway.api.state import Services
from runtime.errors import Permanent, Retryable, StorageFull

DESCRIPTION = """Upload a photo, read its labels.

An upload is answered once it is stored and cannot be lost; its classification follows, usually
within half a second. Errors are `application/problem+json` (RFC 9457)."""


def create(
    services: Services,
    request_threads: int,
    on_start: Callable[[], None],
    on_stop: Callable[[], None],
) -> FastAPI:
    """`on_start` and `on_stop` run on the event loop around the time that requests are served."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = request_threads
        on_start()
        yield
        on_stop()

    app = FastAPIOffline(  # /docs without a CDN
        title="Image classification",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # the redirect would repeat whatever host the client named
        openapi_tags=[
            {"name": "images", "description": "Upload, read, wait, list, search, delete."},
            {"name": "label sets", "description": "Labels of your own to classify with."},
            {"name": "operations", "description": "Is it up, would it work, how is it doing."},
        ],
    )
    app.state.services = services
    problem_json.install(app)
    app.add_exception_handler(StorageFull, _answer_full)
    app.add_exception_handler(Retryable, _answer_retryable)
    app.add_exception_handler(Permanent, _answer_permanent)
    app.add_middleware(RequestMetrics)
    for part in (operations, uploads, results, embeddings, label_sets):
        app.include_router(part.router)
    return app


async def _answer_full(request: Request, _exc: Exception) -> Response:
    return await problem_json.answer(
        request, problems.StorageFull("There is no room left to store this; nothing was kept.")
    )


async def _answer_permanent(request: Request, exc: Exception) -> Response:
    return await problem_json.answer(request, problems.Unusable(f"This cannot be stored: {exc}"))


async def _answer_retryable(request: Request, exc: Exception) -> Response:
    return await problem_json.answer(
        request, problems.Overloaded("A part of the service is not available; try again shortly.")
    )


METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}


def _method(method: str) -> str:
    """A label a client cannot invent values for."""
    return method if method in METHODS else "other"


class RequestMetrics:
    """ASGI middleware: duration of each request by route (never by path, which is unbounded)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            metrics.REQUEST_SECONDS.labels(_method(scope["method"]), route, str(status)).observe(
                time.perf_counter() - started_s
            )
