"""Folders of photos come in; which calibrate, and which the export is held to, come out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from build.exporting.options import Options
from build.exporting.preprocessing import upright
from build.exporting.refusal import CannotExport

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
CALIBRATE_AT_MOST = 300  # what NNCF samples by default; more change the ranges little
COMPARE_AT_MOST = 200
CALIBRATION_AT_LEAST = 16
# One photo of 34 may differ and 97% still agree. Of fewer none may: that refuses more, never less.
CALIBRATION_WELL = 2 * 34
NAMED_AT_MOST = 5

SAMPLES = Path(__file__).parent.parent.parent / ".venv" / "opt" / "skimage" / "data"
SAMPLE_NAMES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
"""CC0 photos of scikit-image's wheel, which `make install` brings."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Chosen:
    """Photos that can be read. No photo is in both."""

    calibration: list[Path]
    parity: list[Path]


def choose(options: Options, say: Say) -> Chosen:
    """Raises CannotExport where there are none, or too few to calibrate with."""
    calibration: list[Path] = []
    held_out: list[Path] = []
    if options.calibration is not None:
        found = _readable(_sample(_in(options.calibration), 2 * CALIBRATE_AT_MOST), say)
        if options.precision == "int8":
            calibration, held_out = _split_for_int8(found, options.calibration, say)
        else:
            held_out = found
    if options.photos is not None:
        held_out = _readable(_sample(_in(options.photos), COMPARE_AT_MOST), say)
    elif not held_out:
        held_out = samples()
    if not held_out:
        raise CannotExport("there are no photos to hold the export to: --photos DIR")
    return Chosen(calibration, _sample(held_out, COMPARE_AT_MOST))


def _split_for_int8(
    photos: Sequence[Path], folder: Path, say: Say
) -> tuple[list[Path], list[Path]]:
    if len(photos) < CALIBRATION_AT_LEAST:
        raise CannotExport(
            f"{folder} holds {len(photos)} photos that can be read; int8 needs "
            f"{CALIBRATION_AT_LEAST}: half to calibrate with, half to hold the export to"
        )
    calibration, held_out = split(photos)
    if len(photos) < CALIBRATION_WELL:
        say(
            f"{len(photos)} photos are few: the best label must be right on every one that is held "
            f"out. {CALIBRATION_WELL} and more calibrate better"
        )
        held_out += samples()
    return calibration, held_out


def split(photos: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Every other one, so that a folder in order of its classes gives all classes to both."""
    return list(photos[::2]), list(photos[1::2])


def _in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CannotExport(f"{folder} is not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        raise CannotExport(f"{folder} holds no photos ({kinds})")
    return found


def _sample(photos: Sequence[Path], at_most: int) -> list[Path]:
    """Evenly over the whole of them, the same every time."""
    if len(photos) <= at_most:
        return list(photos)
    return [photos[index * len(photos) // at_most] for index in range(at_most)]


def _readable(photos: Sequence[Path], say: Say) -> list[Path]:
    unreadable = [path for path in photos if not _can_be_read(path)]
    if unreadable:
        names = ", ".join(path.name for path in unreadable[:NAMED_AT_MOST])
        more = " and others" if len(unreadable) > NAMED_AT_MOST else ""
        say(f"skipped {len(unreadable)} of {len(photos)} photos, unreadable: {names}{more}")
    return [path for path in photos if path not in set(unreadable)]


def _can_be_read(path: Path) -> bool:
    try:
        upright(path.read_bytes())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def samples() -> list[Path]:
    """Raises CannotExport where they are not installed."""
    found = [SAMPLES / name for name in SAMPLE_NAMES if (SAMPLES / name).is_file()]
    if not found:
        raise CannotExport(
            "there are no photos to hold the export to: --photos DIR, or `make install`, which "
            "brings a few"
        )
    return found
