"""An uploaded file comes in; its true type, size and the bytes to keep go out, or a reason why not.

Step 2 of 10. Nothing is decoded here: types are told by their first bytes, sizes by their headers,
files cut off by their missing ends. The one decode of a picture is the dispatcher's.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.formats import jpeg, png, webp
from gateway.formats.picture import Limits, Picture
from gateway.problems import UnsupportedType, Unusable

__all__ = ["InspectedImage", "Limits", "display_name", "inspect", "safe_stem"]

MAX_STEM_CHARS = 64
MAX_DISPLAY_NAME_CHARS = 255  # of every file system a name comes from
DEFAULT_STEM = "image"


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """A picture worth keeping. Width and height are as stored: before orientation turns them."""

    media_type: str
    extension: str
    width_px: int
    height_px: int
    orientation: int  # EXIF: 1 upright, 2..8
    # No place, name, comment or second picture in it; the pixels are untouched. Never in a log.
    data: bytes = field(repr=False)


class _Format(NamedTuple):
    media_type: str
    extension: str
    recognises: Callable[[bytes], bool]
    read: Callable[[bytes, Limits], Picture]


_FORMATS = (
    _Format("image/jpeg", "jpg", lambda data: data.startswith(jpeg.MAGIC), jpeg.read),
    _Format("image/png", "png", png.looks_like, png.read),
    _Format("image/webp", "webp", webp.looks_like, webp.read),
)
ALLOWED = "JPEG, PNG and WebP"

# Only to say what was sent: these are refused like everything else that is not allowed.
_OTHER_KINDS = (
    (re.compile(rb"GIF8"), "a GIF"),
    (re.compile(rb"....ftyp(?:heic|heix|hevc|heim|heis|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"BM"), "a BMP"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "a TIFF or raw file"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"%!PS"), "PostScript"),
    (re.compile(rb"PK\x03\x04"), "a ZIP"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"SIMPLE  ="), "FITS"),
    (re.compile(rb"\x00\x00\x01\x00"), "an icon"),
    (re.compile(rb"\s*<"), "markup (HTML, SVG or XML)"),
)


def inspect(data: bytes, limits: Limits) -> InspectedImage:
    """Tell what an uploaded file is and strip what is private from it, without decoding pixels.

    `data` comes back as the same object where there was nothing to strip.
    Raises UnsupportedType, TooLarge or Unusable, each saying what to change; nothing else.
    """
    if not data:
        raise Unusable(f"The file is empty. Upload a picture: {ALLOWED} are allowed.")
    for kind in _FORMATS:
        if kind.recognises(data):
            picture = kind.read(data, limits)
            return InspectedImage(
                kind.media_type,
                kind.extension,
                picture.width_px,
                picture.height_px,
                picture.orientation,
                picture.data,
            )
    seen = next((name for magic, name in _OTHER_KINDS if magic.match(data)), "something else")
    raise UnsupportedType(
        f"The file is not an image of an allowed type: {ALLOWED} are, this is {seen}. "
        "The content counts, not the name."
    )


def safe_stem(filename: str | None) -> str:
    """A word for an object key made of a client's file name: [A-Za-z0-9_-], 1 to 64 characters."""
    last = re.split(r"[/\\]", filename or "")[-1]
    stem = last.rpartition(".")[0] or last
    ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode("ascii")
    word = re.sub(r"[^A-Za-z0-9_]+", "-", ascii_only).strip("-_")
    return word[:MAX_STEM_CHARS].rstrip("-_") or DEFAULT_STEM


# Cc: controls, NUL and line ends among them. Cs: halves of surrogate pairs, which UTF-8 cannot say.
_DROPPED_CATEGORIES = frozenset(("Cc", "Cs", "Zl", "Zp"))
# What turns the reading direction, so that "gpj.exe" reads as "exe.jpg".
_DIRECTION_MARKS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def display_name(filename: str | None) -> str | None:
    """A client's file name as it may be shown and stored: never a path, a header or markup.

    It still is the client's text: whoever shows it escapes it. None where nothing is left.
    """
    kept = [
        character
        for character in (filename or "")
        if unicodedata.category(character) not in _DROPPED_CATEGORIES
        and character not in _DIRECTION_MARKS
    ]
    return "".join(kept[:MAX_DISPLAY_NAME_CHARS]).strip() or None
