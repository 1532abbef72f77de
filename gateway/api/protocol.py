"""The bytes of a connection go in, requests for the application come out: uvicorn's, with bounds.

Uvicorn alone waits for headers for ever and takes them at any length; and it closes a connection
whose body still arrives at once, so that the client's kernel throws the answer away unread. Here
headers have a deadline and a size, and a connection lingers, discarding, until its answer is read.

Written against uvicorn 0.54's HttpToolsProtocol. Beyond asyncio's and httptools' own callbacks it
relies on `send_400_response` (called where the parser gives up), `on_response_complete` (called
behind each answer), `cycle` (the newest request) and its `response_complete`, and on all writing
and closing going through `transport`.
"""

import asyncio
import functools
import json
from asyncio.events import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.api.problem_json import MEDIA_TYPE

# Chunk sizes and trailers are neither headers nor body. A chunk of one byte costs five of framing;
# beyond this and the bound on headers, a body is nothing but framing.
MAX_FRAMING_PER_BODY_BYTE = 8


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may make a connection wait for and hold."""

    max_header_bytes: int = 64_000  # request line included
    header_timeout_s: float = 10.0
    linger_s: float = 5.0
    linger_bytes: int = 128_000_000


def protocol_with(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """What to pass to uvicorn as `http=`. It can be pickled, as several workers need."""
    factory = functools.partial(BoundedHttpProtocol, limits=limits)
    return cast(type[asyncio.Protocol], factory)  # uvicorn only ever calls it


class HeadersTooLarge(Exception):
    """Raised in a parser callback, where it ends the parsing."""


class LingeringTransport(asyncio.Transport):
    """A transport whose close() waits for a peer that is still sending.

    It sends what was written and the end of the stream, then leaves the rest to `linger`, which
    must call abort() in the end. Where nothing more is expected it closes at once.
    """

    def __init__(
        self,
        inner: asyncio.Transport,
        peer_is_sending: Callable[[], bool],
        linger: Callable[[], None],
    ) -> None:
        super().__init__()
        self._inner = inner
        self._peer_is_sending = peer_is_sending
        self._linger = linger
        self._closing = False

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        if not self._peer_is_sending():
            self._inner.close()
            return
        if self._inner.can_write_eof():  # TLS cannot
            self._inner.write_eof()
        self._inner.resume_reading()
        self._linger()

    def abort(self) -> None:
        self._closing = True
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._closing or self._inner.is_closing()

    def write(self, data: Any) -> None:
        if not self.is_closing():
            self._inner.write(data)

    def pause_reading(self) -> None:
        if not self.is_closing():
            self._inner.pause_reading()

    def resume_reading(self) -> None:
        if not self._inner.is_closing():
            self._inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. See the module for what it adds to uvicorn's."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._message_open = False  # from the first byte of a request to the last of its body
        self._headers_open = False  # from its first byte to its blank line
        self._timer: TimerHandle | None = None  # waits for headers, or for the end of lingering
        self._header_bytes = 0
        self._fed_bytes = 0
        self._body_bytes = 0
        self._discarded_bytes = 0

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        lingering = LingeringTransport(transport, lambda: self._message_open, self._linger)
        super().connection_made(lingering)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._message_open = False
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._answered_early():
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self._limits.linger_bytes:
                self.transport.abort()
                return
        if self.transport.is_closing():
            return
        self._fed_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._timer is None and self._expects_headers():
            self._wait_for_headers()
        framing_bytes = self._fed_bytes - self._body_bytes
        allowed = self._limits.max_header_bytes + MAX_FRAMING_PER_BODY_BYTE * self._body_bytes
        if framing_bytes > allowed:
            self._refuse_headers()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._message_open = self._headers_open = True
        self._header_bytes = self._fed_bytes = self._body_bytes = self._discarded_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._headers_open = False
        self._cancel_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._message_open = False
        self._cancel_timer()
        super().on_message_complete()

    # uvicorn's callbacks

    def send_400_response(self, msg: str) -> None:
        if self._header_bytes > self._limits.max_header_bytes:
            self._refuse_headers()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answered_early() and not self.transport.is_closing():
            self._linger()

    # what is added

    def _answered_early(self) -> bool:
        """Whether the newest request has its answer while its body is still arriving."""
        return self._message_open and not self._headers_open and self._answered()

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expects_headers(self) -> bool:
        """Whether bytes that just came can only belong to the headers of a further request."""
        return self._headers_open or (not self._message_open and self._answered())

    def _count_header(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes
        if self._header_bytes > self._limits.max_header_bytes:
            raise HeadersTooLarge

    def _wait_for_headers(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_timeout_s, self._headers_are_late)

    def _headers_are_late(self) -> None:
        self._timer = None
        if not self._answered():
            self._wait_for_headers()  # a request sent ahead may wait for the answer before it
            return
        if self._message_open:
            self._answer(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The headers took more than {self._limits.header_timeout_s:g} s "
                "(GATEWAY_HEADER_TIMEOUT_S).",
            )
        self._message_open = False  # nothing to wait for: the client sends next to nothing
        self.transport.close()

    def _refuse_headers(self) -> None:
        if self.transport.is_closing():
            return
        if not self._answered():
            self.transport.abort()  # trailers or framing: an answer may be under way already
            return
        self._answer(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The request line and headers are larger than {self._limits.max_header_bytes} bytes "
            "(GATEWAY_MAX_HEADER_BYTES). Shorten them.",
        )
        self.transport.close()

    def _answer(self, status: HTTPStatus, detail: str) -> None:
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
        }
        body = json.dumps(problem)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode("ascii"))

    def _linger(self) -> None:
        self._cancel_timer()
        self._timer = self.loop.call_later(self._limits.linger_s, self.transport.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
