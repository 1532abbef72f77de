"""Redis from a wheel, over TCP on the loopback: the gateway's cache, nothing of it on disk."""

from pathlib import Path

import redis

from standalone.machine.loopback import loopback
from standalone.processes.command import Command
from standalone.processes.part import Part
from standalone.wheels import unpacked

TIMEOUT_S = 1.0


class RedisServer(Part):
    """A bounded cache: no snapshot and no append-only file, the least used key goes first."""

    stop_grace_s = 5.0

    def __init__(self, data_dir: Path, port: int) -> None:
        super().__init__("redis", data_dir, loopback(port))

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def command(self) -> Command:
        network = ["--bind", self.address.host, "--port", str(self.address.port)]
        in_memory = ["--save", "", "--appendonly", "no"]
        bounds = ["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]
        arguments = [str(unpacked.REDIS_SERVER), *network, *in_memory, *bounds]
        return Command(self.name, arguments, self.log_path, working_directory=self.data_dir)

    def is_ready(self) -> bool:
        client = redis.Redis(self.address.host, self.address.port, socket_timeout=TIMEOUT_S)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
