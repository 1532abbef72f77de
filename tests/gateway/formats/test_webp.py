"""WebP: containers, canvases and flags; what is refused for them, and what is kept."""

import io
import struct
import time

import pytest
from PIL import Image, ImageCms

from gateway.formats import webp
from gateway.formats.picture import Limits
from gateway.problems import Problem, TooLarge, Unusable
from tests import photos

LOSSY = photos.webp()
LOSSLESS = photos.webp(lossless=True)
EXTENDED = photos.webp(exif=photos.exif(6), xmp=photos.xmp(3))
UPRIGHT_EXIF = photos.webp_chunk(b"EXIF", photos.little_endian_exif(1))
LIMITS = Limits()
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def extended(width_px: int, height_px: int, *chunks: bytes, flags: int = 0) -> bytes:
    sides = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    return photos.riff(photos.webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides), *chunks)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(LOSSY, id="lossy"),
        pytest.param(LOSSLESS, id="lossless"),
        pytest.param(photos.webp(mode="RGBA"), id="38-alpha"),
        pytest.param(photos.webp(1, 1), id="31-1x1"),
        pytest.param(photos.webp(10_000, 1), id="32-10000x1"),
        pytest.param(photos.webp(icc_profile=PROFILE), id="colour-profile"),
        pytest.param(photos.animated_webp(), id="39-animated"),
    ],
)
def test_nothing_to_strip_gives_the_same_object(data: bytes) -> None:
    picture = webp.read(data, LIMITS)
    assert picture.data is data
    assert (picture.width_px, picture.height_px) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(LOSSY[: len(LOSSY) // 2], "cut off", id="14-cut-at-half"),
        pytest.param(LOSSY[:12], "cut off", id="15-container-only"),
        pytest.param(EXTENDED[:-4], "cut off", id="14-extended-cut"),
        pytest.param(photos.riff(photos.webp_chunk(b"JUNK", b"1234")), "begin", id="no-picture"),
        pytest.param(
            photos.riff(photos.webp_chunk(b"VP8 ", bytes(20))), "key frame", id="no-start-code"
        ),
        pytest.param(
            photos.riff(photos.webp_chunk(b"VP8L", bytes(20))), "lossless", id="no-signature"
        ),
        pytest.param(
            photos.riff(
                photos.webp_chunk(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a" + bytes(4)),
            ),
            "nothing to see",
            id="33-0x0",
        ),
        pytest.param(extended(64, 40), "no picture", id="15-extended-header-only"),
        pytest.param(extended(1, 1, LOSSY[12:]), "size", id="18-header-small-picture-large"),
        pytest.param(
            LOSSY[:4] + struct.pack("<I", 12) + LOSSY[8:], "longer", id="container-too-short"
        ),
    ],
)
def test_unusable_files_are_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        webp.read(data, LIMITS)


def test_17_a_canvas_over_the_cap_is_refused_by_the_header() -> None:
    with pytest.raises(TooLarge, match="GATEWAY_MAX_PIXELS"):
        webp.read(extended(1 << 24, 1 << 24, LOSSY[12:]), LIMITS)


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        pytest.param(LOSSY + b"PK\x03\x04 a ZIP behind it", LOSSY, id="40-zip-behind"),
        pytest.param(
            photos.riff(LOSSY[12:], photos.webp_chunk(b"EXIF", b"MM")), LOSSY, id="exif-in-simple"
        ),
        pytest.param(
            extended(64, 40, LOSSY[12:], photos.webp_chunk(b"XMP ", photos.xmp(1)), flags=4),
            extended(64, 40, LOSSY[12:]),
            id="37-xmp",
        ),
        pytest.param(
            extended(
                64,
                40,
                LOSSY[12:],
                photos.webp_chunk(b"EXIF", photos.little_endian_exif(1)),
                flags=8,
            ),
            extended(64, 40, LOSSY[12:]),
            id="37-exif-upright",
        ),
        pytest.param(
            extended(64, 40, LOSSY[12:], photos.webp_chunk(b"C2PA", b"provenance")),
            extended(64, 40, LOSSY[12:]),
            id="unknown-chunk",
        ),
    ],
)
def test_private_chunks_are_dropped_and_sizes_and_flags_made_true(data: bytes, kept: bytes) -> None:
    stripped = webp.read(data, LIMITS).data
    assert stripped == kept
    assert webp.read(stripped, LIMITS).data is stripped


@pytest.mark.parametrize("turn", range(2, 9))
def test_37_the_way_up_is_kept_alone_behind_a_true_flag(turn: int) -> None:
    picture = webp.read(photos.webp(exif=photos.exif(turn), xmp=photos.xmp(1)), LIMITS)
    assert picture.orientation == turn
    assert picture.data[20] & 0x0C == 0x08  # EXIF, no XMP
    kept = Image.open(io.BytesIO(picture.data))
    assert dict(kept.getexif()) == {photos.ORIENTATION_TAG: turn}
    assert "xmp" not in kept.info
    assert photos.MAKER.encode() not in picture.data


def test_39_an_animation_keeps_its_frames_and_loses_its_metadata() -> None:
    data = photos.animated_webp(exif=photos.exif(6))
    picture = webp.read(data, LIMITS)
    kept, original = Image.open(io.BytesIO(picture.data)), Image.open(io.BytesIO(data))
    assert getattr(kept, "n_frames", 1) == getattr(original, "n_frames", 1) == 3
    assert kept.tobytes() == original.tobytes()
    assert photos.MAKER.encode() not in picture.data


def test_ten_megabytes_of_chunks_take_no_time() -> None:
    data = extended(64, 40, LOSSY[12:], photos.webp_chunk(b"EXIF", b"") * 1_200_000)
    started_s = time.perf_counter()
    with pytest.raises(Problem, match="chunks"):
        webp.read(data, LIMITS)
    assert time.perf_counter() - started_s < 0.5
