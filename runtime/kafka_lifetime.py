"""A Kafka client starts whole or leaves nothing behind, and ends when told to: no thread leaks."""

from collections.abc import Callable
from typing import Any, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

Client = TypeVar("Client")


def started(make: Callable[..., Client], **configs: Any) -> Client:
    """What `make` of kafka-python makes; its sockets and thread are closed if it raises.

    A constructor that reaches no broker leaves both running, and nobody holds them any more; the
    library's own option `kafka_client` is where they can be had.
    """
    networks: list[KafkaNetClient] = []

    def network(**options: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**options))
        return networks[-1]

    try:
        return make(kafka_client=network, **configs)
    except BaseException:
        for client in networks:
            client.close()
        raise


def end(client: KafkaProducer, timeout_s: float) -> None:
    """Send what is buffered for at most `timeout_s`, then stop; what is left has failed."""
    try:
        client.close(timeout=timeout_s)
    except KafkaError:  # its flush took too long, and close went no further
        client._sender.force_close()
        client._closed = True  # or its __del__ would flush once more
