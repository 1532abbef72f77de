"""Groups of settings that both services have; each service adds its prefix and its own."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class LogSettings(BaseSettings):
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class ProbesSettings(BaseSettings):
    """Where a process that serves no API answers probes and metrics."""

    probes_host: str = "127.0.0.1"
    probes_port: int = Field(default=9100, ge=0, le=65535)


class KafkaSettings(BaseSettings):
    kafka_bootstrap_servers: str
    kafka_delivery_timeout_s: float = Field(
        default=10.0, gt=0, description="after this long without an ack, a send has failed"
    )
    kafka_session_timeout_s: float = Field(
        default=6.0, ge=6.0, description="a silent consumer loses its partitions after this long"
    )
    kafka_max_poll_interval_s: float = Field(default=60.0, gt=0)


class ObjectStoreSettings(BaseSettings):
    """S3 credentials and endpoint come from the usual AWS_* variables."""

    object_store_url: str = Field(description="file:///directory or s3://bucket/prefix")


class TritonSettings(BaseSettings):
    triton_grpc_address: str
    triton_timeout_s: float = Field(default=5.0, gt=0, description="deadline of one inference")
