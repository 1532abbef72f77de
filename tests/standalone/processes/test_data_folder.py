"""The data folder: one platform at a time, and clear words when it cannot be used."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from standalone.processes.data_folder import DataFolder
from standalone.processes.steps import StartError

Usage = namedtuple("Usage", ["total", "used", "free"])


def test_it_is_made_with_what_belongs_in_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "deep" / "data")
    with folder.held():
        assert folder.objects.is_dir()
        assert folder.logs.is_dir()


def test_a_second_platform_on_it_is_refused(tmp_path: Path) -> None:
    again = DataFolder(tmp_path)
    words = r"already runs on the data folder .*STANDALONE_DATA_DIR"
    with DataFolder(tmp_path).held(), pytest.raises(StartError, match=words), again.held():
        pass
    with again.held():
        pass


def test_another_folder_is_free(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "first").held(), DataFolder(tmp_path / "second").held():
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = DataFolder(tmp_path / "file" / "data")
    words = r"cannot be written \(Not a directory\)"
    with pytest.raises(StartError, match=words), folder.held():
        pass


def test_too_little_space_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 10**12, 3 * 10**6))
    with pytest.raises(StartError, match=r"Only 3 MB are free .* 1000 MB are needed"):
        DataFolder(tmp_path).check_space()
