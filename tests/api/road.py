"""The gateway's own processes and the dispatcher, started as production starts them."""

import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from contracts.topics import ALL_TOPICS
from runtime import kafka
from runtime.settings import KafkaSettings
from standalone.machine.loopback import LOOPBACK, Address, loopback
from standalone.machine.ports import free_port
from standalone.parts.http_probe import http_ok
from standalone.processes.command import Command
from standalone.processes.part import Part
from tests import photos

UPLOAD = "/api/v1/images/upload"
PROBLEM = "application/problem+json"
CLIENT_TIMEOUT_S = 40.0


class Process(Part):
    """One of our processes, up when its `/livez` answers."""

    stop_grace_s = 30.0

    def __init__(
        self, data_dir: Path, arguments: list[str], settings: Mapping[str, str], address: Address
    ) -> None:
        super().__init__(f"{'-'.join(arguments)}-{address.port}", data_dir, address)
        self._arguments = arguments
        self._settings = settings

    def command(self) -> Command:
        arguments = [sys.executable, "-m", *self._arguments]
        return Command(self.name, arguments, self.log_path, self._settings)

    def is_ready(self) -> bool:
        return http_ok(self.address, "/livez")

    def terminate(self, within_s: float = 30.0) -> tuple[int | None, float]:
        """SIGTERM; its exit code and how long it took."""
        started_s = time.monotonic()
        self.request_stop()
        while self.exit_code() is None and time.monotonic() - started_s < within_s:
            time.sleep(0.02)
        return self.exit_code(), time.monotonic() - started_s

    def logged(self, words: str) -> bool:
        return words in self.log_path.read_text(errors="replace")

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096


class Gateway:
    """Settings that all processes share, and the processes that were made with them."""

    def __init__(self, data_dir: Path, where: Mapping[str, str]) -> None:
        self._data_dir = data_dir
        self.objects = data_dir / "objects"
        self._shared = {"OBJECT_STORE_URL": self.objects.as_uri(), **where}

    def api(self, **changes: str) -> Process:
        address = loopback(free_port())
        base_url = {"GATEWAY_IMAGE_BASE_URL": f"http://{address}/images"}
        return self._gateway(
            "api", address, {**base_url, "GATEWAY_PORT": str(address.port)}, changes
        )

    def background(self, role: str, **changes: str) -> Process:
        """The relay or the writer."""
        address = loopback(free_port())
        return self._gateway(role, address, {"GATEWAY_PROBES_PORT": str(address.port)}, changes)

    def dispatcher(self, **changes: str) -> Process:
        address = loopback(free_port())
        names = ("OBJECT_STORE_URL", "KAFKA_BOOTSTRAP_SERVERS", "TRITON_GRPC_ADDRESS")
        settings = {f"DISPATCHER_{name}": self._shared[name] for name in names}
        probes = {"DISPATCHER_PROBES_PORT": str(address.port)}
        return Process(self._data_dir, ["dispatcher"], {**settings, **probes, **changes}, address)

    def step(self, *arguments: str) -> Command:
        """`migrate` or `register-model`."""
        return Command(
            arguments[0],
            [sys.executable, "-m", "gateway", *arguments],
            self._data_dir / "logs" / f"{arguments[0]}.log",
            self._settings(),
        )

    def stored(self) -> set[str]:
        """Names of the stored images."""
        folder = self.objects / "images"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def _gateway(
        self, role: str, address: Address, own: Mapping[str, str], changes: Mapping[str, str]
    ) -> Process:
        settings = {**self._settings(), **own, **changes}
        return Process(self._data_dir, ["gateway", role], settings, address)

    def _settings(self) -> dict[str, str]:
        return {f"GATEWAY_{name}": value for name, value in self._shared.items()}


@contextmanager
def up(*processes: Process) -> Iterator[None]:
    """All of them started at once, and ended with whatever happens."""
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait_ready()
        yield
    finally:
        for process in processes:
            process.request_stop()
        for process in processes:
            process.stop()


def client_of(process: Process) -> httpx.Client:
    base_url = f"http://{process.address}"
    return httpx.Client(base_url=base_url, trust_env=False, timeout=CLIENT_TIMEOUT_S)


def upload(
    client: httpx.Client, picture: bytes | None = None, traceparent: str = "", **fields: str
) -> httpx.Response:
    """A JPEG nobody sent before, unless `picture` is given."""
    sent = photos.jpeg(320, 200, comment=uuid.uuid4().bytes) if picture is None else picture
    files = {"file": ("cat.jpg", sent, "image/jpeg")}
    return client.post(UPLOAD, files=files, data=fields, headers={"traceparent": traceparent})


def uploaded_id(
    client: httpx.Client, picture: bytes | None = None, traceparent: str = "", **fields: str
) -> int:
    answer = upload(client, picture, traceparent, **fields)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def terminal(client: httpx.Client, image_id: int, within_s: float = 30.0) -> dict[str, Any]:
    """The image once it is COMPLETED or FAILED."""
    give_up_at_s = time.monotonic() + within_s
    while True:
        left_s = max(0.0, min(10.0, give_up_at_s - time.monotonic()))
        answer = client.get(f"/api/v1/images/{image_id}", params={"wait_s": left_s})
        if answer.status_code == 200:
            image: dict[str, Any] = answer.json()
            if image["status"] in {"COMPLETED", "FAILED"}:
                return image
        assert time.monotonic() < give_up_at_s, f"not terminal: {answer.text}"


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem, whose form is right whatever it is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = json.loads(answer.content)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert {"type", "title", "status", "detail"} <= problem.keys()
    return problem


def ensure_topics(bootstrap_servers: str) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=bootstrap_servers)
    kafka.ensure_topics(settings, {topic.name: topic.partitions for topic in ALL_TOPICS}, 1)


def settings_for(
    postgres_url: str, redis_url: str, kafka_servers: str, triton: str
) -> dict[str, str]:
    return {
        "DATABASE_URL": postgres_url,
        "REDIS_URL": redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_servers,
        "TRITON_GRPC_ADDRESS": triton,
    }


NOWHERE = f"{LOOPBACK}:1"
