"""The consumer on real brokers: nothing is committed before its answer, and nothing is lost."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError

from contracts.topics import DISPATCHER_GROUP, IMAGE_PROCESSING
from dispatcher import consumer as consumer_module
from dispatcher.consumer import ImageConsumer, Rules
from dispatcher.lease import Lease
from runtime import kafka
from runtime.kafka import Ack, Record
from runtime.lifecycle import Lifecycle, Pulse
from runtime.settings import KafkaSettings
from standalone.parts.kafka import TansuKafka

pytestmark = pytest.mark.integration

SOON_S = 30.0
PARTITIONS = 6
on_apache = pytest.mark.parametrize("kafka_settings", ["apache_kafka"], indirect=True)

Answer = Callable[[Sequence[Any], Lease], None]


class Running:
    """A consumer in a thread of its own."""

    def __init__(self, settings: KafkaSettings, answer: Answer, **rules: Any) -> None:
        self.lifecycle = Lifecycle()
        self.rules = Rules(
            **{
                "batch_size": 10,
                "batches_in_flight": 2,
                "commit_interval_s": 0.05,
                "drain_grace_s": 10.0,
                **rules,
            }
        )
        self._settings = settings
        self._answer = answer
        self.client = kafka.consumer(settings, DISPATCHER_GROUP, "tests", self.rules.batch_size)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with ThreadPoolExecutor(self.rules.batches_in_flight) as executor:
            self.consumer = ImageConsumer(
                self.client, self._answer, executor, self.lifecycle, self.rules, Pulse()
            )
            self.consumer.run()
            self.client.close(autocommit=False)

    def stop(self) -> None:
        self.lifecycle.stop()

    def join(self) -> None:
        self.stop()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


class Answers:
    """Remembers what was answered; a value that is held waits for its release."""

    def __init__(self, *held: int) -> None:
        self.held = set(held)
        self.release = threading.Event()
        self.seen: list[int] = []
        self.done: list[int] = []
        self.concurrent: list[int] = []
        self.calls = 0
        self._inside = 0
        self._lock = threading.Lock()

    def __call__(self, records: Sequence[Any], _lease: Lease) -> None:
        values = [int(record.value) for record in records]
        with self._lock:
            self.seen += values
            self._inside += len(values)
            self.concurrent.append(self._inside)
            self.calls += 1
        if self.held & set(values):
            self.release.wait(SOON_S)
        with self._lock:
            self.done += values
            self._inside -= len(values)


def submit(settings: KafkaSettings, count: int, key: Callable[[int], int] = lambda n: n) -> None:
    producer = kafka.producer(settings, "tests")
    records = [Record(IMAGE_PROCESSING, b"%d" % key(n), b"%d" % n, []) for n in range(count)]
    assert all(isinstance(outcome, Ack) for outcome in producer.send_all(records))
    producer.close()


def committed(settings: KafkaSettings) -> int:
    """How many records the group need not read again."""
    observer = kafka.consumer(settings, DISPATCHER_GROUP, "observer", 1)
    partitions = [TopicPartition(IMAGE_PROCESSING, number) for number in range(PARTITIONS)]
    offsets = [observer.committed(partition) or 0 for partition in partitions]
    observer.close(autocommit=False)
    return sum(offsets)


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.02)


def two_batches(started: Running, answers: Answers) -> int:
    """Waits until two batches are at work; returns of how many records."""
    eventually(lambda: answers.calls == 2)
    assert 2 <= len(answers.seen) <= 2 * started.rules.batch_size
    return len(answers.seen)


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    """Starts consumers, which are stopped when the test ends."""
    with ExitStack() as stack:

        def start(*arguments: Any, **rules: Any) -> Running:
            started = Running(*arguments, **rules)
            stack.callback(started.join)
            return started

        yield start


def test_killed_before_its_answers_all_is_read_again(
    kafka_settings: KafkaSettings, running: Callable[..., Running]
) -> None:
    submit(kafka_settings, 30)
    dying = Answers(*range(30))
    first = running(kafka_settings, dying, drain_grace_s=0.0)
    eventually(lambda: bool(dying.seen))
    assert committed(kafka_settings) == 0
    first.stop()
    eventually(lambda: first.client._closed)  # without a commit, as after a kill
    dying.release.set()
    first.join()
    living = Answers()
    running(kafka_settings, living)
    eventually(lambda: committed(kafka_settings) == 30)
    assert sorted(living.done) == list(range(30))


@on_apache
def test_a_gap_holds_back_the_offsets_after_it(
    kafka_settings: KafkaSettings, running: Callable[..., Running]
) -> None:
    submit(kafka_settings, 8, key=lambda _n: 1)
    answers = Answers(3)
    running(kafka_settings, answers, batch_size=1)
    eventually(lambda: set(answers.done) == set(range(8)) - {3})
    eventually(lambda: committed(kafka_settings) == 3)
    answers.release.set()
    eventually(lambda: committed(kafka_settings) == 8)


@on_apache
def test_a_slow_answer_costs_no_membership_and_no_memory(
    kafka_settings: KafkaSettings, running: Callable[..., Running]
) -> None:
    """Slower than the longest time between polls, with more waiting than may be in flight."""
    impatient = kafka_settings.model_copy(update={"kafka_max_poll_interval_s": 2.0})
    submit(kafka_settings, 60)
    answers = Answers(*range(60))
    started = running(impatient, answers, batch_size=5)
    taken = two_batches(started, answers)
    slow_until_s = time.monotonic() + 3.5
    eventually(lambda: time.monotonic() > slow_until_s)
    assert started.consumer.is_ready
    assert len(answers.seen) == taken, "the rest waits in Kafka"
    answers.release.set()
    eventually(lambda: committed(kafka_settings) == 60)
    assert Counter(answers.done) == Counter(range(60)), "each once: no rebalance took any away"
    assert max(answers.concurrent) <= 10


def test_a_second_consumer_takes_its_share_and_nothing_is_lost(
    kafka_settings: KafkaSettings, running: Callable[..., Running]
) -> None:
    submit(kafka_settings, 100)
    first, second = Answers(), Answers()
    one = running(kafka_settings, first)
    eventually(lambda: committed(kafka_settings) > 0)
    two = running(kafka_settings, second)
    eventually(lambda: len(one.client.assignment()) == len(two.client.assignment()) == 3)
    submit(kafka_settings, 100)
    eventually(lambda: committed(kafka_settings) == 200)
    assert second.done
    assert Counter(first.done + second.done) == Counter([*range(100), *range(100)])
    two.join()  # and its partitions come back
    submit(kafka_settings, 100)
    eventually(lambda: committed(kafka_settings) == 300)


@on_apache
def test_partitions_that_move_are_committed_first(
    kafka_settings: KafkaSettings, running: Callable[..., Running]
) -> None:
    submit(kafka_settings, 50)
    first, second = Answers(), Answers()
    running(kafka_settings, first, commit_interval_s=3_600.0)
    eventually(lambda: len(first.done) >= 50)
    assert committed(kafka_settings) < 50
    running(kafka_settings, second)
    eventually(lambda: committed(kafka_settings) == 50)
    assert second.seen == []


@on_apache
def test_a_batch_that_breaks_is_read_again(
    kafka_settings: KafkaSettings,
    running: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "POLL_RETRY_S", 0.05)
    submit(kafka_settings, 40)
    answers = Answers()
    failures = [RuntimeError("broken")] * 3

    def answer(records: Sequence[Any], lease: Lease) -> None:
        if failures:
            raise failures.pop()
        answers(records, lease)

    started = running(kafka_settings, answer, batch_size=5)
    faults = [KafkaTimeoutError("the broker is slow")] * 2
    real_committed = started.client.committed

    def unsteady_committed(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return real_committed(*arguments, **options)

    monkeypatch.setattr(started.client, "committed", unsteady_committed)
    eventually(lambda: committed(kafka_settings) == 40)
    assert set(answers.done) == set(range(40))


@on_apache
def test_a_stop_drains_what_is_in_flight(
    kafka_settings: KafkaSettings, running: Callable[..., Running]
) -> None:
    submit(kafka_settings, 30)
    answers = Answers(*range(30))
    stopping = running(kafka_settings, answers)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stopping.lifecycle.install_signal_handlers()
    taken = two_batches(stopping, answers)
    os.kill(os.getpid(), signal.SIGTERM)
    eventually(lambda: stopping.lifecycle.stopping)
    answers.release.set()
    stopping.join()
    for number, handler in before.items():
        signal.signal(number, handler)
    assert len(answers.done) == taken, "nothing new was begun"
    assert committed(kafka_settings) == taken
    rest = Answers()
    running(kafka_settings, rest)
    eventually(lambda: committed(kafka_settings) == 30)
    assert not set(rest.done) & set(answers.done)


def test_the_log_of_a_broker_that_forgot_everything_is_read_from_its_start(
    own_tansu: TansuKafka,
) -> None:
    """Positions of the old log may lie beyond the end of the new one, where nothing ever comes."""
    settings = KafkaSettings(
        kafka_bootstrap_servers=own_tansu.bootstrap_servers, kafka_delivery_timeout_s=2
    )
    partitions = {IMAGE_PROCESSING: PARTITIONS}
    kafka.ensure_topics(settings, partitions, replication=1)
    answers = Answers()
    running = Running(settings, answers)
    submit(settings, 60)
    eventually(lambda: committed(settings) == 60)
    answers.seen.clear()

    own_tansu.kill()
    own_tansu.start()
    own_tansu.wait_ready()
    kafka.ensure_topics(settings, partitions, replication=1)
    submit(settings, 12)

    eventually(lambda: set(answers.seen) == set(range(12)))
    running.join()
