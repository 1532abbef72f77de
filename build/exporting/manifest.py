"""What is known about an export comes in, the fields of its manifest come out."""

from collections.abc import Mapping
from typing import Any

from build.exporting import label_set
from build.exporting.clip import Clip
from build.exporting.converted import Converted
from build.exporting.gate import Parity
from build.exporting.label_set import DefaultLabels
from build.exporting.options import Options
from build.exporting.tokenizer import TextTokens
from contracts.manifest import SCHEMA
from contracts.tensors import BYTES_MODEL, IMAGE_MODEL, PROMPT_MODEL, TEXT_MODEL


def fields(
    options: Options,
    clip: Clip,
    tokens: TextTokens,
    labels: DefaultLabels,
    model: Converted,
    parities: Mapping[str, Parity],
    calibrated_with: int,
) -> dict[str, Any]:
    """All but the version's number: see contracts/manifest.py for what the services read of it."""
    made_from = {**clip.made_from, "calibration_photos": calibrated_with or None}
    return {
        "schema": SCHEMA,
        "model": clip.name,
        "image_model": IMAGE_MODEL,
        "text_model": TEXT_MODEL,
        "prompt_model": PROMPT_MODEL,
        "bytes_model": BYTES_MODEL,
        "embedding_dim": clip.embedding_dim,
        "logit_scale": clip.logit_scale,
        "preprocessing": clip.preprocessing.as_fields(),
        "text": {"context_length": tokens.context_length, "dynamic_length": tokens.is_dynamic},
        "templates": labels.templates,
        "default_label_set": {"name": label_set.NAME, "file": label_set.FILE},
        "runtime": options.runtime,
        "precision": options.precision,
        "engine": {**model.engine_facts, "gated_in": model.image.computes_in},
        "parity": {what: parity.as_fields() for what, parity in parities.items()},
        "made_from": {name: value for name, value in made_from.items() if value is not None},
    }
