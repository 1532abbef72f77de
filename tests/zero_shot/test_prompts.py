"""Prompts are every label in every template, and their embeddings are averaged label by label."""

import numpy as np

from zero_shot import prompts


def test_all_templates_of_a_label_come_together() -> None:
    texts = prompts.fill(["cat", "{} dog"], ["a {}.", "two {}s"])
    assert texts == ["a cat.", "two cats", "a {} dog.", "two {} dogs"]


def test_a_labels_embedding_is_the_unit_mean_of_its_templates() -> None:
    rows = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(prompts.pool(rows, 2), [[half, half], [0, 1]], rtol=1e-6)
