"""Whether an upload would be labelled now: every part of the road is asked, Triton by a canary."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from contracts import tensors
from contracts.manifest import Manifest, ManifestError
from contracts.topics import DISPATCHER_GROUP, WRITER_GROUP
from gateway import outbox
from gateway.database import Database
from gateway.registry import Registry
from runtime import kafka
from runtime.errors import Permanent, Retryable
from runtime.objects import ObjectStore
from runtime.settings import KafkaSettings
from runtime.triton import TritonClient

log = structlog.get_logger(__name__)

OUTBOX_AGE_LIMIT_S = 5.0
STALE_S = 10.0
UNIT_TOLERANCE = 1e-2


class NotReady(Exception):
    """A check found why an upload would not be labelled."""


Check = Callable[[], None]


@dataclass(frozen=True)
class Report:
    """Each check's name with `ok`, or why not."""

    checks: Mapping[str, str]

    @property
    def ready(self) -> bool:
        return all(answer == "ok" for answer in self.checks.values())


class Readiness:
    """Runs the checks at most once every `max_age_s`, by one caller; others get the last answer.

    So probes cannot pile up behind a dependency that is slow to answer.
    """

    def __init__(self, checks: Mapping[str, Check], max_age_s: float) -> None:
        self._checks = checks
        self._max_age_s = max_age_s
        self._refreshing = threading.Lock()
        self._report = Report({"first": "the checks have not ended yet"})
        self._made_at_s = float("-inf")

    def report(self) -> Report:
        if self._age_s() >= self._max_age_s and self._refreshing.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._refreshing.release()
        if self._age_s() > self._max_age_s + STALE_S:
            return Report({**self._report.checks, "age": "the checks take too long"})
        return self._report

    def _age_s(self) -> float:
        return time.monotonic() - self._made_at_s

    def _refresh(self) -> None:
        was_ready = self._report.ready
        self._report = Report({name: _answer(check) for name, check in self._checks.items()})
        self._made_at_s = time.monotonic()
        if self._report.ready != was_ready:
            log.info("readiness changed", action="readiness", **self._report.checks)


def check_outbox(database: Database) -> Check:
    """Postgres answers, and the relay keeps up."""

    def check() -> None:
        with database.statement() as cursor:
            age_s = outbox.age_s(cursor)
        if age_s > OUTBOX_AGE_LIMIT_S:
            raise NotReady(f"an event has waited {age_s:.0f} s for the relay")

    return check


def check_model(registry: Registry, objects: ObjectStore, triton: TritonClient) -> Check:
    """The object store holds the active model's manifest, and Triton embeds a canary picture."""

    def check() -> None:
        manifest = Manifest.from_json(objects.get(registry.active().manifest_key))
        size_px = manifest.preprocessing.size_px
        canary = np.full((1, size_px, size_px, 3), 127, np.uint8)
        embedding = triton.infer(
            manifest.image_model,
            manifest.triton_version,
            {tensors.IMAGE_INPUT: canary},
            tensors.IMAGE_OUTPUT,
        )
        length = float(np.linalg.norm(embedding[0]))
        is_unit = abs(length - 1) <= UNIT_TOLERANCE  # which NaN is not
        if embedding.shape != (1, manifest.embedding_dim) or not is_unit:
            raise NotReady(f"the canary's embedding is {embedding.shape}, length {length:.3f}")

    return check


def check_consumers(settings: KafkaSettings) -> Check:
    """Kafka answers, and both a dispatcher and a writer are in their consumer groups."""

    def check() -> None:
        with kafka.admin(settings) as client:
            groups = client.describe_groups([DISPATCHER_GROUP, WRITER_GROUP])
        for group in (DISPATCHER_GROUP, WRITER_GROUP):
            if not groups.get(group, {}).get("members"):
                raise NotReady(f"consumer group {group} has no member")

    return check


def _answer(check: Check) -> str:
    try:
        check()
    except (NotReady, Retryable, Permanent, ManifestError) as exc:
        return str(exc)
    return "ok"
