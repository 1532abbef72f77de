"""An image that cannot be fetched is blamed only where the store serves what must be there."""

from collections.abc import Sequence

import pytest

from contracts.events import ImageSubmitted
from dispatcher.fetching import Originals, Unreadable
from runtime.errors import ObjectNotFound, Retryable, StorageFull, Unavailable
from runtime.objects import ObjectStore

EVENT = ImageSubmitted(1, "images/1", "image/png", "models/m", "few", "label-sets/l", "ab" * 16)
AWAY = Unavailable("away")
MISSING = ObjectNotFound("images/1")
Outcome = bytes | Exception


class Script(ObjectStore):
    """Gives each key its next outcome; the last one stays."""

    def __init__(self, image: Sequence[Outcome], manifest: Sequence[Outcome]) -> None:
        self._outcomes = {"images/1": list(image), "models/m": list(manifest)}
        self.gets: list[str] = []

    def get(self, key: str) -> bytes:
        self.gets.append(key)
        left = self._outcomes[key]
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_the_usual_image_is_one_request() -> None:
    store = Script([b"image"], [b"manifest"])
    assert Originals(store).fetch(EVENT) == b"image"
    assert store.gets == ["images/1"]


@pytest.mark.parametrize("first", [AWAY, MISSING], ids=repr)
def test_a_store_that_comes_back_has_the_image(first: Exception) -> None:
    assert Originals(Script([first, b"image"], [b"manifest"])).fetch(EVENT) == b"image"


@pytest.mark.parametrize(
    ("image", "manifest", "verdict"),
    [
        pytest.param(MISSING, b"manifest", ObjectNotFound, id="deleted"),
        pytest.param(MISSING, ObjectNotFound("models/m"), Unavailable, id="not mounted"),
        pytest.param(MISSING, AWAY, Unavailable, id="going away"),
        pytest.param(AWAY, b"manifest", Unreadable, id="access denied to one"),
        pytest.param(StorageFull("quota"), b"manifest", Unreadable, id="quota"),
        pytest.param(AWAY, AWAY, Unavailable, id="away"),
        pytest.param(AWAY, ObjectNotFound("models/m"), Unavailable, id="coming back empty"),
    ],
)
def test_who_is_to_blame(image: Outcome, manifest: Outcome, verdict: type[Exception]) -> None:
    with pytest.raises((ObjectNotFound, Retryable)) as failure:
        Originals(Script([image], [manifest])).fetch(EVENT)
    assert type(failure.value) is verdict
