"""A text model for tests: each text has a direction of its own, and it fails when told to."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.manifest import Manifest
from zero_shot.label_set import Embeddings


def direction(text: str, dim: int) -> npt.NDArray[np.float32]:
    """Unit length, and the same for the same text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=dim).astype(np.float32)
    unit: npt.NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


class Embedder:
    """Stands for PromptEmbedder; `before` runs in each call and may raise."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.calls: list[list[str]] = []
        self._lock = threading.Lock()

    def embed(self, manifest: Manifest, texts: Sequence[str]) -> Embeddings:
        with self._lock:
            self.calls.append(list(texts))
        self.before()
        return np.stack([direction(text, manifest.embedding_dim) for text in texts])


class TextModel:
    """Stands for runtime.triton.TritonClient; `answer` makes the embeddings or raises."""

    def __init__(self, dim: int, answer: Callable[[list[str]], Any] | None = None) -> None:
        self._answer = answer or (lambda texts: np.stack([direction(t, dim) for t in texts]))
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str, int]] = []
        self.running = self.most = 0

    def infer(
        self, model: str, version: str, inputs: dict[str, npt.NDArray[Any]], output: str
    ) -> npt.NDArray[np.float32]:
        ((name, encoded),) = inputs.items()
        assert (name, output) == ("text", "embedding")
        assert encoded.shape[1] == 1
        with self._lock:
            self.requests.append((model, version, len(encoded)))
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            made: npt.NDArray[np.float32] = self._answer([row[0].decode() for row in encoded])
            return made
        finally:
            with self._lock:
                self.running -= 1
