"""Where a part listens: a port on this machine's loopback, which no other machine can reach."""

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def loopback(port: int) -> Address:
    return Address(LOOPBACK, port)
