"""What callers of Triton do, for tests: arrays, pictures and texts in, embeddings out."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as triton_client
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from contracts.tensors import (
    BYTES_INPUT,
    BYTES_MODEL,
    BYTES_OUTPUT,
    IMAGE_INPUT,
    IMAGE_MODEL,
    IMAGE_OUTPUT,
    PROMPT_INPUT,
    PROMPT_MODEL,
    PROMPT_OUTPUT,
    TEXT_ATTENTION_MASK,
    TEXT_INPUT_IDS,
    TEXT_MODEL,
    TEXT_OUTPUT,
)
from standalone.parts.triton_server import TritonServer

PATIENCE_S = 30.0
SETTLE_S = 0.2

Arrays = dict[str, NDArray[Any]]


class Models:
    """A client that speaks arrays; `version` "" asks the active one."""

    def __init__(self, server: TritonServer) -> None:
        self.client = triton_client.InferenceServerClient(str(server.address))

    def ask(self, model: str, arrays: Arrays, output: str, version: str = "") -> NDArray[Any]:
        inputs = []
        for name, array in arrays.items():
            tensor = triton_client.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        result = self.client.infer(model, inputs, version, client_timeout=PATIENCE_S)
        return np.asarray(result.as_numpy(output))

    def images(self, pixels: NDArray[Any], version: str = "") -> NDArray[Any]:
        return self.ask(IMAGE_MODEL, {IMAGE_INPUT: pixels}, IMAGE_OUTPUT, version)

    def texts(self, ids: NDArray[Any], mask: NDArray[Any], version: str = "") -> NDArray[Any]:
        inputs = {TEXT_INPUT_IDS: ids, TEXT_ATTENTION_MASK: mask}
        return self.ask(TEXT_MODEL, inputs, TEXT_OUTPUT, version)

    def encoded(self, files: Sequence[bytes], version: str = "") -> NDArray[Any]:
        return self.ask(BYTES_MODEL, {BYTES_INPUT: column(files)}, BYTES_OUTPUT, version)

    def prompts(self, texts: Sequence[str | bytes], version: str = "") -> NDArray[Any]:
        encoded = [text.encode() if isinstance(text, str) else text for text in texts]
        return self.ask(PROMPT_MODEL, {PROMPT_INPUT: column(encoded)}, PROMPT_OUTPUT, version)

    def batch_sizes(self, model: str) -> dict[int, int]:
        """How many inferences ran, by their batch size; an answer is sent before it is counted."""
        counted = self._batch_sizes(model)
        while True:
            time.sleep(SETTLE_S)
            before, counted = counted, self._batch_sizes(model)
            if counted == before:
                return counted

    def _batch_sizes(self, model: str) -> dict[int, int]:
        statistics = self.client.get_inference_statistics(model).model_stats[0]
        return {b.batch_size: b.compute_infer.count for b in statistics.batch_stats}


def column(values: Sequence[bytes]) -> NDArray[Any]:
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def ids(texts: int, length: int) -> NDArray[np.int64]:
    """Token ids that differ from text to text."""
    return np.arange(texts * length, dtype=np.int64).reshape(texts, length) + 1000


def ones(texts: int, length: int) -> NDArray[np.int64]:
    return np.ones((texts, length), np.int64)


def cosines(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Of unit rows."""
    return np.asarray((left * right).sum(axis=1))


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Runs them in threads; a call that raised gives its exception."""
    outcomes: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            outcomes[number] = calls[number]()
        except InferenceServerException as exc:
            outcomes[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
