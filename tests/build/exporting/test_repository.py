"""What the system refuses is said in words that say what to do."""

import errno
import os
from pathlib import Path

import pytest

from build.exporting import repository


def test_a_full_disk_is_named_with_the_room_that_is_left(tmp_path: Path) -> None:
    said = repository.failed(tmp_path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert said.startswith("the disk became full; nothing is left half done")
    assert f"{tmp_path} has " in said
    assert "TMPDIR" in said


def test_any_other_refusal_names_its_file(tmp_path: Path) -> None:
    said = repository.failed(tmp_path, PermissionError(errno.EACCES, "denied", "/a/file"))
    assert "denied: '/a/file'" in said
    assert said.endswith("nothing is left half done")


@pytest.mark.parametrize(("free", "needed", "lacking"), [(10, 4, 0), (4, 4, 0), (4, 10, 6)])
def test_room_is_lacking_where_more_is_needed_than_is_free(
    free: int, needed: int, lacking: int
) -> None:
    assert repository.lacking_bytes(free, needed) == lacking
