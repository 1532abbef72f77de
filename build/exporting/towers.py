"""A model of open_clip comes in, its two towers come out as Triton serves them.

Everything the callers need not know is inside: colour normalisation, projection, unit length.
"""

import copy
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer
from torch.nn import functional

COLOURS = 255.0
POOLED_AT_EOT = {"argmax", "eos"}


class ImageTower(torch.nn.Module):  # type: ignore[misc]
    """pixels UINT8 [N, size, size, 3] -> embedding FP32 [N, D] of unit length."""

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.dtype = model.logit_scale.dtype
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Any) -> Any:
        # TensorRT does nothing with uint8 but cast it, so that comes first.
        images = pixels.to(torch.float32).permute(0, 3, 1, 2) / COLOURS
        images = ((images - self.mean) / self.std).to(self.dtype)
        return _unit(self.model.encode_image(images, normalize=False))


class CausalTextTower(torch.nn.Module):  # type: ignore[misc]
    """CLIP's own: input_ids, attention_mask INT64 [N, L] -> embedding FP32 [N, D].

    A token sees only those before it, and the embedding is taken at the last one, so padding
    behind it changes nothing: L is the longest text of the batch, not always the context length.
    """

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        text, length = self.text, input_ids.shape[1]
        dtype = text.transformer.get_cast_dtype()
        x = text.token_embedding(input_ids).to(dtype)
        x = x + text.positional_embedding[:length].to(dtype)
        x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length].to(dtype)))
        last = attention_mask.sum(dim=1) - 1
        x = x[torch.arange(x.shape[0], device=x.device), last]
        return _unit(_projected(x, text.text_projection))


class FixedTextTower(torch.nn.Module):  # type: ignore[misc]
    """Any other: input_ids, attention_mask INT64 [N, context length] -> embedding FP32 [N, D]."""

    def __init__(self, model: Any, pad_id: int) -> None:
        super().__init__()
        self.model = model
        self.pad_id = pad_id

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        padded = torch.where(attention_mask > 0, input_ids, self.pad_id)
        return _unit(self.model.encode_text(padded, normalize=False))


class Float32LayerNorm(torch.nn.Module):  # type: ignore[misc]
    """Sums of squares overflow in half precision; so this step is taken out of it."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.norm = norm.float()

    def forward(self, x: Any) -> Any:
        return self.norm(x.to(torch.float32)).to(x.dtype)


def is_causal(model: Any) -> bool:
    """Whether its texts may be padded to any length: see CausalTextTower."""
    text = _text_of(model)
    has_parts = isinstance(text, CLIP | TextTransformer)
    pool_type = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
    has_cls = getattr(text, "cls_emb", None) is not None
    return has_parts and text.attn_mask is not None and not has_cls and pool_type in POOLED_AT_EOT


def text_tower(model: Any, pad_id: int) -> Any:
    if is_causal(model):
        return CausalTextTower(_text_of(model)).eval()
    return FixedTextTower(model, pad_id).eval()


def in_half_precision(model: Any) -> Any:
    """A copy that computes in float16, but for its layer norms."""
    half = copy.deepcopy(model).half()
    _replace_norms(half)
    return half


def _replace_norms(module: Any) -> None:
    for name, child in module.named_children():
        if isinstance(child, torch.nn.LayerNorm):
            setattr(module, name, Float32LayerNorm(child))
        else:
            _replace_norms(child)


def _text_of(model: Any) -> Any:
    return model if isinstance(model, CLIP) else model.text


def _projected(x: Any, projection: Any) -> Any:
    if projection is None:
        return x
    return projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection


def _unit(features: Any) -> Any:
    return functional.normalize(features.to(torch.float32), dim=-1)
