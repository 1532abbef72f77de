"""Labels and prompt templates go in, texts to embed come out; and one embedding a label back."""

from collections.abc import Sequence

import numpy as np

from zero_shot.label_set import Embeddings

PLACE = "{}"  # where a template takes the label


def fill(labels: Sequence[str], templates: Sequence[str]) -> list[str]:
    """All texts of the first label, then of the second; as many as `templates` for each."""
    return [template.replace(PLACE, label) for label in labels for template in templates]


def pool(embeddings: Embeddings, templates: int) -> Embeddings:
    """The mean of each label's templates, of unit length again (Radford et al. 2021, 3.1.4).

    `embeddings` is [labels * templates, D] in the order of `fill`; returns [labels, D].
    """
    means = embeddings.reshape(-1, templates, embeddings.shape[1]).mean(axis=1)
    unit: Embeddings = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    return unit
