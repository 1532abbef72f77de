"""Preparing a picture: as open_clip would, upright, from any mode; never a guess, never a crash."""

import errno
import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.manifest import Preprocessing
from dispatcher import preprocessing
from dispatcher.preprocessing import UndecodableImage, prepare
from runtime.errors import Unavailable
from tests import photos

SIZE = 64
HOW = Preprocessing(SIZE, "bicubic")
JPEG_KINDS: dict[str, dict[str, Any]] = {
    "standard": {},
    "progressive": {"progressive": True},
    "restart-markers": {"restart_marker_blocks": 4},
    "no-subsampling": {"subsampling": 0},
}
START_OF_SCAN = b"\xff\xda"
END = b"\xff\xd9"


def photo(width_px: int = 200, height_px: int = 150, mode: str = "RGB") -> Image.Image:
    """A picture with detail in every block, as photos have it."""
    noise = random.Random(photos.SEED).randbytes(width_px * height_px // 4)
    grain = Image.frombytes("L", (width_px // 2, height_px // 2), noise).resize(
        (width_px, height_px), Image.Resampling.BICUBIC
    )
    colour = photos.picture(width_px, height_px)
    return Image.blend(colour, Image.merge("RGB", [grain] * 3), 0.3).convert(mode)


def reference(image: Image.Image) -> np.ndarray:
    """open_clip's transform written out: all of the picture resized, then its centre cut out."""
    rgb = image.convert("RGB")
    shortest = min(rgb.size)
    resized = rgb.resize(
        (rgb.width * SIZE // shortest, rgb.height * SIZE // shortest), Image.Resampling.BICUBIC
    )
    left, top = (round((side - SIZE) / 2) for side in resized.size)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def is_refused(data: bytes) -> bool:
    """Anything else than pixels or UndecodableImage fails the test that asks."""
    try:
        pixels = prepare(data, HOW)
    except UndecodableImage as exc:
        assert exc.reason == "undecodable_image"
        assert exc.detail.endswith(".")
        return True
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    return False


# Parity


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "size",
    [(200, 150), (150, 200), (64, 64), (65, 64), (451, 300), (30, 20), (301, 64), (64, 500)],
    ids=str,
)
def test_as_the_reference(kind: str, size: tuple[int, int]) -> None:
    data = photos.encode(photo(*size), kind)
    assert difference(prepare(data, HOW), reference(Image.open(io.BytesIO(data)))) <= 1


@pytest.mark.parametrize("options", JPEG_KINDS.values(), ids=JPEG_KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg(options: dict[str, Any], mode: str) -> None:
    data = photos.encode(photo(mode=mode), "JPEG", **options)
    assert difference(prepare(data, HOW), reference(Image.open(io.BytesIO(data)))) <= 2


SQUASHED = Preprocessing(SIZE, "bicubic", "squash")


def squashed(image: Image.Image) -> np.ndarray:
    """All of the picture on the square, whatever its shape."""
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "size",
    [(200, 150), (150, 200), (64, 64), (65, 64), (451, 300), (30, 20), (301, 64), (64, 500)],
    ids=str,
)
def test_squash_is_a_plain_resize(kind: str, size: tuple[int, int]) -> None:
    data = photos.encode(photo(*size), kind)
    assert difference(prepare(data, SQUASHED), squashed(Image.open(io.BytesIO(data)))) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_squash_takes_every_mode(mode: str) -> None:
    source = photos.picture(200, 150, mode)
    pixels = prepare(photos.encode(source, "PNG"), SQUASHED)
    assert difference(pixels, squashed(source)) <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("side", [20, SIZE, 65, 333])
def test_of_a_square_picture_there_is_nothing_to_cut(kind: str, side: int) -> None:
    data = photos.encode(photo(side, side), kind)
    assert np.array_equal(prepare(data, SQUASHED), prepare(data, HOW))


def test_squash_keeps_what_a_crop_would_cut() -> None:
    """Goes red where either is taken for the other."""
    data = photos.encode(photo(300, 100), "PNG")
    assert difference(prepare(data, SQUASHED), prepare(data, HOW)) > 50


def test_a_large_jpeg_is_squashed_from_a_smaller_decode() -> None:
    data = photos.encode(photo(SIZE * preprocessing.OVERSAMPLING * 3, SIZE * 15), "JPEG")
    full = squashed(Image.open(io.BytesIO(data)))
    assert np.abs(prepare(data, SQUASHED).astype(int) - full).mean() < 1


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    data = photos.encode(photo(SIZE * preprocessing.OVERSAMPLING * 3, SIZE * 15), "JPEG")
    full = reference(Image.open(io.BytesIO(data)))
    assert np.abs(prepare(data, HOW).astype(int) - full).mean() < 1


def test_interpolation_is_the_manifests() -> None:
    data = photos.encode(photo(), "PNG")
    bilinear = prepare(data, Preprocessing(SIZE, "bilinear"))
    assert difference(bilinear, prepare(data, HOW)) > 1


# Modes and formats


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_modes_of_png(mode: str) -> None:
    source = photos.picture(200, 150, mode)
    pixels = prepare(photos.encode(source, "PNG"), HOW)
    if mode == "I;16":  # Pillow's own conversion clips at 255
        source = Image.fromarray((np.asarray(source) >> 8).astype(np.uint8))
    assert difference(pixels, reference(source)) <= 1


@pytest.mark.parametrize("transparency", [0, bytes(range(256))], ids=["a colour", "a table"])
def test_a_palette_with_transparency(transparency: int | bytes) -> None:
    source = photos.picture(200, 150, "P")
    data = photos.encode(source, "PNG", transparency=transparency)
    assert difference(prepare(data, HOW), reference(source)) <= 1


def test_a_palette_of_few_colours() -> None:
    source = photos.picture(200, 150).quantize(5)
    assert difference(prepare(photos.encode(source, "PNG"), HOW), reference(source)) <= 1


def test_an_interlaced_or_animated_png_is_its_first_picture() -> None:
    assert difference(prepare(photos.apng(), HOW), reference(photos.picture())) <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_webp(mode: str) -> None:
    source = photo(mode="RGB")
    if mode == "RGBA":
        source.putalpha(200)
    assert (
        difference(prepare(photos.encode(source, "WEBP", lossless=True), HOW), reference(source))
        <= 1
    )


def test_an_animated_webp_is_its_first_frame() -> None:
    data = photos.animated_webp(lossless=True)
    assert difference(prepare(data, HOW), reference(photos.picture())) <= 1


def test_an_mpo_is_its_first_picture() -> None:
    data = photos.mpo()
    assert difference(prepare(data, HOW), reference(Image.open(io.BytesIO(data)))) <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 10_000), (2, 3)], ids=str)
