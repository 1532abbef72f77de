"""The model manifest: what the exporter wrote down about a model, read by both services."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from contracts.tensors import PROMPT_MODEL

SCHEMA = 1
DEFAULT_TEMPLATES = ("a photo of a {}",)  # of a manifest that names none
STEPS_UNDERSTOOD = {
    "resize": ("shortest", "squash"),
    "interpolation": ("bicubic", "bilinear"),
    "crop": ("center",),
    "color": ("RGB",),
}


class ManifestError(ValueError):
    """The manifest is not one this version can serve; the message names the field."""


@dataclass(frozen=True)
class Preprocessing:
    """How pixels must be prepared, in open_clip's words.

    `resize` is "shortest" (that side to `size_px`, then a centre crop) or "squash" (both sides).
    """

    size_px: int
    interpolation: str
    resize: str = "shortest"


@dataclass(frozen=True)
class Manifest:
    """One model version.

    `embedding_dim` is D of the tensors; `templates` are what labels are put into where the caller
    gives none, each with one `{}`; a label's score is
    softmax(logit_scale * embedding @ label_embeddings.T), as in CLIP (Radford et al. 2021).
    """

    model: str
    version: str
    image_model: str
    triton_version: str
    embedding_dim: int
    logit_scale: float
    preprocessing: Preprocessing
    label_set_name: str
    label_set_file: str
    prompt_model: str = PROMPT_MODEL
    templates: tuple[str, ...] = DEFAULT_TEMPLATES

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Raises ManifestError when a field is missing, of the wrong kind or not understood."""
        try:
            fields = json.loads(text)
            if fields["schema"] != SCHEMA:
                raise ManifestError(f"schema {fields['schema']} is not {SCHEMA}")
            return cls._from_fields(fields)
        except KeyError as exc:
            raise ManifestError(f"field {exc} is missing") from exc
        except (TypeError, ValueError, RecursionError, OverflowError) as exc:
            raise ManifestError(str(exc)) from exc

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> "Manifest":
        steps = fields["preprocessing"]
        for field, known in STEPS_UNDERSTOOD.items():
            if steps[field] not in known:
                raise ManifestError(f"preprocessing.{field} {steps[field]!r} is none of {known}")
        return cls(
            model=_text(fields, "model"),
            version=_text(fields, "version"),
            image_model=_text(fields, "image_model"),
            triton_version=_text(fields, "triton_version"),
            embedding_dim=int(_positive(fields, "embedding_dim")),
            logit_scale=_positive(fields, "logit_scale"),
            preprocessing=Preprocessing(
                size_px=int(_positive(steps, "size_px")),
                interpolation=steps["interpolation"],
                resize=steps["resize"],
            ),
            label_set_name=_text(fields["default_label_set"], "name"),
            label_set_file=_text(fields["default_label_set"], "file"),
            prompt_model=_text({"prompt_model": PROMPT_MODEL, **fields}, "prompt_model"),
            templates=_templates(fields),
        )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise ManifestError(f"{name} must be text, not {value!r:.100}")
    return value


def _templates(fields: dict[str, Any]) -> tuple[str, ...]:
    templates = fields.get("templates", DEFAULT_TEMPLATES)
    are_templates = all(isinstance(each, str) and each.count("{}") == 1 for each in templates)
    if not templates or not are_templates:
        raise ManifestError(f"templates must be texts with one {{}} each, not {templates!r:.100}")
    return tuple(templates)


def _positive(fields: dict[str, Any], name: str) -> float:
    value = fields[name]
    if type(value) not in {int, float} or not 0 < value <= sys.float_info.max:
        raise ManifestError(f"{name} must be a number above 0, not {value!r:.100}")
    return float(value)
