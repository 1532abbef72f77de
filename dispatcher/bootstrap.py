"""Composition root: settings go in, a wired dispatcher runs until it is told to stop."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from kafka import KafkaConsumer

from contracts.topics import DISPATCHER_GROUP
from dispatcher import metrics
from dispatcher.absence import Absences
from dispatcher.artefacts import Artefacts
from dispatcher.breaker import CircuitBreaker
from dispatcher.classification import Classifier, RetryRules
from dispatcher.consumer import ImageConsumer, Rules
from dispatcher.fetching import Originals
from dispatcher.publisher import Publisher
from dispatcher.settings import DispatcherSettings
from dispatcher.stopping import CLOSING_S, StopDeadline
from dispatcher.triton import Embedder
from runtime import kafka
from runtime.backoff import Backoff
from runtime.lifecycle import Lifecycle, Pulse, Stopped
from runtime.objects import ObjectStore
from runtime.probes import Probes
from runtime.triton import TritonClient

CONNECT_RETRY = Backoff(base_s=0.2, cap_s=2.0)
LEAVE_TIMEOUT_MS = 2_000


def run(settings: DispatcherSettings, lifecycle: Lifecycle) -> None:
    """Connect, waiting for dependencies that are away; then consume until stopped."""
    StopDeadline(lifecycle, settings.drain_grace_s + CLOSING_S).watch()
    with ExitStack() as stack:
        ready, pulse = _Ready(), Pulse()
        probes = Probes(settings.probes_host, settings.probes_port, pulse.is_beating, ready)
        probes.start()
        stack.callback(probes.stop)
        classifier = _classifier(settings, stack)
        batches = ThreadPoolExecutor(settings.batches_in_flight, "batch")
        stack.callback(batches.shutdown, wait=False, cancel_futures=True)
        try:
            consumer = _connected(settings, lifecycle, pulse)
        except Stopped:
            return
        # Left first: the others get its partitions while the rest is closed.
        stack.callback(consumer.close, autocommit=False, timeout_ms=LEAVE_TIMEOUT_MS)
        image_consumer = ImageConsumer(
            consumer, classifier.answer, batches, lifecycle, _rules(settings), pulse
        )
        ready.consumer = image_consumer
        image_consumer.run()


def _connected(settings: DispatcherSettings, lifecycle: Lifecycle, pulse: Pulse) -> KafkaConsumer:
    return lifecycle.until_success(
        "connect to Kafka",
        lambda: kafka.consumer(settings, DISPATCHER_GROUP, "dispatcher", settings.batch_size),
        CONNECT_RETRY,
        pulse,
    )


def _rules(settings: DispatcherSettings) -> Rules:
    return Rules(
        batch_size=settings.batch_size,
        batches_in_flight=settings.batches_in_flight,
        commit_interval_s=settings.commit_interval_s,
        drain_grace_s=settings.drain_grace_s,
    )


class _Ready:
    """Readiness before and after the consumer exists."""

    consumer: ImageConsumer | None = None

    def __call__(self) -> bool:
        return self.consumer is not None and self.consumer.is_ready


def _classifier(settings: DispatcherSettings, stack: ExitStack) -> Classifier:
    retry = Backoff(settings.retry_base_s, settings.retry_cap_s)
    objects = ObjectStore(settings.object_store_url)
    triton = TritonClient(settings.triton_grpc_address, settings.triton_timeout_s)
    stack.callback(triton.close)
    producer = kafka.producer(settings, "dispatcher")
    stack.callback(producer.close)
    decoders = ThreadPoolExecutor(settings.decode_threads, "decode")
    stack.callback(decoders.shutdown, wait=False, cancel_futures=True)
    breaker = CircuitBreaker(
        failures=settings.breaker_failures,
        open_for=Backoff(settings.breaker_open_s, settings.breaker_open_cap_s),
        on_change=lambda state: metrics.BREAKER_STATE.set(state.value),
    )
    return Classifier(
        originals=Originals(objects),
        artefacts=Artefacts(objects, settings.label_set_cache_bytes),
        embedder=Embedder(triton, breaker, Absences(settings.model_grace_s)),
        publisher=Publisher(producer, retry),
        decoders=decoders,
        retry=RetryRules(settings.max_attempts, retry),
        top_k=settings.top_k,
    )
