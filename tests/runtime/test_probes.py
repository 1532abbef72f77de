"""Probes over HTTP: liveness, readiness and metrics, each with its code."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from runtime.probes import Probes


class Health:
    live = True
    ready = True


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def probes(health: Health) -> Iterator[Probes]:
    probes = Probes("127.0.0.1", 0, lambda: health.live, lambda: health.ready)
    probes.start()
    yield probes
    probes.stop()


def get(probes: Probes, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{probes.port}{path}", timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


@pytest.mark.parametrize(
    ("live", "ready", "livez", "readyz"),
    [(True, True, 200, 200), (True, False, 200, 503), (False, False, 503, 503)],
)
def test_health(
    probes: Probes, health: Health, live: bool, ready: bool, livez: int, readyz: int
) -> None:
    health.live, health.ready = live, ready
    assert get(probes, "/livez")[0] == livez
    assert get(probes, "/readyz")[0] == readyz


def test_metrics_are_served(probes: Probes) -> None:
    status, text = get(probes, "/actuator/prometheus")
    assert status == 200
    assert "python_info" in text


@pytest.mark.parametrize("path", ["/", "/metrics", "/../../etc/passwd"])
def test_all_else_is_not_found(probes: Probes, path: str) -> None:
    assert get(probes, path)[0] == 404


def test_stopped_probes_answer_no_more(probes: Probes) -> None:
    late = Probes("127.0.0.1", 0, lambda: True, lambda: True)
    late.start()
    assert get(late, "/livez")[0] == 200
    late.stop()
    with pytest.raises(urllib.error.URLError):
        get(late, "/livez")
