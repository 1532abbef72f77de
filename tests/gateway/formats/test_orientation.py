"""Orientation: blocks written by others are read whatever their byte order, and loops are not."""

import struct
import zlib

import pytest

from gateway.formats import orientation
from tests import photos

TURNS = range(1, 9)
LITTLE = photos.little_endian_exif(6)


@pytest.mark.parametrize("turn", TURNS)
def test_either_byte_order_is_read(turn: int) -> None:
    assert orientation.from_exif(photos.exif(turn).tobytes()) == turn
    assert orientation.from_exif(photos.little_endian_exif(turn)) == turn
    assert orientation.from_exif(photos.little_endian_exif(turn, kind=4)) == turn


@pytest.mark.parametrize("turn", TURNS)
def test_our_own_block_is_read_back_and_holds_one_entry(turn: int) -> None:
    block = orientation.exif_block(turn)
    assert orientation.from_exif(block) == turn
    assert struct.unpack_from(">H", block, 8) == (1,)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"II", None, id="byte-order-only"),
        pytest.param(b"XX*\x00\x08\x00\x00\x00", None, id="37-junk-byte-order"),
        pytest.param(photos.random_bytes(), None, id="37-junk"),
        pytest.param(b"II*\x00\xff\xff\xff\xff", None, id="37-directory-outside"),
        pytest.param(b"II*\x00\x08\x00\x00\x00\xff\xff", None, id="37-entries-outside"),
        pytest.param(LITTLE[:-6], None, id="37-entry-cut"),
        pytest.param(photos.little_endian_exif(6, next_ifd=8), 6, id="37-directory-loops"),
        pytest.param(photos.little_endian_exif(0), 1, id="37-orientation-0"),
        pytest.param(photos.little_endian_exif(9), 1, id="37-orientation-9"),
        pytest.param(photos.little_endian_exif(6, kind=2), None, id="37-orientation-as-text"),
        pytest.param(orientation.EXIF_HEADER + LITTLE, 6, id="37-with-jpeg-header"),
    ],
)
def test_junk_says_nothing(block: bytes, expected: int | None) -> None:
    assert orientation.from_exif(block) == expected


@pytest.mark.parametrize(("ahead", "expected"), [(500, 6), (600, None), (60_000, None)])
def test_only_the_first_entries_of_a_directory_are_read(ahead: int, expected: int | None) -> None:
    entry = struct.pack("<HHII", 0x0100, 4, 1, 1)
    entries = entry * ahead + LITTLE[10:-4]
    block = b"II*\x00" + struct.pack("<IH", 8, ahead + 1) + entries
    assert orientation.from_exif(block) == expected


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("as_element", [True, False])
def test_xmp_is_read(turn: int, as_element: bool) -> None:
    assert orientation.from_xmp(photos.xmp(turn, as_element=as_element)) == turn


def test_xmp_of_nothing_says_nothing() -> None:
    assert orientation.from_xmp(b"<x:xmpmeta/>") is None
    assert orientation.from_xmp(photos.xmp(9)) is None


@pytest.mark.parametrize(
    ("exif", "xmp", "expected"), [(6, 3, 6), (1, 3, 1), (None, 3, 3), (None, None, 1)]
)
def test_exif_is_asked_first(exif: int | None, xmp: int | None, expected: int) -> None:
    assert orientation.settle(exif, xmp) == expected


def test_a_bomb_is_unpacked_only_as_far_as_asked() -> None:
    assert len(orientation.inflate(zlib.compress(bytes(10_000_000)), 1_000)) == 1_000
    assert orientation.inflate(b"not zlib", 1_000) == b""
