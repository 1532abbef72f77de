"""The publisher returns once every answer is acknowledged, and sends again only what was not."""

from collections.abc import Sequence

import pytest

from contracts.events import ImageClassified, ImageFailed, Score
from dispatcher.lease import Lease
from dispatcher.publisher import Answer, Publisher
from runtime.backoff import Backoff
from runtime.errors import Unavailable
from runtime.kafka import Ack, Producer, Record
from runtime.lifecycle import Lifecycle, Stopped

NO_WAIT = Backoff(0.0, 0.0)
TRACE = "ab" * 16
ACK = Ack(0, 0)
LOST = Unavailable("lost")


def classified(image_id: int) -> ImageClassified:
    return ImageClassified(image_id, (Score("cat", 1.0),), "few", "m", "1", TRACE)


def failed(image_id: int) -> ImageFailed:
    return ImageFailed(image_id, "undecodable_image", "It is cut off.", 1, "t-0-0", TRACE)


ANSWERS: Sequence[Answer] = (classified(1), failed(2), classified(3))


class FakeProducer(Producer):
    """Answers each call with the next of its outcomes, then acknowledges all."""

    def __init__(self, *outcomes: list[Ack | Unavailable] | Unavailable) -> None:
        self._outcomes = list(outcomes)
        self.sent: list[list[Record]] = []

    def send_all(self, records: Sequence[Record]) -> list[Ack | Unavailable]:
        self.sent.append(list(records))
        if not self._outcomes:
            return [ACK for _ in records]
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    @property
    def keys(self) -> list[list[bytes]]:
        return [[record.key for record in records] for records in self.sent]


def test_each_answer_goes_to_its_topic() -> None:
    producer = FakeProducer()
    Publisher(producer, NO_WAIT).publish(ANSWERS, Lease(Lifecycle()))
    [records] = producer.sent
    assert [(record.topic, record.key) for record in records] == [
        ("image-classification-results", b"1"),
        ("image-processing-errors", b"2"),
        ("image-classification-results", b"3"),
    ]
    assert ImageFailed.from_json(records[1].value) == ANSWERS[1]
    assert all(TRACE in record.headers[0][1].decode() for record in records)


@pytest.mark.parametrize(
    ("outcomes", "keys"),
    [
        pytest.param([[ACK, LOST, ACK]], [[b"1", b"2", b"3"], [b"2"]], id="one"),
        pytest.param([LOST], [[b"1", b"2", b"3"]] * 2, id="no broker"),
        pytest.param(
            [[LOST, ACK, LOST], LOST, [ACK, LOST]],
            [[b"1", b"2", b"3"], [b"1", b"3"], [b"1", b"3"], [b"3"]],
            id="again and again",
        ),
    ],
)
def test_what_was_not_acknowledged_is_sent_again(
    outcomes: list[list[Ack | Unavailable] | Unavailable], keys: list[list[bytes]]
) -> None:
    producer = FakeProducer(*outcomes)
    Publisher(producer, NO_WAIT).publish(ANSWERS, Lease(Lifecycle()))
    assert producer.keys == keys


def test_nothing_to_publish_is_not_sent() -> None:
    producer = FakeProducer()
    Publisher(producer, NO_WAIT).publish([], Lease(Lifecycle()))
    assert producer.sent == []


@pytest.mark.parametrize("outcome", [LOST, [LOST, ACK, ACK]], ids=["no broker", "one"])
def test_a_stop_raises_where_something_is_open(
    outcome: list[Ack | Unavailable] | Unavailable,
) -> None:
    lifecycle = Lifecycle()
    lifecycle.stop()
    with pytest.raises(Stopped):
        Publisher(FakeProducer(outcome), NO_WAIT).publish(ANSWERS, Lease(lifecycle))


def test_a_stop_does_not_hinder_what_can_be_acknowledged() -> None:
    lifecycle = Lifecycle()
    lifecycle.stop()
    producer = FakeProducer()
    Publisher(producer, NO_WAIT).publish(ANSWERS, Lease(lifecycle))
    assert producer.keys == [[b"1", b"2", b"3"]]


def test_a_lease_that_ended_is_not_outlived() -> None:
    lease = Lease(Lifecycle())
    lease.end()
    producer = FakeProducer(*[LOST] * 5)
    with pytest.raises(Stopped):
        Publisher(producer, NO_WAIT).publish(ANSWERS, lease)
    assert len(producer.sent) == 1
