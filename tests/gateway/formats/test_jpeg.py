"""JPEG: what its markers may say, what is refused for it, and what of it is kept."""

import io
import time

import pytest
from PIL import Image, ImageCms

from gateway.formats import jpeg
from gateway.formats.picture import Limits
from gateway.problems import Problem, TooLarge, Unusable
from tests import photos

GOOD = photos.jpeg()
LIMITS = Limits()
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FRAME = photos.frame_at(GOOD)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD, id="rgb"),
        pytest.param(photos.jpeg(mode="L"), id="grey"),
        pytest.param(photos.jpeg(mode="CMYK"), id="38-cmyk"),
        pytest.param(photos.jpeg(progressive=True), id="progressive"),
        pytest.param(photos.jpeg(restart_marker_blocks=1), id="restart-markers"),
        pytest.param(photos.jpeg(1, 1), id="31-1x1"),
        pytest.param(photos.jpeg(10_000, 1), id="32-10000x1"),
        pytest.param(photos.jpeg(icc_profile=PROFILE), id="colour-profile"),
        pytest.param(photos.jpeg_of_scans(jpeg.MAX_SCANS), id="19-scans-at-the-bound"),
    ],
)
def test_nothing_to_strip_gives_the_same_object(data: bytes) -> None:
    picture = jpeg.read(data, LIMITS)
    assert picture.data is data
    assert (picture.width_px, picture.height_px) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(GOOD[: len(GOOD) // 2], "cut off", id="14-cut-at-half"),
        pytest.param(GOOD[:-2], "cut off", id="14-no-end-marker"),
        pytest.param(GOOD[: FRAME + 10], "cut off", id="15-header-only"),
        pytest.param(GOOD[:3], "cut off", id="15-magic-only"),
        pytest.param(GOOD[: FRAME - 1] + b"\xff\xd9", "no picture", id="15-no-frame-no-scan"),
        pytest.param(photos.jpeg_of_scans(2_000), "scans", id="19-2000-scans"),
        pytest.param(photos.jpeg_with_frame(marker=0xC9), "arithmetic", id="20-arithmetic"),
        pytest.param(photos.jpeg_with_frame(marker=0xCA), "arithmetic", id="20-arithmetic-progr"),
        pytest.param(photos.jpeg_with_frame(bits=12), "12 bits", id="20-12-bit"),
        pytest.param(photos.jpeg_with_frame(marker=0xC3), "lossless", id="20-lossless"),
        pytest.param(photos.jpeg_with_frame(marker=0xC5), "hierarchical", id="20-hierarchical"),
        pytest.param(photos.jpeg_with_frame(size=(0, 0)), "nothing to see", id="33-0x0"),
        pytest.param(photos.jpeg_with_frame(size=(64, 0)), "nothing to see", id="33-64x0"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x01", "length", id="segment-shorter-than-itself"),
        pytest.param(photos.after_soi(GOOD, b"junk"), "follow", id="junk-between-segments"),
        pytest.param(photos.after_soi(GOOD, b"\xff\x02\x00\x02"), "meaning", id="unknown-marker"),
        pytest.param(
            photos.after_soi(GOOD, GOOD[FRAME - 1 : FRAME + 18]), "two frame", id="two-frames"
        ),
        pytest.param(
            b"\xff\xd8" + photos.segment(0xC0, b"\x08\x00\x01\x00\x01\x02") + b"\xff\xd9",
            "2 colour channels",
            id="two-channels",
        ),
        pytest.param(
            b"\xff\xd8" + photos.segment(0xDA, b"") + b"\xff\xd9", "before", id="scan-first"
        ),
    ],
)
def test_unusable_files_are_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        jpeg.read(data, LIMITS)


def test_17_too_many_pixels_by_the_header() -> None:
    with pytest.raises(TooLarge, match="GATEWAY_MAX_PIXELS"):
        jpeg.read(photos.jpeg_with_frame(size=(10_000, 5_001)), LIMITS)
    assert jpeg.read(photos.jpeg_with_frame(size=(10_000, 5_000)), LIMITS).width_px == 10_000


@pytest.mark.parametrize(
    "private",
    [
        pytest.param(photos.segment(0xFE, b"a comment"), id="comment"),
        pytest.param(photos.segment(0xED, b"Photoshop 3.0\x008BIM"), id="iptc"),
        pytest.param(photos.segment(0xE1, photos.XMP_SIGNATURE + photos.xmp(1)), id="37-xmp"),
        pytest.param(photos.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\x00"), id="xmp-2"),
        pytest.param(photos.segment(0xE2, b"MPF\x00II*\x00"), id="21-mpo-index"),
        pytest.param(photos.segment(0xE0, b"JFXX\x00\x10"), id="thumbnail"),
        pytest.param(photos.segment(0xEB, b"HDR_RI ver=11"), id="app11"),
    ],
)
def test_private_segments_are_dropped_wherever_they_stand(private: bytes) -> None:
    early = photos.after_soi(GOOD, private)
    late = GOOD[: FRAME - 1] + private + GOOD[FRAME - 1 :]
    assert jpeg.read(early, LIMITS).data == GOOD
    assert jpeg.read(late, LIMITS).data == GOOD


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(b"PK\x03\x04 a ZIP behind it", id="40-zip-behind"),
        pytest.param(b"<html><script>alert(1)</script>", id="40-html-behind"),
        pytest.param(GOOD, id="21-second-picture"),
        pytest.param(bytes(4_096), id="padding-of-a-phone"),
    ],
)
def test_what_follows_the_end_marker_is_dropped(trailer: bytes) -> None:
    assert jpeg.read(GOOD + trailer, LIMITS).data == GOOD


