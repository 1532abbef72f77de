"""Figures of an export come in, the table that ends it comes out."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from build.exporting.converted import Converted, Files
from build.exporting.engine import Engine
from build.exporting.gate import Parity
from contracts.tensors import IMAGE_INPUT, IMAGE_MODEL, TEXT_MODEL

BATCHES = (1, 8, 16, 64)
MEGABYTE = 1_000_000


class Stages:
    """What each stage took, said when it is over. A context manager a stage."""

    def __init__(self) -> None:
        self.took_s: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        say(f"{name} ...")
        started = time.monotonic()
        yield
        self.took_s[name] = time.monotonic() - started


def say(message: str) -> None:
    print(f"  {message}", flush=True)


def speed(engine: Engine, size_px: int) -> dict[int, float]:
    """Images a second of the engine alone, by batch size."""
    found = {}
    for batch in BATCHES:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size_px, size_px, 3), np.uint8)
        found[batch] = batch / engine.seconds_a_run({IMAGE_INPUT: pixels})
    return found


def table(
    model: Converted,
    parities: Mapping[str, Parity],
    speeds: Mapping[int, float],
    took_s: Mapping[str, float],
) -> str:
    """One line a figure."""
    lines = [(IMAGE_MODEL, _size(model.image_files)), (TEXT_MODEL, _size(model.text_files))]
    lines += [(what, str(parity)) for what, parity in parities.items()]
    rates = ", ".join(f"{rate:.0f} in batches of {batch}" for batch, rate in speeds.items())
    lines.append(("floats computed in", model.image.computes_in))
    lines.append(("images/s", rates or "not measured: the engine was not run"))
    lines.append(("took", ", ".join(f"{name} {s:.1f} s" for name, s in took_s.items())))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in lines)


def _size(files: Files) -> str:
    total = sum(path.stat().st_size for path in files.values())
    return f"{total / MEGABYTE:.1f} MB ({', '.join(files)})"
