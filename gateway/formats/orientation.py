"""EXIF and XMP blocks of an upload come in, the way up it is meant to be seen goes out.

Nothing else of them is kept: the block written back holds the orientation alone, no place or name.
"""

import re
import struct
import zlib

UPRIGHT = 1
EXIF_HEADER = b"Exif\x00\x00"  # belongs before the TIFF block in JPEG; some put it in WebP too
MAX_XMP_BYTES = 1 << 20

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 512  # a camera writes about 20 into the first directory
_TIFF_HEADER_BYTES = 8
_ENTRY_BYTES = 12
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")


def from_exif(block: bytes) -> int | None:
    """Orientation 1..8 in the first directory of a TIFF block, None where it holds none.

    Only that directory is read, and no pointer is followed out of it, so a loop cannot be entered.
    """
    block = block.removeprefix(EXIF_HEADER)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < _TIFF_HEADER_BYTES:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return None
    (count,) = struct.unpack_from(order + "H", block, start)
    first = start + 2
    last = min(first + min(count, _MAX_ENTRIES) * _ENTRY_BYTES, len(block))
    for at in range(first, last - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        tag, kind, values = struct.unpack_from(order + "HHI", block, at)
        if tag == _ORIENTATION_TAG:
            return _value(block, at, order, kind) if values == 1 else None
    return None


def from_xmp(packet: bytes) -> int | None:
    """Orientation 1..8 that an XMP packet states, None where it states none."""
    match = _XMP_ORIENTATION.search(packet, 0, MAX_XMP_BYTES)
    return int(match[1]) if match else None


def settle(exif: int | None, xmp: int | None) -> int:
    """EXIF is asked before XMP, as Pillow does; a picture that says nothing is upright."""
    return exif or xmp or UPRIGHT


def exif_block(orientation: int) -> bytes:
    """The smallest TIFF block that states an orientation and nothing else."""
    header = struct.pack(">2sHI", b"MM", 42, _TIFF_HEADER_BYTES)
    entry = struct.pack(">HHIHH", _ORIENTATION_TAG, _SHORT, 1, orientation, 0)
    return header + struct.pack(">H", 1) + entry + struct.pack(">I", 0)


def inflate(packed: bytes, max_bytes: int) -> bytes:
    """The first `max_bytes` of a zlib stream; what was readable, where it is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, max_bytes)
    except zlib.error:
        return b""


def _value(block: bytes, at: int, order: str, kind: int) -> int | None:
    layout = {_SHORT: "H", _LONG: "I"}.get(kind)
    if layout is None:
        return None
    (value,) = struct.unpack_from(order + layout, block, at + 8)
    return value if value in range(1, 9) else UPRIGHT
