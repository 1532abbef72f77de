"""An environment goes in; where Triton's wheel lies in it, and the libpython it needs, come out.

The wheel nvidia-pytriton holds the `tritonserver` binary and the Python backend.
"""

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

BUNDLED_LIBRARIES = "nvidia_pytriton.libs"  # in site-packages
SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


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
