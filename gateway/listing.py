"""Pages of images: cursors and filters from a query string, checked; a page as JSON."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime, timezone

from contracts.events import MAX_IMAGE_ID
from gateway import resource
from gateway.images import Image
from gateway.problems import Unusable

_CURSOR_PREFIX = "before:"


def encode_cursor(image_id: int) -> str:
    return base64.urlsafe_b64encode(f"{_CURSOR_PREFIX}{image_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """The id below which the page starts. Raises Unusable when it is no cursor of ours."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text = base64.urlsafe_b64decode(padded).decode("ascii")
        prefix, digits = text[: len(_CURSOR_PREFIX)], text[len(_CURSOR_PREFIX) :]
        if prefix != _CURSOR_PREFIX or not digits.isdecimal() or int(digits) > MAX_IMAGE_ID:
            raise ValueError(text)
    except (ValueError, UnicodeError, binascii.Error) as exc:
        raise Unusable("cursor is not one that this API gave out; start without it.") from exc
    return int(digits)


def utc(moment: datetime | None) -> datetime | None:
    """Query times without an offset are UTC, as the API's own are.

    Raises Unusable for one that is beyond the years 1 to 9999 in UTC.
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError as exc:
        raise Unusable("A time lies outside the years 1 to 9999 in UTC; correct it.") from exc


def search_text(text: str | None) -> str | None:
    """Blank text does not restrict. Raises Unusable for NUL, which Postgres cannot hold."""
    if text is None or not text.strip():
        return None
    if "\0" in text:
        raise Unusable("q holds a NUL character; remove it.")
    return text


def page_json(found: Sequence[Image], limit: int, base_url: str) -> bytes:
    """`found` is one row longer than the page where another page follows."""
    page = found[:limit]
    more = len(found) > limit
    return json.dumps(
        {
            "items": [resource.fields(image, base_url) for image in page],
            "nextCursor": encode_cursor(page[-1].id) if more else None,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
