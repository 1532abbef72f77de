"""What the writers have yet to read, as tests ask for it."""

from gateway.backlog import Backlog
from runtime.settings import KafkaSettings


def unread(settings: KafkaSettings) -> int:
    positions = Backlog(settings).positions()
    return sum(positions.results_end.values()) - sum(positions.results_read.values())
