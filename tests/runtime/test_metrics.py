"""Metrics in Prometheus' text format, from one process or summed over workers."""

import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from runtime import metrics

WORKER = """
import sys
from prometheus_client import Counter, Gauge
Counter("uploads_total", "Uploads.").inc(int(sys.argv[1]))
Gauge("busy", "At work.", multiprocess_mode="livesum").set(1)
"""
MASTER = f"""
import subprocess, sys
from pathlib import Path
from runtime import metrics
metrics.share_between_workers(Path(sys.argv[1]))
workers = [subprocess.Popen([sys.executable, "-c", {WORKER!r}, count]) for count in "23"]
for worker in workers:
    worker.wait()
metrics.forget_worker(workers[0].pid)
sys.stdout.buffer.write(metrics.render())
"""


def samples(text: str) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_one_process_renders_its_own() -> None:
    assert "process_cpu_seconds_total" in samples(metrics.render().decode())


def test_workers_are_summed_and_the_dead_forgotten(tmp_path: Path) -> None:
    stale = tmp_path / "counter_1.db"
    stale.write_bytes(b"what a former run left")
    ran = subprocess.run(
        [sys.executable, "-c", MASTER, tmp_path], capture_output=True, check=True, timeout=30
    )
    found = samples(ran.stdout.decode())
    assert found["uploads_total"] == 5
    assert found["busy"] == 1
    assert not stale.exists()


def test_buckets_are_dense_where_latency_is_promised() -> None:
    buckets = metrics.LATENCY_BUCKETS_S
    assert list(buckets) == sorted(set(buckets))
    assert {0.2, 0.5} <= set(buckets)
