"""Encoded pictures in, embeddings out: decodes for clip_vit of its own version, and asks it.

Triton's Python backend runs this. It is for callers without a decoder of their own; the platform's
dispatcher decodes by itself. `prepare` says what the model sees of a picture, and can be used
without Triton.
"""

import ctypes
import io
import json
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

INPUT, OUTPUT = "image", "embedding"
TOWER, TOWER_INPUT = "clip_vit", "pixels"
MANIFEST = "manifest.json"

FORMATS = ("JPEG", "PNG", "WEBP")
INTERPOLATION = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# A JPEG is decoded at a fraction of its size only where this many times the target is left:
# beyond that the antialiased resize hides the difference (embedding cosine > 0.9998 on photos).
OVERSAMPLING = 6
MAX_BYTES, MAX_PIXELS = 10_000_000, 50_000_000  # where the configuration's parameters say nothing
ORIENTATION = 0x0112
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_set_capsule_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_capsule_destructor.argtypes = (ctypes.py_object, ctypes.c_void_p)

Image.MAX_IMAGE_PIXELS = None  # the cap is ours, and an error where Pillow's is a warning


class BadPicture(ValueError):
    """The bytes are no picture that can be decoded; the message says why."""


def prepare(
    data: bytes,
    how: Mapping[str, Any],
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> Any:
    """uint8 [size, size, 3]: upright, RGB, resized and cropped as open_clip does it.

    `how` is the manifest's `preprocessing`: `size_px`, `resize` and `interpolation`. Raises
    BadPicture.
    """
    if len(data) > max_bytes:
        raise BadPicture(f"it has {len(data):,} bytes, and at most {max_bytes:,} are decoded")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise BadPicture(
                    f"it has {image.width} x {image.height} pixels, and at most {max_pixels:,} "
                    "are decoded"
                )
            orientation = image.getexif().get(ORIENTATION, 1)
            square = _square(image, how)
    except (BadPicture, MemoryError):
        raise
    except Exception as exc:  # Pillow's decoders raise nearly anything on damaged files
        raise BadPicture(f"it cannot be decoded as JPEG, PNG or WebP ({exc})") from exc
    turn = TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return np.asarray(square if turn is None else square.transpose(turn))


def _square(image: Image.Image, how: Mapping[str, Any]) -> Image.Image:
    size_px = how["size_px"]
    image.draft(None, (OVERSAMPLING * size_px, OVERSAMPLING * size_px))
    box = (0, 0, *image.size) if how["resize"] == "squash" else _middle(image.size, size_px)

    def resized(picture: Image.Image) -> Image.Image:
        filter_ = INTERPOLATION[how["interpolation"]]
        return picture.resize((size_px, size_px), filter_, box=box)

    if image.mode in {"I;16", "I;16B", "I"}:
        wide = np.asarray(resized(image)).clip(0, 2**16 - 1)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    return resized(image.convert("RGB"))  # what is transparent keeps the colour it hides


def _middle(size: tuple[int, int], size_px: int) -> tuple[float, float, float, float]:
    """What a resize of the shortest side to `size_px` and a centre crop would leave of it."""
    width, height = size
    shortest = min(size)
    resized = (width * size_px // shortest, height * size_px // shortest)
    step_x, step_y = width / resized[0], height / resized[1]
    left, top = (round((side - size_px) / 2) for side in resized)
    right, bottom = (left + size_px) * step_x, (top + size_px) * step_y
    return left * step_x, top * step_y, min(width, right), min(height, bottom)


class TritonPythonModel:
    """One instance; Triton calls `execute` from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

        self._triton = pb_utils
        self._version = int(args["model_version"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._how = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["preprocessing"]
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self._caps = {name: int(given["string_value"]) for name, given in parameters.items()}
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))  # Pillow releases the GIL

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. A picture that is none fails its request alone."""
        # Together at most max_batch_size pictures, as many as one call of the tower may hold.
        started = [[self._pool.submit(self._prepare, d) for d in self._bytes(r)] for r in requests]
        outcomes = [_all_or_first_failure(pictures) for pictures in started]
        good = [outcome for outcome in outcomes if isinstance(outcome, list)]
        embeddings = self._ask_tower([pixels for pictures in good for pixels in pictures])
        responses, start = [], 0
        for outcome in outcomes:
            if isinstance(outcome, list):
                responses.append(self._response(embeddings, start, start + len(outcome)))
                start += len(outcome)
            else:
                responses.append(self._refusal(outcome))
        return responses

    def finalize(self) -> None:
        self._pool.shutdown()

    def _bytes(self, request: Any) -> list[bytes]:
        tensor = self._triton.get_input_tensor_by_name(request, INPUT)
        return list(tensor.as_numpy().ravel())

    def _prepare(self, data: bytes) -> Any:
        return prepare(data, self._how, **self._caps)

    def _ask_tower(self, pictures: list[Any]) -> Any:
        """The embeddings, or the error of all: the version of the tower is always our own."""
        if not pictures:
            return None
        response = self._triton.InferenceRequest(
            model_name=TOWER,
            model_version=self._version,
            inputs=[self._tensor(TOWER_INPUT, np.stack(pictures))],
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

    def _refusal(self, why: BadPicture) -> Any:
        error = self._triton.TritonError(str(why), self._triton.TritonError.INVALID_ARG)
        return self._triton.InferenceResponse(error=error)

    def _tensor(self, name: str, array: Any) -> Any:
        """By DLPack: without a copy, and whichever numpy Triton was built against."""
        capsule = array.__dlpack__()
        tensor = self._triton.Tensor.from_dlpack(name, capsule)
        # The tensor owns the memory now, under a mark that numpy would write complaints about.
        _set_capsule_destructor(capsule, None)
        return tensor


def _all_or_first_failure(pictures: list[Future[Any]]) -> list[Any] | BadPicture:
    prepared = []
    for index, picture in enumerate(pictures):
        try:
            prepared.append(picture.result())
        except BadPicture as exc:
            return BadPicture(f"image {index}: {exc}")
    return prepared
