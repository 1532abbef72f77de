"""A raw connection, to say what no HTTP library would, and multipart bodies written by hand."""

import contextlib
import re
import socket
import time
from types import TracebackType

from standalone.machine.loopback import Address
from tests.api import road

BOUNDARY = "----frontier"
END = f"--{BOUNDARY}--\r\n".encode()
READ_TIMEOUT_S = 30.0


class Wire:
    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection((address.host, address.port), READ_TIMEOUT_S)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def send_until_answered(self, piece: bytes, at_most_bytes: int) -> int:
        """How many bytes were taken before the server answered or closed."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < at_most_bytes and not self._answered():
                self._socket.sendall(piece)
                sent += len(piece)
        return sent

    def drip(self, data: bytes, every_s: float, within_s: float) -> bool:
        """A byte at a time until the server answered or closed; whether it did."""
        give_up_at_s = time.monotonic() + within_s
        with contextlib.suppress(ConnectionError):
            for byte in data:
                self._socket.sendall(bytes((byte,)))
                if self._answered(every_s):
                    return True
                if time.monotonic() > give_up_at_s:
                    return False
        return True

    def status(self) -> int:
        """Of the answer; 0 where the server closed without one."""
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", self.read())
        return int(match[1]) if match else 0

    def read(self) -> bytes:
        """One whole answer, or what there is of it."""
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := self._socket.recv(65_536):
                answer += piece
                head, blank, body = answer.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                if blank and length and len(body) >= int(length[1]):
                    break
        return answer

    def _answered(self, within_s: float = 0.0) -> bool:
        self._socket.settimeout(max(within_s, 0.000_001))
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            self._socket.settimeout(READ_TIMEOUT_S)
        return True


def upload_head(length: int | None, content_type: str | None = None) -> bytes:
    """The head of an upload; chunked where there is no `length`."""
    kind = content_type or f"multipart/form-data; boundary={BOUNDARY}"
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST {road.UPLOAD} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n{size}\r\n\r\n".encode()
    )


def part(content: bytes, filename: bytes = b"a.jpg", name: bytes = b"file") -> bytes:
    disposition = b'Content-Disposition: form-data; name="%b"; filename="%b"' % (name, filename)
    return b"--%b\r\n%b\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n" % (
        BOUNDARY.encode(), disposition, content,
    )  # fmt: skip


def request(body: bytes, content_type: str | None = None) -> bytes:
    return upload_head(len(body), content_type) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
