"""The three topics have the names and shapes that both services and operators count on."""

from contracts.topics import ALL_TOPICS


def test_names_and_partitions() -> None:
    assert {topic.name: topic.partitions for topic in ALL_TOPICS} == {
        "image-processing-topic": 6,
        "image-classification-results": 3,
        "image-processing-errors": 1,
    }
