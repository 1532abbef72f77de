"""The comparison with open_clip sees the faults that exports of CLIP are known for."""

import json
from typing import Any

import pytest

from build.exporting.gate import GATES
from tests.build.exporting.in_export_environment import run

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("export_python")]

FAULTS = [
    ("bilinear for bicubic", "bf16"),
    ("no antialias", "int8"),
    ("ImageNet's mean and std", "bf16"),
    ("squash for crop", "int8"),
    ("QuickGELU for GELU", "fp32"),
]


@pytest.fixture(scope="module")
def least_cosines() -> dict[str, float]:
    outcome = run("run_faults")
    assert outcome.returncode == 0, outcome.stderr
    found: dict[str, Any] = json.loads(outcome.stdout)
    return {fault: parity["least_cosine"] for fault, parity in found.items()}


def test_a_faultless_export_passes(least_cosines: dict[str, float]) -> None:
    assert least_cosines["none"] >= GATES["fp32"].least_cosine


@pytest.mark.parametrize(("fault", "precision"), FAULTS)
def test_a_fault_falls_below_the_gate(
    least_cosines: dict[str, float], fault: str, precision: str
) -> None:
    """`precision`: the least strict one whose gate sees it."""
    assert least_cosines[fault] < GATES[precision].least_cosine


def test_a_model_as_it_is_initialised_would_see_nothing(least_cosines: dict[str, float]) -> None:
    assert least_cosines["not spread, bilinear"] > GATES["bf16"].least_cosine
