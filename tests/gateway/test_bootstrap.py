"""Bootstrap: the relay and its sweeper live and end together, and liveness knows of both."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from gateway import bootstrap
from gateway.relay import Relay
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from runtime.lifecycle import HANG_LIMIT_S, Lifecycle, Pulse
from runtime.probes import Probes
from tests.api.road import NOWHERE
from tests.gateway.waits import until


@pytest.fixture
def settings() -> GatewaySettings:
    """Of a relay with everything away, and probes on a port that is free."""
    return GatewaySettings(
        database_url=f"postgresql://nobody@{NOWHERE}/none",
        redis_url=f"redis://{NOWHERE}/0",
        kafka_bootstrap_servers=NOWHERE,
        object_store_url="file:///nowhere",
        triton_grpc_address=NOWHERE,
        probes_port=0,
    )


class Clock:
    """Time that passes when a test says so, for every pulse that is made with it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pulses: list[Pulse] = []

    def pulse(self) -> Pulse:
        self.pulses.append(Pulse(lambda: self.now_s))
        return self.pulses[-1]


def wait_for_the_end(_loop: object, *arguments: object) -> None:
    """A loop that hangs, but for the lifecycle."""
    (lifecycle,) = (each for each in arguments if isinstance(each, Lifecycle))
    lifecycle.sleep(30)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(bootstrap, "Pulse", made.pulse)
    monkeypatch.setattr(Relay, "run", wait_for_the_end)
    monkeypatch.setattr(Sweeper, "run", wait_for_the_end)
    return made


@pytest.fixture
def relay_url(
    settings: GatewaySettings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Where the probes of a running relay are."""
    made: list[Probes] = []

    class KnownProbes(Probes):
        def start(self) -> None:
            super().start()
            made.append(self)

    monkeypatch.setattr(bootstrap, "Probes", KnownProbes)
    lifecycle = Lifecycle()
    thread = threading.Thread(target=bootstrap.run_relay, args=(settings, lifecycle))
    thread.start()
    yield f"http://127.0.0.1:{until(lambda: made)[0].port}"
    lifecycle.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


def status_of(url: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_a_relay_lives_only_while_both_its_loops_do(clock: Clock, relay_url: str) -> None:
    assert status_of(f"{relay_url}/livez") == 200
    for silent in (0, 1):
        clock.now_s += HANG_LIMIT_S + 1
        clock.pulses[1 - silent].beat()
        assert status_of(f"{relay_url}/livez") == 503
        clock.pulses[silent].beat()
        assert status_of(f"{relay_url}/livez") == 200


def test_a_relay_that_fails_takes_its_sweeper_with_it(
    settings: GatewaySettings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red where the sweeper keeps a process alive that publishes nothing."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Relay, "run", fail)
    with pytest.raises(ZeroDivisionError):
        bootstrap.run_relay(settings, Lifecycle())
    assert "sweeper" not in [thread.name for thread in threading.enumerate()]
