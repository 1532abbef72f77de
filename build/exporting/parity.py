"""An export and open_clip's model come in, how near their embeddings are comes out.

open_clip runs in float32 behind its own preprocessing and tokenizer; the export behind ours.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from tokenizers import Tokenizer
from tqdm import tqdm

from build.exporting import gate
from build.exporting.clip import Clip
from build.exporting.converted import Converted
from build.exporting.engine import Engine, Inputs
from build.exporting.label_set import DefaultLabels
from build.exporting.preprocessing import Prepare, prepare_all, upright
from build.exporting.tokenizer import ODD_TEXTS, TextTokens
from contracts.tensors import IMAGE_INPUT, TEXT_ATTENTION_MASK, TEXT_INPUT_IDS
from zero_shot.label_set import Embeddings

BATCH = 16
TEXTS = 48


def of(
    clip: Clip,
    served: Converted,
    tokens: TextTokens,
    labels: DefaultLabels,
    photos: Sequence[Path],
    prepare: Prepare,
) -> dict[str, gate.Parity]:
    """By what was compared."""
    texts = [*labels.texts[:: max(1, len(labels.texts) // TEXTS)], *ODD_TEXTS]
    return {
        gate.PHOTOS: of_photos(photos, clip, served.image, labels.matrix, prepare),
        gate.TEXTS: of_texts(texts, clip, tokens.served, served.text),
    }


def of_photos(
    photos: Sequence[Path], clip: Clip, engine: Engine, labels: Embeddings, prepare: Prepare
) -> gate.Parity:
    """`labels`: where the best of them is looked for. `prepare` is the served code."""
    transform = image_transform_v2(
        PreprocessCfg(**clip.model.visual.preprocess_cfg), is_train=False
    )
    rows: tuple[list[Embeddings], list[Embeddings]] = ([], [])
    for paths in _batches(tqdm(photos, desc="parity", unit="photo", disable=None)):
        # Cameras' rotation is undone for both: open_clip leaves that to whoever opens the file.
        images = [upright(path.read_bytes()) for path in paths]
        pixels = prepare_all(paths, clip.preprocessing, prepare)
        rows[0].append(engine.run({IMAGE_INPUT: np.stack(pixels)}))
        with torch.inference_mode():
            batch = torch.stack([transform(image) for image in images])
            rows[1].append(_unit(clip.model.encode_image(batch, normalize=False)))
    ours, theirs = (np.concatenate(each) for each in rows)
    return gate.compare_labels(ours, theirs, labels, clip.logit_scale)


def of_texts(texts: Sequence[str], clip: Clip, tokenizer: Tokenizer, engine: Engine) -> gate.Parity:
    rows: tuple[list[Embeddings], list[Embeddings]] = ([], [])
    for batch in _batches(texts):
        rows[0].append(engine.run(text_inputs(tokenizer, batch)))
        with torch.inference_mode():
            theirs = clip.model.encode_text(clip.tokenizer(batch), normalize=False)
        rows[1].append(_unit(theirs))
    return gate.compare(np.concatenate(rows[0]), np.concatenate(rows[1]))


def text_inputs(tokenizer: Tokenizer, texts: Sequence[str]) -> Inputs:
    encoded = tokenizer.encode_batch(list(texts))
    return {
        TEXT_INPUT_IDS: np.array([each.ids for each in encoded], np.int64),
        TEXT_ATTENTION_MASK: np.array([each.attention_mask for each in encoded], np.int64),
    }


def _unit(features: Any) -> Embeddings:
    unit: Embeddings = torch.nn.functional.normalize(features, dim=-1).numpy()
    return unit


def _batches(items: Any) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch
