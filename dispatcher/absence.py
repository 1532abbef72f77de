"""Model versions that a ready Triton does not know go in; those gone for good come out."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.events import MODEL_GONE
from runtime.errors import Permanent

Version = tuple[str, str]  # a model's name and version, as Triton knows them


class ModelGone(Permanent):
    """Triton has not served this version for so long that it is not expected back."""

    def __init__(self, version: Version) -> None:
        super().__init__(MODEL_GONE, "Version {1} of {0} is not served any more.".format(*version))


@dataclass
class _Absence:
    first_s: float
    last_s: float


class Absences:
    """Safe for several threads.

    A version is gone once it has been asked for in vain for `grace_s`, by a Triton that was ready
    each time. One that nobody asked for as long has its grace anew: it may have come and gone.
    """

    def __init__(self, grace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self._lock = threading.Lock()
        self._absences: dict[Version, _Absence] = {}

    def note(self, version: Version) -> None:
        """It was asked for in vain. Raises ModelGone once the grace is over."""
        now_s = self._clock()
        with self._lock:
            absence = self._absences.get(version)
            if absence is None or now_s - absence.last_s > self._grace_s:
                absence = self._absences[version] = _Absence(now_s, now_s)
            absence.last_s = now_s
            if now_s - absence.first_s >= self._grace_s:
                raise ModelGone(version)

    def end(self, version: Version) -> None:
        """It answered, or Triton is not ready and cannot tell."""
        if version in self._absences:
            with self._lock:
                self._absences.pop(version, None)
