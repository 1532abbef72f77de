"""A WebP file comes in; its size, its orientation and a copy without private chunks go out.

The container is RFC 9649: one lossy or lossless chunk (the simple file), or an extended file of
several behind a VP8X header. An animation keeps its frames.
"""

import struct
from typing import NamedTuple

from gateway.formats import orientation as way_up
from gateway.formats.picture import Limits, Picture, check_size, cut_off, damaged
from gateway.formats.spans import Spans

MAX_CHUNKS = 5_000  # an animation of minutes; a loop over 10 MB of empty ones would take a second

_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_SIZE_AT = 4
_LOSSY, _LOSSLESS, _EXTENDED = b"VP8 ", b"VP8L", b"VP8X"
_EXIF, _XMP, _FRAME = b"EXIF", b"XMP ", b"ANMF"
_PICTURES = frozenset((_LOSSY, _LOSSLESS, _FRAME))
_KEPT = _PICTURES | {b"ICCP", b"ALPH", b"ANIM"}

_VP8X_BYTES = 10
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04

_KEY_FRAME_START = b"\x9d\x01\x2a"  # RFC 6386, 9.1
_KEY_FRAME_HEADER_BYTES = 10
_LOSSLESS_SIGNATURE = 0x2F
_LOSSLESS_HEADER_BYTES = 5
_14_BITS = 0x3FFF


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    payload: int
    payload_end: int
    end: int  # behind the padding to an even length


def looks_like(data: bytes) -> bool:
    """Whether the container says WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes, limits: Limits) -> Picture:
    """Read a file that looks_like WebP.

    Raises Unusable or TooLarge. At most MAX_CHUNKS steps are made.
    """
    _, size_bytes, _ = _RIFF.unpack_from(data)
    end = _CHUNK.size + size_bytes
    first = _chunk(data, _RIFF.size, len(data))
    width_px, height_px = _canvas(data, first)
    check_size(width_px, height_px, limits)
    if end > len(data):
        raise cut_off("WebP", "its end")
    if first.end > end:
        raise damaged("WebP", "its first chunk is longer than the file")
    if first.kind != _EXTENDED:
        return _simple(data, first, width_px, height_px)
    return _extended(data, first, end, width_px, height_px)


def _chunk(data: bytes, start: int, limit: int) -> _Chunk:
    payload = start + _CHUNK.size
    if payload > limit:
        raise cut_off("WebP", "its picture")
    kind, length = _CHUNK.unpack_from(data, start)
    end = payload + length + length % 2
    if end > limit:
        raise cut_off("WebP", f"the end of its {kind.decode('ascii', 'replace')!r} chunk")
    return _Chunk(kind, start, payload, payload + length, end)


def _canvas(data: bytes, chunk: _Chunk) -> tuple[int, int]:
    """Width and height in pixels that the first chunk of the file states."""
    header = data[chunk.payload : min(chunk.payload_end, chunk.payload + _KEY_FRAME_HEADER_BYTES)]
    if chunk.kind == _LOSSY:
        return _lossy_size(header)
    if chunk.kind == _LOSSLESS:
        return _lossless_size(header)
    if chunk.kind == _EXTENDED and len(header) >= _VP8X_BYTES:
        width_less_1, height_less_1 = header[4:7], header[7:10]
        return (
            int.from_bytes(width_less_1, "little") + 1,
            int.from_bytes(height_less_1, "little") + 1,
        )
    raise damaged("WebP", "it does not begin with a picture or an extended header")


def _lossy_size(header: bytes) -> tuple[int, int]:
    inter_frame = header[:1] != b"" and header[0] & 1
    if len(header) < _KEY_FRAME_HEADER_BYTES or inter_frame or header[3:6] != _KEY_FRAME_START:
        raise damaged("WebP", "its picture has no key frame header")
    width, height = struct.unpack_from("<HH", header, 6)
    return width & _14_BITS, height & _14_BITS


def _lossless_size(header: bytes) -> tuple[int, int]:
    if len(header) < _LOSSLESS_HEADER_BYTES or header[0] != _LOSSLESS_SIGNATURE:
        raise damaged("WebP", "its lossless picture has no header")
    (bits,) = struct.unpack_from("<I", header, 1)
    return (bits & _14_BITS) + 1, (bits >> 14 & _14_BITS) + 1


def _simple(data: bytes, picture: _Chunk, width_px: int, height_px: int) -> Picture:
    """A simple file has no place for metadata: whatever stands behind its picture is dropped."""
    spans = Spans(data)
    spans.keep(0, picture.end)
    kept = _with_size(spans.joined(), data)
    return Picture(width_px, height_px, way_up.UPRIGHT, kept)


def _extended(data: bytes, header: _Chunk, end: int, width_px: int, height_px: int) -> Picture:
    spans = Spans(data)
    spans.keep(0, header.end)
    exif = xmp = None
    pictures = 0
    chunk = header
    for _ in range(MAX_CHUNKS):
        if chunk.end == end:
            break
        chunk = _chunk(data, chunk.end, end)
        if chunk.kind in _KEPT:
            spans.keep(chunk.start, chunk.end)
        if chunk.kind in _PICTURES:
            pictures += 1
            _check_fills_canvas(data, chunk, width_px, height_px)
        elif chunk.kind == _EXIF:
            exif = exif or way_up.from_exif(data[chunk.payload : chunk.payload_end])
        elif chunk.kind == _XMP:
            xmp = xmp or way_up.from_xmp(data[chunk.payload : chunk.payload_end])
    else:
        raise damaged("WebP", f"it has more than {MAX_CHUNKS} chunks")
    if not pictures:
        raise damaged("WebP", "it has a header but no picture")
    spans.mark()
    orientation = way_up.settle(exif, xmp)
    return Picture(width_px, height_px, orientation, _rebuilt(data, spans, header, orientation))


def _check_fills_canvas(data: bytes, chunk: _Chunk, width_px: int, height_px: int) -> None:
    """A still picture is as large as its canvas: a small header cannot hide a large picture."""
    if chunk.kind != _FRAME and _canvas(data, chunk) != (width_px, height_px):
        raise damaged("WebP", "its picture is not of the size its header states")


def _rebuilt(data: bytes, spans: Spans, header: _Chunk, orientation: int) -> bytes:
    """The kept chunks with the flags and sizes in front of them made true."""
    block = b"" if orientation == way_up.UPRIGHT else _exif_chunk(orientation)
    kept = spans.joined(block)
    if kept is data:
        return data
    flags = kept[header.payload] & ~(_EXIF_FLAG | _XMP_FLAG) | (_EXIF_FLAG if block else 0)
    flagged = kept[: header.payload] + bytes((flags,)) + kept[header.payload + 1 :]
    return _with_size(flagged, data)


def _with_size(kept: bytes, data: bytes) -> bytes:
    """`kept` with its own length in its header; `data` itself where nothing was dropped."""
    if kept is data:
        return data
    size = struct.pack("<I", len(kept) - _CHUNK.size)
    return kept[:_SIZE_AT] + size + kept[_SIZE_AT + len(size) :]


def _exif_chunk(orientation: int) -> bytes:
    block = way_up.exif_block(orientation)
    return _CHUNK.pack(_EXIF, len(block)) + block