def test_40_html_in_a_comment_is_dropped() -> None:
    page = photos.segment(0xFE, b"<html><script>alert(1)</script></html>")
    assert b"<html" not in jpeg.read(photos.after_soi(GOOD, page), LIMITS).data


def test_21_mpo_keeps_its_first_frame() -> None:
    data = photos.mpo()
    stripped = jpeg.read(data, LIMITS).data
    assert len(stripped) < len(data) * 0.6
    first, kept = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(stripped))
    assert (first.format, kept.format) == ("MPO", "JPEG")
    assert first.tobytes() == kept.tobytes()


def test_a_thumbnail_with_an_end_marker_does_not_end_the_file() -> None:
    block = b"Exif\x00\x00" + photos.little_endian_exif(6) + photos.jpeg(8, 8)
    picture = jpeg.read(photos.after_soi(GOOD, photos.segment(0xE1, block)), LIMITS)
    assert picture.orientation == 6
    assert (picture.width_px, picture.height_px) == (64, 40)


def test_the_first_of_two_exif_blocks_counts() -> None:
    blocks = (photos.segment(0xE1, b"Exif\x00\x00" + photos.little_endian_exif(n)) for n in (6, 3))
    assert jpeg.read(photos.after_soi(GOOD, *blocks), LIMITS).orientation == 6


def test_the_way_up_stands_behind_jfif_and_the_profile_stays() -> None:
    data = photos.jpeg(exif=photos.exif(8), icc_profile=PROFILE)
    stripped = jpeg.read(data, LIMITS).data
    assert stripped[2:4] == b"\xff\xe0"
    kept = Image.open(io.BytesIO(stripped))
    assert kept.info["icc_profile"] == PROFILE
    assert dict(kept.getexif()) == {photos.ORIENTATION_TAG: 8}


def test_fill_bytes_before_a_marker_are_legal() -> None:
    filled = GOOD[: FRAME - 1] + b"\xff" * 5 + GOOD[FRAME - 1 :]
    assert jpeg.read(filled, LIMITS).data == GOOD


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xe0\x00\x02" * 2_500_000, id="segments"),
        pytest.param(b"\xff" * 10_000_000, id="fill"),
        pytest.param(b"\xff\xd0" * 5_000_000, id="restarts"),
        pytest.param(GOOD[2:-2] + b"\xff\x00" * 5_000_000, id="stuffed-scan"),
        pytest.param(GOOD[2:-2] + b"\xff" * 10_000_000, id="fill-in-scan"),
        pytest.param(GOOD[2:-2] + photos.segment(0xDA, b"") * 2_000_000, id="19-millions-of-scans"),
        pytest.param(photos.segment(0xE1, photos.XMP_SIGNATURE + bytes(65_000)) * 150, id="xmp"),
    ],
)
def test_ten_megabytes_of_markers_take_no_time(body: bytes) -> None:
    started_s = time.perf_counter()
    with pytest.raises(Problem):
        jpeg.read(b"\xff\xd8" + body, LIMITS)
    assert time.perf_counter() - started_s < 0.5
