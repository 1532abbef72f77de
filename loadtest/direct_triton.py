"""A concurrency goes in, images/s and latencies of a Triton that is called directly come out.

    .venv/bin/python -m loadtest.direct_triton                             # 1, 4, 16 and 64 at once
    .venv/bin/python -m loadtest.direct_triton --concurrency 1,8 --batch 8 --seconds 30
    .venv/bin/python -m loadtest.direct_triton --address gpu-host:8001 --model clip_image

Each caller sends its next request when its last is answered, so this finds how much Triton can do
and what it costs in latency; it does not show what a caller who will not wait would see. Divide the
images/s by those of the bare engine, which the exporter prints, for what serving costs.
"""

import argparse
import io
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as triton_client
from PIL import Image
from tritonclient.utils import InferenceServerException

from contracts.tensors import (
    BYTES_INPUT,
    BYTES_MODEL,
    BYTES_OUTPUT,
    IMAGE_INPUT,
    IMAGE_MODEL,
    IMAGE_OUTPUT,
    MAX_BATCH_SIZE,
)

WARM_UP_S = 1.0
TIMEOUT_S = 30.0
JPEG_SIZE_PX = (640, 480)
JPEG_QUALITY = 85
COARSENESS = 8  # a picture of noise that was enlarged: as many bytes as a photo has


@dataclass(frozen=True)
class Measured:
    """Of one concurrency; latencies are of whole requests."""

    concurrency: int
    images_s: float
    latencies_ms: Sequence[float]
    failed: int

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else np.nan


@dataclass
class Load:
    """What every caller sends, for how long."""

    address: str
    model: str
    batch: int
    seconds: float

    def measure(self, concurrency: int) -> Measured:
        """Raises InferenceServerException where Triton cannot be reached at all."""
        inputs, output = request(self.address, self.model, self.batch)
        starts_at = time.monotonic() + WARM_UP_S
        latencies_ms: list[float] = []
        failures: list[str] = []

        def call() -> None:
            client = triton_client.InferenceServerClient(self.address)
            while (sent_at := time.monotonic()) < starts_at + self.seconds:
                try:
                    client.infer(self.model, inputs, outputs=output, client_timeout=TIMEOUT_S)
                except InferenceServerException as exc:
                    failures.append(str(exc))
                    continue
                if sent_at >= starts_at:
                    latencies_ms.append((time.monotonic() - sent_at) * 1000)
            client.close()

        callers = [threading.Thread(target=call) for _ in range(concurrency)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        images_s = len(latencies_ms) * self.batch / (time.monotonic() - starts_at)
        return Measured(concurrency, images_s, latencies_ms, len(failures))


def request(address: str, model: str, batch: int) -> tuple[list[Any], list[Any]]:
    """Pictures of noise: neither the towers nor the decoders care what is on them."""
    chance = np.random.default_rng(0)
    if model == BYTES_MODEL:
        files = np.array([[photo_like(chance)] for _ in range(batch)], dtype=object)
        return [_tensor(BYTES_INPUT, files, "BYTES")], [_wanted(BYTES_OUTPUT)]
    client = triton_client.InferenceServerClient(address)
    shape = client.get_model_metadata(model, client_timeout=TIMEOUT_S).inputs[0].shape
    client.close()
    pixels = chance.integers(0, 256, (batch, *shape[1:]), dtype=np.uint8)
    return [_tensor(IMAGE_INPUT, pixels, "UINT8")], [_wanted(IMAGE_OUTPUT)]


def photo_like(chance: np.random.Generator) -> bytes:
    """A JPEG of 640 x 480, of about as many bytes as a photo has."""
    wide, high = JPEG_SIZE_PX
    noise = chance.integers(0, 256, (high // COARSENESS, wide // COARSENESS, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(JPEG_SIZE_PX, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def table(results: Sequence[Measured]) -> str:
    lines = [
        f"{'concurrency':>11} {'images/s':>9} {'P50 ms':>8} {'P99 ms':>8} {'max ms':>8} failed"
    ]
    for each in results:
        p50, p99, most = (each.percentile_ms(percent) for percent in (50, 99, 100))
        lines.append(
            f"{each.concurrency:>11} {each.images_s:>9.1f} {p50:>8.1f} {p99:>8.1f} {most:>8.1f} "
            f"{each.failed:>6}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    load = Load(options.address, options.model, options.batch, options.seconds)
    try:
        results = [load.measure(concurrency) for concurrency in options.concurrency]
    except InferenceServerException as exc:
        print(f"direct_triton: {options.address}: {exc.message()}", file=sys.stderr)
        return 1
    print(f"{options.model}, {options.batch} a request, {options.seconds:g} s each")
    print(table(results))
    return 1 if any(each.failed or not each.latencies_ms for each in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loadtest.direct_triton",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--address", default="127.0.0.1:8001")
    parser.add_argument("--model", choices=(IMAGE_MODEL, BYTES_MODEL), default=IMAGE_MODEL)
    parser.add_argument("--batch", type=_batch, default=1, help="pictures a request")
    parser.add_argument("--concurrency", type=_numbers, default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0)
    return parser


def _batch(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_BATCH_SIZE:
        raise argparse.ArgumentTypeError(f"from 1 to {MAX_BATCH_SIZE}")
    return number


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if any(number < 1 for number in numbers):
        raise argparse.ArgumentTypeError("each at least 1")
    return numbers


def _tensor(name: str, array: Any, datatype: str) -> triton_client.InferInput:
    tensor = triton_client.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def _wanted(name: str) -> triton_client.InferRequestedOutput:
    return triton_client.InferRequestedOutput(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
