"""Pictures and rubbish made in memory, the same bytes each time: what the tests upload."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

SEED = 20_240_607
MAKER = "Snapshooter"  # stands in EXIF; must not survive
GPS_IFD, MAKER_TAG, ORIENTATION_TAG = 0x8825, 0x010F, 0x0112
LATITUDE_REF, LATITUDE = 1, 2
XMP_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\x00"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(width_px: int = 64, height_px: int = 40, mode: str = "RGB") -> Image.Image:
    """A picture with four different corners, so that no turn or mirror of it equals it."""
    across = Image.linear_gradient("L").rotate(90).resize((width_px, height_px))
    down = Image.linear_gradient("L").resize((width_px, height_px))
    corner = Image.new("L", (width_px, height_px), 40)
    corner.paste(230, (0, 0, (width_px + 2) // 3, (height_px + 2) // 3))
    colour = Image.merge("RGB", (across, down, corner))
    if mode == "I;16":
        wide = Image.new("I", (width_px, height_px))
        wide.putdata([level * 257 for level in down.tobytes()])
        return wide.convert("I;16")
    if mode in ("RGBA", "LA"):
        base = colour.convert(mode)
        base.putalpha(across)
        return base
    return colour.convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(width_px: int = 64, height_px: int = 40, mode: str = "RGB", **options: Any) -> bytes:
    return encode(picture(width_px, height_px, mode), "JPEG", **{"quality": 90, **options})


def png(width_px: int = 64, height_px: int = 40, mode: str = "RGB", **options: Any) -> bytes:
    return encode(picture(width_px, height_px, mode), "PNG", **options)


def webp(width_px: int = 64, height_px: int = 40, mode: str = "RGB", **options: Any) -> bytes:
    return encode(picture(width_px, height_px, mode), "WEBP", **{"method": 0, **options})


def animated_webp(frames: int = 3, **options: Any) -> bytes:
    first, *others = (picture().rotate(90 * turn) for turn in range(frames))
    return encode(first, "WEBP", save_all=True, append_images=others, **options)


def mpo() -> bytes:
    """What phones write for a photo and its depth or its second lens: two JPEGs in a row."""
    return encode(picture(), "MPO", save_all=True, append_images=[picture().rotate(180)])


def exif(orientation: int, *, gps: bool = True) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION_TAG] = orientation
    block[MAKER_TAG] = MAKER
    if gps:
        block.get_ifd(GPS_IFD).update({LATITUDE_REF: "N", LATITUDE: (52.0, 31.0, 12.0)})
    return block


def little_endian_exif(orientation: int, *, kind: int = 3, next_ifd: int = 0) -> bytes:
    """A TIFF block as Intel-minded cameras write it; the type of the value and the link can lie."""
    value = struct.pack("<HH", orientation, 0)
    entry = struct.pack("<HHI", ORIENTATION_TAG, kind, 1) + value
    return b"II*\x00" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", next_ifd)


def xmp(orientation: int, *, as_element: bool = False) -> bytes:
    stated = (
        f"<tiff:Orientation>{orientation}</tiff:Orientation>"
        if as_element
        else f'<rdf:Description tiff:Orientation="{orientation}" exif:GPSLatitude="52,31.2N"/>'
    )
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{stated}</x:xmpmeta>".encode()


# JPEG, taken apart


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def after_soi(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def frame_at(data: bytes) -> int:
    """Where the frame header's marker byte stands in a JPEG written by Pillow."""
    return next(at + 1 for at in _segments(data) if data[at + 1] in (0xC0, 0xC1, 0xC2))


def jpeg_with_frame(
    *, marker: int | None = None, bits: int | None = None, size: tuple[int, int] | None = None
) -> bytes:
    """A JPEG whose frame header says something else than its scan holds."""
    data = bytearray(jpeg())
    at = frame_at(bytes(data))
    if marker is not None:
        data[at] = marker
    if bits is not None:
        data[at + 3] = bits
    if size is not None:
        struct.pack_into(">HH", data, at + 4, size[1], size[0])
    return bytes(data)


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are `count`."""
    data = jpeg(progressive=True)
    scans = [at for at in _segments(data) if data[at + 1] == 0xDA]
    last = data[scans[-1] : -2]
    return data[:-2] + last * (count - len(scans)) + data[-2:]


def _segments(data: bytes) -> list[int]:
    """Where the segments of a JPEG written by Pillow begin."""
    found, at = [], 2
    while data[at + 1] != 0xD9:
        found.append(at)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        while data[at] != 0xFF or data[at + 1] in (0x00, *range(0xD0, 0xD8)):
            at += 1
    return found


# PNG and WebP, taken apart


def chunk(kind: bytes, payload: bytes, *, checksum: int | None = None) -> bytes:
    computed = zlib.crc32(kind + payload) if checksum is None else checksum
    return struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", computed)


def png_header(width_px: int, height_px: int, depth: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, depth, colour, 0, 0, 0))


def png_with(*chunks: bytes) -> bytes:
    """A good PNG with `chunks` between its header and its picture."""
    data = png()
    first = len(PNG_SIGNATURE) + len(png_header(1, 1))
    return data[:first] + b"".join(chunks) + data[first:]


def png_claiming(width_px: int, height_px: int) -> bytes:
    """A few kilobytes that say they are a picture of any size."""
    pixels = zlib.compress(bytes(100_000))
    parts = (png_header(width_px, height_px), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return PNG_SIGNATURE + b"".join(parts)


def apng() -> bytes:
    frames = [picture().rotate(90 * turn) for turn in range(1, 3)]
    return encode(picture(), "PNG", save_all=True, append_images=frames)


def webp_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(payload)) + payload + b"\x00" * (len(payload) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# Rubbish


def random_bytes(size_bytes: int = 4_096) -> bytes:
    return random.Random(SEED).randbytes(size_bytes)


def not_images() -> dict[str, bytes]:
    """Files of other kinds, by the number and name under which tests show them."""
    script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    return {
        "8-random-bytes": random_bytes(),
        "9-html-renamed-jpg": b"<!DOCTYPE html><html><body><script>alert(1)</script></html>",
        "10-svg-with-script": script,
        "11-pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "11-eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "11-zip": b"PK\x03\x04" + random_bytes(64),
        "11-psd": b"8BPS\x00\x01" + bytes(20),
        "11-fits": b"SIMPLE  =                    T" + b" " * 50,
        "11-ico": encode(picture(32, 32), "ICO"),
        "21-heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(32),
        "21-avif": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1" + bytes(32),
        "39-animated-gif": encode(
            picture(), "GIF", save_all=True, append_images=[picture().rotate(90)]
        ),
        "bmp": encode(picture(), "BMP"),
        "tiff": encode(picture(), "TIFF"),
        "riff-but-wave": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32),
        "one-byte": b"\xff",
        "two-bytes-of-jpeg": b"\xff\xd8",
    }
