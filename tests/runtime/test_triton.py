"""The Triton client: arrays in and out, and every failure as what a caller can do about it."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from contracts import tensors
from runtime import triton as runtime_triton
from runtime.errors import Unavailable
from runtime.triton import InferenceFailed, InferenceRejected, ModelUnknown, TritonClient
from standalone.machine.ports import free_port
from standalone.parts.triton_server import TritonServer

SIZE = tensors.IMAGE_SIZE_PX
AWAY_S = 5.0
BACK_WITHIN_S = 2.0
BETWEEN_TRIES_S = 0.05
SLOW_S = 1.5
PIXELS = np.zeros((2, SIZE, SIZE, 3), np.uint8)


def infer(
    client: TritonClient,
    array: np.ndarray = PIXELS,
    model: str = tensors.IMAGE_MODEL,
    version: str = "1",
    output: str = tensors.IMAGE_OUTPUT,
) -> np.ndarray:
    return client.infer(model, version, {tensors.IMAGE_INPUT: array}, output)


@pytest.mark.integration
def test_arrays_come_back(triton: TritonServer) -> None:
    client = TritonClient(str(triton.address), timeout_s=30)
    embeddings = infer(client)
    assert embeddings.shape[0] == 2
    assert embeddings.dtype == np.float32
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-3)
    client.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    "array",
    [
        pytest.param(PIXELS[:, :-1], id="wrong shape"),
        pytest.param(PIXELS.astype(np.float32), id="wrong type"),
        pytest.param(PIXELS[0], id="no batch"),
        pytest.param(np.zeros((65, SIZE, SIZE, 3), np.uint8), id="too many"),
    ],
)
def test_a_request_that_cannot_be_right_is_rejected(
    triton: TritonServer, array: np.ndarray
) -> None:
    client = TritonClient(str(triton.address), timeout_s=30)
    with pytest.raises(InferenceRejected) as refusal:
        infer(client, array)
    assert refusal.value.reason == "inference_rejected"
    client.close()


@pytest.mark.integration
@pytest.mark.parametrize(("model", "version"), [("none", "1"), (tensors.IMAGE_MODEL, "77")])
def test_a_model_that_is_not_there_may_still_come(
    triton: TritonServer, model: str, version: str
) -> None:
    client = TritonClient(str(triton.address), timeout_s=30)
    with pytest.raises(ModelUnknown):
        infer(client, model=model, version=version)
    assert client.is_ready(), "so it is the version that is not there"
    client.close()


@pytest.mark.integration
def test_a_deadline_that_passed_is_unavailable(triton: TritonServer) -> None:
    client = TritonClient(str(triton.address), timeout_s=0.000_1)
    with pytest.raises(Unavailable):
        infer(client)
    client.close()


def test_nobody_there_is_unavailable() -> None:
    client = TritonClient(f"127.0.0.1:{free_port()}", timeout_s=5)
    with pytest.raises(Unavailable):
        infer(client)
    assert not client.is_ready()
    client.close()
    with pytest.raises(Unavailable):
        infer(client)  # closed
    assert not client.is_ready()


class BrokenModel(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every call, if only to say that it failed."""

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._fail)

    def _fail(self, _request: bytes, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.INTERNAL, "the model broke")


@pytest.fixture
def server() -> Iterator[grpc.Server]:
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, handlers=[BrokenModel()])
        yield server
        server.stop(None).wait()


def test_a_server_that_comes_back_is_reached_soon(server: grpc.Server) -> None:
    port = free_port()
    client = TritonClient(f"127.0.0.1:{port}", timeout_s=1)
    until_s = time.monotonic() + AWAY_S
    while time.monotonic() < until_s:
        with pytest.raises(Unavailable):
            infer(client)
        time.sleep(BETWEEN_TRIES_S)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    back_s = time.monotonic()
    while not answers(client):
        assert time.monotonic() - back_s < BACK_WITHIN_S
        time.sleep(BETWEEN_TRIES_S)
    client.close()


def test_a_server_slow_to_shake_hands_is_reached(server: grpc.Server) -> None:
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay_late, args=(listener, port), daemon=True).start()
        client = TritonClient(f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=3 * SLOW_S)
        assert answers(client)
        client.close()
        listener.shutdown(socket.SHUT_RDWR)


def relay_late(listener: socket.socket, port: int) -> None:
    """Each connection gets its first byte from the server after SLOW_S."""
    while True:
        try:
            near, _ = listener.accept()
        except OSError:  # the test is over
            return
        time.sleep(SLOW_S)
        far = socket.create_connection(("127.0.0.1", port))
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other side is gone
        return


def answers(client: TritonClient) -> bool:
    try:
        infer(client)
    except InferenceFailed:
        return True
    except Unavailable:
        return False
    pytest.fail("a broken model has inferred something")


@pytest.mark.integration
def test_messages_may_be_larger_than_grpc_allows_by_itself(triton: TritonServer) -> None:
    """Its default is 4 MiB for a message received."""
    client = TritonClient(str(triton.address), timeout_s=30)
    full_batch = np.zeros((64, SIZE, SIZE, 3), np.uint8)
    assert infer(client, full_batch).shape[0] == 64
    client.close()


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("StatusCode.UNAVAILABLE", "failed to connect", Unavailable),
        ("StatusCode.CANCELLED", "stopping", Unavailable),
        ("StatusCode.DEADLINE_EXCEEDED", "late", Unavailable),
        ("StatusCode.RESOURCE_EXHAUSTED", "queue is full", Unavailable),
        ("StatusCode.INVALID_ARGUMENT", "unknown model: clip_vit", ModelUnknown),
        ("StatusCode.NOT_FOUND", "Request for unknown model: 'm' version 2 is not", ModelUnknown),
        ("StatusCode.UNAVAILABLE", "clip_vit has no available versions", ModelUnknown),
        ("StatusCode.INTERNAL", "model clip_vit is not ready", Unavailable),
        ("StatusCode.INVALID_ARGUMENT", "unexpected shape", InferenceRejected),
        ("StatusCode.INTERNAL", "onnx runtime error", InferenceFailed),
        ("StatusCode.UNKNOWN", "", InferenceFailed),
        (None, "who knows", InferenceFailed),
    ],
)
def test_failures_are_told_apart(status: str | None, message: str, kind: type[Exception]) -> None:
    translated = runtime_triton._translated(InferenceServerException(message, status=status))
    assert type(translated) is kind


@pytest.mark.parametrize(
    "as_numpy",
    [lambda _name: None, lambda _name: np.frombuffer(b"\x00" * 5, np.float32)],
    ids=["absent", "cut off"],
)
def test_an_answer_that_is_not_whole_has_failed(as_numpy: object) -> None:
    with pytest.raises(InferenceFailed, match="embedding"):
        runtime_triton._array(SimpleNamespace(as_numpy=as_numpy), "embedding")
