"""Our own processes as parts: the same entry points and settings that production runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from standalone.machine.loopback import LOOPBACK, Address, loopback
from standalone.machine.ports import PortBook
from standalone.parts.http_probe import http_ok
from standalone.processes.command import Command
from standalone.processes.data_folder import DataFolder
from standalone.processes.part import Part
from standalone.settings import StandaloneSettings

READY_PATH = "/readyz"
READINESS_CACHE_S = "0.5"  # a person waits for it, and no load balancer asks all the time


@dataclass(frozen=True)
class Dependencies:
    """Where the parts that our processes need are found."""

    postgres_url: str
    redis_url: str
    kafka_bootstrap_servers: str
    triton_grpc_address: str


class Service(Part):
    """A process of ours: ready when its own `/readyz` says so."""

    stop_grace_s = 25.0

    def __init__(
        self,
        name: str,
        data_dir: Path,
        address: Address,
        arguments: list[str],
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(name, data_dir, address)
        self._arguments = arguments
        self._environment = environment

    def command(self) -> Command:
        arguments = [sys.executable, "-m", *self._arguments]
        return Command(self.name, arguments, self.log_path, self._environment)

    def is_ready(self) -> bool:
        return http_ok(self.address, READY_PATH)


class Services:
    """Settings of standalone go in; the parts and one-time steps of our services come out."""

    def __init__(
        self, settings: StandaloneSettings, folder: DataFolder, dependencies: Dependencies
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._dependencies = dependencies
        self.api_address = loopback(settings.gateway_port)

    def migrate(self) -> Command:
        return self._gateway_step("migrate", "migrate")

    def register_model(self, version: Path) -> Command:
        """`version` is the folder of the image tower's active version."""
        return self._gateway_step("register-model", "register-model", str(version))

    def workers(self, ports: PortBook) -> list[Part]:
        """Everything but the API."""
        gateway = [self._gateway(role, ports) for role in ("relay", "writer")]
        return gateway + [self._dispatcher(n, ports) for n in range(self._settings.dispatchers)]

    def api(self) -> Part:
        here = {"GATEWAY_HOST": LOOPBACK, "GATEWAY_PORT": str(self.api_address.port)}
        environment = {**self._gateway_environment(), **here}
        arguments = ["gateway", "api"]
        return Service("gateway-api", self._folder.path, self.api_address, arguments, environment)

    def _gateway(self, role: str, ports: PortBook) -> Part:
        name = f"gateway-{role}"
        address = loopback(ports.port(name))
        environment = {**self._gateway_environment(), **_probes("GATEWAY", address)}
        return Service(name, self._folder.path, address, ["gateway", role], environment)

    def _dispatcher(self, number: int, ports: PortBook) -> Part:
        name = f"dispatcher-{number}"
        address = loopback(ports.port(name))
        environment = {**self._shared_environment("DISPATCHER"), **_probes("DISPATCHER", address)}
        return Service(name, self._folder.path, address, ["dispatcher"], environment)

    def _gateway_step(self, name: str, *arguments: str) -> Command:
        return Command(
            name,
            [sys.executable, "-m", "gateway", *arguments],
            self._folder.logs / f"{name}.log",
            self._gateway_environment(),
        )

    def _gateway_environment(self) -> dict[str, str]:
        return {
            **self._shared_environment("GATEWAY"),
            "GATEWAY_DATABASE_URL": self._dependencies.postgres_url,
            "GATEWAY_REDIS_URL": self._dependencies.redis_url,
            "GATEWAY_IMAGE_BASE_URL": f"http://{self.api_address}/images",
            "GATEWAY_READINESS_CACHE_S": READINESS_CACHE_S,
        }

    def _shared_environment(self, prefix: str) -> dict[str, str]:
        return {
            f"{prefix}_KAFKA_BOOTSTRAP_SERVERS": self._dependencies.kafka_bootstrap_servers,
            f"{prefix}_TRITON_GRPC_ADDRESS": self._dependencies.triton_grpc_address,
            f"{prefix}_OBJECT_STORE_URL": self._folder.objects.as_uri(),
            f"{prefix}_LOG_FORMAT": "console",
        }


def _probes(prefix: str, address: Address) -> dict[str, str]:
    return {f"{prefix}_PROBES_HOST": address.host, f"{prefix}_PROBES_PORT": str(address.port)}
