"""Where Triton's wheel is installed in; a backend directory, a command line and an environment out.

The wheel nvidia-pytriton holds the `tritonserver` binary and the Python backend. The backend's
three parts must stand in one directory, as files: Triton refuses a link that leads out of it. The
name `openvino` is answered by our Python-based backend, so the model configurations are those that
the OpenVINO backend of Triton's official image serves.
"""

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUNDLED_LIBRARIES = "nvidia_pytriton.libs"  # in site-packages
SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
OUR_BACKENDS = Path(__file__).parent / "triton_backends"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions
# A region a model instance: it starts at this size and grows by this much. A batch of 64 pictures
# of 224 x 224 x 3 bytes is 9.6 MB, and growing costs a remap while a request waits.
SHARED_MEMORY_BYTES = 32 * 1024 * 1024
# What still runs when Triton is told to stop gets this long; the supervisor waits longer.
EXIT_TIMEOUT_S = 5


class TritonUnavailableError(Exception):
    """Triton cannot run from this environment; the message says what to do about it."""


@dataclass(frozen=True)
class TritonInstallation:
    """The wheel in its environment, and the libpython its Python backend is linked against."""

    environment: Path  # the virtual environment
    site_packages: Path
    libpython_directory: Path
    python_version: str  # "3.11"

    @classmethod
    def find(cls, environment: Path) -> "TritonInstallation":
        """The environment was made by the Python that runs this.

        Raises TritonUnavailableError when a part is missing.
        """
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        site_packages = environment / "lib" / f"python{version}" / "site-packages"
        libpython = libpython_directory(site_packages / BUNDLED_LIBRARIES)
        installation = cls(environment, site_packages, libpython, version)
        for part in (installation.server, *installation.python_backend):
            if not part.is_file():
                raise TritonUnavailableError(
                    f"{part} is missing: remove {environment} and run `make up` again"
                )
        return installation

    @property
    def server(self) -> Path:
        return self._wheel / "bin" / "tritonserver"

    @property
    def python_backend(self) -> tuple[Path, ...]:
        backend = self._wheel / "backends" / "python"
        stubs = self._wheel / "python_backend_stubs"
        return (
            backend / "libtriton_python.so",
            backend / "triton_python_backend_utils.py",
            stubs / self.python_version / "triton_python_backend_stub",
        )

    @property
    def _wheel(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"


def libpython_directory(bundled: Path) -> Path:
    """Where a shared library of this Python's version lies: among the wheel's own libraries (it
    brings 3.13's), where this interpreter has it, or the system's. Raises TritonUnavailableError.

    The place an interpreter was built with may be gone (relocated builds), so its own prefix is
    searched too; any patch version will do.
    """
    major, minor = sys.version_info[:2]
    if list(bundled.glob(f"libpython{major}-*.{minor}.so.1.0")):
        return bundled
    name = f"libpython{major}.{minor}.so.1.0"
    for place in _library_places():
        if (place / name).is_file():
            return place
    raise TritonUnavailableError(
        f"{name} was not found, and Triton's Python backend needs it: install it (Debian, Ubuntu: "
        f"apt install libpython{major}.{minor}; Fedora: dnf install python3-libs), or use "
        "a Python that was built with --enable-shared"
    )


def _library_places() -> list[Path]:
    multiarch = sysconfig.get_config_var("MULTIARCH") or "."
    folders = [sysconfig.get_config_var("LIBDIR") or "/usr/lib", f"{sys.base_prefix}/lib"]
    return [Path(f, m) for f in (*folders, *SYSTEM_LIBRARIES) for m in (".", multiarch)]


def lay_out_backends(installation: TritonInstallation, directory: Path) -> None:
    """Fills `directory` with the Python backend and ours, in place of what was there."""
    shutil.rmtree(directory, ignore_errors=True)
    python = directory / "python"
    python.mkdir(parents=True)
    for part in installation.python_backend:
        shutil.copy(part, python)
    for backend in sorted(OUR_BACKENDS.iterdir()):
        model = backend / "model.py"
        if model.is_file():
            (directory / backend.name).mkdir()
            shutil.copy(model, directory / backend.name)


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


def shared_memory_prefix(data_directory: Path) -> str:
    """The start of the names of a data folder's regions: two platforms never share one."""
    digest = hashlib.sha256(str(data_directory.resolve()).encode()).hexdigest()
    return f"triton_{digest[:16]}_"


def remove_shared_memory(prefix: str, directory: Path = SHARED_MEMORY) -> list[Path]:
    """Unlinks what a killed Triton left behind. Only while none with this prefix runs."""
    leftovers = sorted(directory.glob(f"{prefix}*"))
    for region in leftovers:
        region.unlink(missing_ok=True)
    return leftovers
