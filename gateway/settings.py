"""Every setting of the gateway: environment variables with the prefix GATEWAY_."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime import settings as runtime_settings
from runtime.lifecycle import HANG_LIMIT_S
from runtime.settings import (
    KafkaSettings,
    LogSettings,
    ObjectStoreSettings,
    ProbesSettings,
    TritonSettings,
)

# A loop that pauses longer could not be told from one that hangs.
MAX_PAUSE_S = HANG_LIMIT_S / 2


class UploadSettings(LogSettings):
    """What an upload may be; each limit is named in the error that it causes."""

    max_upload_bytes: int = Field(default=10_000_000, gt=0)
    max_pixels: int = Field(default=50_000_000, gt=0)
    max_parts: int = Field(default=10, gt=0)
    max_field_bytes: int = Field(default=64_000, gt=0)
    max_header_bytes: int = Field(default=64_000, gt=0)
    header_timeout_s: float = Field(default=10.0, gt=0)
    body_grace_s: float = Field(default=15.0, gt=0)
    body_min_rate_bytes_s: int = Field(default=16_384, gt=0)


class LabelSettings(LogSettings):
    """What labels of the callers' own may be, and how long their embedding may take."""

    max_json_bytes: int = Field(default=3_000_000, gt=0)
    max_prompts: int = Field(default=20_000, gt=0, description="labels x templates of one set")
    prompt_timeout_s: float = Field(default=15.0, gt=0, description="deadline of one batch")
    embedding_patience_s: float = Field(
        default=10.0, gt=0, description="how long new labels wait behind others"
    )
    label_set_cache_bytes: int = Field(
        default=67_108_864, gt=0, description="of memory of a process"
    )


class DatabaseSettings(LogSettings):
    database_url: str
    database_pool_size: int = Field(default=16, gt=0, description="connections of one process")
    database_timeout_s: float = Field(default=5.0, gt=0, description="deadline of one statement")
    database_retry_s: float = Field(
        default=5.0, ge=0, description="how long a request outlasts a restarting Postgres"
    )


class DeliverySettings(LogSettings):
    """How rows become events, and when one that got no answer is sent again."""

    relay_batch: int = Field(default=256, gt=0)
    relay_poll_s: float = Field(
        default=1.0, gt=0, le=MAX_PAUSE_S, description="fallback when no NOTIFY arrives"
    )
    sweep_interval_s: float = Field(default=5.0, gt=0, le=MAX_PAUSE_S)
    sweep_deadline_s: float = Field(default=20.0, gt=0, description="doubles with each attempt")
    sweep_deadline_cap_s: float = Field(default=40.0, gt=0)
    writer_batch: int = Field(default=256, gt=0)
    topic_replication: int = Field(default=1, gt=0)


class GatewaySettings(
    UploadSettings,
    LabelSettings,
    DatabaseSettings,
    DeliverySettings,
    KafkaSettings,
    ObjectStoreSettings,
    TritonSettings,
    ProbesSettings,
):
    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=1, gt=0, description="processes of the API on this host")
    request_threads: int = Field(default=40, gt=0)
    image_base_url: str = Field(
        default="http://127.0.0.1:8080/images", description="a CDN, or the API's own /images"
    )
    redis_url: str
    redis_timeout_s: float = Field(default=0.25, gt=0)
    max_waiters: int = Field(default=2_000, ge=0, description="requests held by wait_s at once")
    readiness_cache_s: float = Field(default=2.0, ge=0)
    shutdown_grace_s: float = Field(default=20.0, gt=0)


def from_environment() -> GatewaySettings:
    """Raises SettingsError for what is missing, wrong, or no setting at all."""
    return runtime_settings.from_environment(GatewaySettings)
