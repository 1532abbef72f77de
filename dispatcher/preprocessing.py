"""Step 6b: encoded bytes go in, uint8 pixels [size, size, 3] as the model knows them come out."""

import contextlib
import errno
import io
import math
import re
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from contracts.manifest import Preprocessing
from runtime.errors import Permanent, Unavailable

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

FORMATS = ("JPEG", "PNG", "WEBP")
INTERPOLATION = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# A JPEG is decoded at a fraction of its size only where this many times the target is left:
# beyond that the antialiased resize hides the difference (embedding cosine > 0.9998 on photos).
OVERSAMPLING = 6
# Larger pictures take turns: one may need hundreds of megabytes while it is decoded.
LARGE_PIXELS = 16_000_000
FILTER_REACH_PX = 3  # of the resized picture; bicubic looks at two to each side
# Blocks above 32 MiB are mapped by glibc, always, so a large picture leaves nothing behind.
BLOCK_BYTES = 64 * 1024 * 1024
# Encoders pad scans; more than this before a marker is image data that was not understood.
PADDING_BYTES = 16
_UNKNOWN_REVISION = "unknown JFIF revision"
_JFIF_MAJOR_REVISION = re.compile(rb"(\xff\xe0..JFIF\x00).", re.DOTALL)
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")

# A machine short of these says nothing about the image.
_SHORTAGES = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_SHORT_OF_MEMORY = re.compile("out of memory|insufficient memory", re.IGNORECASE)

_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_large_pictures = threading.Lock()

# The pixel cap was checked at the upload; Pillow's own guess is not wanted beside it.
Image.MAX_IMAGE_PIXELS = None
Image.core.set_block_size(BLOCK_BYTES)  # type: ignore[attr-defined]


class UndecodableImage(Permanent):
    """The bytes are damaged or not what their header says."""

    def __init__(self, why: str) -> None:
        super().__init__("undecodable_image", f"The image cannot be decoded: {why}")


def prepare(data: bytes, how: Preprocessing) -> Pixels:
    """Decode once, to upright RGB; resize and crop as open_clip does.

    Raises UndecodableImage, also where a decoder could only finish by guessing; Unavailable where
    the machine is short of memory or descriptors.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        is_large = image.width * image.height > LARGE_PIXELS
        turn = _large_pictures if is_large else contextlib.nullcontext()
        with turn, contextlib.closing(image):  # closing it gives its memory back
            orientation = image.getexif().get(_ORIENTATION, 1)  # reads a PNG to its end
            square = _from_jpeg(data, image, how) if _is_jpeg(image) else _square(image, how)
    except (UndecodableImage, Unavailable):
        raise
    except Exception as exc:  # Pillow's decoders raise nearly anything on damaged files
        raise _verdict(exc) from exc
    return np.ascontiguousarray(_upright(square, orientation))


def _verdict(exc: Exception) -> UndecodableImage | Unavailable:
    is_short = (
        isinstance(exc, MemoryError)
        or (isinstance(exc, OSError) and exc.errno in _SHORTAGES)
        or _SHORT_OF_MEMORY.search(str(exc))  # as libjpeg and Pillow's decoders say it
    )
    if is_short:
        return Unavailable(f"short of memory or descriptors: {exc!r}")
    return UndecodableImage(f"{exc}.")


def _is_jpeg(image: Image.Image) -> bool:
    return image.format in {"JPEG", "MPO"}


def _from_jpeg(data: bytes, image: Image.Image, how: Preprocessing) -> Image.Image:
    """Only the middle, and what the filter reaches beside it, becomes a picture of Pillow's."""
    is_cmyk = image.mode == "CMYK"
    pixels = _decode_jpeg(data, "CMYK" if is_cmyk else "RGB", OVERSAMPLING * how.size_px)
    box = _kept((pixels.shape[1], pixels.shape[0]), how)
    margin = FILTER_REACH_PX * max(1.0, (box[2] - box[0]) / how.size_px)
    left, top = (max(0, math.floor(edge - margin)) for edge in box[:2])
    right, bottom = (math.ceil(edge + margin) for edge in box[2:])
    pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
    if is_cmyk:  # inverted, as Adobe writes it
        middle = Image.fromarray(255 - pixels, "CMYK").convert("RGB")
    else:
        middle = Image.fromarray(pixels)
    return _resize(middle, (box[0] - left, box[1] - top, box[2] - left, box[3] - top), how)


def _square(image: Image.Image, how: Preprocessing) -> Image.Image:
    """RGB from any mode of PNG and WebP, never with a second copy of the whole picture in RGB."""
    box = _kept(image.size, how)
    if image.mode == "RGB":
        return _resize(image, box, how)
    if image.mode == "RGBA":
        return Image.merge("RGB", [_resize(image.getchannel(c), box, how) for c in "RGB"])
    if image.mode == "P":
        return Image.merge("RGB", [_resize(band, box, how) for band in _palette_bands(image)])
    if image.mode in {"I;16", "I;16B", "I"}:
        wide = np.asarray(_resize(image, box, how)).clip(0, 2**16 - 1)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    return _resize(image.convert("L"), box, how).convert("RGB")  # 1, L, LA


def _palette_bands(image: Image.Image) -> Iterator[Image.Image]:
    image.load()
    palette = image.getpalette("RGB") or []
    palette += [0] * (3 * 256 - len(palette))
    return (image.point(palette[band::3], "L") for band in range(3))


def _decode_jpeg(data: bytes, colorspace: str, least_px: int) -> Pixels:
    """libjpeg-turbo, which fills what it cannot read with grey: here its warnings are errors."""

    def decode(strict: bool) -> Pixels:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, colorspace, min_height=least_px, min_width=least_px, min_factor=2, strict=strict
        )
        return pixels

    try:
        return decode(strict=True)
    except ValueError as exc:
        if _UNKNOWN_REVISION in str(exc) and data != (known := _with_known_revision(data)):
            return _decode_jpeg(known, colorspace, least_px)
        padding = _EXTRANEOUS.search(str(exc))
        if padding is None or int(padding.group(1)) > PADDING_BYTES:
            raise _verdict(exc) from exc
    return decode(strict=False)


def _with_known_revision(data: bytes) -> bytes:
    """Pixels do not depend on JFIF's revision, but its warning would hide those that matter."""
    return _JFIF_MAJOR_REVISION.sub(lambda match: match[1] + b"\x01", data, count=1)


def _kept(size: tuple[int, int], how: Preprocessing) -> Box:
    return (0, 0, *size) if how.resize == "squash" else _middle(size, how.size_px)


def _middle(size: tuple[int, int], size_px: int) -> Box:
    """What a resize of the shortest side to `size_px` and a centre crop would leave of it."""
    width, height = size
    shortest = min(size)
    resized = (width * size_px // shortest, height * size_px // shortest)
    step_x, step_y = width / resized[0], height / resized[1]
    left, top = (round((side - size_px) / 2) for side in resized)
    return (
        left * step_x,
        top * step_y,
        min(width, (left + size_px) * step_x),
        min(height, (top + size_px) * step_y),
    )


def _resize(image: Image.Image, box: Box, how: Preprocessing) -> Image.Image:
    return image.resize((how.size_px, how.size_px), INTERPOLATION[how.interpolation], box=box)


def _upright(square: Image.Image, orientation: object) -> Image.Image:
    """Undo the camera's rotation (EXIF 2.32, 4.6.4); cheapest here, on the few pixels left."""
    turn = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return square if turn is None else square.transpose(turn)
