"""An image embedding and a label set go in, the best labels with their confidences come out."""

import numpy as np
import numpy.typing as npt

from contracts.events import Score
from zero_shot.label_set import LabelSet


def top_k(
    embedding: npt.NDArray[np.float32], label_set: LabelSet, logit_scale: float, k: int
) -> tuple[Score, ...]:
    """Zero-shot classification of CLIP: softmax over scaled cosines (Radford et al. 2021, 3.1.2).

    `embedding` is [D], of unit length. Best label first; fewer than `k` where the set is smaller.
    """
    logits = logit_scale * (label_set.embeddings @ embedding)
    odds = np.exp(logits - logits.max())
    confidences = odds / odds.sum()
    best = np.argsort(-confidences, kind="stable")[:k]
    return tuple(Score(label_set.labels[i], round(float(confidences[i]), 6)) for i in best)
