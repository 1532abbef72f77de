"""Blocking calls of requests go in, their answers come out of a bounded pool of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import anyio

from gateway.problems import Overloaded

P = ParamSpec("P")
T = TypeVar("T")


class RequestThreads:
    """At most `count` calls at once; a request waits `patience_s` for its turn, then it is refused.

    A call that has begun is never given up: its caller learns what became of it.
    """

    def __init__(self, count: int, patience_s: float) -> None:
        self._turns = anyio.CapacityLimiter(count)
        self._patience_s = patience_s
        self._executor = ThreadPoolExecutor(count, "request")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises Overloaded when no thread came free, else what `call` raises."""
        turn = object()
        try:
            with anyio.fail_after(self._patience_s):
                await self._turns.acquire_on_behalf_of(turn)
        except TimeoutError as exc:
            raise Overloaded("More requests wait than can be answered; try again.") from exc
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))
        # The turn ends with the call, not with who waits for it: a thread is busy until then.
        running.add_done_callback(lambda _: self._turns.release_on_behalf_of(turn))
        return await asyncio.shield(running)
