"""Listing: cursors come back as they went out, rubbish is refused, pages say what follows."""

import base64
import json
from datetime import datetime, timedelta, timezone

import pytest

from gateway import listing
from gateway.images import Image, Status
from gateway.problems import Unusable

MOMENT = datetime(2025, 12, 24, 10, 30, tzinfo=timezone.utc)


def image(image_id: int) -> Image:
    return Image(
        image_id, f"images/{image_id}.jpg", "image/jpeg", Status.PENDING,
        None, None, None, "t", MOMENT, MOMENT,
    )  # fmt: skip


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("image_id", [1, 9, 10, 123_456, 2**31, 2**63 - 1])
def test_cursors_come_back_as_they_went_out(image_id: int) -> None:
    cursor = listing.encode_cursor(image_id)
    assert cursor.isascii()
    assert "=" not in cursor  # it need not be quoted in a URL
    assert listing.decode_cursor(cursor) == image_id


def test_no_cursor_is_the_first_page() -> None:
    assert listing.decode_cursor(None) is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "1",
        "rubbish",
        "!!!!",
        "%00",
        "ü",
        "\ud800",
        "A" * 10_000,
        encoded("before:"),
        encoded("before:-1"),
        encoded("before:1.5"),
        encoded("before: 1"),
        encoded("before:1;drop table"),
        encoded(f"before:{2**63}"),
        encoded("before:" + "9" * 5_000),
        encoded("after:1"),
        encoded("before:\u0661"),
    ],
    ids=ascii,
)
def test_rubbish_is_no_cursor(cursor: str) -> None:
    with pytest.raises(Unusable, match="cursor"):
        listing.decode_cursor(cursor)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        (datetime(2025, 1, 1), datetime(2025, 1, 1, tzinfo=timezone.utc)),
        (MOMENT, MOMENT),
        (
            datetime(2025, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2025, 1, 1, tzinfo=timezone.utc),
        ),
    ],
)
def test_times_without_an_offset_are_utc(given: datetime | None, meant: datetime | None) -> None:
    assert listing.utc(given) == meant


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-23))),
    ],
)
def test_times_beyond_the_calendar_are_refused(moment: datetime) -> None:
    with pytest.raises(Unusable, match="years 1 to 9999"):
        listing.utc(moment)


@pytest.mark.parametrize(
    ("text", "searched"), [(None, None), ("", None), (" \n", None), ("a", "a")]
)
def test_blank_text_does_not_restrict(text: str | None, searched: str | None) -> None:
    assert listing.search_text(text) == searched


def test_a_nul_is_refused() -> None:
    with pytest.raises(Unusable, match="NUL"):
        listing.search_text("a\0b")


def test_a_page_names_the_next_only_where_one_follows() -> None:
    found = [image(3), image(2), image(1)]
    page = json.loads(listing.page_json(found, 2, "http://cdn"))
    assert [item["id"] for item in page["items"]] == [3, 2]
    assert listing.decode_cursor(page["nextCursor"]) == 2
    last = json.loads(listing.page_json(found, 3, "http://cdn"))
    assert len(last["items"]) == 3
    assert last["nextCursor"] is None
    assert json.loads(listing.page_json([], 3, "")) == {"items": [], "nextCursor": None}
