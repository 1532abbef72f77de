"""Step 6c: pixels of several images go in, their CLIP embeddings come out of Triton."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts import tensors
from contracts.manifest import Manifest
from dispatcher import metrics
from dispatcher.absence import Absences, Version
from dispatcher.breaker import CircuitBreaker
from dispatcher.preprocessing import Pixels
from runtime.errors import Unavailable
from runtime.triton import InferenceFailed, InferenceRejected, ModelUnknown, TritonClient

Embeddings = npt.NDArray[np.float32]

GREY = 127


class Embedder:
    """Sends a batch as one request; Triton batches across requests and dispatchers."""

    def __init__(self, triton: TritonClient, breaker: CircuitBreaker, absences: Absences) -> None:
        self._triton = triton
        self._breaker = breaker
        self._absences = absences

    def embed(self, manifest: Manifest, pixels: Sequence[Pixels]) -> Embeddings:
        """uint8 [size, size, 3] each -> float32 [N, D] of unit rows.

        Raises Unavailable, ModelGone, InferenceFailed or InferenceRejected, each for the whole
        batch.
        """
        batch = np.stack(pixels)
        metrics.BATCH_SIZE.observe(len(batch))
        version = (manifest.image_model, manifest.triton_version)
        with metrics.STEP_SECONDS.labels("infer").time():
            embeddings = self._breaker.call(lambda: self._infer_if_served(manifest, batch, version))
        if embeddings is None:
            self._absences.note(version)
            raise Unavailable("Triton does not serve version {1} of {0}".format(*version))
        self._absences.end(version)
        return embeddings

    def _infer_if_served(
        self, manifest: Manifest, batch: Pixels, version: Version
    ) -> Embeddings | None:
        """None where a Triton that is well does not know the version: no case for the breaker."""
        try:
            return self._infer_or_blame(manifest, batch)
        except Unavailable as exc:
            if isinstance(exc, ModelUnknown) and self._triton.is_ready():
                return None
            self._absences.end(version)
            raise

    def _infer_or_blame(self, manifest: Manifest, batch: Pixels) -> Embeddings:
        """A model that fails on a plain grey picture too is at fault itself: it is unavailable."""
        try:
            return self._infer(manifest, batch)
        except (InferenceFailed, InferenceRejected):
            canary = np.full_like(batch[:1], GREY)
            try:
                self._infer(manifest, canary)
            except (InferenceFailed, InferenceRejected) as exc:
                raise Unavailable(f"the model fails on every picture: {exc}") from exc
            raise

    def _infer(self, manifest: Manifest, batch: Pixels) -> Embeddings:
        embeddings = self._triton.infer(
            manifest.image_model,
            manifest.triton_version,
            {tensors.IMAGE_INPUT: batch},
            tensors.IMAGE_OUTPUT,
        )
        expected = (len(batch), manifest.embedding_dim)
        if embeddings.shape != expected or not np.isfinite(embeddings).all():
            raise InferenceFailed(f"embeddings {embeddings.shape} are not numbers {expected}")
        return embeddings
