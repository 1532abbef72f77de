"""A PNG file comes in; its size, its orientation and a copy without private chunks go out.

Chunks are walked and every checksum is checked (ISO/IEC 15948), since decoders skip that for IDAT.
Of an animated PNG the still picture stays.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from gateway.formats import orientation as way_up
from gateway.formats.picture import Limits, Picture, check_size, cut_off, damaged
from gateway.formats.spans import Spans
from gateway.problems import Unusable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAME = b"PNG"  # at offset 1, also where a text-mode transfer broke the rest of the signature

# 10 MB in chunks of 8 kB make 1,300; smaller ones are legal, and a loop over 10 MB of empty ones
# would hold the event loop for a second.
MAX_CHUNKS = 20_000
MAX_PROFILE_BYTES = 1 << 20  # unpacked; Pillow refuses more

_HEADER, _DATA, _END, _PALETTE = b"IHDR", b"IDAT", b"IEND", b"PLTE"
_EXIF, _TEXT, _PACKED_TEXT, _UNICODE_TEXT = b"eXIf", b"tEXt", b"zTXt", b"iTXt"
_PROFILE = b"iCCP"
# What the colours of the picture depend on. Everything else that may be left out is left out.
_COLOURS = frozenset(b"iCCP sRGB gAMA cHRM cICP mDCV cLLI tRNS bKGD sBIT pHYs".split())
_ANCILLARY = 0x20  # in the first letter: a decoder may ignore the chunk

_LENGTH = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4
_IHDR = struct.Struct(">IIBBBBB")
_DEPTHS_OF_COLOUR = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_INDEXED = 3
_INTERLACES = (0, 1)

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_EXIF_KEYWORD = b"Raw profile type exif"  # ImageMagick's way before eXIf existed
_RAW_PROFILE_PREAMBLE_LINES = 3
_NOT_HEX = re.compile(rb"[^0-9a-fA-F]")


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of its length field
    payload: int
    payload_end: int
    end: int


@dataclass(slots=True)
class _Walk:
    """What is known of the file so far."""

    data: bytes
    spans: Spans
    width_px: int
    height_px: int
    palette_missing: bool
    pixels: bool = False
    exif: int | None = None
    raw_exif: int | None = None
    xmp: int | None = None


def looks_like(data: bytes) -> bool:
    """Whether this is a PNG file, or was one before its line ends were changed."""
    return data[1:4] == NAME


def read(data: bytes, limits: Limits) -> Picture:
    """Read a file that looks_like a PNG.

    Raises Unusable or TooLarge. Every byte is looked at once; at most MAX_CHUNKS steps are made.
    """
    if not data.startswith(SIGNATURE):
        raise damaged("PNG", "its line ends were changed, as a transfer in text mode does")
    chunk = _chunk(data, len(SIGNATURE))
    walk = _begin(data, chunk, limits)
    for _ in range(MAX_CHUNKS):
        chunk = _chunk(data, chunk.end)
        _check(data, chunk)
        if chunk.kind == _END:
            return _finish(walk, chunk)
        _take_in(walk, chunk)
    raise damaged("PNG", f"it has more than {MAX_CHUNKS} chunks")


def _chunk(data: bytes, start: int) -> _Chunk:
    payload = start + _LENGTH.size
    if payload > len(data):
        raise cut_off("PNG", "its end chunk")
    length, kind = _LENGTH.unpack_from(data, start)
    payload_end = payload + length
    end = payload_end + _CHECKSUM_BYTES
    if end > len(data):
        raise cut_off("PNG", "its end chunk")
    return _Chunk(kind, start, payload, payload_end, end)


def _check(data: bytes, chunk: _Chunk) -> None:
    stated = data[chunk.payload_end : chunk.end]
    covered = memoryview(data)[chunk.payload - len(chunk.kind) : chunk.payload_end]
    if zlib.crc32(covered) != int.from_bytes(stated, "big"):
        name = chunk.kind.decode("ascii", "replace")
        raise damaged("PNG", f"the checksum of its {name!r} chunk is wrong")


def _begin(data: bytes, chunk: _Chunk, limits: Limits) -> _Walk:
    """Read the header chunk. Its size comes first: it is what a picture too large is refused by."""
    if chunk.kind != _HEADER or chunk.payload_end - chunk.payload != _IHDR.size:
        raise damaged("PNG", "it does not begin with a header chunk")
    width_px, height_px, depth, colour, packing, filtering, interlace = _IHDR.unpack_from(
        data, chunk.payload
    )
    check_size(width_px, height_px, limits)
    _check(data, chunk)
    if depth not in _DEPTHS_OF_COLOUR.get(colour, ()):
        raise damaged("PNG", f"its colour type {colour} has no depth of {depth} bits")
    if packing or filtering or interlace not in _INTERLACES:
        raise damaged("PNG", "its header asks for a method that does not exist")
    spans = Spans(data)
    spans.keep(0, chunk.end)
    spans.mark()
    return _Walk(data, spans, width_px, height_px, palette_missing=colour == _INDEXED)


def _take_in(walk: _Walk, chunk: _Chunk) -> None:
    """Keep what the picture and its colours need; read the way up; drop everything else."""
    if chunk.kind == _DATA:
        if walk.palette_missing:
            raise damaged("PNG", "its palette is missing")
        walk.pixels = True
    elif chunk.kind == _PALETTE:
        walk.palette_missing = False
    elif chunk.kind == _PROFILE:
        _check_profile(walk.data[chunk.payload : chunk.payload_end])
    elif chunk.kind not in _COLOURS:
        if not chunk.kind[0] & _ANCILLARY:
            raise damaged("PNG", "it holds a chunk that no decoder knows")
        _read_way_up(walk, chunk)
        return
    walk.spans.keep(chunk.start, chunk.end)


def _check_profile(payload: bytes) -> None:
    _, _, packed = payload.partition(b"\x00")
    if len(way_up.inflate(packed[1:], MAX_PROFILE_BYTES + 1)) > MAX_PROFILE_BYTES:
        raise Unusable(
            f"The colour profile of this PNG is larger than {MAX_PROFILE_BYTES} bytes. "
            "Save it without one."
        )


def _read_way_up(walk: _Walk, chunk: _Chunk) -> None:
    payload = walk.data[chunk.payload : chunk.payload_end]
    if chunk.kind == _EXIF:
        walk.exif = way_up.from_exif(payload)
    elif payload.startswith(_XMP_KEYWORD + b"\x00"):
        walk.xmp = way_up.from_xmp(_text(chunk.kind, payload))
    elif payload.startswith(_RAW_EXIF_KEYWORD + b"\x00"):
        walk.raw_exif = way_up.from_exif(_raw_profile(_text(chunk.kind, payload)))


def _text(kind: bytes, payload: bytes) -> bytes:
    """What a text chunk says, behind its keyword; unpacked as far as a way up could stand."""
    _, _, text = payload.partition(b"\x00")
    if kind == _PACKED_TEXT:
        return way_up.inflate(text[1:], way_up.MAX_XMP_BYTES)
    if kind == _UNICODE_TEXT:
        packed, text = text[:1], text[2:]
        _language, _, text = text.partition(b"\x00")
        _translated_keyword, _, text = text.partition(b"\x00")
        return way_up.inflate(text, way_up.MAX_XMP_BYTES) if packed == b"\x01" else text
    return text


def _raw_profile(text: bytes) -> bytes:
    """An EXIF block written as hexadecimal lines behind a short preamble."""
    lines = text[: way_up.MAX_XMP_BYTES].split(b"\n")[_RAW_PROFILE_PREAMBLE_LINES:]
    digits = _NOT_HEX.sub(b"", b"".join(lines))
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))


def _finish(walk: _Walk, end: _Chunk) -> Picture:
    if not walk.pixels:
        raise damaged("PNG", "it has a header but no picture")
    walk.spans.keep(end.start, end.end)
    orientation = way_up.settle(walk.exif or walk.raw_exif, walk.xmp)
    block = b"" if orientation == way_up.UPRIGHT else _exif_chunk(orientation)
    return Picture(walk.width_px, walk.height_px, orientation, walk.spans.joined(block))


def _exif_chunk(orientation: int) -> bytes:
    block = way_up.exif_block(orientation)
    checksum = zlib.crc32(_EXIF + block)
    return _LENGTH.pack(len(block), _EXIF) + block + checksum.to_bytes(_CHECKSUM_BYTES, "big")
