"""PNG: chunks, checksums and claims; what is refused for them, and what is kept."""

import io
import struct
import time
import zlib

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from gateway.formats import png
from gateway.formats.picture import Limits
from gateway.problems import Problem, TooLarge, Unusable
from tests import photos

GOOD = photos.png()
LIMITS = Limits()
IDAT = GOOD.index(b"IDAT")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
END = photos.chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "I;16"])
def test_38_every_mode_passes_untouched(mode: str) -> None:
    data = photos.png(mode=mode)
    picture = png.read(data, LIMITS)
    assert picture.data is data
    assert (picture.width_px, picture.height_px, picture.orientation) == (64, 40, 1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(photos.png(1, 1), id="31-1x1"),
        pytest.param(photos.png(10_000, 1), id="32-10000x1"),
        pytest.param(photos.png(mode="P", transparency=3), id="38-palette-with-alpha"),
        pytest.param(photos.png(icc_profile=PROFILE), id="colour-profile"),
        pytest.param(photos.png(dpi=(300, 300)), id="resolution"),
    ],
)
def test_what_the_colours_depend_on_stays(data: bytes) -> None:
    assert png.read(data, LIMITS).data is data


def damaged_checksum(kind: bytes) -> bytes:
    data = bytearray(GOOD)
    at = data.index(kind)
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(GOOD[: len(GOOD) // 2], "cut off", id="14-cut-at-half"),
        pytest.param(GOOD[: -len(END)], "cut off", id="no-end-chunk"),
        pytest.param(GOOD[:8], "cut off", id="15-signature-only"),
        pytest.param(GOOD[:33] + END, "no picture", id="15-header-only"),
        pytest.param(damaged_checksum(b"IDAT"), "'IDAT' chunk", id="34-checksum-of-pixels"),
        pytest.param(damaged_checksum(b"IHDR"), "'IHDR' chunk", id="34-checksum-of-header"),
        pytest.param(damaged_checksum(b"IEND"), "'IEND' chunk", id="34-checksum-of-end"),
        pytest.param(GOOD.replace(b"\r\n", b"\n"), "line ends", id="35-crlf-to-lf"),
        pytest.param(GOOD.replace(b"\n", b"\r\n"), "line ends", id="35-lf-to-crlf"),
        pytest.param(b"\x09" + GOOD[1:], "line ends", id="35-seven-bits"),
        pytest.param(photos.png_claiming(0, 0), "nothing to see", id="33-0x0"),
        pytest.param(
            photos.PNG_SIGNATURE + photos.png_header(4, 4, depth=3) + END, "depth", id="depth-3"
        ),
        pytest.param(
            photos.PNG_SIGNATURE + photos.png_header(4, 4, colour=5) + END, "colour", id="colour-5"
        ),
        pytest.param(
            photos.PNG_SIGNATURE
            + photos.chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 1, 0, 0)),
            "method",
            id="unknown-compression",
        ),
        pytest.param(
            photos.PNG_SIGNATURE
            + photos.png_header(4, 4, colour=3)
            + photos.chunk(b"IDAT", zlib.compress(bytes(20))),
            "palette",
            id="no-palette",
        ),
        pytest.param(photos.PNG_SIGNATURE + GOOD[33:], "begin", id="no-header"),
        pytest.param(photos.png_with(photos.png_header(4, 4)), "no decoder", id="two-headers"),
        pytest.param(photos.png_with(photos.chunk(b"ABCD", b"")), "no decoder", id="critical"),
        pytest.param(
            photos.png_with(photos.chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(50_000_000)))),
            "profile",
            id="36-huge-profile",
        ),
    ],
)
def test_unusable_files_are_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        png.read(data, LIMITS)


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)])
def test_16_a_size_over_the_cap_is_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(TooLarge):
        png.read(photos.png_claiming(*size), LIMITS)


def test_16_the_size_is_what_it_is_refused_by_even_where_the_checksum_is_wrong() -> None:
    data = bytearray(GOOD)
    struct.pack_into(">II", data, 16, 50_000, 50_000)
    with pytest.raises(TooLarge, match="GATEWAY_MAX_PIXELS"):
        png.read(bytes(data), LIMITS)


