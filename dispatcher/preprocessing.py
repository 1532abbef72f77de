"""Step 6a: encoded bytes go in, uint8 pixels [size, size, 3] as the model knows them come out."""

import io
import re
import warnings

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from contracts.manifest import Preprocessing
from runtime.errors import Permanent

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP")
INTERPOLATION = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# A JPEG is decoded at a fraction of its size only where this many times the target is left:
# beyond that the antialiased resize hides the difference (embedding cosine > 0.999).
OVERSAMPLING = 8
# Encoders pad scans; more than this before a marker is image data that was not understood.
PADDING_BYTES = 16
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")

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

# The pixel cap was checked at the upload; Pillow's own guess is not wanted beside it.
Image.MAX_IMAGE_PIXELS = None


class UndecodableImage(Permanent):
    """The bytes are damaged or not what their header says."""

    def __init__(self, why: str) -> None:
        super().__init__("undecodable_image", f"The image cannot be decoded: {why}")


def prepare(data: bytes, how: Preprocessing) -> Pixels:
    """Decode once, to upright RGB; resize the shortest side, crop the centre, as open_clip does.

    Raises UndecodableImage, also where a decoder could only finish by guessing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, which is not used
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            orientation = image.getexif().get(_ORIENTATION, 1)
            rgb = _decode(data, image, how.size_px)
            square = _resize_and_crop(rgb, how)
    except UndecodableImage:
        raise
    except Exception as exc:  # Pillow's decoders raise nearly anything on damaged files
        raise UndecodableImage(f"{exc}.") from exc
    return np.ascontiguousarray(_upright(square, orientation))


def _decode(data: bytes, image: Image.Image, size_px: int) -> Image.Image:
    if image.format in {"JPEG", "MPO"}:
        if image.mode in {"RGB", "L"}:
            return Image.fromarray(_decode_jpeg(data, "RGB", OVERSAMPLING * size_px))
        _decode_jpeg(data, "CMYK", 0)  # only to find damage, which Pillow would not report
    if image.mode in {"I;16", "I;16B", "I"}:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


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
        padding = _EXTRANEOUS.search(str(exc))
        if padding is None or int(padding.group(1)) > PADDING_BYTES:
            raise UndecodableImage(f"{exc}.") from exc
    return decode(strict=False)


def _resize_and_crop(image: Image.Image, how: Preprocessing) -> Image.Image:
    """Resize to a shortest side of `size_px` and cut the middle out, computing only that middle."""
    width, height = image.size
    shortest = min(width, height)
    resized = (width * how.size_px // shortest, height * how.size_px // shortest)
    step_x, step_y = width / resized[0], height / resized[1]
    left, top = (round((side - how.size_px) / 2) for side in resized)
    box = (
        left * step_x,
        top * step_y,
        min(width, (left + how.size_px) * step_x),
        min(height, (top + how.size_px) * step_y),
    )
    return image.resize((how.size_px, how.size_px), INTERPOLATION[how.interpolation], box=box)


def _upright(square: Image.Image, orientation: object) -> Image.Image:
    """Undo the camera's rotation (EXIF 2.32, 4.6.4); cheapest here, on the few pixels left."""
    turn = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return square if turn is None else square.transpose(turn)
