"""Which broker runs: Apache Kafka where it can, else the embedded one, and why."""

from dataclasses import dataclass

from standalone.machine.ports import PortBook
from standalone.parts import kafka_jars
from standalone.parts.kafka import ApacheKafka, Kafka, TansuKafka
from standalone.processes.data_folder import DataFolder
from standalone.processes.steps import StartError, Steps
from standalone.settings import KafkaChoice

IN_MEMORY = (
    "Its log lives in memory: events that are under way when it dies are lost with it, and the "
    "sweeper sends them again, so every acknowledged image still ends."
)


@dataclass(frozen=True)
class ChosenKafka:
    broker: Kafka
    notice: str | None
    """What the person has to know about this choice."""


def choose(wish: KafkaChoice, folder: DataFolder, ports: PortBook, steps: Steps) -> ChosenKafka:
    """Downloads Apache Kafka's jars where needed. Raises StartError for a wish that cannot be."""
    reason = "it was asked for" if wish == "embedded" else _why_not_apache(folder, steps)
    if reason is None:
        broker = ApacheKafka(folder.path, ports.port("kafka"), ports.port("kafka-controller"))
        return ChosenKafka(broker, None)
    if wish == "apache":
        raise StartError(
            f"Apache Kafka cannot run: {reason}. Install Java {kafka_jars.LOWEST_JAVA} and mvn "
            "(Debian, Ubuntu: apt install default-jre-headless maven), or start with "
            "STANDALONE_KAFKA=embedded."
        )
    notice = f"Kafka is the embedded broker, because {reason}. {IN_MEMORY}"
    return ChosenKafka(TansuKafka(folder.path, ports.port("kafka")), notice)


def _why_not_apache(folder: DataFolder, steps: Steps) -> str | None:
    reason = kafka_jars.why_not()
    if reason is None:
        try:
            kafka_jars.download(steps, folder.logs / "kafka.log")
        except StartError as exc:
            reason = str(exc)
    return reason
