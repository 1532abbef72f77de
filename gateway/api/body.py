"""A request body comes in as it trickles off the wire, bounded in bytes and in time."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from gateway.problems import Problem, TooLarge, TooSlow, UnsupportedType

IDENTITY = "identity"
CLOSE = {"Connection": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slow a body may be: it may take grace_s + its bytes / min_rate_bytes_s."""

    grace_s: float = 15.0
    min_rate_bytes_s: int = 16_384


class Body:
    """Reads the body of one request; `too_large` is raised for more than `max_bytes` of it."""

    def __init__(
        self,
        request: Request,
        pace: Pace,
        max_bytes: int,
        too_large: Callable[[], TooLarge],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._pace = pace
        self._max_bytes = max_bytes
        self._too_large = too_large
        self._clock = clock
        self._ended = False

    @contextmanager
    def closing_unless_read(self) -> Iterator[None]:
        """What remains of a refused body must not be taken for the next request."""
        try:
            yield
        except Problem as refusal:
            if not self._ended:
                refusal.headers.update(CLOSE)
            raise

    async def feed(self, consume: Callable[[bytes], object]) -> None:
        """Hand each piece to `consume` as it arrives, until the body has ended.

        Refuses by its headers before a byte is read; chunked bodies have no length to refuse by.
        Raises TooLarge, TooSlow or UnsupportedType, and ClientDisconnect where the client hung up.
        """
        self._check_headers()
        timer = _Timer(self._pace, self._clock)
        received_bytes, more = 0, True
        while more:
            message = await timer.wait_for(self._request.receive, received_bytes)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            chunk = message.get("body", b"")
            received_bytes += len(chunk)
            if received_bytes > self._max_bytes:
                raise self._too_large()
            consume(chunk)
        self._ended = True

    def _check_headers(self) -> None:
        coding = self._request.headers.get("content-encoding", IDENTITY)
        if coding.lower() != IDENTITY:
            raise UnsupportedType("The body is compressed (Content-Encoding). Send it as it is.")
        length = self._request.headers.get("content-length")
        if length is not None and int(length) > self._max_bytes:
            raise self._too_large()


class _Timer:
    """How long the next piece of a body may still take, by what has arrived of it."""

    def __init__(self, pace: Pace, clock: Callable[[], float]) -> None:
        self._pace = pace
        self._clock = clock
        self._started_s = clock()

    async def wait_for(self, receive: Receive, received_bytes: int) -> Message:
        allowed_s = self._pace.grace_s + received_bytes / self._pace.min_rate_bytes_s
        left_s = self._started_s + allowed_s - self._clock()
        try:
            return await asyncio.wait_for(receive(), left_s)
        except asyncio.TimeoutError as exc:
            raise TooSlow(
                f"The body took more than {self._pace.grace_s:g} s (GATEWAY_BODY_GRACE_S) and "
                f"came slower than {self._pace.min_rate_bytes_s} bytes a second "
                "(GATEWAY_BODY_MIN_RATE_BYTES_S). Send less or use a faster line."
            ) from exc
