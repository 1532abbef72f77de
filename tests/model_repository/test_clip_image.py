"""clip_image: what it decodes is what the dispatcher decodes, and a bad picture fails alone."""

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from contracts.manifest import Preprocessing
from contracts.tensors import MAX_BATCH_SIZE
from dispatcher import preprocessing
from model_repository.clip_image import model as clip_image
from tests import photos
from tests.model_repository.clients import Models, at_once, cosines

HOW = Preprocessing(size_px=224, interpolation="bicubic")
FIELDS = {"size_px": 224, "resize": "shortest", "interpolation": "bicubic"}
LEAST_COSINE = 0.9999  # measured: 0.999994
# Of a level of 256, on the mean. Measured: 0.001; two JPEG decoders round apart now and then.
FARTHEST = 0.01


def confetti() -> bytes:
    """Squares of 10 pixels, each of its own colour: decoding at too small a fraction shows."""
    colours = np.random.default_rng(0).integers(0, 256, (225, 300, 3), np.uint8)
    picture = Image.fromarray(colours).resize((3000, 2250), Image.Resampling.NEAREST)
    return photos.encode(picture, "JPEG", quality=90)


PICTURES = {
    "jpeg": photos.jpeg(500, 375),
    "jpeg upright": photos.jpeg(375, 500),
    "jpeg small": photos.jpeg(64, 40),
    "jpeg large, decoded at a fraction": photos.jpeg(4000, 3000),
    "jpeg large, of small things": confetti(),
    "jpeg grey": photos.jpeg(500, 375, "L"),
    "jpeg cmyk": photos.jpeg(500, 375, "CMYK"),
    "jpeg progressive": photos.jpeg(500, 375, progressive=True),
    "two pictures in one": photos.mpo(),
    "png": photos.png(500, 375),
    "png rgba": photos.png(500, 375, "RGBA"),
    "png palette": photos.png(500, 375, "P"),
    "png grey and alpha": photos.png(500, 375, "LA"),
    "png black and white": photos.png(500, 375, "1"),
    "png 16 bit": photos.png(500, 375, "I;16"),
    "webp": photos.webp(500, 375),
    "webp rgba": photos.webp(500, 375, "RGBA"),
    "webp lossless": photos.webp(500, 375, lossless=True),
    "webp animated": photos.animated_webp(),
    **{
        f"jpeg turned {turn}": photos.jpeg(500, 375, exif=photos.exif(turn)) for turn in range(1, 9)
    },
    **{f"png turned {turn}": photos.png(90, 60, exif=photos.exif(turn)) for turn in (3, 6, 8)},
    "webp turned 6": photos.webp(90, 60, exif=photos.exif(6)),
}
BAD = {**photos.not_images(), "empty": b"", "cut off": photos.jpeg(500, 375)[:2_000]}


def prepared(data: bytes) -> NDArray[np.uint8]:
    return preprocessing.prepare(data, HOW)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_the_dispatcher(name: str, resize: str, interpolation: str) -> None:
    data = PICTURES[name]
    fields = {"size_px": 224, "resize": resize, "interpolation": interpolation}
    theirs = preprocessing.prepare(data, Preprocessing(224, interpolation, resize))
    ours = clip_image.prepare(data, fields)
    assert ours.shape == theirs.shape == (224, 224, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() <= FARTHEST


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused(name: str) -> None:
    with pytest.raises(clip_image.BadPicture, match="it cannot be decoded as JPEG, PNG or WebP"):
        clip_image.prepare(BAD[name], FIELDS)


def test_a_picture_of_too_many_pixels_is_refused_from_its_header() -> None:
    with pytest.raises(clip_image.BadPicture, match=r"it has 20000 x 20000 pixels, and at most 50"):
        clip_image.prepare(photos.png_claiming(20_000, 20_000), FIELDS)


def test_a_file_of_too_many_bytes_is_refused() -> None:
    data = photos.jpeg()
    with pytest.raises(clip_image.BadPicture, match=f"has {len(data):,} bytes, and at most 100 "):
        clip_image.prepare(data, FIELDS, max_bytes=100)


@pytest.mark.integration
@pytest.mark.parametrize("name", PICTURES)
def test_an_encoded_picture_has_the_embedding_of_its_pixels(models: Models, name: str) -> None:
    data = PICTURES[name]
    tower = models.images(prepared(data)[np.newaxis])
    assert cosines(models.encoded([data]), tower).min() >= LEAST_COSINE


@pytest.mark.integration
def test_a_full_batch_keeps_its_order(models: Models) -> None:
    files = (list(PICTURES.values()) * 3)[:MAX_BATCH_SIZE]
    tower = models.images(np.stack([prepared(data) for data in files]))
    answer = models.encoded(files)
    assert answer.shape == tower.shape
    assert cosines(answer, tower).min() >= LEAST_COSINE


@pytest.mark.integration
@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_named_by_its_place(models: Models, name: str) -> None:
    with pytest.raises(InferenceServerException, match="image 1: it cannot be decoded") as refusal:
        models.encoded([photos.jpeg(), BAD[name], photos.jpeg()])
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.integration
def test_the_caps_are_the_configurations(models: Models) -> None:
    for data in (photos.png_claiming(8_000, 8_000), photos.random_bytes(10_000_001)):
        with pytest.raises(InferenceServerException, match="at most") as refusal:
            models.encoded([data])
        assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.integration
def test_a_bad_picture_takes_no_other_request_with_it(models: Models) -> None:
    good, bad = PICTURES["jpeg"], BAD["cut off"]
    right = models.encoded([good])
    files = [bad if n % 4 == 0 else good for n in range(24)]
    outcomes = at_once([partial(models.encoded, [data]) for data in files])
    for data, outcome in zip(files, outcomes, strict=True):
        if data is bad:
            assert isinstance(outcome, InferenceServerException)
        else:
            assert cosines(outcome, right).item() > 0.999
