"""Which photos calibrate, and which an export is held to."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from build.exporting.options import Options, parse
from build.exporting.photos import (
    CALIBRATION_AT_LEAST,
    CALIBRATION_WELL,
    SAMPLE_NAMES,
    choose,
    split,
)
from build.exporting.refusal import CannotExport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "000.png")
    for index in range(1, CALIBRATION_WELL):
        shutil.copy(tmp_path / "000.png", tmp_path / f"{index:03}.png")
    return tmp_path


def int8_with(folder: Path) -> Options:
    return parse(["--precision", "int8", "--calibration", str(folder)], "")


def keep(folder: Path, count: int) -> None:
    for path in sorted(folder.iterdir())[count:]:
        path.unlink()


def test_no_photo_both_calibrates_and_is_held_to(folder: Path) -> None:
    chosen = choose(int8_with(folder), print)
    assert len(chosen.calibration) == len(chosen.parity) == CALIBRATION_WELL / 2
    assert not set(chosen.calibration) & set(chosen.parity)


def test_both_halves_are_of_all_classes() -> None:
    photos = [Path(name) for name in ("cat1", "cat2", "dog1", "dog2")]
    assert split(photos) == ([Path("cat1"), Path("dog1")], [Path("cat2"), Path("dog2")])


def test_too_few_photos_are_refused(folder: Path) -> None:
    keep(folder, CALIBRATION_AT_LEAST - 1)
    with pytest.raises(CannotExport, match=f"holds 15 photos .* needs {CALIBRATION_AT_LEAST}"):
        choose(int8_with(folder), print)


def test_few_photos_are_held_to_the_samples_too(folder: Path) -> None:
    keep(folder, CALIBRATION_AT_LEAST)
    said: list[str] = []
    chosen = choose(int8_with(folder), said.append)
    assert len(chosen.calibration) == CALIBRATION_AT_LEAST / 2
    assert len(chosen.parity) == CALIBRATION_AT_LEAST / 2 + len(SAMPLE_NAMES)
    assert not set(chosen.calibration) & set(chosen.parity)
    assert "16 photos are few" in said[0]


@pytest.mark.parametrize("data", [b"", b"not a photo", b"\x89PNG\r\n\x1a\n half of one"])
def test_unreadable_photos_are_named_and_skipped(folder: Path, data: bytes) -> None:
    (folder / "bad.png").write_bytes(data)
    said: list[str] = []
    chosen = choose(int8_with(folder), said.append)
    assert said == ["skipped 1 of 69 photos, unreadable: bad.png"]
    assert folder / "bad.png" not in chosen.calibration + chosen.parity


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(CannotExport, match="holds no photos"):
        choose(int8_with(tmp_path), print)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotExport, match="absent is not a folder"):
        choose(int8_with(tmp_path / "absent"), print)


def test_photos_of_the_callers_are_held_to_instead(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(folder / "000.png", own / "mine.png")
    options = replace(int8_with(folder), photos=own)
    assert choose(options, print).parity == [own / "mine.png"]
