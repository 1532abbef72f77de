"""Texts go in, their text embeddings by Triton come out, checked: small batches, few at once."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from contracts import tensors
from contracts.manifest import Manifest
from gateway import metrics
from runtime.backoff import Backoff
from runtime.errors import Permanent, Retryable, Unavailable
from zero_shot.label_set import Embeddings

log = structlog.get_logger(__name__)

# Half of what Triton takes at once: pictures wait behind a batch of texts on the same cores.
BATCH = 32
IN_FLIGHT = 2  # of one call: the next batch is tokenised while one is embedded
THREADS = 4  # of all calls together
UNIT_TOLERANCE = 1e-2
# One lost batch must not cost all that came before it; a caller waits, so not for long.
OUTLAST_S = 2.0
RETRY = Backoff(base_s=0.1, cap_s=1.0)


class PromptsUnavailable(Unavailable):
    """The text model does not answer, or not with embeddings."""


class Inference(Protocol):
    """As much of runtime.triton.TritonClient as is needed here."""

    def infer(
        self, model: str, version: str, inputs: dict[str, npt.NDArray[Any]], output: str
    ) -> npt.NDArray[np.float32]: ...


class PromptEmbedder:
    """Embeds texts by the text model of any version that Triton serves, from any thread."""

    def __init__(
        self,
        triton: Inference,
        is_stopping: Callable[[], bool] = lambda: False,
        outlast_s: float = OUTLAST_S,
    ) -> None:
        self._triton = triton
        self._is_stopping = is_stopping
        self._outlast_s = outlast_s
        self._threads = ThreadPoolExecutor(THREADS, "prompts")

    def embed(self, manifest: Manifest, texts: Sequence[str]) -> Embeddings:
        """float32 [N, D], rows of unit length. Raises PromptsUnavailable, also when stopping."""
        done: list[Embeddings] = []
        pending: deque[Future[Embeddings]] = deque()
        try:
            for start in range(0, len(texts), BATCH):
                batch = texts[start : start + BATCH]
                pending.append(self._threads.submit(self._embed_batch, manifest, batch))
                if len(pending) == IN_FLIGHT:
                    done.append(pending.popleft().result())
            done.extend(future.result() for future in pending)
        finally:
            for future in pending:
                future.cancel()
        return np.concatenate(done)

    def _embed_batch(self, manifest: Manifest, texts: Sequence[str]) -> Embeddings:
        if self._is_stopping():
            raise PromptsUnavailable("this process is stopping")
        with metrics.PROMPT_BATCH_SECONDS.time():
            embeddings = self._retrying(manifest, texts)
        _check(embeddings, (len(texts), manifest.embedding_dim))
        metrics.PROMPTS_EMBEDDED.inc(len(texts))
        return embeddings

    def _retrying(self, manifest: Manifest, texts: Sequence[str]) -> Embeddings:
        give_up_at_s = time.monotonic() + self._outlast_s
        attempt = 0
        while True:
            try:
                return self._infer(manifest, texts)
            except PromptsUnavailable:
                attempt += 1
                delay_s = RETRY.delay_s(attempt)
                if self._is_stopping() or time.monotonic() + delay_s > give_up_at_s:
                    raise
                time.sleep(delay_s)

    def _infer(self, manifest: Manifest, texts: Sequence[str]) -> Embeddings:
        encoded = np.array([[text.encode()] for text in texts], np.object_)
        try:
            return self._triton.infer(
                manifest.prompt_model,
                manifest.triton_version,
                {tensors.PROMPT_INPUT: encoded},
                tensors.PROMPT_OUTPUT,
            )
        except Retryable as exc:
            raise PromptsUnavailable(f"prompts cannot be embedded: {exc}") from exc
        except Permanent as exc:  # any text can be embedded: an operator mends this
            log.error("prompts refused", action="embed_prompts", error=str(exc))
            raise PromptsUnavailable(f"prompts cannot be embedded: {exc}") from exc


def _check(embeddings: Embeddings, shape: tuple[int, int]) -> None:
    """Raises PromptsUnavailable: what is stored once answers for as long as it is there."""
    lengths = np.linalg.norm(embeddings, axis=-1)
    are_unit = np.abs(lengths - 1) <= UNIT_TOLERANCE  # which NaN is not
    if embeddings.shape != shape or not are_unit.all():
        log.error("prompts embedded wrongly", action="embed_prompts", shape=embeddings.shape)
        raise PromptsUnavailable(
            f"the text model answered {embeddings.shape} for {shape}, or not with unit vectors"
        )
