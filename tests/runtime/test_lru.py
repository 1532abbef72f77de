"""The cache keeps what was used last, by weight, whoever asks at once."""

import threading

import pytest

from runtime.lru import Lru


class Loads:
    """A value is its key; what was loaded, in order."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str) -> str:
        self.keys.append(key)
        return key


@pytest.mark.parametrize(
    ("limit", "asked", "loaded"),
    [
        (2, "abab", "ab"),
        (2, "abcb", "abc"),
        (2, "abca", "abca"),
        (2, "abacab", "abcb"),
        (1, "aaba", "aba"),
        (0, "aab", "ab"),
    ],
)
def test_the_least_recently_used_makes_room(limit: int, asked: str, loaded: str) -> None:
    loads = Loads()
    kept = Lru(limit, loads)
    assert [kept.get(key) for key in asked] == list(asked)
    assert "".join(loads.keys) == loaded


@pytest.mark.parametrize(
    ("asked", "loaded"),
    [
        (["aa", "bb", "aa"], ["aa", "bb"]),
        (["aa", "bb", "c", "bb"], ["aa", "bb", "c"]),
        (["aa", "bb", "c", "aa"], ["aa", "bb", "c", "aa"]),
        (["a", "b", "cccc", "a"], ["a", "b", "cccc", "a"]),  # one heavy value for several light
        (["cccccc", "cccccc", "a", "cccccc"], ["cccccc", "a", "cccccc"]),  # beyond the limit alone
    ],
)
def test_weight_is_what_is_bounded(asked: list[str], loaded: list[str]) -> None:
    loads = Loads()
    kept = Lru(4, loads, len)
    for key in asked:
        kept.get(key)
    assert loads.keys == loaded


def test_what_is_put_needs_no_loading_and_has_its_weight() -> None:
    loads = Loads()
    kept = Lru(4, loads, len)
    kept.put("aaa", "aaa")
    assert kept.get("aaa") == "aaa"
    kept.put("bb", "bb")
    assert [kept.get("bb"), kept.get("aaa")] == ["bb", "aaa"]
    assert loads.keys == ["aaa"]


def test_a_failure_is_raised_and_not_kept() -> None:
    failures = [OSError("away")]

    def load(key: str) -> str:
        if failures:
            raise failures.pop()
        return key

    kept = Lru(1, load)
    with pytest.raises(OSError, match="away"):
        kept.get("a")
    assert kept.get("a") == "a"


def test_two_who_load_the_same_count_it_once() -> None:
    """Goes red where the weight of the second is added too: less and less would fit."""
    both = threading.Barrier(2)
    loads = Loads()

    def load(key: str) -> str:
        if key == "a":
            both.wait(10)
        return loads(key)

    kept = Lru(2, load)
    threads = [threading.Thread(target=kept.get, args=("a",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for key in "bab":
        kept.get(key)
    assert loads.keys == ["a", "a", "b"]
