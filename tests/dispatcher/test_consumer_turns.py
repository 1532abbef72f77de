"""What the consumer's loop does when its client fails, rebalances or brings surprises."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError

from contracts.topics import IMAGE_PROCESSING
from dispatcher import consumer as consumer_module
from dispatcher.consumer import ImageConsumer, Rules
from dispatcher.lease import Lease
from runtime.lifecycle import Lifecycle, Pulse, Stopped

SOON_S = 10.0
P0 = TopicPartition(IMAGE_PROCESSING, 0)


class FakeClient:
    """One partition of numbered records; faults are raised one a call."""

    def __init__(self, count: int) -> None:
        self.records = [SimpleNamespace(partition=0, offset=n, value=n) for n in range(count)]
        self.position = 0
        self.stored = 0
        self.paused = False
        self.ignores_pause = 0  # so many polls bring records although all is paused
        self.faults: dict[str, list[Exception]] = {}
        self.on_commit: Callable[[], None] = lambda: None
        self.commits: list[int] = []

    def subscribe(self, topics: list[str], listener: Any) -> None:
        assert topics == [IMAGE_PROCESSING]

    def assignment(self) -> set[TopicPartition]:
        return {P0}

    def poll(self, timeout_ms: int, max_records: int | None = None) -> dict[Any, list[Any]]:
        self._fault("poll")
        time.sleep(0.001)
        if self.paused:
            if not self.ignores_pause:
                return {}
            self.ignores_pause -= 1
        found = self.records[self.position : self.position + (max_records or 1)]
        self.position += len(found)
        return {P0: found} if found else {}

    def pause(self, *_partitions: TopicPartition) -> None:
        self.paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused = not partitions

    def commit(self, offsets: dict[TopicPartition, Any], timeout_ms: int) -> None:
        self.on_commit()
        self.commits.append(offsets[P0].offset)
        self._fault("commit")
        self.stored = offsets[P0].offset

    async def commit_async(self, offsets: dict[TopicPartition, Any]) -> None:
        self.commit(offsets, 0)

    def committed(self, _partition: TopicPartition, timeout_ms: int) -> int | None:
        return self.stored or None

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self.position = offset

    def _fault(self, call: str) -> None:
        if self.faults.get(call):
            raise self.faults[call].pop()


class CountingPulse(Pulse):
    beats = 0

    def beat(self) -> None:
        self.beats += 1


class World:
    def __init__(self, client: FakeClient, executor: ThreadPoolExecutor) -> None:
        self.client = client
        self.lifecycle = Lifecycle()
        self.pulse = CountingPulse()
        self.answered: list[int] = []
        self.abandoned: list[int] = []
        self.release = threading.Event()
        self.held: set[int] = set()
        rules = Rules(batch_size=1, batches_in_flight=2, commit_interval_s=0.0, drain_grace_s=5.0)
        self.consumer = ImageConsumer(
            client, self.answer, executor, self.lifecycle, rules, self.pulse
        )
        self._thread = threading.Thread(target=self.consumer.run)

    def answer(self, records: Sequence[Any], lease: Lease) -> None:
        [record] = records
        while record.offset in self.held and not self.release.is_set():
            try:
                lease.sleep(0.005, "test")
            except Stopped:
                self.abandoned.append(record.offset)
                raise
        self.answered.append(record.offset)

    def start(self) -> None:
        self._thread.start()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + SOON_S
        while not condition():
            assert time.monotonic() < deadline_s, vars(self.client)
            time.sleep(0.002)

    def stop(self) -> None:
        self.lifecycle.stop()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("POLL_RETRY_S", "COMMIT_RETRY_S", "REVOKE_GRACE_S"):
        monkeypatch.setattr(consumer_module, name, 0.01)
    with ThreadPoolExecutor(2) as executor:
        world = World(FakeClient(6), executor)
        yield world
        world.release.set()
        world.stop()


def test_a_failed_commit_is_tried_again_though_nothing_moves(world: World) -> None:
    world.client.faults["commit"] = [KafkaTimeoutError("slow")] * 3
    world.client.records = world.client.records[:1]
    world.start()
    world.until(lambda: world.client.stored == 1)
    assert world.client.commits == [1, 1, 1, 1]


def test_what_is_committed_is_not_committed_again(world: World) -> None:
    world.start()
    world.until(lambda: world.client.stored == 6)
    turns = world.pulse.beats + 5
    world.until(lambda: world.pulse.beats > turns)
    assert len(world.client.commits) == len(set(world.client.commits))


def test_records_that_a_full_consumer_is_given_are_read_again(world: World) -> None:
    world.held = {0, 1}
    world.client.ignores_pause = 1
    world.start()
    world.until(lambda: world.client.ignores_pause == 0)
    world.release.set()
    world.until(lambda: world.client.stored == 6)
    assert set(world.answered) == set(range(6))


def test_a_poll_that_fails_leaves_no_partition_paused(world: World) -> None:
    world.held = {0, 1}
    world.start()
    world.until(lambda: world.client.position == 2)
    world.client.faults["poll"] = [KafkaTimeoutError("odd")]
    world.until(lambda: not world.client.faults["poll"])
    world.release.set()
    world.until(lambda: world.client.stored == 6)


def test_batches_of_lost_partitions_end_instead_of_piling_up(world: World) -> None:
    world.held = {0, 1}
    world.client.records = world.client.records[:2]
    world.start()
    world.until(lambda: world.client.position == 2)
    revoke(world)
    world.until(lambda: sorted(world.abandoned) == [0, 1])
    assert world.client.commits == []


def test_a_commit_that_fails_in_a_rebalance_breaks_nothing(world: World) -> None:
    world.client.faults["commit"] = [KafkaTimeoutError("slow")] * 1_000
    world.start()
    world.until(lambda: len(world.answered) == 6)
    revoke(world)
    assert not world.consumer.is_ready


def test_each_turn_beats_also_while_batches_are_stuck(world: World) -> None:
    world.held = {0, 1}
    world.start()
    world.until(lambda: world.client.position == 2)
    beats = world.pulse.beats
    world.until(lambda: world.pulse.beats > beats + 3)


def test_a_stop_gives_batches_their_grace_where_one_broke(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the broken one is to be read again, which would leave the other far less time."""
    monkeypatch.setattr(consumer_module, "POLL_RETRY_S", SOON_S)  # the stop comes within

    def answer(records: Sequence[Any], _lease: Lease) -> None:
        if records[0].offset == 1:
            threading.Timer(0.2, world.lifecycle.stop).start()
            threading.Timer(0.4, world.release.set).start()
            raise RuntimeError
        world.release.wait(SOON_S)

    world.consumer._answer = answer
    world.client.records = world.client.records[:2]
    world.start()
    world.until(lambda: world.lifecycle.stopping)
    world.stop()
    assert world.client.stored == 1


def revoke(world: World) -> None:
    """As the client does, on a thread that is not the loop's."""
    with pytest.raises(StopIteration):
        world.consumer.on_partitions_revoked([P0]).send(None)
