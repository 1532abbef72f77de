"""Every metric of the gateway's three processes, each declared once with its meaning."""

from prometheus_client import Counter, Gauge, Histogram

from runtime.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S

UPLOADS = Counter(
    "image_uploads_total",
    "Uploads answered, by outcome: accepted, rejected or failed.",
    ["outcome"],
)
UPLOAD_SECONDS = Histogram(
    "image_upload_seconds", "From the request's start to its 201.", buckets=LATENCY_BUCKETS_S
)
UPLOAD_BYTES = Counter("image_upload_bytes_total", "Bytes of accepted images.")
REQUEST_SECONDS = Histogram(
    "gateway_request_seconds",
    "Time to answer an HTTP request, waits that the caller asked for included.",
    ["method", "route", "status"],
    buckets=LATENCY_BUCKETS_S,
)

CACHE_REQUESTS = Counter(
    "image_cache_requests_total", "Lookups by id in Redis; any Redis fault is a miss.", ["result"]
)
DB_QUERIES = Counter("gateway_db_queries_total", "Statements sent to Postgres.", ["operation"])
WAITERS = Gauge(
    "gateway_waiters", "Requests held until their image is terminal.",
    multiprocess_mode="livesum",
)  # fmt: skip

OUTBOX_PUBLISHED = Counter("gateway_outbox_published_total", "Events acknowledged by the broker.")
OUTBOX_FAILED = Counter("gateway_outbox_failed_total", "Events that no broker acknowledged.")
OUTBOX_AGE_SECONDS = Gauge(
    "gateway_outbox_age_seconds", "Age of the oldest row whose event is not acknowledged."
)
OUTBOX_BATCH_SECONDS = Histogram(
    "gateway_outbox_batch_seconds",
    "From the claim of a batch of rows to its commit as published.",
    buckets=LATENCY_BUCKETS_S,
)
OVERDUE_IMAGES = Gauge(
    "gateway_overdue_images", "Published images whose answer is overdue and no longer expected."
)
SWEPT = Counter("gateway_swept_total", "Overdue rows put back into the outbox.")
AWAITING_MODEL = Gauge(
    "gateway_awaiting_model_images", "Images whose model is gone and that have no other one yet."
)
REPOINTED = Counter(
    "gateway_repointed_total", "Images whose model was gone, put to the active model."
)

CLASSIFICATIONS = Counter(
    "image_classifications_total", "Images that became terminal, by status.", ["status"]
)
CLASSIFICATION_SECONDS = Histogram(
    "image_classification_seconds",
    "From the row's creation to its terminal status: the end-to-end latency.",
    buckets=LATENCY_BUCKETS_S,
)
RESULTS_DUPLICATE = Counter(
    "gateway_results_duplicate_total", "Results for rows already terminal or deleted."
)
RESULTS_INVALID = Counter("gateway_results_invalid_total", "Records that were no event.")
WRITER_BATCH = Histogram(
    "gateway_writer_batch_size", "Records of one poll written together.", buckets=BATCH_BUCKETS
)
WRITER_SECONDS = Histogram(
    "gateway_writer_batch_seconds",
    "From a poll's records to their commit, cache fill included.",
    buckets=LATENCY_BUCKETS_S,
)

PROMPTS_EMBEDDED = Counter(
    "gateway_prompts_embedded_total", "Texts of label sets embedded by the text model."
)
PROMPT_BATCH_SECONDS = Histogram(
    "gateway_prompt_batch_seconds",
    "Time of the text model for one batch of prompts, failures included.",
    buckets=LATENCY_BUCKETS_S,
)
LABEL_MATRICES = Counter(
    "gateway_label_matrices_total",
    "Label sets looked up that were not cached here: known already, or embedded now.",
    ["result"],
)
