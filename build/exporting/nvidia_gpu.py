"""CUDA and NVML in; the GPU that this process would use, or why there is none, out."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CUDA = "libcuda.so.1"  # both come with the driver, not with CUDA
NVML = "libnvidia-ml.so.1"
FIRST_DEVICE = 0  # as CUDA_VISIBLE_DEVICES counts; nvidia-smi counts otherwise
NAME_BYTES = 256
COMPUTE_CAPABILITY_MAJOR = 75  # CUdevice_attribute
COMPUTE_CAPABILITY_MINOR = 76


@dataclass(frozen=True)
class Gpu:
    """`compute_capability` as in "8.9", as Triton writes it; `driver` as in "580.95.05"."""

    name: str
    compute_capability: str
    driver: str


@dataclass(frozen=True)
class NoGpu:
    """No NVIDIA GPU can be used here, and why."""

    reason: str

    def __str__(self) -> str:
        return f"there is no NVIDIA GPU here ({self.reason})"


class _Refused(Exception):
    pass


def find_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu | NoGpu:
    """The first GPU that CUDA shows this process: the one TensorRT builds for and runs on."""
    try:
        cuda, nvml = load(CUDA), load(NVML)
        return _first_gpu(cuda, nvml)
    except (OSError, _Refused) as exc:
        return NoGpu(str(exc))


def _first_gpu(cuda: Any, nvml: Any) -> Gpu:
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(NAME_BYTES)
    driver = ctypes.create_string_buffer(NAME_BYTES)
    _check("cuInit", cuda.cuInit(0))
    _check("cuDeviceGet", cuda.cuDeviceGet(ctypes.byref(device), FIRST_DEVICE))
    _check("cuDeviceGetName", cuda.cuDeviceGetName(name, NAME_BYTES, device))
    major = _attribute(cuda, COMPUTE_CAPABILITY_MAJOR, device)
    minor = _attribute(cuda, COMPUTE_CAPABILITY_MINOR, device)
    _check("nvmlInit_v2", nvml.nvmlInit_v2())
    _check("nvmlSystemGetDriverVersion", nvml.nvmlSystemGetDriverVersion(driver, NAME_BYTES))
    return Gpu(name.value.decode(), f"{major}.{minor}", driver.value.decode())


def _attribute(cuda: Any, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    status = cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    _check("cuDeviceGetAttribute", status)
    return value.value


def _check(call: str, status: int) -> None:
    if status:
        raise _Refused(f"{call} failed with status {status}")
