"""Scores are the softmax over all labels, of which the best come first."""

import math

import numpy as np
import pytest

from zero_shot.label_set import LabelSet
from zero_shot.scoring import top_k

AXES = LabelSet(("x", "y", "z"), np.eye(3, dtype=np.float32))


def vector(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_formula() -> None:
    scores = top_k(vector(0.6, 0.8, 0.0), AXES, logit_scale=10.0, k=3)
    odds = {"x": math.exp(6), "y": math.exp(8), "z": 1.0}
    assert [score.label for score in scores] == ["y", "x", "z"]
    for score in scores:
        expected = odds[score.label] / sum(odds.values())
        assert score.confidence == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("k", "labels"), [(1, ["x"]), (2, ["x", "y"]), (5, ["x", "y", "z"])])
def test_at_most_k(k: int, labels: list[str]) -> None:
    assert [s.label for s in top_k(vector(0.9, 0.3, 0.1), AXES, 5.0, k)] == labels


def test_confidences_are_over_the_whole_set_not_the_k() -> None:
    everything = top_k(vector(0.5, 0.5, 0.5), AXES, 5.0, k=3)
    assert sum(score.confidence for score in everything) == pytest.approx(1.0, abs=1e-5)
    assert top_k(vector(0.5, 0.5, 0.5), AXES, 5.0, k=1)[0].confidence == pytest.approx(
        1 / 3, abs=1e-6
    )


def test_equal_scores_keep_the_order_of_the_set() -> None:
    assert [s.label for s in top_k(vector(0, 0, 0), AXES, 100.0, k=3)] == ["x", "y", "z"]


@pytest.mark.parametrize("logit_scale", [1e-6, 1.0, 100.0, 1e6, 1e30])
def test_any_scale_gives_probabilities(logit_scale: float) -> None:
    scores = top_k(vector(1.0, -1.0, 0.0), AXES, logit_scale, k=3)
    assert all(0.0 <= score.confidence <= 1.0 for score in scores)
    assert sum(score.confidence for score in scores) == pytest.approx(1.0, abs=1e-5)
    assert scores[0].label == "x"


def test_many_labels() -> None:
    chance = np.random.default_rng(1)
    rows = chance.normal(size=(1_000, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = LabelSet(tuple(map(str, range(1_000))), rows)
    scores = top_k(rows[123], labels, 40.0, k=5)
    assert scores[0].label == "123"
    assert [s.confidence for s in scores] == sorted((s.confidence for s in scores), reverse=True)
    assert sum(s.confidence for s in top_k(rows[0], labels, 1.0, 1_000)) == pytest.approx(
        1, abs=1e-3
    )
