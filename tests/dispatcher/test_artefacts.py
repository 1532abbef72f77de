"""Artefacts are fetched once, kept while in use, and waited for when they are bad."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dispatcher.artefacts import Artefacts, parse_label_set, parse_manifest
from runtime.artefacts import BadArtefact
from runtime.objects import ObjectStore
from tests.contracts.test_manifest import GOOD

LABELS = np.array(["cat", "dog"])
ROWS = np.eye(2, 4, dtype=np.float32)
PLENTY_BYTES = 10_000


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class CountingStore(ObjectStore):
    """Serves one object under every key."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.gets: list[str] = []

    def get(self, key: str) -> bytes:
        self.gets.append(key)
        return self.content


def test_a_label_set_is_read() -> None:
    label_set = parse_label_set(npz(labels=LABELS, embeddings=ROWS.astype(np.float64)))
    assert label_set.labels == ("cat", "dog")
    assert label_set.embeddings.dtype == np.float32
    assert np.array_equal(label_set.embeddings, ROWS)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04 and no more", id="no zip"),
        pytest.param(npz(labels=LABELS, embeddings=ROWS)[:-40], id="cut off"),
        pytest.param(npz(labels=LABELS), id="no embeddings"),
        pytest.param(npz(embeddings=ROWS), id="no labels"),
        pytest.param(npz(labels=LABELS, embeddings=ROWS[:1]), id="fewer rows than labels"),
        pytest.param(npz(labels=LABELS, embeddings=ROWS[0]), id="no matrix"),
        pytest.param(npz(labels=LABELS[:0], embeddings=ROWS[:0]), id="no label at all"),
        pytest.param(npz(labels=np.array([{}, []], object), embeddings=ROWS), id="pickled"),
        pytest.param(npz(labels=LABELS, embeddings=np.array([["a"], ["b"]])), id="words"),
        pytest.param(npz(labels=LABELS, embeddings=ROWS * np.nan), id="not numbers"),
        pytest.param(np.lib.format.magic(1, 0) + b"junk", id="npy"),
        pytest.param(npz(labels=np.array(["a\0b", "c"]), embeddings=ROWS), id="NUL"),
        pytest.param(npz(labels=np.array(["\ud800", "c"]), embeddings=ROWS), id="half a pair"),
    ],
)
def test_a_bad_label_set_is_the_operators_fault(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_label_set(data)


def test_damage_within_a_label_set_is_no_other_error() -> None:
    good = npz(labels=LABELS, embeddings=ROWS)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= 0x55
        with contextlib.suppress(ValueError):
            parse_label_set(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        json.dumps({**GOOD, "schema": GOOD["schema"] + 1}).encode(),
        json.dumps({**GOOD, "model": "a\0"}).encode(),
        json.dumps({**GOOD, "version": "\ud800"}).encode(),
    ],
)
def test_a_bad_manifest_is_the_operators_fault(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_manifest(data)


def test_each_is_fetched_once() -> None:
    store = CountingStore(json.dumps(GOOD).encode())
    kept = Artefacts(store, PLENTY_BYTES)
    assert kept.manifest("models/a") is kept.manifest("models/a")
    assert store.gets == ["models/a"]


def test_label_sets_are_bounded_by_their_bytes() -> None:
    store = CountingStore(npz(labels=LABELS, embeddings=ROWS))
    size_bytes = parse_label_set(store.content).memory_bytes
    assert size_bytes > ROWS.nbytes + len("catdog")
    kept = Artefacts(store, 2 * size_bytes)
    for key in ("a", "b", "a", "c", "a", "b"):
        kept.label_set(key)
    assert store.gets == ["a", "b", "c", "b"]


def test_manifests_are_not_bounded_by_bytes() -> None:
    store = CountingStore(json.dumps(GOOD).encode())
    kept = Artefacts(store, label_set_bytes=1)
    for key in ("a", "b", "a"):
        kept.manifest(key)
    assert store.gets == ["a", "b"]


@pytest.mark.parametrize("content", [b"damaged", npz(labels=["a\0b", "c"], embeddings=ROWS)])
def test_what_cannot_be_answered_with_is_waited_for(content: bytes) -> None:
    kept = Artefacts(CountingStore(content), PLENTY_BYTES)
    with pytest.raises(BadArtefact, match="a cannot be used"):
        kept.label_set("a")
    with pytest.raises(BadArtefact, match="a cannot be used"):
        kept.manifest("a")


@pytest.mark.integration
def test_the_starter_models_own(starter_model: Path) -> None:
    manifest = parse_manifest((starter_model / "manifest.json").read_bytes())
    label_set = parse_label_set((starter_model / manifest.label_set_file).read_bytes())
    assert 990 <= len(set(label_set.labels)) <= 1_000  # names that mean two classes are one
    assert label_set.embeddings.shape == (len(label_set.labels), manifest.embedding_dim)
    assert np.linalg.norm(label_set.embeddings, axis=1) == pytest.approx(1.0, abs=1e-3)
