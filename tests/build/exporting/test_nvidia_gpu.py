"""The GPU is described by the driver's libraries; without them, or without one, it says why."""

from typing import Any

import pytest

from build.exporting.nvidia_gpu import CUDA, NVML, Gpu, NoGpu, find_gpu

NO_DEVICE = 100  # of CUresult


class Driver:
    """Both of its libraries, with one L4 at the first place; `failing` is a call and its status."""

    def __init__(self, failing: tuple[str, int] = ("", 0)) -> None:
        self.failing = failing

    def load(self, name: str) -> "Driver":
        assert name in (CUDA, NVML)
        return self

    def status(self, call: str) -> int:
        return self.failing[1] if call == self.failing[0] else 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status("cuInit")

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = 7 + ordinal
        return self.status("cuDeviceGet")

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"NVIDIA L4" if device.value == 7 else b"another"
        return self.status("cuDeviceGetName")

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 9}[attribute]
        return self.status("cuDeviceGetAttribute")

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.status("nvmlInit_v2")

    def nvmlSystemGetDriverVersion(self, version: Any, size: int) -> int:  # noqa: N802
        version.value = b"580.95.05"
        return self.status("nvmlSystemGetDriverVersion")


def test_the_first_gpu_is_described() -> None:
    assert find_gpu(Driver().load) == Gpu("NVIDIA L4", "8.9", "580.95.05")


@pytest.mark.parametrize(
    "call",
    [
        "cuInit",
        "cuDeviceGet",
        "cuDeviceGetName",
        "cuDeviceGetAttribute",
        "nvmlInit_v2",
        "nvmlSystemGetDriverVersion",
    ],
)
def test_a_call_that_fails_is_told(call: str) -> None:
    found = find_gpu(Driver((call, NO_DEVICE)).load)
    assert found == NoGpu(f"{call} failed with status 100")
    assert str(found) == f"there is no NVIDIA GPU here ({call} failed with status 100)"


def test_a_machine_without_the_driver_has_no_gpu() -> None:
    def load(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert find_gpu(load) == NoGpu("libcuda.so.1: cannot open shared object file")
