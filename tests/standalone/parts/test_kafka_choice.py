"""Which broker runs, and what the person is told about it."""

import shutil
from pathlib import Path

import pytest

from standalone.parts import kafka_jars
from standalone.parts.kafka import ApacheKafka, TansuKafka
from standalone.parts.kafka_choice import ChosenKafka, choose
from standalone.parts.kafka_jars import major_version
from standalone.processes.data_folder import DataFolder
from standalone.processes.steps import StartError, Steps
from standalone.settings import KafkaChoice


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version "11.0.2"', 11),
        ("The operation could not be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_major_version(text: str, version: int | None) -> None:
    assert major_version(text) == version


@pytest.mark.parametrize(
    ("java", "jars", "mvn", "reason"),
    [
        (17, False, "/usr/bin/mvn", None),
        (25, True, None, None),
        (None, True, "/usr/bin/mvn", "Java 17 or newer was not found"),
        (11, True, "/usr/bin/mvn", "Java 17 or newer is needed, and this is Java 11"),
        (17, False, None, "mvn was not found, which downloads Apache Kafka"),
    ],
)
def test_why_not_apache(
    monkeypatch: pytest.MonkeyPatch,
    java: int | None,
    jars: bool,
    mvn: str | None,
    reason: str | None,
) -> None:
    monkeypatch.setattr(kafka_jars, "_java_version", lambda: java)
    monkeypatch.setattr(kafka_jars, "are_here", lambda: jars)
    monkeypatch.setattr(shutil, "which", lambda _program: mvn)
    assert kafka_jars.why_not() == reason


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Chooser":
    return Chooser(tmp_path, monkeypatch)


class Chooser:
    """Chooses on a machine of which the reason against Apache Kafka is given."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = DataFolder(tmp_path)
        self._monkeypatch = monkeypatch

    def __call__(
        self, wish: KafkaChoice, *, reason: str | None = None, download_fails: bool = False
    ) -> ChosenKafka:
        def download(_steps: Steps, _log: Path) -> None:
            if download_fails:
                raise StartError("download Apache Kafka failed (exit code 1)")

        self._monkeypatch.setattr(kafka_jars, "why_not", lambda: reason)
        self._monkeypatch.setattr(kafka_jars, "download", download)
        steps = Steps(self._folder.path)
        return choose(wish, self._folder, self._folder.port_book(set()), steps)


@pytest.mark.parametrize("wish", ["auto", "apache"])
def test_apache_where_it_can_run(chosen: Chooser, wish: KafkaChoice) -> None:
    choice = chosen(wish)
    assert isinstance(choice.broker, ApacheKafka)
    assert choice.notice is None


@pytest.mark.parametrize(
    ("wish", "reason", "download_fails", "words"),
    [
        ("embedded", None, False, "because it was asked for"),
        ("auto", "Java 17 or newer was not found", False, "because Java 17 or newer was not found"),
        ("auto", None, True, "because download Apache Kafka failed (exit code 1)"),
    ],
)
def test_embedded_with_a_word_about_its_memory(
    chosen: Chooser, wish: KafkaChoice, reason: str | None, download_fails: bool, words: str
) -> None:
    choice = chosen(wish, reason=reason, download_fails=download_fails)
    assert isinstance(choice.broker, TansuKafka)
    assert choice.notice
    assert words in choice.notice
    assert "in memory" in choice.notice
    assert "sweeper" in choice.notice


@pytest.mark.parametrize(("reason", "download_fails"), [("no Java", False), (None, True)])
def test_apache_that_was_asked_for_and_cannot_be(
    chosen: Chooser, reason: str | None, download_fails: bool
) -> None:
    with pytest.raises(StartError, match=r"Apache Kafka cannot run: .*STANDALONE_KAFKA=embedded"):
        chosen("apache", reason=reason, download_fails=download_fails)
