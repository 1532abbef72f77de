"""Step 6b: pixels of several images go in, their CLIP embeddings come out of Triton."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts import tensors
from contracts.manifest import Manifest
from dispatcher import metrics
from dispatcher.breaker import CircuitBreaker
from dispatcher.preprocessing import Pixels
from runtime.triton import TritonClient

Embeddings = npt.NDArray[np.float32]


class Embedder:
    """Sends a batch as one request; Triton batches across requests and dispatchers."""

    def __init__(self, triton: TritonClient, breaker: CircuitBreaker) -> None:
        self._triton = triton
        self._breaker = breaker

    def embed(self, manifest: Manifest, pixels: Sequence[Pixels]) -> Embeddings:
        """uint8 [size, size, 3] each -> float32 [N, D] of unit rows.

        Raises Unavailable, InferenceFailed or InferenceRejected, each for the whole batch.
        """
        batch = np.stack(pixels)
        metrics.BATCH_SIZE.observe(len(batch))
        with metrics.STEP_SECONDS.labels("infer").time():
            return self._breaker.call(
                lambda: self._triton.infer(
                    manifest.image_model,
                    manifest.triton_version,
                    {tensors.IMAGE_INPUT: batch},
                    tensors.IMAGE_OUTPUT,
                )
            )
