"""Composition root: settings go in, one of the gateway's processes runs until told to stop."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from contracts.topics import ALL_TOPICS, WRITER_GROUP
from gateway import cache, migrate, readiness, registry
from gateway.api import app as api
from gateway.api.multipart import BodyLimits
from gateway.api.protocol import ConnectionLimits, protocol_with
from gateway.api.state import Services
from gateway.backlog import Backlog
from gateway.database import Database
from gateway.deletion import Deletion
from gateway.lookup import Lookup
from gateway.notifications import SUBMITTED, TERMINAL, Doorbell, Listener, TerminalListener
from gateway.readiness import Readiness
from gateway.relay import Relay
from gateway.settings import GatewaySettings, from_environment
from gateway.submission import Submission
from gateway.sweeper import Deadlines, Sweeper
from gateway.validation import Limits
from gateway.waiting import Waiting
from gateway.writer import Writer
from runtime import kafka, logs, metrics
from runtime.backoff import Backoff
from runtime.lifecycle import Lifecycle
from runtime.objects import ObjectStore
from runtime.probes import Probes
from runtime.triton import TritonClient

CONNECT_RETRY = Backoff(base_s=0.2, cap_s=2.0)
CLOSE_TIMEOUT_MS = 2_000
EXIT_SIGNALS = (signal.SIGTERM, signal.SIGINT)
MIGRATION_TIMEOUT_S = 3_600.0  # an index over millions of rows takes its time
KEEP_ALIVE_S = 75  # longer than the 60 s of common proxies, which would answer 502 otherwise


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
    services = Services(
        database=database,
        objects=objects,
        submission=Submission(database, objects, models, doorbell),
        lookup=Lookup(database, results, settings.image_base_url),
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
        body_limits=BodyLimits(
            max_upload_bytes=settings.max_upload_bytes,
            max_parts=settings.max_parts,
            max_field_bytes=settings.max_field_bytes,
            grace_s=settings.body_grace_s,
            min_rate_bytes_s=settings.body_min_rate_bytes_s,
        ),
        image_limits=Limits(max_pixels=settings.max_pixels),
        image_base_url=settings.image_base_url,
    )

    def start() -> None:
        waiting.attach()
        _call_on_exit_signal(waiting.release)
        doorbell.start()
        listener.start()

    return api.create(services, settings.request_threads, start, lifecycle.stop)


def run_relay(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    database = _database(settings)
    producer = kafka.producer(settings, "gateway-relay")
    deadlines = Deadlines(
        first_s=settings.sweep_deadline_s,
        cap_s=settings.sweep_deadline_cap_s,
        interval_s=settings.sweep_interval_s,
    )
    sweeper = Sweeper(database, Backlog(settings), deadlines)
    relay = Relay(database, producer, lambda: _ensure_topics(settings), settings.relay_batch)
    with _probed(settings):
        relay.run(Listener(database, SUBMITTED), sweeper, lifecycle, settings.relay_poll_s)
    producer.close()
    database.close()


def run_writer(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    database = _database(settings)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    with _probed(settings):
        consumer = lifecycle.until_success(
            "connect to Kafka",
            lambda: kafka.consumer(settings, WRITER_GROUP, "gateway-writer", settings.writer_batch),
            CONNECT_RETRY,
        )
        Writer(database, results, settings.image_base_url).run(consumer, lifecycle)
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
    lifecycle.until_success(
        "register model", lambda: registry.register(database, objects, directory), CONNECT_RETRY
    )
    database.close()


def run_api(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    """Serve until SIGTERM; with several workers each process makes its own application."""
    config = _uvicorn_config(settings)
    sockets = [config.bind_socket()]
    if settings.workers == 1:
        _serve(uvicorn.Server(config), sockets, lifecycle)
        return
    with TemporaryDirectory(prefix="gateway-metrics-") as directory:
        metrics.share_between_workers(Path(directory))
        supervisor = Multiprocess(config, sockets)
        if not lifecycle.stopping:
            supervisor.run()


def _serve(server: uvicorn.Server, sockets: list[socket.socket], lifecycle: Lifecycle) -> None:
    """Uvicorn takes signals only once it runs, and raises those again that it took, at its end."""
    for number in EXIT_SIGNALS:
        signal.signal(number, server.handle_exit)
    if not lifecycle.stopping:
        server.run(sockets)


def app_from_environment() -> FastAPI:
    """What each worker process of the API runs."""
    settings = from_environment()
    logs.configure("gateway-api", settings.log_format, settings.log_level)
    return create_app(settings)


def _call_on_exit_signal(call: Callable[[], None]) -> None:
    """Beside what uvicorn does, which first waits for every answer that is still due."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in EXIT_SIGNALS:
        _chain(number, call)


def _chain(number: signal.Signals, call: Callable[[], None]) -> None:
    before = signal.getsignal(number)

    def handle(caught: int, frame: FrameType | None) -> None:
        call()
        if callable(before):
            before(caught, frame)

    signal.signal(number, handle)


def _uvicorn_config(settings: GatewaySettings) -> uvicorn.Config:
    limits = ConnectionLimits(
        max_header_bytes=settings.max_header_bytes, header_timeout_s=settings.header_timeout_s
    )
    return uvicorn.Config(
        "gateway.bootstrap:app_from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        ws="none",
        http=protocol_with(limits),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.shutdown_grace_s),
        log_config=None,
        access_log=False,
        server_header=False,
    )


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
def _probed(settings: GatewaySettings) -> Iterator[None]:
    """Probes of a process that has nothing to warm up: it is ready as soon as it runs."""
    probes = Probes(settings.probes_host, settings.probes_port, lambda: True, lambda: True)
    probes.start()
    try:
        yield
    finally:
        probes.stop()
