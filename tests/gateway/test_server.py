"""Server: a signal is heard at every moment of a start, by all who have to hear it."""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest
import uvicorn

from gateway.api import server
from runtime.lifecycle import Lifecycle


@pytest.fixture(autouse=True)
def _handlers_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in server.EXIT_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Server(uvicorn.Server):
    """Gets a signal before uvicorn would take it, and notes whether it ran."""

    def __init__(self) -> None:
        super().__init__(uvicorn.Config("nothing"))
        self.ran = False

    def run(self, sockets: object = None) -> None:
        del sockets
        self.ran = True
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_process_that_was_told_to_stop_never_serves() -> None:
    lifecycle, made = Lifecycle(), Server()
    lifecycle.stop()
    server.serve(made, [], lifecycle)
    assert not made.ran


def test_a_signal_before_uvicorn_takes_them_ends_it() -> None:
    made = Server()
    server.serve(made, [], Lifecycle())
    assert made.ran
    assert made.should_exit


@pytest.mark.parametrize("number", server.EXIT_SIGNALS)
def test_whoever_heard_a_signal_before_still_does(number: signal.Signals) -> None:
    heard: list[str] = []

    def first(_number: int, _frame: FrameType | None) -> None:
        heard.append("first")

    signal.signal(number, first)
    server.call_on_exit_signal(lambda: heard.append("second"))
    os.kill(os.getpid(), number)
    assert sorted(heard) == ["first", "second"]
