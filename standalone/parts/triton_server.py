"""Triton from a wheel on the loopback: serves the model repository over gRPC, on the CPU."""

import os
from pathlib import Path

import grpc
import tritonclient.grpc as triton_client
from tritonclient.utils import InferenceServerException

from standalone.machine.checkout import REPOSITORY_ROOT
from standalone.machine.loopback import LOOPBACK, loopback
from standalone.parts import triton_command
from standalone.parts.triton_memory import remove_shared_memory, shared_memory_prefix
from standalone.processes.command import Command
from standalone.processes.part import Part
from standalone.processes.steps import StartError, Steps
from standalone.wheels import environments
from standalone.wheels.triton import TritonInstallation, TritonUnavailableError

TIMEOUT_S = 2.0
STOP_GRACE_S = triton_command.EXIT_TIMEOUT_S + 5.0

BACKENDS = Path("backends")
MODELS = Path("models")

ENVIRONMENT = environments.TRITON
MODEL_REPOSITORY = REPOSITORY_ROOT / "model_repository"


class TritonServer(Part):
    """Ready when every model of the repository is. `metrics_address` speaks HTTP."""

    stop_grace_s = STOP_GRACE_S
    ready_timeout_s = 120.0

    def __init__(
        self,
        data_dir: Path,
        port: int,
        metrics_port: int,
        model_repository: Path = MODEL_REPOSITORY,
        environment: Path = ENVIRONMENT,
    ) -> None:
        super().__init__("triton", data_dir, loopback(port))
        self.metrics_address = loopback(metrics_port)
        self._model_repository = model_repository
        self._environment = environment
        self._folder = data_dir / "triton"
        self._shared_memory_prefix = shared_memory_prefix(data_dir)

    def prepare(self, steps: Steps) -> None:
        """Triton hands paths to a shell, unquoted: so it gets relative ones, without any spaces."""
        self._remove_shared_memory()
        triton_command.lay_out_backends(self._installation(), self._folder / BACKENDS)
        models = self._folder / MODELS
        models.unlink(missing_ok=True)
        models.symlink_to(self._model_repository.resolve())

    def command(self) -> Command:
        installation = self._installation()
        arguments = triton_command.command(
            installation,
            model_repository=MODELS,
            backends=BACKENDS,
            host=LOOPBACK,
            grpc_port=self.address.port,
            metrics_port=self.metrics_address.port,
            shared_memory_prefix=self._shared_memory_prefix,
        )
        return Command(
            self.name,
            arguments,
            self.log_path,
            environment=triton_command.environment(installation, os.environ),
            inherits_environment=False,
            working_directory=self._folder,
        )

    def is_ready(self) -> bool:
        client = triton_client.InferenceServerClient(str(self.address))
        try:
            return bool(client.is_server_ready(client_timeout=TIMEOUT_S))
        except (InferenceServerException, grpc.RpcError):
            return False
        finally:
            client.close()

    def stop(self) -> None:
        super().stop()
        self._remove_shared_memory()

    def kill(self) -> None:
        super().kill()
        self._remove_shared_memory()

    def _installation(self) -> TritonInstallation:
        try:
            return TritonInstallation.find(self._environment)
        except TritonUnavailableError as exc:
            raise StartError(str(exc)) from exc

    def _remove_shared_memory(self) -> None:
        """Safe while this part does not run: only the data folder's lock holder starts another."""
        remove_shared_memory(self._shared_memory_prefix)
