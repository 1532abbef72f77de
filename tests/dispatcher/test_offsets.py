"""The ledger commits only what is answered, and all before it too."""

import random

import pytest

from dispatcher.offsets import OffsetLedger


@pytest.mark.parametrize(
    ("started", "answered", "committable"),
    [
        pytest.param([], [], {}, id="nothing"),
        pytest.param([(0, 5)], [], {}, id="not answered"),
        pytest.param([(0, 5)], [(0, 5)], {0: 6}, id="answered"),
        pytest.param([(0, 5), (0, 6)], [(0, 6)], {}, id="a gap before it"),
        pytest.param([(0, 5), (0, 6)], [(0, 6), (0, 5)], {0: 7}, id="the gap closes"),
        pytest.param([(0, 5), (0, 9)], [(0, 5), (0, 9)], {0: 10}, id="offsets that do not exist"),
        pytest.param([(0, 5), (1, 7)], [(1, 7)], {1: 8}, id="partitions apart"),
        pytest.param([(0, 1), (0, 2), (0, 3)], [(0, 1), (0, 3)], {0: 2}, id="up to the gap"),
    ],
)
def test_committable(
    started: list[tuple[int, int]],
    answered: list[tuple[int, int]],
    committable: dict[int, int],
) -> None:
    ledger = OffsetLedger()
    for partition, offset in started:
        ledger.start(partition, offset)
    for partition, offset in answered:
        ledger.answer(partition, offset)
    assert ledger.committable() == committable
    assert ledger.committable() == committable, "it was not committed"
    ledger.committed(committable)
    assert ledger.committable() == {}


@pytest.mark.parametrize("seed", range(50))
def test_like_the_simplest_model(seed: int) -> None:
    """Any order of starts and answers: committable is one past the answered prefix."""
    chance = random.Random(seed)
    ledger = OffsetLedger()
    started: dict[int, list[int]] = {0: [], 1: [], 2: []}
    answered: set[tuple[int, int]] = set()
    committed: dict[int, int] = {}
    for _ in range(300):
        partition = chance.randrange(3)
        is_open = [o for o in started[partition] if (partition, o) not in answered]
        if is_open and chance.random() < 0.5:
            offset = chance.choice(is_open)
            ledger.answer(partition, offset)
            answered.add((partition, offset))
        else:
            last = started[partition][-1] if started[partition] else chance.randrange(100)
            started[partition].append(last + chance.randint(1, 3))
            ledger.start(partition, started[partition][-1])
        if chance.random() < 0.3:
            taken = ledger.committable()
            if chance.random() < 0.3:  # the commit failed
                continue
            ledger.committed(taken)
            committed |= taken
            assert committed == {p: n for p in started if (n := prefix(started, answered, p))}


def prefix(started: dict[int, list[int]], answered: set[tuple[int, int]], partition: int) -> int:
    """One past the last of the first answered offsets; 0 where the first is open."""
    following = 0
    for offset in started[partition]:
        if (partition, offset) not in answered:
            break
        following = offset + 1
    return following
