"""What several of the gateway's tests need beside the real services."""

from pathlib import Path

import pytest

from runtime.objects import ObjectStore


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore((tmp_path / "objects").as_uri())
