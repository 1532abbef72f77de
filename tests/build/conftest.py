"""The environment of the exporter, which `make test` lacks and `make test-export` brings."""

from pathlib import Path

import pytest

from tests.build.exporting.in_export_environment import PYTHON


@pytest.fixture(scope="session")
def export_python() -> Path:
    """Its interpreter. Absent, it skips in CI as well, which runs `make test` before it exists."""
    if not PYTHON.exists():
        pytest.skip("there is no .venv-export with PyTorch: run `make test-export`")
    return PYTHON
