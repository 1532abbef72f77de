"""Object keys: an upload's is its own alone, an artefact's says what it holds."""

from collections.abc import Callable

import pytest

from contracts.objects import label_set_key, model_key, new_image_key


def test_two_uploads_of_one_name_have_two_keys() -> None:
    keys = {new_image_key("cat", "jpg") for _ in range(1_000)}
    assert len(keys) == 1_000


def test_an_image_key_shows_its_name() -> None:
    key = new_image_key("cat", "jpg")
    assert key.startswith("images/")
    assert key.endswith("-cat.jpg")


@pytest.mark.parametrize(
    ("address", "prefix", "suffix"),
    [(model_key, "models/", ".json"), (label_set_key, "label-sets/", ".npz")],
)
def test_an_artefact_is_addressed_by_its_content(
    address: Callable[[bytes], str], prefix: str, suffix: str
) -> None:
    assert address(b"one") == address(b"one")
    assert address(b"one") != address(b"two")
    assert address(b"one").startswith(prefix)
    assert address(b"one").endswith(suffix)
