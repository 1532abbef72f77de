"""What is installed, which GPU is here and which is wanted in; TensorRT or TensorRT-RTX out.

TensorRT times its kernels on the GPU of this machine, so it builds for that one only. TensorRT-RTX
compiles ahead of time for a compute capability that is named, without a GPU; its plans are its own,
and Triton's `tensorrt` backend does not load them.
"""

import functools
import importlib
import importlib.util
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from build.exporting import plan_cache
from build.exporting.nvidia_gpu import Gpu, NoGpu, find_gpu
from build.exporting.refusal import CannotExport
from build.serving import RTX

COMPUTE_CAPABILITY = re.compile(r"(?:sm_?)?(\d{1,2})\.?(\d)", re.IGNORECASE)
FIRST_MAJOR = 10  # of TensorRT: Triton has had it since 24.05


class CannotBuild(CannotExport):
    """No plan can be built; the message is complete: why, and what to do."""


class Flavour(Enum):
    """Which of the two builders; what it is called in the facts of a plan."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = RTX

    @property
    def package(self) -> str:
        """The package tensorrt_rtx only passes this one on, and comes as source alone."""
        return "tensorrt_rtx_bindings" if self is Flavour.TENSORRT_RTX else self.value


@dataclass(frozen=True)
class Choice:
    """What builds, for which compute capability, on which GPU (None: ahead of time), and why."""

    flavour: Flavour
    compute_capability: str
    gpu: Gpu | None
    reason: str


def choose(
    installed: Collection[Flavour], gpu: Gpu | NoGpu, compute_capability: str | None
) -> Choice:
    """TensorRT where it is and the GPU is the one wanted, else TensorRT-RTX. Raises CannotBuild."""
    if compute_capability:
        wanted = compute_capability_of(compute_capability)
    elif isinstance(gpu, NoGpu):
        raise CannotBuild(f"{gpu}: name the compute capability to build for, as in 8.9")
    else:
        wanted = gpu.compute_capability
    if Flavour.TENSORRT not in installed:
        obstacle = "the package tensorrt is not installed"
    elif isinstance(gpu, NoGpu):
        obstacle = str(gpu)
    elif gpu.compute_capability != wanted:
        obstacle = f"TensorRT builds only for the GPU that is here, {gpu.compute_capability}"
    else:
        return Choice(Flavour.TENSORRT, wanted, gpu, f"kernels are timed on {gpu.name}")
    if Flavour.TENSORRT_RTX not in installed:
        raise CannotBuild(
            f"{obstacle}, and TensorRT-RTX, which needs no GPU, is not installed. To"
            " serve with Triton, install tensorrt on the machine with the GPU, in the version that"
            " its Triton has; to build ahead of time, install tensorrt-rtx-cu13-bindings and -libs"
        )
    return Choice(Flavour.TENSORRT_RTX, wanted, None, f"ahead of time: {obstacle}")


def compute_capability_of(text: str) -> str:
    """ "8.9" of "8.9", "89" or "sm89". Raises CannotBuild."""
    match = COMPUTE_CAPABILITY.fullmatch(text.strip())
    if match is None:
        raise CannotBuild(f"{text!r} is no compute capability: write it as 8.9 or sm89")
    return f"{match[1]}.{match[2]}"


def can_run_here(plan: Mapping[str, str]) -> str | None:
    """Why the plan with these facts cannot run on this machine; None where it can."""
    gpu = find_gpu()
    if isinstance(gpu, NoGpu):
        return str(gpu)
    flavour = Flavour(plan["flavour"])
    if flavour not in installed():
        return f"the package {flavour.package} is not installed"
    here = {"version": load(flavour).__version__, "compute_capability": gpu.compute_capability}
    if plan["gpu"] != plan_cache.ANY:
        here |= {"gpu": gpu.name, "driver": gpu.driver}
    return plan_cache.refusal(plan, here)


def installed() -> list[Flavour]:
    return [flavour for flavour in Flavour if importlib.util.find_spec(flavour.package)]


def load(flavour: Flavour) -> Any:
    """Its package. Raises CannotBuild."""
    try:
        package = importlib.import_module(flavour.package)
    except (ImportError, OSError) as exc:  # OSError: a library of CUDA is missing
        raise CannotBuild(f"{flavour.package} is installed but cannot be loaded: {exc}") from exc
    if flavour is Flavour.TENSORRT and int(package.__version__.split(".")[0]) < FIRST_MAJOR:
        raise CannotBuild(
            f"TensorRT {package.__version__} is too old: install {FIRST_MAJOR} or later"
        )
    return package


def target(package: Any, choice: Choice) -> Any:
    """TensorRT-RTX's own name of the compute capability. Raises CannotBuild where it has none."""
    known = package.ComputeCapability.__members__
    name = "SM" + choice.compute_capability.replace(".", "")
    if name not in known:
        offered = ", ".join(each for each in known if each.startswith("SM"))
        raise CannotBuild(
            f"{package.__name__} {package.__version__} compiles for {offered}, not for {name}"
        )
    return known[name]


@functools.cache
def log_of(package: Any) -> Any:
    """Its logger, which keeps warnings and errors in `lines`.

    One a process, kept for good: TensorRT goes on with the first one it is given.
    """
    kept = (package.ILogger.INTERNAL_ERROR, package.ILogger.ERROR, package.ILogger.WARNING)

    class Log(package.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            package.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in kept:
                self.lines.append(f"{severity.name}: {message}")

    return Log()
