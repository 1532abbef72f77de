"""Composition root of the API: settings go in, the application comes out, wired."""

from fastapi import FastAPI

from gateway import bootstrap, cache, readiness, registry
from gateway.api import app, server
from gateway.api.json_body import JsonLimits
from gateway.api.multipart import BodyLimits
from gateway.api.state import Services
from gateway.api.threads import RequestThreads
from gateway.database import Database
from gateway.deletion import Deletion
from gateway.labels.catalogue import LabelCatalogue
from gateway.labels.labelling import Labelling
from gateway.labels.matrices import MatrixCache
from gateway.lookup import Lookup
from gateway.notifications import TERMINAL, Doorbell, Listener, TerminalListener
from gateway.readiness import Readiness
from gateway.reclassification import Reclassification
from gateway.settings import GatewaySettings, from_environment
from gateway.submission import Submission
from gateway.validation import Limits
from gateway.waiting import Waiting
from runtime import logs
from runtime.lifecycle import Lifecycle
from runtime.objects import ObjectStore
from runtime.triton import TritonClient

EMBEDDING_JOBS = 4  # at once in a process; they take turns at Triton, so small ones end first


def app_from_environment() -> FastAPI:
    """What each worker process of the API runs."""
    settings = from_environment()
    logs.configure("gateway-api", settings.log_format, settings.log_level)
    return create_app(settings)


def create_app(settings: GatewaySettings) -> FastAPI:
    """Nothing connects before the first request."""
    lifecycle, embedding = Lifecycle(), Lifecycle()
    database = bootstrap.database_of(settings)
    waiting = Waiting(settings.max_waiters)
    doorbell = Doorbell(database, lifecycle)
    listener = TerminalListener(Listener(database, TERMINAL), lifecycle, waiting.wake)
    services = _services(settings, database, waiting, doorbell, embedding)

    def start() -> None:
        waiting.attach()
        server.call_on_exit_signal(waiting.release)
        server.call_on_exit_signal(embedding.stop)
        doorbell.start()
        listener.start()

    return app.create(services, settings.request_threads, start, lifecycle.stop)


def _services(
    settings: GatewaySettings,
    database: Database,
    waiting: Waiting,
    doorbell: Doorbell,
    embedding: Lifecycle,
) -> Services:
    objects = ObjectStore(settings.object_store_url)
    results = cache.connect(settings.redis_url, settings.redis_timeout_s)
    models, manifests = registry.Registry(database), registry.Manifests(objects)
    matrices = bootstrap.label_matrices(settings, database, objects, manifests, embedding)
    matrix_cache = MatrixCache(objects, settings.label_set_cache_bytes)
    labelling = Labelling(database, models, matrices)
    return Services(
        database=database,
        objects=objects,
        submission=Submission(database, objects, models, doorbell),
        labelling=labelling,
        label_catalogue=LabelCatalogue(
            database,
            models,
            manifests,
            matrices,
            matrix_cache,
            labelling.forget,
        ),
        lookup=Lookup(database, results, settings.image_base_url),
        reclassification=Reclassification(
            database, results, manifests, matrix_cache, settings.image_base_url
        ),
        deletion=Deletion(database, results, objects),
        waiting=waiting,
        readiness=_readiness(settings, database, models, objects),
        threads=RequestThreads(settings.request_threads, settings.database_timeout_s),
        embedding_threads=RequestThreads(EMBEDDING_JOBS, settings.embedding_patience_s),
        body_limits=_body_limits(settings),
        json_limits=_json_limits(settings),
        image_limits=Limits(max_pixels=settings.max_pixels),
        image_base_url=settings.image_base_url,
    )


def _readiness(
    settings: GatewaySettings,
    database: Database,
    models: registry.Registry,
    objects: ObjectStore,
) -> Readiness:
    triton = TritonClient(settings.triton_grpc_address, settings.triton_timeout_s)
    return Readiness(
        {
            "outbox": readiness.check_outbox(database),
            "model": readiness.check_model(models, objects, triton),
            "consumers": readiness.check_consumers(settings),
        },
        settings.readiness_cache_s,
    )


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
