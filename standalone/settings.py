"""Every setting of standalone: variables with the prefix STANDALONE_, and options of `up`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

KafkaChoice = Literal["auto", "apache", "embedded"]
Port = Annotated[int, Field(ge=1, le=65535)]

MOST_DISPATCHERS = 64
WHATEVER_IS_ACTIVE = "active"


class StandaloneSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STANDALONE_", frozen=True)

    data_dir: Path = Field(default=Path(".data"), description="everything the platform keeps")
    gateway_port: Port = Field(default=8080, description="where the API listens")
    triton_grpc_port: Port = Field(default=8001, description="where Triton listens for gRPC")
    kafka: KafkaChoice = Field(
        default="auto", description="apache needs Java 17 and mvn; embedded keeps its log in memory"
    )
    dispatchers: Annotated[int, Field(ge=1, le=MOST_DISPATCHERS)] = Field(
        default=1, description="dispatcher processes"
    )

    model: Annotated[str, Field(min_length=1)] = Field(
        default=WHATEVER_IS_ACTIVE, description="the model that must be the active one"
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> "StandaloneSettings":
        if self.gateway_port == self.triton_grpc_port:
            raise ValueError("STANDALONE_GATEWAY_PORT and STANDALONE_TRITON_GRPC_PORT are the same")
        return self
