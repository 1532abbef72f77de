"""Validation: types by their bytes, the same upright pixels, nothing private, and no surprises."""

import io
import random
import time
import warnings
from collections.abc import Callable

import pytest
from PIL import Image, ImageOps

from gateway.problems import Problem, UnsupportedType, Unusable
from gateway.validation import Limits, display_name, inspect, safe_stem
from tests import photos

LIMITS = Limits()
MAKERS: dict[str, Callable[..., bytes]] = {
    "JPEG": photos.jpeg,
    "PNG": photos.png,
    "WEBP": photos.webp,
}
TYPES = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
}


PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    Image.DecompressionBombError,
)


def pixels(data: bytes) -> tuple[tuple[int, int], bytes]:
    """As stored. What way up a damaged EXIF block states is a matter of opinion among decoders."""
    image = Image.open(io.BytesIO(data))
    return image.size, image.tobytes()


def upright(data: bytes) -> tuple[tuple[int, int], bytes]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return image.size, image.tobytes()


@pytest.mark.parametrize("kind", MAKERS)
def test_12_13_the_type_is_told_by_the_bytes(kind: str) -> None:
    inspected = inspect(MAKERS[kind](), LIMITS)
    assert (inspected.media_type, inspected.extension) == TYPES[kind]
    assert (inspected.width_px, inspected.height_px) == (64, 40)


def test_1_an_empty_file_is_refused() -> None:
    with pytest.raises(Unusable, match="empty"):
        inspect(b"", LIMITS)


@pytest.mark.parametrize(
    "data", [pytest.param(data, id=name) for name, data in photos.not_images().items()]
)
def test_other_kinds_are_refused_naming_the_allowed(data: bytes) -> None:
    with pytest.raises(UnsupportedType, match="JPEG, PNG and WebP"):
        inspect(data, LIMITS)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", MAKERS)
def test_37_upright_pixels_stay_and_nothing_private_does(kind: str, turn: int) -> None:
    data = MAKERS[kind](exif=photos.exif(turn))
    inspected = inspect(data, LIMITS)
    assert inspected.orientation == turn
    assert upright(inspected.data) == upright(data)
    assert photos.MAKER.encode() not in inspected.data
    assert not Image.open(io.BytesIO(inspected.data)).getexif().get_ifd(photos.GPS_IFD)
    assert inspect(inspected.data, LIMITS).data is inspected.data


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_37_the_way_up_that_only_xmp_states_is_kept(kind: str, turn: int) -> None:
    data = MAKERS[kind](xmp=photos.xmp(turn))
    inspected = inspect(data, LIMITS)
    assert inspected.orientation == turn
    assert upright(inspected.data) == upright(data)
    assert b"GPSLatitude" not in inspected.data


def mutations(seed_file: bytes, count: int, source: random.Random) -> list[bytes]:
    """Bit flips, cuts, doubled and overwritten stretches of a good file."""
    made = []
    for _ in range(count):
        data = bytearray(seed_file)
        for _ in range(source.choice((1, 1, 2, 8))):
            at = source.randrange(len(data))
            match source.randrange(4):
                case 0:
                    data[at] ^= 1 << source.randrange(8)
                case 1:
                    data[at : at + 4] = source.randbytes(4)
                case 2:
                    del data[at : at + source.randrange(1, 9)]
                case 3:
                    data[at:at] = data[at : at + source.randrange(1, 40)]
        made.append(bytes(data[: source.randrange(len(data))] if source.random() < 0.2 else data))
    return made


FUZZED = {
    "jpeg": photos.jpeg(exif=photos.exif(6), comment="hello"),
    "progressive": photos.jpeg(progressive=True, xmp=photos.xmp(3)),
    "mpo": photos.mpo(),
    "png": photos.png(mode="P", exif=photos.exif(6), dpi=(72, 72)),
    "apng": photos.apng(),
    "webp": photos.webp(exif=photos.exif(6)),
    "animated-webp": photos.animated_webp(exif=photos.exif(6)),
    "lossless-webp": photos.webp(lossless=True),
}


