"""A module of the tests comes in, what it prints in the exporter's own environment comes out."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent.parent
PYTHON = ROOT / ".venv-export" / "bin" / "python"
TIMEOUT_S = 110


def run(
    module: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Without a model hub, unless `environment` names one."""
    return subprocess.run(
        [PYTHON, "-m", f"tests.build.exporting.{module}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
