"""An installed Triton goes in; a backend directory, a command line and an environment come out.

The Python backend's three parts must stand in one directory, as files: Triton refuses a link that
leads out of it. The names `openvino` and `onnxruntime` are answered by our Python-based backends,
so the model configurations are those that the backends of Triton's official image serve.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from standalone.wheels.triton import BUNDLED_LIBRARIES, TritonInstallation

OUR_BACKENDS = Path(__file__).parent / "triton_backends"
PYTHON_BACKEND = "python"
EVERY_STUB_IMPORTS = "triton_python_backend_utils.py"
# A region a model instance: it starts at this size and grows by this much. A batch of 64 pictures
# of 224 x 224 x 3 bytes is 9.6 MB, and growing costs a remap while a request waits.
SHARED_MEMORY_BYTES = 32 * 1024 * 1024
# What still runs when Triton is told to stop gets this long; the supervisor waits longer.
EXIT_TIMEOUT_S = 5


def lay_out_backends(installation: TritonInstallation, directory: Path) -> None:
    """Fills `directory` with the Python backend and ours, in place of what was there."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(OUR_BACKENDS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    python = directory / PYTHON_BACKEND
    for part in installation.python_backend:
        shutil.copy(part, python)
    with (python / EVERY_STUB_IMPORTS).open("a", encoding="utf-8") as utilities:
        utilities.write("\n\nimport standalone_stub\n")


def command(
    installation: TritonInstallation,
    *,
    model_repository: Path,
    backends: Path,
    host: str,
    grpc_port: int,
    metrics_port: int,
    shared_memory_prefix: str,
) -> list[str]:
    """How to start a `tritonserver` that serves every model of the repository on the CPU."""
    return [
        str(installation.server),
        f"--model-repository={model_repository}",
        "--model-config-name=cpu",
        # Every model, as if nothing were said; but a version that is activated later can be loaded.
        "--model-control-mode=explicit",
        "--load-model=*",
        "--disable-auto-complete-config",  # the configurations say everything, and are checked
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        f"--backend-config=python,shm-default-byte-size={SHARED_MEMORY_BYTES}",
        f"--backend-config=python,shm-growth-byte-size={SHARED_MEMORY_BYTES}",
        f"--grpc-address={host}",
        f"--grpc-port={grpc_port}",
        "--allow-http=false",
        f"--metrics-address={host}",
        f"--metrics-port={metrics_port}",
        "--allow-gpu-metrics=false",
        "--metrics-config=summary_latencies=true",  # else latencies are counters without a P99
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
    ]


def environment(installation: TritonInstallation, inherited: Mapping[str, str]) -> dict[str, str]:
    """What `inherited` becomes: Triton's libraries first, and its Python the environment's.

    The stub embeds an interpreter that reads no PYTHON* variable: it finds its packages by the
    `python3` that is first on PATH.
    """
    libraries = [
        str(installation.libpython_directory),
        str(installation.site_packages / BUNDLED_LIBRARIES),
    ]
    programs = [str(installation.environment.absolute() / "bin"), inherited.get("PATH", os.defpath)]
    kept = {name: value for name, value in inherited.items() if not name.startswith("PYTHON")}
    return {
        **kept,
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join(programs),
    }
