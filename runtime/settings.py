"""Groups of settings that both services have, and how a service reads all its own at its start.

Each service adds its prefix and its own groups.
"""

import difflib
import os
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)


class SettingsError(ValueError):
    """The environment holds no usable settings; the message has a line for each bad variable."""


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


def from_environment(settings_class: type[Settings]) -> Settings:
    """Raises SettingsError for what is missing, wrong, or no setting at all."""
    prefix = settings_class.model_config["env_prefix"].upper()
    known = [prefix + name.upper() for name in settings_class.model_fields]
    ours = [name for name in sorted(os.environ) if name.upper().startswith(prefix)]
    complaints = [_unknown(name, known) for name in ours if name.upper() not in known]
    try:
        settings = settings_class()
    except ValidationError as exc:
        complaints += [
            f"{prefix}{str(error['loc'][0]).upper()}: {error['msg']}" for error in exc.errors()
        ]
    if complaints:
        raise SettingsError("\n".join(complaints))
    return settings


def _unknown(variable: str, known: list[str]) -> str:
    (nearest,) = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0)
    return f"{variable}: there is no such setting; the nearest is {nearest}"
