"""Texts in, unit vectors out: the text tower run where the model is built, not where it is served.

The tokenizer as written into the model pads to the longest text of a batch, not to a fixed length,
and cuts at the length the sentences were trained with.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tokenizers import Tokenizer

from build.starter.sources import MAX_TOKENS
from contracts.tensors import TEXT_ATTENTION_MASK, TEXT_INPUT_IDS

BATCH_SIZE = 64


def load_tokenizer(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def embed(texts: Sequence[str], tokenizer: Tokenizer, model: bytes) -> NDArray[np.float32]:
    """One unit row a text, in float32 whatever the processor could do faster: it is done once."""
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    rows = []
    for start in range(0, len(texts), BATCH_SIZE):
        encodings = tokenizer.encode_batch(list(texts[start : start + BATCH_SIZE]))
        inputs = {
            TEXT_INPUT_IDS: np.array([encoding.ids for encoding in encodings], np.int64),
            TEXT_ATTENTION_MASK: np.array([e.attention_mask for e in encodings], np.int64),
        }
        rows.append(compiled(inputs)[0].copy())
    return np.concatenate(rows)
