"""What may be installed and what may not."""

import math

import numpy as np
import pytest

from build.exporting.gate import (
    GATES,
    PHOTOS,
    TEXTS,
    TIE_ODDS,
    Parity,
    compare,
    compare_labels,
    hold,
    objections,
)
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
    parity = Parity(64, least, 1.0, 0.5, agreement)
    assert (objections("photos", parity, GATES[precision]) == []) is passes


def test_every_precision_has_a_gate() -> None:
    assert {each for possible in PRECISIONS.values() for each in possible} == set(GATES)


def test_the_text_tower_of_an_int8_export_is_held_as_bf16() -> None:
    with pytest.raises(CannotExport, match=r"66 texts is 0.99000, below 0.995"):
        hold({PHOTOS: Parity(64, 0.98, 0.99, 1.0, 1.0), TEXTS: Parity(66, 0.99, 1.0)}, "int8")


def test_the_worst_embedding_counts() -> None:
    theirs = np.eye(3, dtype=np.float32)
    ours = theirs.copy()
    ours[2] = [0.0, 0.6, 0.8]
    parity = compare(ours, theirs)
    assert parity.least_cosine == pytest.approx(0.8)
    assert parity.mean_cosine == pytest.approx(2.8 / 3)
    assert parity.agreement is None


# One photo, towards which open_clip has the first of two labels ahead by as many logits.
@pytest.mark.parametrize(
    ("ahead", "ours_first", "same", "same_or_tied"),
    [
        (0.0, 0, 1.0, 1.0),
        (math.log(TIE_ODDS) - 1e-4, 1, 0.0, 1.0),
        (math.log(TIE_ODDS) + 1e-4, 1, 0.0, 0.0),
        (math.log(TIE_ODDS) + 1e-4, 0, 1.0, 1.0),
        (5.0, 1, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("logit_scale", [14.3, 100.0])
def test_a_label_that_open_clip_hardly_prefers_is_tied(
    logit_scale: float, ahead: float, ours_first: int, same: float, same_or_tied: float
) -> None:
    angle = math.asin(ahead / logit_scale / math.sqrt(2))  # cos - sin of pi/4 - angle
    towards = math.pi / 4 - angle
    theirs = np.array([[math.cos(towards), math.sin(towards)]], np.float32)
    ours = np.array([[0.8, 0.6] if ours_first == 0 else [0.6, 0.8]], np.float32)
    parity = compare_labels(ours, theirs, np.eye(2, dtype=np.float32), logit_scale)
    assert (parity.agreement, parity.agreement_or_tie) == (same, same_or_tied)


def test_ties_are_open_clips_and_not_ours() -> None:
    indifferent = np.array([[0.707106, 0.707107]], np.float32)
    theirs = np.array([[0.9, math.sqrt(0.19)]], np.float32)
    parity = compare_labels(indifferent, theirs, np.eye(2, dtype=np.float32), 100.0)
    assert parity.agreement_or_tie == 0.0


def test_a_real_disagreement_is_refused_at_any_cosine() -> None:
    labels = np.eye(2, dtype=np.float32)
    theirs = np.tile(np.array([[0.72, math.sqrt(1 - 0.72**2)]], np.float32), (64, 1))
    ours = theirs.copy()
    ours[:2] = ours[:2, ::-1]  # two of 64 photos, at a cosine of 0.999
    parity = compare_labels(ours, theirs, labels, logit_scale=100.0)
    assert parity.least_cosine > GATES["int8"].least_cosine
    with pytest.raises(CannotExport, match=r"or tied with it, on 96\.9% of 64 photos, below 97%"):
        hold({PHOTOS: parity, TEXTS: Parity(66, 1.0, 1.0)}, "int8")


def test_both_shares_are_said() -> None:
    said = str(Parity(64, 0.99, 0.999, 0.891, 1.0))
    assert "same best label on 89.1%, or one tied with it on 100.0%" in said
