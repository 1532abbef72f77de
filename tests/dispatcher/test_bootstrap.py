"""The composition root: a loop that hangs is not live, and a stop has a deadline from the start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher import bootstrap
from dispatcher.settings import DispatcherSettings
from dispatcher.stopping import CLOSING_S
from runtime.lifecycle import HANG_LIMIT_S, Lifecycle, Pulse


class Recorded:
    """What the root made, in place of servers and threads."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_live: Callable[[], bool] = lambda: False
        self.is_ready: Callable[[], bool] = lambda: True
        self.stop_within_s = 0.0
        self.watched = False

    def probes(
        self, _host: str, _port: int, is_live: Callable[[], bool], is_ready: Callable[[], bool]
    ) -> "Recorded":
        self.is_live, self.is_ready = is_live, is_ready
        return self

    def deadline(self, _lifecycle: Lifecycle, within_s: float) -> "Recorded":
        self.stop_within_s = within_s
        return self

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def watch(self) -> None:
        self.watched = True


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setattr(bootstrap, "Probes", recorded.probes)
    monkeypatch.setattr(bootstrap, "StopDeadline", recorded.deadline)
    monkeypatch.setattr(bootstrap, "Pulse", lambda: Pulse(lambda: recorded.now_s))
    return recorded


def test_stopped_before_kafka_answers(recorded: Recorded, tmp_path: Path) -> None:
    settings = DispatcherSettings(
        kafka_bootstrap_servers="127.0.0.1:1",
        object_store_url=tmp_path.as_uri(),
        triton_grpc_address="127.0.0.1:1",
        drain_grace_s=3.0,
    )
    lifecycle = Lifecycle()
    lifecycle.stop()
    bootstrap.run(settings, lifecycle)
    assert recorded.watched
    assert recorded.stop_within_s == 3.0 + CLOSING_S
    assert not recorded.is_ready()
    assert recorded.is_live()
    recorded.now_s = HANG_LIMIT_S + 1.0
    assert not recorded.is_live()
