"""Composition root: settings go in, one of the gateway's processes runs until told to stop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from contracts.topics import ALL_TOPICS, WRITER_GROUP
from gateway import cache, migrate, readiness, registry
from gateway.api import app as api
from gateway.api import server
from gateway.api.json_body import JsonLimits
from gateway.api.multipart import BodyLimits
from gateway.api.state import Services
from gateway.api.threads import RequestThreads
from gateway.backlog import Backlog
from gateway.database import Database
from gateway.deletion import Deletion
from gateway.label_catalogue import LabelCatalogue
from gateway.label_matrices import LabelMatrices
from gateway.labelling import Labelling
from gateway.lookup import Lookup
from gateway.notifications import SUBMITTED, TERMINAL, Doorbell, Listener, TerminalListener
from gateway.outbox import Deadlines
from gateway.prompts import PromptEmbedder
from gateway.readiness import Readiness
from gateway.reclassification import Reclassification
from gateway.relay import Relay
from gateway.replay import Choice, Replay
from gateway.repointing import Repointer
from gateway.settings import GatewaySettings, from_environment
from gateway.submission import Submission
from gateway.sweeper import Sweeper
from gateway.validation import Limits
from gateway.waiting import Waiting
from gateway.writer import Writer
from runtime import kafka, logs
from runtime.backoff import Backoff
from runtime.lifecycle import Lifecycle, Pulse
from runtime.objects import ObjectStore
from runtime.probes import Probes
from runtime.triton import TritonClient

CONNECT_RETRY = Backoff(base_s=0.2, cap_s=2.0)
CLOSE_TIMEOUT_MS = 2_000
STOP_TIMEOUT_S = 10.0
EMBEDDING_JOBS = 4  # at once in a process; they take turns at Triton, so small ones end first
MIGRATION_TIMEOUT_S = 3_600.0  # an index over millions of rows takes its time


def create_app(settings: GatewaySettings) -> FastAPI:
    """The API with everything it needs; nothing connects before the first request."""
    lifecycle = Lifecycle()
    database = _database(settings)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    objects = ObjectStore(settings.object_store_url)
    models = registry.Registry(database)
    triton = TritonClient(settings.triton_grpc_address, settings.triton_timeout_s)
    doorbell = Doorbell(database, lifecycle)
    waiting = Waiting(settings.max_waiters)
    listener = TerminalListener(Listener(database, TERMINAL), lifecycle, waiting.wake)
    embedding = Lifecycle()
    manifests = registry.Manifests(objects)
    matrices = _matrices(settings, database, objects, manifests, embedding)
    labelling = Labelling(database, models, matrices, settings.max_prompts)
    services = Services(
        database=database,
        objects=objects,
        submission=Submission(database, objects, models, doorbell),
        labelling=labelling,
        label_catalogue=LabelCatalogue(
            database, objects, models, manifests, matrices, settings.max_prompts, labelling.forget
        ),
        lookup=Lookup(database, results, settings.image_base_url),
        reclassification=Reclassification(
            database,
            objects,
            results,
            manifests,
            settings.image_base_url,
            settings.label_set_cache_bytes,
        ),
        deletion=Deletion(database, results, objects),
        waiting=waiting,
        readiness=Readiness(
            {
                "outbox": readiness.check_outbox(database),
                "model": readiness.check_model(models, objects, triton),
                "consumers": readiness.check_consumers(settings),
            },
            settings.readiness_cache_s,
        ),
        threads=RequestThreads(settings.request_threads, settings.database_timeout_s),
        embedding=RequestThreads(EMBEDDING_JOBS, settings.embedding_patience_s),
        body_limits=_body_limits(settings),
        json_limits=_json_limits(settings),
        image_limits=Limits(max_pixels=settings.max_pixels),
        image_base_url=settings.image_base_url,
    )

    def start() -> None:
        waiting.attach()
        server.call_on_exit_signal(waiting.release)
        server.call_on_exit_signal(embedding.stop)
        doorbell.start()
        listener.start()

    return api.create(services, settings.request_threads, start, lifecycle.stop)


def run_relay(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    database = _database(settings)
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
    matrices = _matrices(settings, database, objects, manifests, lifecycle)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    return Repointer(database, results, objects, matrices, settings.image_base_url)


def run_writer(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    database = _database(settings)
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
    database = _database(settings)
    objects = ObjectStore(settings.object_store_url)
    models, manifests = registry.Registry(database), registry.Manifests(objects)
    matrices = _matrices(settings, database, objects, manifests, lifecycle)
    catalogue = LabelCatalogue(database, objects, models, manifests, matrices, settings.max_prompts)
    lifecycle.until_success(
        "register model",
        lambda: registry.register(database, objects, directory, catalogue.embed_all),
        CONNECT_RETRY,
    )
    database.close()


def run_api(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    server.run("gateway.bootstrap:app_from_environment", settings, lifecycle)


def app_from_environment() -> FastAPI:
    """What each worker process of the API runs."""
    settings = from_environment()
    logs.configure("gateway-api", settings.log_format, settings.log_level)
    return create_app(settings)


def run_replay(
    settings: GatewaySettings,
    lifecycle: Lifecycle,
    choice: Choice,
    say: Callable[[str], None],
    *,
    dry_run: bool,
) -> None:
    """Say what is chosen, by reason; then, unless it is a dry run, do it and say how far it is."""
    database = _database(settings)
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


def _body_limits(settings: GatewaySettings) -> BodyLimits:
    return BodyLimits(
        max_upload_bytes=settings.max_upload_bytes,
        max_parts=settings.max_parts,
        max_field_bytes=settings.max_field_bytes,
        grace_s=settings.body_grace_s,
        min_rate_bytes_s=settings.body_min_rate_bytes_s,
    )


def _json_limits(settings: GatewaySettings) -> JsonLimits:
    return JsonLimits(
        max_json_bytes=settings.max_json_bytes,
        grace_s=settings.body_grace_s,
        min_rate_bytes_s=settings.body_min_rate_bytes_s,
    )


def _matrices(
    settings: GatewaySettings,
    database: Database,
    objects: ObjectStore,
    manifests: registry.Manifests,
    lifecycle: Lifecycle,
) -> LabelMatrices:
    triton = TritonClient(settings.triton_grpc_address, settings.prompt_timeout_s)
    embedder = PromptEmbedder(triton, lambda: lifecycle.stopping)
    return LabelMatrices(database, objects, manifests, embedder, settings.embedding_patience_s)


def _database(settings: GatewaySettings) -> Database:
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
