"""Weights that cannot be exported are refused in words that say what to do."""

import json
from pathlib import Path

import pytest

from tests.build.exporting.in_export_environment import run

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("export_python")]

LOADED = ["plain.pt", "training.pt", "weights.safetensors"]
REFUSED = {
    "absent.pt": (2, "is not there"),
    "code.pt": (1, "hold code, which is not run"),
    "empty.pt": (1, "holds no state dict"),
    "list.pt": (1, "holds no state dict"),
    "longest": (1, "'longest'; served are only shortest and squash"),
    "missing.pt": (1, 'Missing key(s) in state_dict: "visual.proj"'),
    "nan.pt": (1, "not all numbers: visual.proj"),
    "no hub": (1, "--checkpoint FILE"),
    "no hub, by name": (1, "--checkpoint FILE"),
    "other activation": (2, "has no tag 'laion2b_s34b_b79k'"),
    "other-size.pt": (1, "of another model, picture size or text length"),
    "shape.pt": (1, "size mismatch for visual.proj"),
    "short-plain.pt": (1, "was it cut short?"),
    "short-weights.safetensors": (1, "was it cut short?"),
    "tag of a hub's model": (2, "brings its own weights"),
    "text.pt": (1, "not a file of weights only"),
    "unknown model": (2, "did you mean ViT-B-32"),
    "unknown tag": (2, "it has openai, laion400m_e31"),
    "weights.h5": (2, "is none of .bin"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    outcome = run("run_refusals", folder)
    assert outcome.returncode == 0, outcome.stderr
    found: dict[str, list[object]] = json.loads(outcome.stdout)
    return found


@pytest.mark.parametrize("case", LOADED)
def test_the_usual_forms_are_loaded(outcomes: dict[str, list[object]], case: str) -> None:
    assert outcomes[case] == [0, "loaded"]


@pytest.mark.parametrize("case", REFUSED)
def test_others_are_refused(outcomes: dict[str, list[object]], case: str) -> None:
    exit_code, says = REFUSED[case]
    assert outcomes[case][0] == exit_code
    assert says in str(outcomes[case][1])


def test_no_case_is_forgotten(outcomes: dict[str, list[object]]) -> None:
    assert set(outcomes) == {*LOADED, *REFUSED}
