"""A version's manifest and file names in, the values of its models' configurations out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.tensors import IMAGE_MODEL, TEXT_MODEL

RTX = "tensorrt_rtx"
DYNAMIC = -1
SAMPLE_TOKENS = 8  # of the text that warms up a model whose texts have any length


@dataclass(frozen=True)
class Runtime:
    """What Triton calls the backend, and how its model files end, the preferred first."""

    backend: str
    suffixes: tuple[str, ...]


RUNTIMES = {
    "openvino": Runtime("openvino", (".xml", ".onnx")),
    "onnx": Runtime("onnxruntime", (".onnx",)),
    "tensorrt": Runtime("tensorrt", (".plan",)),
}


class SuitsNoConfiguration(Exception):
    """Triton cannot serve this version; the message says why."""


@dataclass(frozen=True)
class Serving:
    """How a version is served. Two of one `contract` can be served by one configuration."""

    manifest: Mapping[str, Any]
    backend: str
    model_files: Mapping[str, str]  # of the towers
    compute_capability: str | None  # "8.9", of a TensorRT plan
    size_px: int
    embedding_dim: int
    text_length: int  # DYNAMIC where texts are padded to the longest only

    @classmethod
    def of(cls, manifest: Mapping[str, Any], names: Mapping[str, list[str]]) -> "Serving":
        """`names` are those of the towers' files. Raises SuitsNoConfiguration."""
        name = manifest.get("runtime")
        if RTX in {name, manifest.get("engine", {}).get("flavour")}:
            raise SuitsNoConfiguration(
                "it is a plan of TensorRT-RTX, which Triton's TensorRT backend cannot read: such "
                "plans are for trying an export where no GPU is"
            )
        if name not in RUNTIMES:
            raise SuitsNoConfiguration(f"runtime {name!r} is none of {', '.join(RUNTIMES)}")
        runtime = RUNTIMES[name]
        text = manifest.get("text", {})
        fixed = not text.get("dynamic_length", True)
        return cls(
            manifest=manifest,
            backend=runtime.backend,
            model_files={model: _model_file(model, names[model], runtime) for model in names},
            compute_capability=_compute_capability(manifest) if name == "tensorrt" else None,
            size_px=int(manifest["preprocessing"]["size_px"]),
            embedding_dim=int(manifest["embedding_dim"]),
            text_length=int(text["context_length"]) if fixed else DYNAMIC,
        )

    @property
    def contract(self) -> tuple[object, ...]:
        files = tuple(sorted(self.model_files.items()))
        return (
            self.backend,
            files,
            self.compute_capability,
            self.size_px,
            self.embedding_dim,
            self.text_length,
        )

    def value(self, model: str, path: tuple[str, ...]) -> str | None:
        """The text of the value at a path of a model's configuration; None where it stays."""
        if path == ("output", "dims"):
            return _list(self.embedding_dim)
        if model not in self.model_files:  # its backend is Python's, its inputs are bytes
            return None
        if path[-1] in {"dims", "dim"}:
            return self._input_dims(model, is_declared=path == ("input", "dims"))
        file = json.dumps(self.model_files[model])
        capability = json.dumps(self.compute_capability)
        values: dict[tuple[str, ...], str] = {
            ("backend",): json.dumps(self.backend),
            ("default_model_filename",): file,
            ("cc_model_filenames",): f"[ {{ key: {capability}, value: {file} }} ]",
        }
        return values.get(path)

    def _input_dims(self, model: str, *, is_declared: bool) -> str:
        if model == IMAGE_MODEL:
            return _list(self.size_px, self.size_px, 3)
        assert model == TEXT_MODEL
        if self.text_length == DYNAMIC and not is_declared:
            return _list(SAMPLE_TOKENS)
        return _list(self.text_length)


def _model_file(model: str, names: list[str], runtime: Runtime) -> str:
    for suffix in runtime.suffixes:
        found = [name for name in names if name.endswith(suffix)]
        if len(found) == 1:
            return found[0]
    kinds = " or ".join(runtime.suffixes)
    raise SuitsNoConfiguration(f"{model} must hold one {kinds} file, and holds {', '.join(names)}")


def _compute_capability(manifest: Mapping[str, Any]) -> str:
    """Of the manifest's `engine`: {"flavour": "tensorrt", "compute_capability": "8.9", ...}."""
    capability = manifest.get("engine", {}).get("compute_capability")
    if not capability:
        raise SuitsNoConfiguration("its manifest does not say engine.compute_capability")
    return str(capability)


def _list(*dims: int) -> str:
    return f"[ {', '.join(map(str, dims))} ]"
