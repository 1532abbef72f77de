"""open_clip's class names and templates come in, the matrix of their text embeddings comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import open_clip
from tqdm import tqdm

from build.exporting.clip import Clip
from build.exporting.engine import Engine
from build.exporting.tokenizer import TextTokens, hold_to
from contracts.tensors import TEXT_ATTENTION_MASK, TEXT_INPUT_IDS
from zero_shot import label_set as label_sets
from zero_shot import prompts
from zero_shot.label_set import Embeddings

NAME = "imagenet-1k"
FILE = f"label_sets/{NAME}.npz"
BATCH = 64
COMPARED = 500  # texts whose tokens are held to open_clip's


def class_names() -> list[str]:
    """Without the two that stand for two classes each: as labels they are one."""
    return list(dict.fromkeys(open_clip.IMAGENET_CLASSNAMES))


def templates(name: str) -> list[str]:
    """With `{}` where the label goes; `name` is of options.TEMPLATES."""
    functions: Sequence[Callable[[str], str]] = {
        "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
        "openai": open_clip.OPENAI_IMAGENET_TEMPLATES,
    }[name]
    return [function(prompts.PLACE) for function in functions]


@dataclass(frozen=True)
class DefaultLabels:
    """`texts` are the labels in the templates; `matrix` is float32 [labels, D] of unit rows."""

    labels: list[str]
    templates: list[str]
    texts: list[str]
    matrix: Embeddings

    def as_bytes(self) -> bytes:
        return label_sets.encode(self.labels, self.matrix)


def of(clip: Clip, tokens: TextTokens, engine: Engine, templates_name: str) -> DefaultLabels:
    """`engine` computes in float32. Raises CannotExport where the tokenizer is not open_clip's."""
    labels, filled_in = class_names(), templates(templates_name)
    texts = prompts.fill(labels, filled_in)
    hold_to(tokens.served, clip.tokenizer, texts[:: max(1, len(texts) // COMPARED)])
    rows = embed(texts, tokens, engine)
    return DefaultLabels(labels, filled_in, texts, prompts.pool(rows, len(filled_in)))


def embed(texts: Sequence[str], tokens: TextTokens, engine: Engine) -> Embeddings:
    """float32 [N, D]; texts of like lengths are computed together, with little padding."""
    encoded = tokens.served.encode_batch(list(texts))
    lengths = np.array([sum(each.attention_mask) for each in encoded])
    ids = np.array([each.ids for each in encoded], np.int64)
    masks = np.array([each.attention_mask for each in encoded], np.int64)
    order = lengths.argsort()
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    found = []
    for batch in tqdm(batches, desc="label set", unit=f" x {BATCH} texts", disable=None):
        width = lengths[batch].max() if tokens.is_causal else ids.shape[1]
        cut = {TEXT_INPUT_IDS: ids[batch, :width], TEXT_ATTENTION_MASK: masks[batch, :width]}
        found.append(engine.run(cut))
    rows: Embeddings = np.concatenate(found)[order.argsort()]
    return rows
