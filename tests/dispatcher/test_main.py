"""The dispatcher as a process: images in on one topic, labels or a reason out on the others."""

import io
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from PIL import Image

from contracts.events import ImageClassified, ImageFailed, ImageSubmitted, message_key
from contracts.objects import label_set_key, model_key
from contracts.topics import CLASSIFICATION_RESULTS, IMAGE_PROCESSING, PROCESSING_ERRORS
from dispatcher.preprocessing import UndecodableImage
from runtime import kafka
from runtime.kafka import Ack, Record
from runtime.objects import ObjectStore
from runtime.settings import KafkaSettings
from standalone.machine.loopback import loopback
from standalone.machine.ports import free_port
from standalone.parts.triton_server import TritonServer
from standalone.processes.command import Command
from standalone.processes.part import Part
from tests import photos
from tests.conftest import ROOT

pytestmark = pytest.mark.integration

CAT = ROOT / ".venv" / "opt" / "skimage" / "data" / "chelsea.png"
CATS = {"tabby cat", "tiger cat", "Egyptian Mau", "Egyptian cat", "Persian cat", "Siamese cat"}
SOON_S = 60.0


class DispatcherProcess(Part):
    def __init__(self, data_dir: Path, environment: dict[str, str], port: int) -> None:
        super().__init__("dispatcher", data_dir, loopback(port))
        self._environment = environment

    def command(self) -> Command:
        arguments = [sys.executable, "-m", "dispatcher"]
        return Command(self.name, arguments, self.log_path, environment=self._environment)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.HTTPError, OSError):
            return False


class World:
    """A store with the starter's artefacts, a way to submit, and what came of it."""

    def __init__(self, settings: KafkaSettings, store: ObjectStore, model: Path) -> None:
        self.settings = settings
        self._store = store
        manifest = (model / "manifest.json").read_bytes()
        labels = (model / "label_sets" / "imagenet-1k.npz").read_bytes()
        self._model_key, self._label_set_key = model_key(manifest), label_set_key(labels)
        store.put(self._model_key, manifest)
        store.put(self._label_set_key, labels)
        self._producer = kafka.producer(settings, "tests")
        self.classified: dict[int, ImageClassified] = {}
        self.failed: dict[int, ImageFailed] = {}

    def submit(self, images: dict[int, bytes]) -> None:
        records = []
        for image_id, data in images.items():
            key = f"images/{image_id}"
            self._store.put(key, data)
            event = ImageSubmitted(
                image_id, key, "", self._model_key, "imagenet-1k", self._label_set_key, "ab" * 16
            )
            records.append(Record(IMAGE_PROCESSING, message_key(image_id), event.to_json(), []))
        assert all(isinstance(outcome, Ack) for outcome in self._producer.send_all(records))

    def read(self, reader: KafkaConsumer) -> None:
        for batch in reader.poll(timeout_ms=100).values():
            for message in batch:
                if message.topic == CLASSIFICATION_RESULTS:
                    classified = ImageClassified.from_json(message.value)
                    self.classified[classified.image_id] = classified
                else:
                    failed = ImageFailed.from_json(message.value)
                    self.failed[failed.image_id] = failed

    def until(self, condition: Callable[[], bool]) -> None:
        reader = kafka.consumer(self.settings, "tests-of-main", "tests", 500)
        topics = {CLASSIFICATION_RESULTS: 3, PROCESSING_ERRORS: 1}
        reader.assign([TopicPartition(topic, p) for topic, n in topics.items() for p in range(n)])
        deadline_s = time.monotonic() + SOON_S
        while not condition():
            assert time.monotonic() < deadline_s, f"only {sorted(self.classified)}, {self.failed}"
            self.read(reader)
        reader.close(autocommit=False)

    def close(self) -> None:
        self._producer.close()


@pytest.fixture
def world(kafka_settings: KafkaSettings, starter_model: Path, tmp_path: Path) -> Iterator[World]:
    world = World(kafka_settings, ObjectStore((tmp_path / "objects").as_uri()), starter_model)
    yield world
    world.close()


@pytest.fixture
def dispatcher(world: World, triton: TritonServer, tmp_path: Path) -> Iterator[DispatcherProcess]:
    port = free_port()
    environment = {
        "DISPATCHER_KAFKA_BOOTSTRAP_SERVERS": world.settings.kafka_bootstrap_servers,
        "DISPATCHER_OBJECT_STORE_URL": (tmp_path / "objects").as_uri(),
        "DISPATCHER_TRITON_GRPC_ADDRESS": str(triton.address),
        "DISPATCHER_PROBES_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
    }
    part = DispatcherProcess(tmp_path, environment, port)
    part.start()
    yield part
    part.kill()


def cat_jpeg(turn_degrees: int = 0) -> bytes:
    image = Image.open(io.BytesIO(CAT.read_bytes())).convert("RGB")
    return photos.encode(image.rotate(turn_degrees), "JPEG", quality=90)


@pytest.mark.parametrize("kafka_settings", ["apache_kafka", "tansu_kafka"], indirect=True)
def test_a_cat_is_a_cat_and_rubbish_has_its_reason(
    world: World, dispatcher: DispatcherProcess
) -> None:
    cut = cat_jpeg()[:9_000]
    world.submit({1: cat_jpeg(), 2: cut, 3: photos.png()})
    world.until(lambda: world.classified.keys() | world.failed.keys() == {1, 2, 3})
    cat, rubbish = world.classified[1], world.failed[2]
    assert cat.scores[0].label in CATS
    assert len(cat.scores) == 5
    assert (cat.label_set, cat.model, cat.trace_id) == ("imagenet-1k", "starter", "ab" * 16)
    assert rubbish.reason == UndecodableImage("").reason
    assert rubbish.origin.startswith(IMAGE_PROCESSING)
    assert 3 in world.classified
    dispatcher.wait_ready()
    dispatcher.request_stop()
    deadline_s = time.monotonic() + SOON_S
    while dispatcher.exit_code() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert dispatcher.exit_code() == 0, dispatcher.last_lines()


@pytest.mark.parametrize("kafka_settings", ["apache_kafka"], indirect=True)
def test_killed_in_mid_flight_it_answers_all_after_its_restart(
    world: World, dispatcher: DispatcherProcess
) -> None:
    dispatcher.wait_ready()
    world.submit({number: cat_jpeg(number) for number in range(1, 51)})
    world.until(lambda: len(world.classified) >= 5)
    before = len(world.classified)
    dispatcher.kill()
    assert before < 50, "it was killed too late to show anything"
    dispatcher.start()
    world.until(lambda: len(world.classified) == 50)
    assert world.failed == {}