def test_a_side_no_decoder_expects_is_refused() -> None:
    with pytest.raises(TooLarge, match="65535"):
        png.read(photos.png_claiming(65_536, 1), LIMITS)


def private_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", photos.MAKER)
    info.add_text("Comment", photos.MAKER * 100, zip=True)
    info.add_itxt("XML:com.adobe.xmp", photos.xmp(1).decode())
    return info


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(photos.png(pnginfo=private_text()), id="37-text"),
        pytest.param(photos.png(exif=photos.exif(1)), id="37-exif"),
        pytest.param(photos.png_with(photos.chunk(b"tIME", bytes(7))), id="time"),
        pytest.param(photos.png_with(photos.chunk(b"caBX", b"provenance")), id="unknown-ancillary"),
        pytest.param(photos.png_with(photos.chunk(b"iTXt", bytes(5_000_000))), id="36-huge-itxt"),
        pytest.param(
            photos.png_with(photos.chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(50_000_000)))),
            id="36-ztxt-bomb",
        ),
        pytest.param(GOOD + b"PK\x03\x04 a ZIP behind it", id="40-zip-behind"),
    ],
)
def test_private_chunks_are_dropped(data: bytes) -> None:
    assert png.read(data, LIMITS).data == GOOD


def raw_profile(block: bytes) -> str:
    """EXIF as ImageMagick wrote it into a text chunk."""
    return f"\nexif\n{len(block):8}\n{block.hex()}\n"


def with_text(keyword: str, text: str, kind: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt(keyword, text)
    elif kind == "iTXt-packed":
        info.add_itxt(keyword, text, zip=True)
    else:
        info.add_text(keyword, text, zip=kind == "zTXt")
    return photos.png(pnginfo=info)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(photos.png(exif=photos.exif(6)), id="exif"),
        pytest.param(
            with_text("XML:com.adobe.xmp", photos.xmp(6).decode(), "iTXt"), id="xmp-plain"
        ),
        pytest.param(
            with_text("XML:com.adobe.xmp", photos.xmp(6).decode(), "iTXt-packed"), id="xmp-packed"
        ),
        *(
            pytest.param(
                with_text("Raw profile type exif", raw_profile(photos.exif(6).tobytes()), kind),
                id=f"raw-profile-{kind}",
            )
            for kind in ("tEXt", "zTXt")
        ),
        pytest.param(
            GOOD[: -len(END)] + photos.chunk(b"eXIf", photos.little_endian_exif(6)) + END,
            id="exif-behind-the-pixels",
        ),
    ],
)
def test_37_the_way_up_is_read_from_every_place_and_kept_alone(data: bytes) -> None:
    picture = png.read(data, LIMITS)
    assert picture.orientation == 6
    kept = Image.open(io.BytesIO(picture.data))
    assert dict(kept.getexif()) == {photos.ORIENTATION_TAG: 6}
    assert photos.MAKER.encode() not in picture.data
    assert png.read(picture.data, LIMITS).data is picture.data


def test_of_an_animation_the_still_picture_stays() -> None:
    data = photos.apng()
    kept = Image.open(io.BytesIO(png.read(data, LIMITS).data))
    still = Image.open(io.BytesIO(data))
    assert getattr(still, "n_frames", 1) > 1
    assert getattr(kept, "n_frames", 1) == 1
    assert kept.tobytes() == still.tobytes()


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(photos.chunk(b"IDAT", b"") * 800_000, id="empty-chunks"),
        pytest.param(photos.chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(500))) * 300_000,
                     id="text-chunks"),
        pytest.param(
            photos.chunk(
                b"iTXt",
                b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(bytes(900_000)),
            )
            * 40,
            id="36-xmp-bombs",
        ),
    ],
)  # fmt: skip
def test_ten_megabytes_of_chunks_take_no_time(chunks: bytes) -> None:
    started_s = time.perf_counter()
    with pytest.raises(Problem):
        png.read(photos.png_with(chunks)[: -len(END)], LIMITS)
    assert time.perf_counter() - started_s < 0.5
