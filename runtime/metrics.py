"""How metrics are bucketed and rendered; each service declares its own in its `metrics.py`."""

import os
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

PATH = "/actuator/prometheus"
CONTENT_TYPE = CONTENT_TYPE_LATEST

# 1 ms to 30 s; dense below 2 s, where the latency promises (P50 200 ms, P99 500 ms) lie.
LATENCY_BUCKETS_S = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2,
    0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# prometheus_client's own switch: where it is set, every worker process writes its samples there.
_SHARED_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def render() -> bytes:
    """All samples in Prometheus text format, summed over the worker processes if there are any."""
    if _SHARED_DIR_VARIABLE not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def share_between_workers(directory: Path) -> None:
    """Let worker processes that are started, not forked, after this share their samples."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in directory.glob("*.db"):
        stale.unlink()
    os.environ[_SHARED_DIR_VARIABLE] = str(directory)


def forget_worker(pid: int) -> None:
    """Drop the live gauges of a worker process that ended."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
