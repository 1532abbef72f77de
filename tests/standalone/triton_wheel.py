"""A virtual environment that holds Triton's wheel, as far as its files' names go."""

import sys
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PARTS = (
    "bin/tritonserver",
    "backends/python/libtriton_python.so",
    "backends/python/triton_python_backend_utils.py",
    f"python_backend_stubs/{VERSION}/triton_python_backend_stub",
)


def triton_environment(tmp_path: Path) -> Path:
    """A virtual environment that holds the wheel, as far as its files' names go."""
    environment = tmp_path / ".venv-triton"
    wheel = environment / "lib" / f"python{VERSION}" / "site-packages" / "pytriton" / "tritonserver"
    for part in PARTS:
        (wheel / part).parent.mkdir(parents=True, exist_ok=True)
        (wheel / part).write_text(part)
        (wheel / part).chmod(0o755)
    return environment