def test_extreme_shapes(kind: str, size: tuple[int, int]) -> None:
    assert not is_refused(photos.encode(Image.new("RGB", size, (10, 200, 30)), kind))


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_orientation_is_made_upright(kind: str, orientation: int) -> None:
    upright = photos.picture(200, 150)
    back = {1: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = back.get(orientation, preprocessing._TRANSPOSE.get(orientation))
    stored = upright if turn is None else upright.transpose(turn)
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = photos.encode(stored, kind, exif=photos.exif(orientation), **options)
    pixels = prepare(data, HOW).astype(int)
    assert np.abs(pixels - reference(upright)).mean() < 3


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_ignored(orientation: int) -> None:
    data = photos.jpeg(exif=photos.exif(orientation))
    assert np.array_equal(prepare(data, HOW), prepare(photos.jpeg(), HOW))


# Damage


@pytest.mark.parametrize("options", JPEG_KINDS.values(), ids=JPEG_KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_cut_scan_is_refused(options: dict[str, Any], mode: str) -> None:
    data = photos.encode(photo(mode=mode), "JPEG", **options)
    scan, whole = data.index(START_OF_SCAN), len(data) - len(END)
    between = data.rindex(START_OF_SCAN)  # cut exactly between two scans it is a coarser picture
    cuts = {*range(2, whole, 97), *range(scan, whole, 41), *range(whole - 8, whole)}
    for cut in cuts - set(range(between - 60, between + 3)):
        assert is_refused(data[:cut]), f"cut at {cut} of {whole}"
        if "progressive" not in options:
            assert is_refused(data[:cut] + END), f"cut at {cut} of {whole} and ended"


@pytest.mark.parametrize("options", JPEG_KINDS.values(), ids=JPEG_KINDS)
@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_zeros_for_a_scan_are_refused(options: dict[str, Any], quality: int, mode: str) -> None:
    data = photos.encode(photo(mode=mode), "JPEG", quality=quality, **options)
    scan = data.index(START_OF_SCAN)
    first = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    whole = len(data) - len(END)
    for start in (first, *(first + (whole - first) * tenth // 10 for tenth in range(1, 10))):
        assert is_refused(data[:start] + bytes(whole - start) + END), f"zeros from {start}"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_cut_file_is_refused(kind: str) -> None:
    data = photos.encode(photo(), kind)
    for cut in range(0, len(data) - 20, 211):
        assert is_refused(data[:cut]), f"cut at {cut} of {len(data)}"


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff", photos.PNG_SIGNATURE, *photos.not_images().values()],
    ids=lambda data: repr(data)[:20],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert is_refused(data)


FLIPPED = {
    **{name: photos.encode(photo(), "JPEG", **options) for name, options in JPEG_KINDS.items()},
    "cmyk": photos.encode(photo(mode="CMYK"), "JPEG"),
    "exif": photos.jpeg(exif=photos.exif(6)),
    "png": photos.png(),
    "palette": photos.png(mode="P"),
    "webp": photos.webp(),
    "animated": photos.animated_webp(),
    "mpo": photos.mpo(),
}


@pytest.mark.parametrize("data", FLIPPED.values(), ids=FLIPPED)
def test_flipped_bits_give_pixels_or_a_refusal(data: bytes) -> None:
    chance = random.Random(photos.SEED)
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if b"IHDR" not in damaged[:20]:  # a flipped size asks for gigabytes, which no upload may
            is_refused(bytes(damaged))
        else:
            is_refused(data[:40] + bytes(damaged[40:]))


def test_bytes_after_the_picture_do_no_harm() -> None:
    data = photos.jpeg()
    assert np.array_equal(prepare(data + bytes(5_000) + b"trailer", HOW), prepare(data, HOW))


def test_a_few_padding_bytes_before_a_marker_do_no_harm() -> None:
    data = photos.jpeg()
    padded = data[: -len(END)] + bytes(preprocessing.PADDING_BYTES - 1) + END
    assert np.array_equal(prepare(padded, HOW), prepare(data, HOW))


# Memory

MEASURE = """
import sys, threading
from contracts.manifest import Preprocessing
from dispatcher.preprocessing import prepare

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1000

data = open(sys.argv[1], "rb").read()
prepare(open(sys.argv[2], "rb").read(), Preprocessing(224, "bicubic"))
before_mb = status("VmRSS")
threads = [
    threading.Thread(target=prepare, args=(data, Preprocessing(224, "bicubic"))) for _ in range(2)
]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(status("VmHWM") - before_mb, status("VmRSS") - before_mb)
"""
PEAK_MB = {"JPEG": 100, "tall JPEG": 200, "PNG": 230, "palette PNG": 200}


@pytest.mark.parametrize("name", PEAK_MB)
def test_fifty_megapixels_twice_at_once_are_bounded(name: str, tmp_path: Path) -> None:
    size = (3_590, 13_900) if name.startswith("tall") else (8_600, 5_800)
    image = Image.new("P" if "palette" in name else "RGB", size, 77)
    kind = name.rpartition(" ")[2]
    (tmp_path / "large").write_bytes(photos.encode(image, kind))
    (tmp_path / "small").write_bytes(photos.encode(photos.picture(), kind))
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "large", tmp_path / "small"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    peak_mb, kept_mb = map(int, ran.stdout.split())
    assert peak_mb < PEAK_MB[name]
    assert kept_mb < 50


@pytest.mark.parametrize(
    "shortage",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENFILE, "Too many open files in system"),
        OSError("out of memory when reading image file"),
        ValueError("Insufficient memory (case 4)"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("decoder", ["simplejpeg.decode_jpeg", "PIL.Image.open"])
def test_a_machine_short_of_memory_is_no_fault_of_the_image(
    monkeypatch: pytest.MonkeyPatch, decoder: str, shortage: Exception
) -> None:
    def short(*_arguments: object, **_options: object) -> None:
        raise shortage

    monkeypatch.setattr(decoder, short)
    with pytest.raises(Unavailable):
        prepare(photos.jpeg(), HOW)


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "x"), ValueError("x")], ids=repr)
def test_any_other_fault_of_a_decoder_is_the_images(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise fault

    monkeypatch.setattr("PIL.Image.open", broken)
    with pytest.raises(UndecodableImage):
        prepare(photos.png(), HOW)


def test_an_unknown_revision_of_jfif_changes_no_pixel_and_hides_no_damage() -> None:
    file = io.BytesIO()
    photo().save(file, "JPEG")
    good = file.getvalue()
    major = good.index(b"JFIF\0") + len(b"JFIF\0")
    odd = good[:major] + b"\x09" + good[major + 1 :]
    assert np.array_equal(prepare(odd, HOW), prepare(good, HOW))
    assert is_refused(odd[: len(odd) // 2] + END)
