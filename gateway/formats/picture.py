"""What each format's reader is given and gives back, and the one rule on sizes they share."""

from dataclasses import dataclass, field

from gateway.problems import TooLarge, Unusable

MAX_SIDE_PX = 65_535  # JPEG's own bound; nothing a camera or a screen makes is longer


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may claim in its header."""

    max_pixels: int = 50_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's stored size (before orientation) and its bytes with nothing private in them."""

    width_px: int
    height_px: int
    orientation: int  # EXIF: 1 upright, 2..8
    data: bytes = field(repr=False)


def check_size(width_px: int, height_px: int, limits: Limits) -> None:
    """Raise where the size in the header is nothing, or more than the limits allow."""
    if width_px <= 0 or height_px <= 0:
        raise Unusable(f"The picture is {width_px} x {height_px} pixels: there is nothing to see.")
    if width_px * height_px > limits.max_pixels:
        raise TooLarge(
            f"The picture is {width_px} x {height_px} pixels, more than the "
            f"{limits.max_pixels} allowed (GATEWAY_MAX_PIXELS). Scale it down."
        )
    if max(width_px, height_px) > MAX_SIDE_PX:
        raise TooLarge(
            f"The picture is {width_px} x {height_px} pixels; no side may be longer than "
            f"{MAX_SIDE_PX}. Scale it down."
        )


def cut_off(kind: str, missing: str) -> Unusable:
    """The answer to a file that stops before its end."""
    return Unusable(f"The {kind} file is cut off: {missing} is missing. Upload the whole file.")


def damaged(kind: str, what: str) -> Unusable:
    """The answer to a file that contradicts its own format."""
    return Unusable(f"The {kind} file is damaged: {what}. Save it again and upload that.")
