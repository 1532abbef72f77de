"""The body of an upload comes in as it trickles off the wire; one file and its text fields go out.

Step 1 of 10. Every bound is checked while streaming, so that no body is read to its end first:
file bytes, parts, field bytes, part headers, whole body, and the rate at which it all arrives.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from gateway.api.body import CLOSE, Body, Pace
from gateway.problems import Malformed, TooLarge, UnsupportedType, Unusable

FILE_FIELD = "file"
MULTIPART = "multipart/form-data"
MAX_PART_HEADER_BYTES = 8_192  # a file name of 3 kB in UTF-8 is legal, one of 10 kB is not
MAX_PART_HEADERS = 8
MAX_BOUNDARY_BYTES = 256  # RFC 2046 allows 70
MAX_NAME_CHARS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class BodyLimits(Pace):
    """What an upload may cost."""

    max_upload_bytes: int = 10_000_000
    max_parts: int = 10
    max_field_bytes: int = 64_000

    @property
    def max_body_bytes(self) -> int:
        """The file, every other part at its largest, and the headers of all."""
        other_part_bytes = self.max_field_bytes + MAX_PART_HEADERS * MAX_PART_HEADER_BYTES
        return self.max_upload_bytes + self.max_parts * other_part_bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sent. `filename` and `declared_type` are the client's words, not facts."""

    file: bytes = field(repr=False)  # never in a log
    filename: str | None
    declared_type: str | None
    fields: dict[str, str]


async def read_upload(
    request: Request, limits: BodyLimits, clock: Callable[[], float] = time.monotonic
) -> Upload:
    """Read one `file` part and any text fields from a multipart/form-data body.

    A `file` part without a file name is a file all the same (`curl -F 'file=<photo.jpg'`). Fields
    nobody asked for are for the caller to ignore. At most one copy of the file is held.
    Raises Malformed, TooLarge, TooSlow, Unusable or UnsupportedType, and ClientDisconnect where the
    client hung up.
    """
    form = _Form(limits)
    body = Body(request, limits, limits.max_body_bytes, lambda: _body_too_large(limits), clock)
    try:
        with body.closing_unless_read():
            await body.feed(_parser(_boundary(request), form).write)
            return form.upload()
    except FormParserError as exc:
        raise Malformed(
            "The multipart body is malformed. Let an HTTP library write it, boundary included.",
            headers=CLOSE,
        ) from exc


def _parser(boundary: bytes, form: "_Form") -> MultipartParser:
    return MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_header_field": form.add_header_name,
            "on_header_value": form.add_header_value,
            "on_header_end": form.end_header,
            "on_headers_finished": form.end_headers,
            "on_part_data": form.add_data,
            "on_part_end": form.end_part,
            "on_end": form.end,
        },
        max_header_count=MAX_PART_HEADERS,
        max_header_size=MAX_PART_HEADER_BYTES,
    )


@dataclass(slots=True)
class _Part:
    """The part that is being read."""

    name: str = ""
    filename: str | None = None
    declared_type: str | None = None
    disposition: bytes = b""
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    text: bytearray = field(default_factory=bytearray)


class _Form:
    """The parser's callbacks: they collect one file and the fields, and refuse at a bound."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._part = _Part()
        self._parts = 0
        # Its getvalue() hands out the buffer itself, so that a file is never held twice.
        self._file = io.BytesIO()
        self._file_part: _Part | None = None
        self._fields: dict[str, str] = {}
        self._ended = False

    def begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise TooLarge(
                f"The form has more than {self._limits.max_parts} parts (GATEWAY_MAX_PARTS)."
            )
        self._part = _Part()

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def end_header(self) -> None:
        part = self._part
        name, value = bytes(part.header_name).lower(), bytes(part.header_value)
        if name == b"content-disposition":
            part.disposition = value
        elif name == b"content-type":
            part.declared_type = value.decode("latin-1")
        part.header_name.clear()
        part.header_value.clear()

    def end_headers(self) -> None:
        part = self._part
        _, options = parse_options_header(part.disposition)
        if b"name" not in options:
            raise Malformed("A part of the form has no name in its Content-Disposition.")
        part.name = _utf_8(options[b"name"], "the name of a field")
        if b"filename" in options:
            part.filename = options[b"filename"].decode("utf-8", "replace")
        if part.name == FILE_FIELD:
            if self._file_part is not None:
                raise Unusable(f"The form has two {FILE_FIELD!r} parts. Send one file a request.")
            self._file_part = part

    def add_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part is self._file_part:
            if self._file.tell() + end - start > self._limits.max_upload_bytes:
                raise _file_too_large(self._limits)
            self._file.write(memoryview(data)[start:end])
            return
        if len(part.text) + end - start > self._limits.max_field_bytes:
            raise TooLarge(
                f"The field {part.name[:MAX_NAME_CHARS_SHOWN]!r} is larger than "
                f"{self._limits.max_field_bytes} bytes (GATEWAY_MAX_FIELD_BYTES). Shorten it."
            )
        part.text += data[start:end]

    def end_part(self) -> None:
        part = self._part
        if part is self._file_part:
            return
        shown = f"the field {part.name[:MAX_NAME_CHARS_SHOWN]!r}"
        if part.name in self._fields:
            raise Unusable(f"The form has {shown} twice. Send it once.")
        text = _utf_8(bytes(part.text), shown)
        if "\x00" in text:
            raise Unusable(f"There is a NUL character in {shown}. Leave it out.")
        self._fields[part.name] = text

    def end(self) -> None:
        self._ended = True

    def upload(self) -> Upload:
        """What was collected, once the body has come to its end."""
        if not self._ended:
            raise Malformed("The multipart body ends before its end boundary. Send all of it.")
        if self._file_part is None:
            raise Unusable(f"The form has no part named {FILE_FIELD!r}. Send the picture in it.")
        part = self._file_part
        return Upload(self._file.getvalue(), part.filename, part.declared_type, self._fields)


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type"))
    if media_type != MULTIPART.encode():
        raise UnsupportedType(f"Send the picture as {MULTIPART}, in a part named {FILE_FIELD!r}.")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise Malformed(
            "The Content-Type names no usable boundary. Leave that header to the HTTP library."
        )
    return boundary


def _file_too_large(limits: BodyLimits) -> TooLarge:
    return TooLarge(
        f"The file is larger than {limits.max_upload_bytes} bytes (GATEWAY_MAX_UPLOAD_BYTES). "
        "Scale the picture down or save it with more compression."
    )


def _body_too_large(limits: BodyLimits) -> TooLarge:
    return TooLarge(
        f"The request is larger than {limits.max_body_bytes} bytes: a file may have "
        f"{limits.max_upload_bytes} (GATEWAY_MAX_UPLOAD_BYTES). "
        "Scale the picture down or save it with more compression."
    )


def _utf_8(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Unusable(
            f"There are bytes in {what} that are not UTF-8. Send text as UTF-8."
        ) from exc
