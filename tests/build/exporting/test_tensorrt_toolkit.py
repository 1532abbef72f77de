"""What builds is chosen by what is installed, which GPU is here and which one is wanted."""

import sys
from types import ModuleType

import pytest

from build.exporting.nvidia_gpu import Gpu, NoGpu
from build.exporting.tensorrt_toolkit import (
    CannotBuild,
    Choice,
    Flavour,
    choose,
    compute_capability_of,
    load,
)

BOTH = (Flavour.TENSORRT, Flavour.TENSORRT_RTX)
L4 = Gpu("NVIDIA L4", "8.9", "580.95.05")
NONE = NoGpu("libcuda.so.1 is missing")


@pytest.mark.parametrize("wanted", [None, "8.9", "sm89"])
def test_tensorrt_builds_for_the_gpu_that_is_here(wanted: str | None) -> None:
    expected = Choice(Flavour.TENSORRT, "8.9", L4, "kernels are timed on NVIDIA L4")
    assert choose(BOTH, L4, wanted) == expected


@pytest.mark.parametrize(
    ("installed", "gpu", "wanted", "reason"),
    [
        ((Flavour.TENSORRT_RTX,), L4, None, "the package tensorrt is not installed"),
        ((Flavour.TENSORRT_RTX,), NONE, "8.9", "the package tensorrt is not installed"),
        (BOTH, NONE, "8.9", "there is no NVIDIA GPU here (libcuda.so.1 is missing)"),
        (BOTH, L4, "8.6", "TensorRT builds only for the GPU that is here, 8.9"),
    ],
)
def test_tensorrt_rtx_builds_ahead_of_time_for_any_other(
    installed: tuple[Flavour, ...], gpu: Gpu | NoGpu, wanted: str | None, reason: str
) -> None:
    expected = Choice(Flavour.TENSORRT_RTX, wanted or "8.9", None, f"ahead of time: {reason}")
    assert choose(installed, gpu, wanted) == expected


@pytest.mark.parametrize(
    ("installed", "gpu", "wanted", "told"),
    [
        ((), L4, None, "the package tensorrt is not installed, and TensorRT-RTX"),
        ((Flavour.TENSORRT,), NONE, "8.9", "install tensorrt-rtx-cu13"),
        ((Flavour.TENSORRT,), L4, "9.0", "TensorRT builds only for the GPU that is here, 8.9"),
        (BOTH, NONE, None, "name the compute capability to build for"),
        (BOTH, L4, "Ada", "'Ada' is no compute capability"),
    ],
)
def test_else_it_says_what_to_do(
    installed: tuple[Flavour, ...], gpu: Gpu | NoGpu, wanted: str | None, told: str
) -> None:
    with pytest.raises(CannotBuild) as refused:
        choose(installed, gpu, wanted)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.9", "8.9"),
        ("89", "8.9"),
        ("sm89", "8.9"),
        ("SM_89", "8.9"),
        (" 9.0 ", "9.0"),
        ("sm120", "12.0"),
        ("12.1", "12.1"),
    ],
)
def test_a_compute_capability_is_read_as_it_is_written(text: str, expected: str) -> None:
    assert compute_capability_of(text) == expected


@pytest.mark.parametrize("text", ["", "8", "8.9.1", "8.90", "sm", "ada", "-8.9", "8,9"])
def test_anything_else_is_no_compute_capability(text: str) -> None:
    with pytest.raises(CannotBuild, match="no compute capability"):
        compute_capability_of(text)


def test_an_old_tensorrt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("tensorrt")
    old.__dict__["__version__"] = "8.6.1"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(CannotBuild, match=r"TensorRT 8\.6\.1 is too old: install 10 or later"):
        load(Flavour.TENSORRT)


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(CannotBuild, match="tensorrt is installed but cannot be loaded"):
        load(Flavour.TENSORRT)
