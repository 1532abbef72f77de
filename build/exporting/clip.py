"""open_clip's own model comes in, what the export has to know about it comes out."""

from dataclasses import dataclass
from typing import Any

import torch

from build.exporting.preprocessing import RESIZES, Preprocessing
from build.exporting.refusal import CannotExport


@dataclass(frozen=True)
class Clip:
    """`model` and `tokenizer` are open_clip's; `made_from` says in the manifest what they are."""

    name: str
    model: Any
    tokenizer: Any
    preprocessing: Preprocessing
    context_length: int
    embedding_dim: int
    logit_scale: float
    made_from: dict[str, Any]

    @property
    def weights_bytes(self) -> int:
        return sum(each.numel() * each.element_size() for each in self.model.parameters())


def described(model: Any, tokenizer: Any, name: str, made_from: dict[str, Any]) -> Clip:
    """Raises CannotExport for preprocessing that the services do not do."""
    how = preprocessing_of(model)
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, how.size_px, how.size_px)
        features = model.encode_image(pixels, normalize=False)
    return Clip(
        name=name,
        model=model,
        tokenizer=tokenizer,
        preprocessing=how,
        context_length=int(tokenizer.context_length),
        embedding_dim=int(features.shape[-1]),
        logit_scale=float(model.logit_scale.exp()),
        made_from=made_from,
    )


def preprocessing_of(model: Any) -> Preprocessing:
    """Raises CannotExport for preprocessing that the services do not do."""
    given = model.visual.preprocess_cfg
    size = given["size"]
    width, height = (size, size) if isinstance(size, int) else tuple(size)
    if width != height:
        raise CannotExport(
            f"this model sees pictures of {width} x {height}; only squares are served"
        )
    if given["resize_mode"] not in RESIZES:
        raise CannotExport(
            f"this model resizes pictures by {given['resize_mode']!r}; served are only "
            + " and ".join(RESIZES)
        )
    return Preprocessing(
        size_px=int(width),
        resize=given["resize_mode"],
        interpolation="bilinear" if given["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(given["mean"]),
        std=tuple(given["std"]),
    )
