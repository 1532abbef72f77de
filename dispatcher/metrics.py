"""Every metric of the dispatcher, each declared once with its meaning."""

from prometheus_client import Counter, Gauge, Histogram

from runtime.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S

IMAGES = Counter(
    "dispatcher_images_total", "Images answered, by outcome: classified or failed.", ["outcome"]
)
RETRIES = Counter(
    "dispatcher_retries_total",
    "Images set aside for another try, by cause: failed, artefact, unavailable or kafka.",
    ["cause"],
)
IN_FLIGHT = Gauge("dispatcher_in_flight_images", "Images read from Kafka and not yet answered.")
BATCH_SIZE = Histogram(
    "dispatcher_batch_size", "Images of one Triton request.", buckets=BATCH_BUCKETS
)
BATCH_SECONDS = Histogram(
    "dispatcher_batch_seconds",
    "From the first step of a batch to the last acknowledgement of its results.",
    buckets=LATENCY_BUCKETS_S,
)
STEP_SECONDS = Histogram(
    "dispatcher_step_seconds",
    "Time of a step: fetch and decode for one image; infer, score and publish for a batch.",
    ["step"],
    buckets=LATENCY_BUCKETS_S,
)
BREAKER_STATE = Gauge(
    "dispatcher_breaker_state", "Circuit breaker before Triton: 0 closed, 1 half-open, 2 open."
)
COMMITS = Counter("dispatcher_commits_total", "Offset commits, by outcome.", ["outcome"])
