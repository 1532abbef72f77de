"""A Kafka broker on the loopback: Apache Kafka where Java runs it, else one in memory."""

import shutil
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from standalone.machine.loopback import loopback
from standalone.parts import kafka_jars
from standalone.processes.command import Command
from standalone.processes.part import Part
from standalone.processes.steps import Steps
from standalone.wheels import unpacked

FORMAT_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_MS = 2000
JVM_OPTIONS = [
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # half the processor time of a start, which is what a laptop feels
    "-XX:+ExitOnOutOfMemoryError",
]
LOG_SETTINGS = Path(__file__).parent / "apache_kafka" / "log4j2.properties"


class Kafka(Part):
    """What both brokers share: a name, an address, and when they are ready."""

    keeps_its_log: bool

    def __init__(self, data_dir: Path, port: int) -> None:
        super().__init__("kafka", data_dir, loopback(port))

    @property
    def bootstrap_servers(self) -> str:
        return str(self.address)

    def is_ready(self) -> bool:
        """It answers, and counts itself among the brokers: topics can be made."""
        try:
            client = KafkaAdminClient(
                bootstrap_servers=self.bootstrap_servers,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                bootstrap_timeout_ms=REQUEST_TIMEOUT_MS,
            )
        except KafkaError:
            return False
        try:
            return bool(client.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            client.close()


class ApacheKafka(Kafka):
    """Broker and controller in one process (KRaft), its log in `data_dir / "kafka"`."""

    keeps_its_log = True
    ready_timeout_s = 90.0

    def __init__(self, data_dir: Path, port: int, controller_port: int) -> None:
        super().__init__(data_dir, port)
        self._controller = loopback(controller_port)
        self._folder = data_dir / "kafka"

    def prepare(self, steps: Steps) -> None:
        kafka_jars.download(steps, self.log_path)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "server.properties").write_text(self._properties("log"))
        if not (self._folder / "log").exists():
            self._format(steps)

    def command(self) -> Command:
        return self._java(self.name, [*JVM_OPTIONS, "kafka.Kafka", "server.properties"])

    def _format(self, steps: Steps) -> None:
        """Made beside its place and renamed at the end: an interrupted one is made anew."""
        unfinished = self._folder / "log.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        (self._folder / "format.properties").write_text(self._properties(unfinished.name))
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        identity = f"--cluster-id={cluster_id}"  # which may begin with a dash
        arguments = ["kafka.tools.StorageTool", "format", "--standalone", identity]
        command = self._java("format-kafka", [*arguments, "-c", "format.properties"])
        steps.run(command, FORMAT_TIMEOUT_S)
        unfinished.rename(self._folder / "log")

    def _java(self, name: str, arguments: list[str]) -> Command:
        logging = f"-Dlog4j2.configurationFile={LOG_SETTINGS}"
        class_path = ["-cp", f"{kafka_jars.JARS}/*"]
        return Command(
            name,
            ["java", logging, *class_path, *arguments],
            self.log_path,
            working_directory=self._folder,
        )

    def _properties(self, log_folder: str) -> str:
        """`log_folder` is relative to the working directory, so any path of a checkout will do."""
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": self._controller,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self._controller}",
            "log.dirs": log_folder,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 2000,  # a killed one is waited for before it may return
            "broker.heartbeat.interval.ms": 500,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


class TansuKafka(Kafka):
    """A broker that speaks Kafka's protocol and keeps topics, messages and offsets in memory."""

    keeps_its_log = False

    def prepare(self, steps: Steps) -> None:
        (self.data_dir / "kafka").mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        listener = f"tcp://{self.address}"
        network = ["--listener-url", listener, "--advertised-listener-url", listener]
        arguments = [str(unpacked.TANSU), "broker", *network]
        return Command(
            self.name,
            [*arguments, "--storage-engine", "memory://tansu/"],
            self.log_path,
            working_directory=self.data_dir / "kafka",
        )
