"""A JPEG file comes in; its size, its orientation and a copy without private segments go out.

Segments are walked by their lengths (ITU-T T.81, annex B), scans by a search for the next marker.
What follows the first picture's end marker is dropped: trailers, other frames of an MPO, a ZIP.
"""

import re
import struct
from dataclasses import dataclass

from gateway.formats import orientation as way_up
from gateway.formats.picture import Limits, Picture, check_size, cut_off, damaged
from gateway.formats.spans import Spans
from gateway.problems import Unusable

MAGIC = b"\xff\xd8\xff"

# A camera's file has about 20, one with a large ICC profile 255 more; a loop over 10 MB of them
# would hold the event loop for seconds.
MAX_SEGMENTS = 2_000
# Encoders write about 10 scans, optimisers a few more; a decoder goes over the whole picture once
# a scan, so thousands of empty ones would cost minutes.
MAX_SCANS = 100

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP2, _APP14, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_TEM, _RST0 = 0x01, 0xD0
_STANDALONE = frozenset({_TEM, *range(_RST0, _RST0 + 8)})
_TABLES = frozenset({0xC4, 0xDB, 0xDC, 0xDD})  # Huffman, quantisation, line count, restarts
_PRIVATE = frozenset({*range(_APP0, _APP0 + 16), _COM})
_KEPT_SIGNATURES = {_APP0: b"JFIF\x00", _APP2: b"ICC_PROFILE\x00", _APP14: b"Adobe"}
_XMP_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\x00"

_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive, all Huffman-coded
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xDE, 0xDF), "hierarchical"),
    **dict.fromkeys((0xC8, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF), "arithmetic-coded"),
}
_COMPONENTS = frozenset({1, 3, 4})  # grey, YCbCr or RGB, CMYK
_SAMPLE_BITS = 8

_LENGTH_BYTES = 2
_MARKER_BYTES = 2
_FRAME_HEADER_BYTES = 6
# In a scan FF is followed by 00 (a stuffed byte), by a restart marker or by more FF (fill).
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")


@dataclass(slots=True)
class _Walk:
    """What is known of the file so far."""

    data: bytes
    limits: Limits
    spans: Spans
    width_px: int = 0
    height_px: int = 0
    scans: int = 0
    exif: int | None = None
    xmp: int | None = None


def read(data: bytes, limits: Limits) -> Picture:
    """Read a file that begins with MAGIC.

    Raises Unusable or TooLarge. Every byte is looked at once; at most MAX_SEGMENTS steps are made.
    """
    walk = _Walk(data, limits, Spans(data))
    at = _MARKER_BYTES
    walk.spans.keep(0, at)
    walk.spans.mark()
    for _ in range(MAX_SEGMENTS):
        marker, at = _marker(data, at)
        if marker == _EOI:
            return _finish(walk, at)
        at = _segment(walk, marker, at)
    raise damaged("JPEG", f"it has more than {MAX_SEGMENTS} segments")


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at `at`, fill bytes skipped, and where its segment begins."""
    fill = _FILL.match(data, at)
    if fill is None:
        if at >= len(data):
            raise cut_off("JPEG", "its end marker")
        raise damaged("JPEG", "its segments do not follow each other")
    if fill.end() == len(data):
        raise cut_off("JPEG", "its end marker")
    return data[fill.end()], fill.end() + 1


def _segment(walk: _Walk, marker: int, at: int) -> int:
    """Take in the segment of `marker` whose length stands at `at`; return where the next begins."""
    start = at - _MARKER_BYTES
    if marker in _STANDALONE:
        walk.spans.keep(start, at)
        return at
    end = _segment_end(walk.data, at)
    if marker in _PRIVATE:
        _application(walk, marker, start, end)
        return end
    if marker in _FRAMES:
        _frame(walk, at + _LENGTH_BYTES, end)
    elif marker == _SOS:
        end = _scan_end(walk, end)
    elif marker in _OTHER_FRAMES:
        kind = _OTHER_FRAMES[marker]
        raise Unusable(f"This is {kind} JPEG, which few programs read. Save it as baseline JPEG.")
    elif marker not in _TABLES:
        raise damaged("JPEG", f"it holds a marker of no meaning, 0x{marker:02X}")
    walk.spans.keep(start, end)
    return end


def _segment_end(data: bytes, at: int) -> int:
    if at + _LENGTH_BYTES > len(data):
        raise cut_off("JPEG", "its end marker")
    length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
    if length < _LENGTH_BYTES:
        raise damaged("JPEG", "a segment is shorter than its own length field")
    if at + length > len(data):
        raise cut_off("JPEG", "its end marker")
    return at + length


def _application(walk: _Walk, marker: int, start: int, end: int) -> None:
    """Keep what colours depend on (ICC, Adobe, JFIF); read the way up; drop everything else."""
    payload = start + _MARKER_BYTES + _LENGTH_BYTES
    data = walk.data
    signature = _KEPT_SIGNATURES.get(marker)
    if signature is not None and data.startswith(signature, payload, end):
        walk.spans.keep(start, end)
        if marker == _APP0 and start == _MARKER_BYTES:
            walk.spans.mark()  # JFIF wants to be first
    elif marker == _APP1 and data.startswith(way_up.EXIF_HEADER, payload, end):
        walk.exif = walk.exif or way_up.from_exif(data[payload:end])
    elif marker == _APP1 and data.startswith(_XMP_SIGNATURE, payload, end):
        walk.xmp = walk.xmp or way_up.from_xmp(data[payload:end])


def _frame(walk: _Walk, at: int, end: int) -> None:
    if end - at < _FRAME_HEADER_BYTES:
        raise damaged("JPEG", "its frame header is too short")
    if walk.width_px:
        raise damaged("JPEG", "it has two frame headers")
    bits, height_px, width_px, components = struct.unpack_from(">BHHB", walk.data, at)
    check_size(width_px, height_px, walk.limits)
    if bits != _SAMPLE_BITS:
        raise Unusable(f"This JPEG has {bits} bits a sample. Save it with {_SAMPLE_BITS}.")
    if components not in _COMPONENTS:
        raise Unusable(f"This JPEG has {components} colour channels. Save it as RGB.")
    walk.width_px, walk.height_px = width_px, height_px


def _scan_end(walk: _Walk, at: int) -> int:
    if not walk.width_px:
        raise damaged("JPEG", "a scan comes before the frame header")
    walk.scans += 1
    if walk.scans > MAX_SCANS:
        raise Unusable(f"This JPEG has more than {MAX_SCANS} scans. Save it as baseline JPEG.")
    found = _MARKER_IN_SCAN.search(walk.data, at)
    if found is None:
        raise cut_off("JPEG", "its end marker")
    return found.start()


def _finish(walk: _Walk, end: int) -> Picture:
    if not walk.scans:
        raise damaged("JPEG", "it has a header but no picture")
    walk.spans.keep(end - _MARKER_BYTES, end)
    orientation = way_up.settle(walk.exif, walk.xmp)
    block = b"" if orientation == way_up.UPRIGHT else _exif_segment(orientation)
    return Picture(walk.width_px, walk.height_px, orientation, walk.spans.joined(block))


def _exif_segment(orientation: int) -> bytes:
    payload = way_up.EXIF_HEADER + way_up.exif_block(orientation)
    length = len(payload) + _LENGTH_BYTES
    return bytes((0xFF, _APP1)) + length.to_bytes(_LENGTH_BYTES, "big") + payload
