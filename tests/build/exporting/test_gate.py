"""What may be installed and what may not."""

import math

import numpy as np
import pytest

from build.exporting.gate import GATES, PHOTOS, TEXTS, Parity, compare, hold, objections
from build.exporting.options import PRECISIONS
from build.exporting.refusal import CannotExport


@pytest.mark.parametrize(
    ("precision", "least", "agreement", "passes"),
    [
        ("fp32", 0.9999, None, True),
        ("fp32", 0.99989, None, False),
        ("bf16", 0.998, 0.5, True),
        ("bf16", 0.9979, 1.0, False),
        ("fp16", 0.998, None, True),
        ("fp16", 0.9979, None, False),
        ("int8", 0.97, 0.97, True),
        ("int8", 0.969, 1.0, False),
        ("int8", 0.99, 0.969, False),
        ("int8", 0.99, None, False),
        ("bf16", math.nan, None, False),
    ],
)
def test_an_export_passes_at_its_precisions_figures(
    precision: str, least: float, agreement: float | None, passes: bool
) -> None:
    parity = Parity(64, least, 1.0, agreement)
    assert (objections("photos", parity, GATES[precision]) == []) is passes


def test_every_precision_has_a_gate() -> None:
    assert {each for possible in PRECISIONS.values() for each in possible} == set(GATES)


def test_the_text_tower_of_an_int8_export_is_held_as_bf16() -> None:
    with pytest.raises(CannotExport, match=r"66 texts is 0.99000, below 0.998"):
        hold({PHOTOS: Parity(64, 0.98, 0.99, 1.0), TEXTS: Parity(66, 0.99, 1.0)}, "int8")


def test_the_worst_embedding_counts() -> None:
    theirs = np.eye(3, dtype=np.float32)
    ours = theirs.copy()
    ours[2] = [0.0, 0.6, 0.8]
    parity = compare(ours, theirs, labels=theirs)
    assert parity.least_cosine == pytest.approx(0.8)
    assert parity.mean_cosine == pytest.approx(2.8 / 3)
    assert parity.agreement == 1.0


def test_agreement_is_of_the_best_label() -> None:
    labels = np.eye(2, dtype=np.float32)
    ours = np.array([[0.8, 0.6], [0.6, 0.8]], np.float32)
    theirs = np.array([[0.8, 0.6], [0.8, 0.6]], np.float32)
    assert compare(ours, theirs, labels).agreement == 0.5
