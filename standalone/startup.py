"""The order of the start: what does not need each other starts at the same time.

choose the model -----> Triton --------.
choose a Kafka -> Kafka ---------------+-- migrate --+-- register the model -- API --+-- a canary,
Postgres ------------------------------+             `-- our other services --------'   then photos
Redis ---------------------------------'
"""

import asyncio
import shlex
from collections.abc import Coroutine
from typing import Any

from standalone import samples
from standalone.console import Console
from standalone.parts.kafka import Kafka
from standalone.parts.kafka_choice import choose
from standalone.parts.model_choice import ModelChoice, needs_starter
from standalone.parts.model_choice import choose as choose_model
from standalone.parts.postgres import EmbeddedPostgres
from standalone.parts.redis import RedisServer
from standalone.parts.services import Dependencies, Services
from standalone.parts.triton_server import ENVIRONMENT as TRITON_ENVIRONMENT
from standalone.parts.triton_server import MODEL_REPOSITORY, TritonServer
from standalone.processes import service_logs
from standalone.processes.command import Command
from standalone.processes.data_folder import DataFolder
from standalone.processes.steps import StartError
from standalone.processes.supervisor import Layer, Supervisor
from standalone.samples import Labelled, SampleClient
from standalone.settings import StandaloneSettings

STEP_TIMEOUT_S = 120.0
EMBEDDING_TIMEOUT_S = 3_600.0  # another model embeds every label set anew
RETRY_PAUSE_S = 1.0
PROGRESS_AFTER_S = 2.0
PROGRESS_CHECK_S = 0.25
LOG_CHECK_S = 1.0
RULE = "-" * 72


class Startup:
    """Brings the platform up under a supervisor, and tells the person what it did."""

    def __init__(
        self,
        settings: StandaloneSettings,
        folder: DataFolder,
        supervisor: Supervisor,
        console: Console,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._supervisor = supervisor
        self._console = console
        self._ports = folder.port_book({settings.gateway_port, settings.triton_grpc_port})
        self._postgres = EmbeddedPostgres(folder.path, self._ports.port("postgres"))
        self._redis = RedisServer(folder.path, self._ports.port("redis"))
        metrics_port = self._ports.port("triton-metrics")
        self._triton = TritonServer(folder.path, settings.triton_grpc_port, metrics_port)

    async def start_and_serve(self) -> None:
        """Never returns; raises StartError when something cannot start."""
        self._console.text(f"Everything is kept in {self._folder.shown()}, logs in its logs/.")
        progress = asyncio.create_task(self._show_progress())
        try:
            services = await self._start()
            labelled = await self._label_samples(services)
        finally:
            progress.cancel()
        self._show(services, labelled)
        await self._watch_logs(services)

    async def _start(self) -> Services:
        kafka, model, *_ = await _together(
            self._start_kafka(),
            self._start_triton(),
            self._supervisor.start(self._postgres, Layer.DEPENDENCY),
            self._supervisor.start(self._redis, Layer.DEPENDENCY),
        )
        services = self._services(kafka)
        await self._step(services.migrate())
        workers = services.workers(self._ports)
        await _together(
            self._start_api(services, model),
            *(self._supervisor.start(worker, Layer.SERVICE) for worker in workers),
        )
        return services

    async def _start_api(self, services: Services, model: ModelChoice) -> None:
        await self._step(services.register_model(model.folder), EMBEDDING_TIMEOUT_S)
        await self._supervisor.start(services.api(), Layer.SERVICE)

    async def _start_triton(self) -> ModelChoice:
        if needs_starter(MODEL_REPOSITORY):
            python = str(TRITON_ENVIRONMENT / "bin" / "python")
            arguments = [python, "-m", "build.assemble_starter"]
            log_path = self._folder.logs / "assemble-model.log"
            await self._step(Command("assemble the starter model", arguments, log_path))
        model = choose_model(MODEL_REPOSITORY, self._settings.model)
        self._console.event(f"the active model is {model.model}, version {model.version}")
        await self._supervisor.start(self._triton, Layer.DEPENDENCY)
        return model

    async def _start_kafka(self) -> Kafka:
        steps = self._supervisor.steps
        chosen = await asyncio.to_thread(
            choose, self._settings.kafka, self._folder, self._ports, steps
        )
        if chosen.notice:
            self._console.event(f"NOTE: {chosen.notice}")
        kafka = chosen.broker

        async def give_topics_back() -> None:
            await self._until_done(self._services(kafka).migrate())

        after_restart = None if kafka.keeps_its_log else give_topics_back
        await self._supervisor.start(kafka, Layer.DEPENDENCY, after_restart)
        return kafka

    def _services(self, kafka: Kafka) -> Services:
        dependencies = Dependencies(
            postgres_url=self._postgres.url,
            redis_url=self._redis.url,
            kafka_bootstrap_servers=kafka.bootstrap_servers,
            triton_grpc_address=str(self._triton.address),
        )
        return Services(self._settings, self._folder, dependencies)

    async def _step(self, command: Command, timeout_s: float = STEP_TIMEOUT_S) -> None:
        await asyncio.to_thread(self._supervisor.steps.run, command, timeout_s)

    async def _until_done(self, command: Command) -> None:
        while True:
            try:
                return await self._step(command)
            except StartError as exc:
                self._console.event(f"{exc}: tried again")
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _label_samples(self, services: Services) -> list[Labelled]:
        client = SampleClient(services.api_address)
        canary = await asyncio.to_thread(client.canary)
        self._console.event(f"a canary went the whole road: {canary.label}")
        return [await asyncio.to_thread(client.label, photo) for photo in samples.PHOTOS]

    def _show(self, services: Services, labelled: list[Labelled]) -> None:
        api = f"http://{services.api_address}"
        photo = shlex.quote(str(samples.photo_path("cat")))
        lines = [
            RULE,
            samples.as_table(labelled),
            "",
            f"API          {api}/api/v1/images",
            f"API docs     {api}/docs",
            f"Metrics      {api}/actuator/prometheus",
            f"Triton gRPC  {self._triton.address} (its metrics: "
            f"http://{self._triton.metrics_address}/metrics)",
            "",
            "Upload a photo, then see its label:",
            f"  curl -F file=@{photo} {api}/api/v1/images/upload",
            f"  curl '{api}/api/v1/images/{labelled[0].image_id}?wait_s=30'",
            "",
            "All processes: .venv/bin/python -m standalone ps. Ctrl-C stops everything.",
            RULE,
        ]
        for line in lines:
            self._console.text(line)

    async def _show_progress(self) -> None:
        """A word when nothing was said for a while."""
        while True:
            await asyncio.sleep(PROGRESS_CHECK_S)
            if self._console.silent_s >= PROGRESS_AFTER_S:
                waiting_for = [*self._supervisor.steps.now(), *self._supervisor.waiting_for()]
                self._console.progress("waiting for " + (", ".join(waiting_for) or "the canary"))

    async def _watch_logs(self, services: Services) -> None:
        followers = [
            service_logs.WarningFollower(part.name, part.log_path, self._console.event)
            for part in (services.api(), *services.workers(self._ports))
        ]
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for follower in followers:
                follower.follow()
            for log in self._folder.logs.glob("*.log"):
                service_logs.bound(log)


async def _together(*coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all; when one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