@pytest.mark.parametrize("name", FUZZED)
def test_damaged_files_are_refused_or_read_but_never_break(name: str) -> None:
    source = random.Random(f"{photos.SEED}-{name}")
    for data in mutations(FUZZED[name], 1_500, source):
        started_s = time.perf_counter()
        try:
            inspected = inspect(data, LIMITS)
        except Problem:
            continue
        finally:
            assert time.perf_counter() - started_s < 1
        assert inspect(inspected.data, LIMITS).data is inspected.data
        assert photos.MAKER.encode() not in inspected.data


def test_no_bytes_of_an_image_stand_in_its_repr() -> None:
    assert "\\x" not in repr(inspect(photos.jpeg(), LIMITS))


def test_cuts_at_every_byte_are_refused() -> None:
    for data in (photos.jpeg(8, 8), photos.png(8, 8), photos.webp(8, 8)):
        for end in range(len(data)):
            with pytest.raises(Problem):
                inspect(data[:end], LIMITS)


@pytest.mark.parametrize("magic", [b"\xff\xd8\xff", photos.PNG_SIGNATURE, b"RIFF\0\0\0\0WEBP"])
def test_8_random_bytes_behind_a_good_beginning(magic: bytes) -> None:
    source = random.Random(photos.SEED)
    for _ in range(500):
        with pytest.raises(Problem):
            inspect(magic + source.randbytes(source.randrange(200)), LIMITS)


def test_a_fuzzed_file_that_decodes_decodes_the_same_after_stripping() -> None:
    source = random.Random(photos.SEED)
    compared = 0
    for name in ("jpeg", "png", "webp"):
        for data in mutations(FUZZED[name], 300, source):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    before = pixels(data)
                    after = pixels(inspect(data, LIMITS).data)
            except (Problem, *PILLOW_ERRORS):
                continue
            assert before == after
            compared += 1
    assert compared > 50


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        pytest.param("cat.jpg", "cat", id="plain"),
        pytest.param("../../etc/passwd", "passwd", id="22-path"),
        pytest.param("..%2f..%2fetc", "2f", id="22-encoded-path"),
        pytest.param("..\\..\\boot.ini", "boot", id="22-windows-path"),
        pytest.param("a.jpg%00.php", "a-jpg-00", id="22-encoded-nul"),
        pytest.param("a\x00b.jpg", "a-b", id="24-raw-nul"),
        pytest.param("a\nSet-Cookie: x.jpg", "a-Set-Cookie-x", id="24-raw-lf"),
        pytest.param("a%0d%0aX.jpg", "a-0d-0aX", id="24-encoded-crlf"),
        pytest.param("\u202egpj.exe", "gpj", id="23-right-to-left"),
        pytest.param("\U0001f600.png", "image", id="23-emoji"),
        pytest.param("é̀clair.png", "eclair", id="accents"),
        pytest.param("x" * 3_000 + ".jpg", "x" * 64, id="23-3-kB"),
        pytest.param(".jpg", "jpg", id="suffix-only"),
        pytest.param("...", "image", id="dots"),
        pytest.param("-rf.jpg", "rf", id="leading-dash"),
        pytest.param("'; drop table images;--.png", "drop-table-images", id="22-sql"),
        pytest.param("/", "image", id="slash"),
        pytest.param("", "image", id="empty"),
        pytest.param(None, "image", id="none"),
    ],
)
def test_stems_are_safe_words(filename: str | None, stem: str) -> None:
    assert safe_stem(filename) == stem


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        pytest.param("Grüße 東京.jpg", "Grüße 東京.jpg", id="letters-stay"),
        pytest.param("👨\u200d👩\u200d👧.png", "👨\u200d👩\u200d👧.png", id="23-emoji-family"),
        pytest.param("a\x00b\r\nc\x7f\x85.jpg", "abc.jpg", id="24-controls"),
        pytest.param("a\u202egpj.exe", "agpj.exe", id="23-right-to-left"),
        pytest.param("a\u2028b\ud800.jpg", "ab.jpg", id="line-separator-and-half-a-pair"),
        pytest.param("x" * 10_000, "x" * 255, id="23-10-kB"),
        pytest.param("  ", None, id="blank"),
        pytest.param("\x00", None, id="24-only-nul"),
        pytest.param(None, None, id="none"),
    ],
)
def test_display_names_hold_no_controls(filename: str | None, shown: str | None) -> None:
    assert display_name(filename) == shown
