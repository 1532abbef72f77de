"""Every setting of the dispatcher: environment variables with the prefix DISPATCHER_."""

import os

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime.settings import (
    KafkaSettings,
    LogSettings,
    ObjectStoreSettings,
    ProbesSettings,
    TritonSettings,
)


class DispatcherSettings(
    KafkaSettings, ObjectStoreSettings, TritonSettings, ProbesSettings, LogSettings
):
    model_config = SettingsConfigDict(env_prefix="DISPATCHER_", frozen=True)

    batch_size: int = Field(default=16, gt=0, le=64, description="images of one Triton request")
    batches_in_flight: int = Field(default=2, gt=0)
    decode_threads: int = Field(default=max(2, os.cpu_count() or 1), gt=0)
    commit_interval_s: float = Field(default=0.2, gt=0)
    top_k: int = Field(default=5, gt=0)
    label_set_cache_bytes: int = Field(default=268_435_456, gt=0, description="of memory")
    max_attempts: int = Field(
        default=5, gt=0, description="of an image that fails while Triton serves others"
    )
    retry_base_s: float = Field(default=0.1, gt=0)
    retry_cap_s: float = Field(default=5.0, gt=0)
    breaker_failures: int = Field(default=3, gt=0, description="in a row open the breaker")
    breaker_open_s: float = Field(default=0.5, gt=0, description="doubles while Triton stays down")
    breaker_open_cap_s: float = Field(default=5.0, gt=0)
    model_grace_s: float = Field(
        default=5.0, gt=0, description="how long a version unknown to a ready Triton may come back"
    )
    drain_grace_s: float = Field(default=15.0, gt=0)
