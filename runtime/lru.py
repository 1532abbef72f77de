"""Keys go in, values come out: loaded once, kept while they are used, bounded by their weight."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Lru(Generic[K, T]):
    """Keeps what was used last, up to a weight of `limit`; loading happens outside the lock.

    The value that was loaded last is kept whatever it weighs: the next caller wants it too.
    """

    def __init__(
        self, limit: int, load: Callable[[K], T], weight_of: Callable[[T], int] = lambda _: 1
    ) -> None:
        self._limit = limit
        self._load = load
        self._weight_of = weight_of
        self._lock = threading.Lock()
        self._values: OrderedDict[K, T] = OrderedDict()
        self._weight = 0

    def get(self, key: K) -> T:
        """Raises what loading raises; a failure is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = self._load(key)
        self.put(key, value)
        return value

    def put(self, key: K, value: T) -> None:
        """As if it had just been loaded."""
        with self._lock:
            if key not in self._values:  # else another thread was faster
                self._values[key] = value
                self._weight += self._weight_of(value)
            while self._weight > self._limit and len(self._values) > 1:
                _, least_recent = self._values.popitem(last=False)
                self._weight -= self._weight_of(least_recent)
