"""A model's name and where its weights are come in, open_clip's own model in float32 comes out."""

import contextlib
import difflib
import logging
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_state_dict, parse_model_name
from safetensors import SafetensorError

from build.artefacts import sha256_of
from build.exporting.clip import Clip, described
from build.exporting.options import Options
from build.exporting.refusal import CannotExport, wrong_usage

FORMATS = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}
NAMED_AT_MOST = 5


def load(options: Options) -> Clip:
    """Raises CannotExport; its message says what to give instead."""
    _check_name(options.model)
    tag = _tag_of(options)
    with _quiet():
        model = _from_file(options, tag) if options.checkpoint else _from_hub(options, tag)
        tokenizer = _tokenizer(options.model)
    model.eval().requires_grad_(False)
    broken = [name for name, weights in model.named_parameters() if not weights.isfinite().all()]
    if broken:
        raise CannotExport(f"the weights are not all numbers: {broken[0]}; was the file cut short?")
    return described(model, tokenizer, parse_model_name(options.model)[1], _made_from(options))


def _check_name(name: str) -> None:
    schema, identifier = parse_model_name(name)
    known = open_clip.list_models()
    if schema is not None or identifier.replace("/", "-") in known:
        return
    near = difflib.get_close_matches(identifier, known, n=NAMED_AT_MOST, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "open_clip.list_models() has their names"
    raise wrong_usage(f"open_clip has no model {name!r}: {hint}")


def _tag_of(options: Options) -> dict[str, Any]:
    """open_clip's configuration of the pretrained tag: colours, resize and activation."""
    schema, identifier = parse_model_name(options.model)
    if options.pretrained is None:
        return {}
    if schema is not None:
        raise wrong_usage(f"{options.model} brings its own weights: leave --pretrained out")
    name = identifier.replace("/", "-")
    tag: dict[str, Any] = open_clip.get_pretrained_cfg(name, options.pretrained)
    if not tag:
        there_are = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise wrong_usage(f"{name} has no tag {options.pretrained!r}; it has {there_are}")
    if open_clip.get_model_config(name).get("quick_gelu") and not tag.get("quick_gelu"):
        raise wrong_usage(
            f"{options.pretrained} was not trained with QuickGELU: take --model "
            f"{name.removesuffix('-quickgelu')}"
        )
    return tag


def _from_hub(options: Options, tag: dict[str, Any]) -> Any:
    try:
        return open_clip.create_model(
            options.model,
            pretrained=options.pretrained,
            force_quick_gelu=bool(tag.get("quick_gelu")),
            require_pretrained=True,
        )
    except OSError as exc:
        raise CannotExport(f"{options.model} cannot be loaded: {_first_line(exc)}") from exc
    except Exception as exc:  # open_clip wraps whatever the hub's client raises
        weights = options.pretrained or options.model
        raise CannotExport(
            f"the weights {weights} cannot be loaded: {_first_line(exc)}\nWhere the model hub "
            "cannot be reached, bring the weights by hand: --checkpoint FILE"
        ) from exc


def _from_file(options: Options, tag: dict[str, Any]) -> Any:
    path = options.checkpoint
    assert path is not None
    if not path.is_file():
        raise wrong_usage(f"{path} is not there")
    if path.suffix not in FORMATS:
        raise wrong_usage(f"{path} is none of {', '.join(sorted(FORMATS))}")
    overrides = {k: tag[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in tag}
    try:
        model = open_clip.create_model(
            options.model,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=bool(tag.get("quick_gelu")),
            force_preprocess_cfg=overrides,
        )
    except Exception as exc:  # of a hub's or a folder's configuration
        raise CannotExport(f"{options.model} cannot be built: {_first_line(exc)}") from exc
    _check_positions(path, model, _weights(path))
    try:
        open_clip.load_checkpoint(model, str(path))
    except Exception as exc:  # keys and shapes of another model, in any of torch's words
        raise CannotExport(f"{path} does not fit {options.model}: {_differences(exc)}") from exc
    return model


def _weights(path: Path) -> dict[str, Any]:
    try:
        weights = load_state_dict(str(path))
    except pickle.UnpicklingError as exc:
        raise CannotExport(
            f"{path} is not a file of weights only. It may be damaged, or hold code, which is not "
            "run: save model.state_dict() by torch.save, or by safetensors"
        ) from exc
    except (SafetensorError, RuntimeError, EOFError, OSError) as exc:
        raise CannotExport(
            f"{path} cannot be read as weights; was it cut short? {_first_line(exc)}"
        ) from exc
    except (StopIteration, AttributeError, TypeError, KeyError) as exc:
        raise CannotExport(f"{path} holds no state dict of a model") from exc
    if not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CannotExport(f"{path} holds no state dict of a model")
    return dict(weights)


def _check_positions(path: Path, model: Any, weights: dict[str, Any]) -> None:
    """open_clip would stretch the positions of another picture size to fit, without a word."""
    for name, own in model.state_dict().items():
        given = weights.get(name)
        if name.endswith("positional_embedding") and given is not None and given.shape != own.shape:
            raise CannotExport(
                f"{path} does not fit {name}: {list(given.shape)} where this model has "
                f"{list(own.shape)}; it is of another model, picture size or text length"
            )


def _tokenizer(name: str) -> Any:
    try:
        return open_clip.get_tokenizer(name)
    except Exception as exc:  # transformers and the hub's client raise nearly anything
        raise CannotExport(f"the tokenizer of {name} cannot be loaded: {_first_line(exc)}") from exc


def _made_from(options: Options) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "open_clip": open_clip.__version__,
        "torch": torch.__version__,
        "architecture": options.model,
        "pretrained": options.pretrained,
    }
    if options.checkpoint is not None:
        facts["checkpoint"] = options.checkpoint.name
        facts["checkpoint_sha256"] = sha256_of(options.checkpoint)
    return facts


def _differences(exc: Exception) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return " ".join(lines[1:3] or lines)[:400]


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0][:400] if lines else type(exc).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs and warns about what is checked here, with messages that say what to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
