"""Requests that wait until their image is terminal: woken by NOTIFY, by a slow poll otherwise."""

import asyncio
from collections import defaultdict

from gateway import metrics


class Waiting:
    """Futures by image id. Used on the event loop; `wake` may be called from any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._futures: defaultdict[int, set[asyncio.Future[None]]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.released = False

    def attach(self) -> None:
        """Bind to the running event loop, which `wake` shall reach."""
        self._loop = asyncio.get_running_loop()

    @property
    def is_full(self) -> bool:
        """Whether one more waiting request would be more than this process holds."""
        return self.released or self._count >= self._limit

    def expect(self, image_id: int) -> "Expectation":
        """Register before looking at the image, so that no wake-up falls between the two."""
        return Expectation(self, image_id)

    def wake(self, image_ids: list[int]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, image_ids)

    def release(self) -> None:
        """Let all go and hold none any more: the process ends."""
        self.released = True
        self.wake(list(self._futures))

    def _wake(self, image_ids: list[int]) -> None:
        for image_id in image_ids:
            for future in self._futures.get(image_id, ()):
                if not future.done():
                    future.set_result(None)

    def add(self, image_id: int) -> "asyncio.Future[None]":
        future = asyncio.get_running_loop().create_future()
        self._futures[image_id].add(future)
        self._count += 1
        metrics.WAITERS.inc()
        return future

    def remove(self, image_id: int, future: "asyncio.Future[None]") -> None:
        futures = self._futures[image_id]
        futures.discard(future)
        if not futures:
            del self._futures[image_id]
        self._count -= 1
        metrics.WAITERS.dec()


class Expectation:
    """An async context in which `wait` ends when the image is announced terminal."""

    def __init__(self, waiting: Waiting, image_id: int) -> None:
        self._waiting = waiting
        self._image_id = image_id

    async def __aenter__(self) -> "Expectation":
        self._future = self._waiting.add(self._image_id)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._waiting.remove(self._image_id, self._future)

    async def wait(self, timeout_s: float) -> None:
        """Returns when announced since the last call, or after `timeout_s`."""
        await asyncio.wait([self._future], timeout=timeout_s)
        if self._future.done():
            self._waiting.remove(self._image_id, self._future)
            self._future = self._waiting.add(self._image_id)
