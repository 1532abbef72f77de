"""Sample photos against an API in place of the gateway: what is shown, and what is a failure."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from standalone import samples
from standalone.machine.loopback import loopback
from standalone.machine.ports import free_port
from standalone.processes.steps import StartError
from standalone.samples import Labelled, SampleClient, as_table

COMPLETED = {
    "status": "COMPLETED",
    "classificationResult": '{"class": "tabby cat"}',
    "confidenceScore": 0.91,
}


class Api(BaseHTTPRequestHandler):
    upload_status: ClassVar[int] = 201
    answers: ClassVar[list[dict[str, Any]]] = []
    seen: ClassVar[list[str]] = []

    def _answer(self, status: int, body: object) -> None:
        self.seen.append(f"{self.command} {self.path}")
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.upload_status, {"id": 7})

    def do_GET(self) -> None:
        self._answer(200, self.answers.pop(0))

    def do_DELETE(self) -> None:
        self._answer(204, None)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[SampleClient]:
    monkeypatch.setattr(Api, "seen", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield SampleClient(loopback(server.server_address[1]))
        server.shutdown()
        thread.join()


def test_a_photo_is_uploaded_and_waited_for(
    client: SampleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "answers", [{"status": "PENDING"}, COMPLETED])
    labelled = client.label("cat")
    assert (labelled.image_id, labelled.label, labelled.confidence) == (7, "tabby cat", 0.91)
    assert Api.seen == [
        "POST /api/v1/images/upload",
        "GET /api/v1/images/7?wait_s=10",
        "GET /api/v1/images/7?wait_s=10",
    ]


def test_nothing_is_kept_of_a_canary(client: SampleClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Api, "answers", [COMPLETED])
    client.canary()
    assert Api.seen[-1] == "DELETE /api/v1/images/7"


def test_a_photo_that_failed_says_why(
    client: SampleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "answers", [{"status": "FAILED", "failureReason": "cut off"}])
    with pytest.raises(StartError, match="the photo cat FAILED: cut off"):
        client.label("cat")


def test_a_photo_that_is_refused_says_why(
    client: SampleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "upload_status", 507)
    with pytest.raises(StartError, match="the photo cat was refused: 507"):
        client.label("cat")


def test_a_photo_without_a_label_in_time(
    client: SampleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "LABELLED_WITHIN_S", -1.0)
    monkeypatch.setattr(Api, "answers", [{"status": "PENDING"}])
    with pytest.raises(StartError, match="the photo cat has no label"):
        client.label("cat")


def test_an_api_that_is_not_there() -> None:
    with pytest.raises(StartError, match="does not answer"):
        SampleClient(loopback(free_port())).label("cat")


def test_every_photo_is_in_its_wheel() -> None:
    assert all(samples.photo_path(photo).is_file() for photo in samples.PHOTOS)


def test_the_table() -> None:
    rows = [Labelled("cat", 1, "tabby cat", 0.914, 41.6), Labelled("coffee", 2, "cup", 0.5, 120)]
    assert as_table(rows).splitlines() == [
        "photo       label      confidence      ms",
        "cat         tabby cat        0.91      42",
        "coffee      cup              0.50     120",
    ]
