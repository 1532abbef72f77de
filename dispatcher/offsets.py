"""Offsets that were read and answered go in; the offset that may be committed comes out."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class _Partition:
    started: deque[int] = field(default_factory=deque)
    answered: set[int] = field(default_factory=set)
    next_offset: int | None = None
    committed: int | None = None


class OffsetLedger:
    """Batches finish in any order; an offset is committed only when all before it are answered.

    Offsets of a partition are started in the order in which Kafka delivers them. For one thread.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def start(self, partition: int, offset: int) -> None:
        self._partitions.setdefault(partition, _Partition()).started.append(offset)

    def answer(self, partition: int, offset: int) -> None:
        ledger = self._partitions[partition]
        ledger.answered.add(offset)
        while ledger.started and ledger.started[0] in ledger.answered:
            done = ledger.started.popleft()
            ledger.answered.remove(done)
            ledger.next_offset = done + 1

    def committable(self) -> dict[int, int]:
        """By partition, one past the last answered offset, until it is entered as committed."""
        return {
            partition: ledger.next_offset
            for partition, ledger in self._partitions.items()
            if ledger.next_offset is not None and ledger.next_offset != ledger.committed
        }

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Kafka has taken these."""
        for partition, offset in offsets.items():
            self._partitions[partition].committed = offset
