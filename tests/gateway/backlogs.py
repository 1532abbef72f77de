"""What the writers have yet to read, as tests ask for it."""

from gateway.backlog import Backlog
from runtime.settings import KafkaSettings


def unread(settings: KafkaSettings) -> int:
    return Backlog(settings).positions().results_unread
