"""Protocol: real sockets, real uvicorn; late and endless clients lose, others notice nothing."""

import asyncio
import contextlib
import json
import pickle
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.api.protocol import ConnectionLimits, LingeringTransport, protocol_with

HEADER_TIMEOUT_S = 0.6
LINGER_S = 1.5
LIMITS = ConnectionLimits(
    header_timeout_s=HEADER_TIMEOUT_S, linger_s=LINGER_S, linger_bytes=80_000_000
)
CONTENT = b'{"read": %d}'


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """/early and /late refuse unread and close; /ignore answers unread; others count the body."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json")]
    status, read_bytes, more = 200, 0, scope["path"] not in ("/early", "/late", "/ignore")
    if scope["path"] in ("/late", "/slow"):
        await asyncio.sleep(HEADER_TIMEOUT_S * 1.5)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        read_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] in ("/early", "/late"):
        status = 413
        headers.append((b"connection", b"close"))
    body = CONTENT % read_bytes
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def served(limits: ConnectionLimits = LIMITS) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        http=protocol_with(limits),
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_level="critical",
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()
        listener.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server on the event loop that the API uses."""
    with served() as number:
        yield number


class Client:
    """A raw connection, to say what no HTTP library would."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_until_refused(self, piece: bytes, at_most_bytes: int) -> int:
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < at_most_bytes:
                self._socket.sendall(piece)
                sent += len(piece)
        return sent

    def read(self) -> bytes:
        """One answer, whole, or what there is of it when the connection ends."""
        answer = b""
        while piece := self._socket.recv(65_536):
            answer += piece
            head, blank, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if blank and length and len(body) >= int(length[1]):
                break
        return answer

    def read_to_end(self) -> bytes:
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := self._socket.recv(65_536):
                received += piece
        return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_ordinary_requests_share_a_connection(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for size_bytes in (0, 1, 100_000, 3_000_000):
            answer = client.post("/", content=bytes(size_bytes))
            assert answer.json() == {"read": size_bytes}
        assert client.get("/").status_code == 200


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    with Client(port) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        answers = client.read_to_end()
    assert answers.index(CONTENT % 3) < answers.index(CONTENT % 0)


def test_a_slow_body_behind_whole_headers_is_the_applications_matter(port: int) -> None:
    with Client(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        time.sleep(HEADER_TIMEOUT_S * 1.5)
        client.send(b"b")
        assert status_of(client.read()) == 200


def test_an_idle_connection_is_kept_between_requests(port: int) -> None:
    with Client(port) as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status_of(client.read()) == 200
            time.sleep(HEADER_TIMEOUT_S * 1.5)


@pytest.mark.parametrize(
    ("beginning", "status"),
    [
        pytest.param(b"", 0, id="7-nothing"),
        pytest.param(b"GET / HT", 408, id="7-request-line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", 408, id="7-no-blank-line"),
    ],
)
def test_late_headers_are_refused(port: int, beginning: bytes, status: int) -> None:
    with Client(port) as client:
        started_s = time.monotonic()
        client.send(beginning)
        assert status_of(client.read_to_end()) == status
        assert HEADER_TIMEOUT_S * 0.8 < time.monotonic() - started_s < HEADER_TIMEOUT_S + 1


def test_7_one_byte_at_a_time_does_not_push_the_deadline(port: int) -> None:
    with Client(port) as client:
        started_s = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET / HTTP/1.1\r\nHost: " + b"a" * 100:
                client.send(bytes((byte,)))
                time.sleep(HEADER_TIMEOUT_S / 10)
                if time.monotonic() - started_s > HEADER_TIMEOUT_S * 3:
                    break
        assert time.monotonic() - started_s < HEADER_TIMEOUT_S * 2
        assert status_of(client.read_to_end()) in (0, 408)


def test_7_late_headers_of_a_later_request_are_refused_too(port: int) -> None:
    with Client(port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(client.read()) == 200
        started_s = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost")
        assert status_of(client.read_to_end()) == 408
        assert time.monotonic() - started_s < HEADER_TIMEOUT_S + 1


def test_late_headers_sent_ahead_do_not_cost_the_answer_before_them(port: int) -> None:
    with Client(port) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET / HT")
        assert status_of(client.read()) == 200
        assert status_of(client.read_to_end()) == 408


def test_7_empty_lines_do_not_keep_a_connection(port: int) -> None:
    with Client(port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.read()
        started_s = time.monotonic()
        client.send(b"\r\n")
        assert client.read_to_end() == b""
        assert time.monotonic() - started_s < HEADER_TIMEOUT_S + 1


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        pytest.param(b"GET /", b"a" * 65_536, id="45-endless-url"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"a" * 65_536, id="45-endless-value"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"a" * 65_536, id="45-endless-name"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 10_000, id="45-endless-lines"),
    ],
)
def test_headers_without_end_are_refused(port: int, beginning: bytes, piece: bytes) -> None:
    with Client(port) as client:
        client.send(beginning)
        sent = client.send_until_refused(piece, at_most_bytes=4_000_000)
        answer = client.read()
    assert sent <= 4_200_000
    assert status_of(answer) == 431
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert "GATEWAY_MAX_HEADER_BYTES" in body["detail"]


def test_headers_are_measured_exactly(port: int) -> None:
    def ask(size_bytes: int) -> int:
        begin, end = b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\nConnection: close\r\n\r\n"
        with Client(port) as client:
            client.send(begin + b"a" * size_bytes + end)
            return status_of(client.read())

    assert ask(LIMITS.max_header_bytes - 200) == 200
    assert ask(LIMITS.max_header_bytes + 200) == 431


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"0\r\nX: ", id="endless-trailer"),
        pytest.param(b"1;", id="endless-chunk-extension"),
    ],
)
def test_framing_without_end_is_cut(port: int, tail: bytes) -> None:
    with Client(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + tail)
        sent = client.send_until_refused(b"a" * 65_536, at_most_bytes=50_000_000)
    assert sent < 20_000_000  # what the kernels' buffers hold


def test_chunks_of_one_byte_are_served(port: int) -> None:
    with Client(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert CONTENT % 100_000 in client.read()


@pytest.mark.parametrize("path", ["/early", "/late", "/ignore"])
def test_5_an_early_answer_is_read_by_a_client_that_sends_first(port: int, path: str) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{port}{path}", content=bytes(50_000_000), trust_env=False
    )
    assert answer.status_code == (200 if path == "/ignore" else 413)
    assert answer.json() == {"read": 0}


def test_6_an_early_answer_is_read_by_a_client_that_streams(port: int) -> None:
    pieces = (bytes(65_536) for _ in range(500))
    answer = httpx.post(f"http://127.0.0.1:{port}/early", content=pieces, trust_env=False)
    assert answer.status_code == 413


@pytest.mark.parametrize("path", [b"/early", b"/late"])
def test_5_a_body_refused_is_taken_to_its_end(port: int, path: bytes) -> None:
    with Client(port) as client:
        client.send(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        assert client.send_until_refused(bytes(500_000), 50_000_000) == 50_000_000
        assert status_of(client.read_to_end()) == 413


@pytest.mark.parametrize(("path", "status"), [(b"/early", 413), (b"/ignore", 200)])
def test_lingering_ends_by_time(port: int, path: bytes, status: int) -> None:
    with Client(port) as client:
        client.send(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert status_of(client.read()) == status
        started_s = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - started_s < LINGER_S * 4:
                client.send(b"x")
                time.sleep(0.05)
        assert LINGER_S * 0.5 < time.monotonic() - started_s < LINGER_S + 1


@pytest.mark.parametrize("path", [b"/early", b"/ignore"])
def test_lingering_ends_by_bytes(path: bytes) -> None:
    limits = ConnectionLimits(linger_s=30, linger_bytes=1_000_000)
    with served(limits) as port, Client(port) as client:
        client.send(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.read()
        sent = client.send_until_refused(b"10000\r\n" + b"x" * 65_536 + b"\r\n", 50_000_000)
    assert sent < 20_000_000


def test_a_body_ignored_and_read_to_its_end_keeps_the_connection(port: int) -> None:
    with Client(port) as client:
        client.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert status_of(client.read()) == 200
        client.send(b"cde")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(client.read()) == 200
        time.sleep(LINGER_S * 1.2)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(client.read()) == 200


def test_behind_an_ignored_body_the_next_headers_have_their_deadline(port: int) -> None:
    with Client(port) as client:
        client.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert status_of(client.read()) == 200
        started_s = time.monotonic()
        client.send(b"cde")
        assert client.read_to_end() == b""
        assert HEADER_TIMEOUT_S * 0.8 < time.monotonic() - started_s < LINGER_S * 0.9


def test_an_expectation_refused_is_not_told_to_continue(port: int) -> None:
    with Client(port) as client:
        client.send(
            b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        started_s = time.monotonic()
        answer = client.read_to_end()
        assert time.monotonic() - started_s < LINGER_S * 0.8  # the end is sent before the linger
    assert status_of(answer) == 413
    assert b"100 Continue" not in answer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", id="29-cl-and-te"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 4\r\n", id="27-two-lengths"),
        pytest.param(b"Content-Length: -1\r\n", id="27-negative-length"),
        pytest.param(b"Content-Length: 3x\r\n", id="27-length-in-words"),
        pytest.param(b"Content-Length: " + b"9" * 40 + b"\r\n", id="27-length-of-40-digits"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n", id="29-te-unknown"),
        pytest.param(b"X : y\r\n", id="space-before-colon"),
        pytest.param(b"X: a\x00b\r\n", id="nul-in-a-header"),
    ],
)
def test_ambiguous_requests_are_refused(port: int, head: bytes) -> None:
    with Client(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n3\r\nabc\r\n0\r\n\r\n")
        assert status_of(client.read()) == 400


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param(b"BREW / HTTP/1.1", id="45-unknown-method"),
        pytest.param(b"GET /\xff\xfe HTTP/1.1", id="45-path-not-ascii"),
        pytest.param(b"GET /a\x00b HTTP/1.1", id="45-nul-in-path"),
        pytest.param(b"CONNECT a:1 HTTP/1.1", id="45-connect"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="tls-hello"),
        pytest.param(b"GET / HTTP/9.9", id="unknown-version"),
    ],
)
def test_what_is_no_request_is_refused(port: int, request_line: bytes) -> None:
    with Client(port) as client:
        client.send(request_line + b"\r\nHost: a\r\n\r\n")
        assert status_of(client.read()) == 400
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200


@pytest.mark.parametrize("beginning", [b"\x16\x03\x01", b"\r\n\x00", b"BREW / HTTP/1.1\r\n"])
def test_the_refusal_is_read_by_a_client_that_goes_on_sending(port: int, beginning: bytes) -> None:
    with Client(port) as client:
        client.send(beginning)
        time.sleep(0.05)
        assert client.send_until_refused(b"a" * 65_536, at_most_bytes=4_000_000) >= 4_000_000
        assert status_of(client.read()) == 400


def test_an_offer_to_upgrade_is_passed_over(port: int) -> None:
    with Client(port) as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert status_of(client.read()) == 200


class ClosedTransport(asyncio.Transport):
    """What asyncio's transports do behind write_eof: they refuse to write."""

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        raise AssertionError

    def write(self, data: Any) -> None:
        raise AssertionError


def test_an_application_that_writes_to_a_lingering_connection_is_let_talk() -> None:
    transport = LingeringTransport(ClosedTransport(), lambda: True, lambda: None)
    transport.close()
    transport.write(b"too late")
    transport.pause_reading()
    assert transport.is_closing()


def test_a_hundred_slow_clients_hold_nobody_up(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Client(port)).send(b"GET / HT")
        started_s = time.monotonic()
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
        assert time.monotonic() - started_s < HEADER_TIMEOUT_S


def test_the_factory_reaches_other_processes() -> None:
    copy: Any = pickle.loads(pickle.dumps(protocol_with(LIMITS)))  # noqa: S301
    assert copy.keywords == {"limits": LIMITS}
