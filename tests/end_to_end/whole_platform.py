"""A whole platform for tests: `make up` on a data folder and ports of its own, asked over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from standalone.machine.ports import free_port

ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
# What the issue of a fault may cost: the sweeper's and breaker's deadlines are within it.
TERMINAL_WITHIN_S = 120.0


@dataclass
class Platform:
    """Runs until `stop`. `output` is what a person at the terminal would have seen."""

    data_dir: Path
    kafka: str = "auto"
    gateway_port: int = field(default_factory=free_port)
    triton_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def output_path(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.out"

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def start(self) -> None:
        """`make up` as a newcomer types it. Raises TimeoutError with what it printed."""
        environment = {
            **os.environ,
            "STANDALONE_DATA_DIR": str(self.data_dir),
            "STANDALONE_GATEWAY_PORT": str(self.gateway_port),
            "STANDALONE_TRITON_GRPC_PORT": str(self.triton_port),
            "STANDALONE_KAFKA": self.kafka,
        }
        with self.output_path.open("wb") as output:
            self._process = subprocess.Popen(
                ["make", "up", f"PYTHON={sys.executable}"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        while "All processes" not in self.output:
            if self._process.poll() is not None or time.monotonic() > give_up_at_s:
                self.stop()
                raise TimeoutError(f"the platform did not start:\n{self.output}")
            time.sleep(0.2)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """As Ctrl-C does: the signal reaches make and what it runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
        return self._process.wait(STOP_TIMEOUT_S)

    def processes(self) -> dict[str, dict[str, Any]]:
        """`python -m standalone ps --json` by name."""
        listing = subprocess.run(
            [ROOT / ".venv/bin/python", "-m", "standalone", "ps", "--json"],
            cwd=ROOT,
            env={**os.environ, "STANDALONE_DATA_DIR": str(self.data_dir)},
            capture_output=True,
            check=True,
        )
        return {row["name"]: row for row in json.loads(listing.stdout)}

    def kill(self, name: str) -> None:
        """`kill -9` of the process that does the work."""
        pid = self.processes()[name]["pid"]
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def upload(self, client: httpx.Client, photo: bytes, name: str = "photo.jpg") -> int:
        """As a client with two retries does, after 0.5 s and 1.5 s; returns the id of the 201."""
        for pause_s in (0.5, 1.5, None):
            try:
                answer = client.post("/api/v1/images/upload", files={"file": (name, photo)})
                if answer.status_code == httpx.codes.CREATED:
                    return int(answer.json()["id"])
                problem = answer.text
            except httpx.TransportError as exc:
                problem = repr(exc)
            if pause_s is not None:
                time.sleep(pause_s)
        raise AssertionError(f"upload failed after two retries: {problem}")

    def terminal(self, client: httpx.Client, image_id: int) -> dict[str, Any]:
        """The image once it is COMPLETED or FAILED."""
        give_up_at_s = time.monotonic() + TERMINAL_WITHIN_S
        while True:
            try:
                answer = client.get(f"/api/v1/images/{image_id}", params={"wait_s": 10})
                image: dict[str, Any] = answer.json() if answer.is_success else {}
            except httpx.TransportError:
                image = {}
            if image.get("status") in {"COMPLETED", "FAILED"}:
                return image
            assert time.monotonic() < give_up_at_s, f"image {image_id} is still {image}"
            time.sleep(0.1)
