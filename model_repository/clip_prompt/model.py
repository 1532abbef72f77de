"""Texts in, embeddings out: tokenises for clip_text of its own version, and asks it.

Triton's Python backend runs this. The tokenizer, and how long a text may be, stand beside it in
the version's folder.
"""

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

INPUT, OUTPUT = "text", "embedding"
TOWER, TOWER_IDS, TOWER_MASK = "clip_text", "input_ids", "attention_mask"
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
MAX_BYTES = 10_000  # of a text: many times what any context holds

_set_capsule_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_capsule_destructor.argtypes = (ctypes.py_object, ctypes.c_void_p)


class BadText(ValueError):
    """The bytes are no text that can be embedded; the message says why."""


def load_tokenizer(path: Path, text: Mapping[str, Any]) -> Tokenizer:
    """`text` is the manifest's: `context_length`, and whether a shorter text may stay shorter.

    Longer ones are cut, and keep their end token. What pads is the tokenizer's own.
    """
    tokenizer = Tokenizer.from_file(str(path))
    length = None if text["dynamic_length"] else text["context_length"]
    tokenizer.enable_padding(**{**(tokenizer.padding or {}), "length": length})
    tokenizer.enable_truncation(text["context_length"])
    return tokenizer


def decode(data: bytes) -> str:
    """Raises BadText."""
    if len(data) > MAX_BYTES:
        raise BadText(f"it has {len(data):,} bytes, and at most {MAX_BYTES:,} are read")
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise BadText(f"it is not UTF-8 ({exc.reason} at byte {exc.start})") from exc
    if not text.strip():
        raise BadText("it is empty")
    return text


class TritonPythonModel:
    """One instance; Triton calls `execute` from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

        self._triton = pb_utils
        self._version = int(args["model_version"])
        folder = Path(args["model_repository"]) / args["model_version"]
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self._tokenizer = load_tokenizer(folder / TOKENIZER, manifest["text"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. A text that is none fails its request alone."""
        # Together at most max_batch_size texts, as many as one call of the tower may hold.
        outcomes = [_all_or_first_failure(self._bytes(request)) for request in requests]
        good = [outcome for outcome in outcomes if isinstance(outcome, list)]
        embeddings = self._ask_tower([text for texts in good for text in texts])
        responses, start = [], 0
        for outcome in outcomes:
            if isinstance(outcome, list):
                responses.append(self._response(embeddings, start, start + len(outcome)))
                start += len(outcome)
            else:
                responses.append(self._refusal(outcome))
        return responses

    def _bytes(self, request: Any) -> list[bytes]:
        tensor = self._triton.get_input_tensor_by_name(request, INPUT)
        return list(tensor.as_numpy().ravel())

    def _ask_tower(self, texts: list[str]) -> Any:
        """The embeddings, or the error of all: the version of the tower is always our own."""
        if not texts:
            return None
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        response = self._triton.InferenceRequest(
            model_name=TOWER,
            model_version=self._version,
            inputs=[self._tensor(TOWER_IDS, ids), self._tensor(TOWER_MASK, mask)],
            requested_output_names=[OUTPUT],
            preferred_memory=self._triton.PreferredMemory(self._triton.TRITONSERVER_MEMORY_CPU, 0),
        ).exec()
        if response.has_error():
            return response.error()
        tensor = self._triton.get_output_tensor_by_name(response, OUTPUT)
        return np.array(np.from_dlpack(tensor))  # copied: what Triton lends cannot be written to

    def _response(self, embeddings: Any, start: int, end: int) -> Any:
        if not isinstance(embeddings, np.ndarray):
            return self._triton.InferenceResponse(error=embeddings)
        return self._triton.InferenceResponse([self._tensor(OUTPUT, embeddings[start:end])])

    def _refusal(self, why: BadText) -> Any:
        error = self._triton.TritonError(str(why), self._triton.TritonError.INVALID_ARG)
        return self._triton.InferenceResponse(error=error)

    def _tensor(self, name: str, array: Any) -> Any:
        """By DLPack: without a copy, and whichever numpy Triton was built against."""
        capsule = array.__dlpack__()
        tensor = self._triton.Tensor.from_dlpack(name, capsule)
        # The tensor owns the memory now, under a mark that numpy would write complaints about.
        _set_capsule_destructor(capsule, None)
        return tensor


def _all_or_first_failure(texts: list[bytes]) -> list[str] | BadText:
    decoded = []
    for index, data in enumerate(texts):
        try:
            decoded.append(decode(data))
        except BadText as exc:
            return BadText(f"text {index}: {exc}")
    return decoded
