"""The gRPC client of Triton: NumPy arrays in, one NumPy array out, failures told apart."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from runtime.errors import Permanent, Retryable, Unavailable

# All of them: the library sets none of its own beside these. By default gRPC waits up to two
# minutes before it dials a lost server again, and never notices one that vanished without a word.
# `min_reconnect_backoff` is in truth how long one attempt may take: a server too busy to shake
# hands within it is never reached. A refused connection ends its attempt at once.
_CHANNEL_OPTIONS = {
    "grpc.max_send_message_length": triton.MAX_GRPC_MESSAGE_SIZE,
    "grpc.max_receive_message_length": triton.MAX_GRPC_MESSAGE_SIZE,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 0,
}

# Triton answers these while it starts, stops, is overloaded or was killed: the request is fine.
_TRANSIENT = {
    "StatusCode.UNAVAILABLE",
    "StatusCode.CANCELLED",
    "StatusCode.DEADLINE_EXCEEDED",
    "StatusCode.RESOURCE_EXHAUSTED",
    "StatusCode.ABORTED",
}
# A model that is still loading is "unknown" or "not ready"; it may be there in a moment.
_STILL_LOADING = ("is not ready", "not found")
_UNKNOWN = ("unknown model", "no available versions")

_REFUSED = "StatusCode.INVALID_ARGUMENT"


class ModelUnknown(Unavailable):
    """Triton answers, but does not serve this model version: not yet, or not any more."""


class InferenceRejected(Permanent):
    """A live Triton refused this request; sending it again will not help."""


class InferenceFailed(Retryable):
    """The model broke on this request: a passing fault, or the request is its cause."""


class TritonClient:
    """A thread-safe connection to one Triton, which reconnects by itself."""

    def __init__(self, address: str, timeout_s: float) -> None:
        options = list(_CHANNEL_OPTIONS.items())
        self._client = triton.InferenceServerClient(address, channel_args=options)
        self._timeout_s = timeout_s

    def infer(
        self, model: str, version: str, inputs: Mapping[str, npt.NDArray[Any]], output: str
    ) -> npt.NDArray[np.float32]:
        """Run one request. Raises Unavailable, InferenceFailed or InferenceRejected.

        Of the first, ModelUnknown where it is this model version that is not there.
        """
        try:
            result = self._client.infer(
                model,
                [_input(name, array) for name, array in inputs.items()],
                model_version=version,
                outputs=[triton.InferRequestedOutput(output)],
                client_timeout=self._timeout_s,
            )
        except InferenceServerException as exc:
            raise _translated(exc) from exc
        except (grpc.RpcError, OSError, ValueError) as exc:  # ValueError: channel closed
            raise Unavailable(f"Triton cannot be reached: {exc!r}") from exc
        return _array(result, output)

    def is_ready(self) -> bool:
        """Whether the server is up and has loaded all that it is to serve."""
        try:
            return bool(self._client.is_server_ready(client_timeout=self._timeout_s))
        except (InferenceServerException, grpc.RpcError, OSError, ValueError):
            return False

    def close(self) -> None:
        self._client.close()


def _input(name: str, array: npt.NDArray[Any]) -> triton.InferInput:
    tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _array(result: triton.InferResult, output: str) -> npt.NDArray[np.float32]:
    try:
        array: npt.NDArray[np.float32] | None = result.as_numpy(output)
    except ValueError as exc:
        raise InferenceFailed(f"Triton's {output!r} is not whole: {exc}") from exc
    if array is None:
        raise InferenceFailed(f"Triton returned no {output!r}")
    return array


def _translated(exc: InferenceServerException) -> Exception:
    message = str(exc.message())
    if any(words in message.lower() for words in _UNKNOWN):
        return ModelUnknown(f"Triton does not serve it: {message}")
    if exc.status() in _TRANSIENT or any(words in message.lower() for words in _STILL_LOADING):
        return Unavailable(f"Triton is not serving: {message}")
    if exc.status() == _REFUSED:
        return InferenceRejected("inference_rejected", f"The inference server refused: {message}")
    return InferenceFailed(f"Triton failed: {message}")
