"""A lease lets work wait until it ends or the process stops."""

import threading

import pytest

from dispatcher.lease import Lease
from runtime.lifecycle import Lifecycle, Stopped

LONG_S = 3_600.0


def test_it_lasts_by_itself() -> None:
    lease = Lease(Lifecycle())
    lease.check("test")
    lease.sleep(0.0, "test")
    assert not lease.is_over


def test_an_ended_lease_lets_nobody_wait() -> None:
    lease = Lease(Lifecycle())
    lease.end()
    with pytest.raises(Stopped, match="test"):
        lease.sleep(LONG_S, "test")
    with pytest.raises(Stopped):
        lease.check("test")


def test_a_stop_ends_waits_but_not_the_lease() -> None:
    lifecycle = Lifecycle()
    lease = Lease(lifecycle)
    threading.Timer(0.01, lifecycle.stop).start()
    with pytest.raises(Stopped):
        lease.sleep(LONG_S, "test")
    lease.check("answers are still wanted")


def test_its_end_is_noticed_after_the_wait() -> None:
    class Pause(Lifecycle):
        def sleep(self, seconds: float) -> None:
            lease.end()

    lease = Lease(Pause())
    with pytest.raises(Stopped):
        lease.sleep(LONG_S, "test")
