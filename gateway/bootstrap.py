"""Composition root: settings go in, one of the gateway's processes runs until told to stop.

The API's is in gateway/api/bootstrap.py: each of its worker processes is wired by itself.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.topics import ALL_TOPICS, WRITER_GROUP
from gateway import cache, migrate, registry
from gateway.api import server
from gateway.backlog import Backlog
from gateway.database import Database
from gateway.labels.catalogue import LabelCatalogue
from gateway.labels.matrices import LabelMatrices, MatrixCache
from gateway.labels.prompts import PromptEmbedder
from gateway.notifications import SUBMITTED, Listener
from gateway.outbox import Deadlines
from gateway.relay import Relay
from gateway.replay import Choice, Replay
from gateway.repointing import Repointer
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from gateway.writer import Writer
from runtime import kafka
from runtime.backoff import Backoff
from runtime.lifecycle import Lifecycle, Pulse
from runtime.objects import ObjectStore
from runtime.probes import Probes
from runtime.triton import TritonClient

CONNECT_RETRY = Backoff(base_s=0.2, cap_s=2.0)
CLOSE_TIMEOUT_MS = 2_000
STOP_TIMEOUT_S = 10.0
MIGRATION_TIMEOUT_S = 3_600.0  # an index over millions of rows takes its time


def run_relay(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    database = database_of(settings)
    producer = kafka.producer(settings, "gateway-relay")
    relay = Relay(database, producer, lambda: _ensure_topics(settings), settings.relay_batch)
    relay_pulse, sweeper_pulse = Pulse(), Pulse()
    sweeping = threading.Thread(
        target=_sweeper(settings, database).run,
        args=(lifecycle, sweeper_pulse, settings.sweep_interval_s),
        name="sweeper",
    )
    # Whether it hangs nobody can tell, as it may be embedding for minutes; so it is let go.
    repointing = threading.Thread(
        target=_repointer(settings, database, lifecycle).run,
        args=(lifecycle, settings.sweep_interval_s),
        name="repointer",
        daemon=True,
    )
    with _probed(settings, lambda: relay_pulse.is_beating() and sweeper_pulse.is_beating()):
        sweeping.start()
        repointing.start()
        try:
            relay.run(Listener(database, SUBMITTED), lifecycle, relay_pulse, settings.relay_poll_s)
        finally:
            lifecycle.stop()  # no loop outlives the others
            sweeping.join(STOP_TIMEOUT_S)
            repointing.join(STOP_TIMEOUT_S)
    producer.close()
    database.close()


def _sweeper(settings: GatewaySettings, database: Database) -> Sweeper:
    deadlines = Deadlines(first_s=settings.sweep_deadline_s, cap_s=settings.sweep_deadline_cap_s)
    return Sweeper(database, Backlog(settings), deadlines)


def _repointer(settings: GatewaySettings, database: Database, lifecycle: Lifecycle) -> Repointer:
    objects = ObjectStore(settings.object_store_url)
    manifests = registry.Manifests(objects)
    matrices = label_matrices(settings, database, objects, manifests, lifecycle)
    matrix_cache = MatrixCache(objects, settings.label_set_cache_bytes)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    return Repointer(database, results, matrices, matrix_cache, settings.image_base_url)


def run_writer(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    database = database_of(settings)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    pulse = Pulse()
    writer = Writer(database, results, settings.image_base_url)
    with _probed(settings, pulse.is_beating, lambda: writer.is_ready):
        consumer = lifecycle.until_success(
            "connect to Kafka",
            lambda: kafka.consumer(settings, WRITER_GROUP, "gateway-writer", settings.writer_batch),
            CONNECT_RETRY,
            pulse,
        )
        writer.run(consumer, lifecycle, pulse)
        consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
    results.close()
    database.close()


def run_migrate(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    """Schema and topics; waits for Postgres and Kafka to come up."""
    database = Database(settings.database_url, pool_size=1, timeout_s=MIGRATION_TIMEOUT_S)
    lifecycle.until_success("migrate", lambda: migrate.migrate(database), CONNECT_RETRY)
    lifecycle.until_success("create topics", lambda: _ensure_topics(settings), CONNECT_RETRY)
    database.close()


def run_register(settings: GatewaySettings, lifecycle: Lifecycle, directory: Path) -> None:
    database = database_of(settings)
    objects = ObjectStore(settings.object_store_url)
    models, manifests = registry.Registry(database), registry.Manifests(objects)
    matrices = label_matrices(settings, database, objects, manifests, lifecycle)
    matrix_cache = MatrixCache(objects, settings.label_set_cache_bytes)
    catalogue = LabelCatalogue(database, models, manifests, matrices, matrix_cache)
    lifecycle.until_success(
        "register model",
        lambda: registry.register(database, objects, directory, catalogue.embed_all),
        CONNECT_RETRY,
    )
    database.close()


def run_api(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    server.run("gateway.api.bootstrap:app_from_environment", settings, lifecycle)


def run_replay(
    settings: GatewaySettings,
    lifecycle: Lifecycle,
    choice: Choice,
    say: Callable[[str], None],
    *,
    dry_run: bool,
) -> None:
    """Say what is chosen, by reason; then, unless it is a dry run, do it and say how far it is."""
    database = database_of(settings)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    replay = Replay(database, results)
    counts = lifecycle.until_success("count", lambda: replay.count(choice), CONNECT_RETRY)
    for reason, count in sorted(counts.items()):
        say(f"{count:8}  {reason}")
    say(f"{sum(counts.values()):8}  {'would be' if dry_run else 'to be'} replayed")
    for replayed in () if dry_run else replay.run(choice):
        say(f"{replayed:8}  replayed")
        if lifecycle.stopping:
            break
    results.close()
    database.close()


def label_matrices(
    settings: GatewaySettings,
    database: Database,
    objects: ObjectStore,
    manifests: registry.Manifests,
    lifecycle: Lifecycle,
) -> LabelMatrices:
    triton = TritonClient(settings.triton_grpc_address, settings.prompt_timeout_s)
    embedder = PromptEmbedder(triton, lambda: lifecycle.stopping)
    return LabelMatrices(
        database,
        objects,
        manifests,
        embedder,
        settings.embedding_patience_s,
        settings.max_prompts,
    )


def database_of(settings: GatewaySettings) -> Database:
    return Database(
        settings.database_url,
        settings.database_pool_size,
        settings.database_timeout_s,
        settings.database_retry_s,
    )


def _ensure_topics(settings: GatewaySettings) -> None:
    partitions = {topic.name: topic.partitions for topic in ALL_TOPICS}
    kafka.ensure_topics(settings, partitions, settings.topic_replication)


@contextmanager
def _probed(
    settings: GatewaySettings,
    is_live: Callable[[], bool],
    is_ready: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    probes = Probes(settings.probes_host, settings.probes_port, is_live, is_ready)
    probes.start()
    try:
        yield
    finally:
        probes.stop()
