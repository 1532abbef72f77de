"""Label matrices: embedded once a model, kept under their content, found again without Triton."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.objects import LABEL_SETS_PREFIX, label_set_key
from gateway.database import Database
from gateway.labels.matrices import LabelMatrices
from gateway.labels.prompts import PromptsUnavailable
from gateway.registry import ActiveModel, Manifests, register
from runtime.errors import StorageFull, Unavailable
from runtime.objects import ObjectStore
from tests.gateway import rows
from tests.gateway.labels.prompts import Embedder, direction
from tests.gateway.test_registry import MANIFEST, exported
from tests.gateway.waits import until
from zero_shot import label_set

pytestmark = pytest.mark.integration

DIM = int(str(MANIFEST["embedding_dim"]))
LABELS = ("cat", "dog")
TEMPLATES = ("a photo of a {}", "a {}")


def away() -> None:
    raise PromptsUnavailable("Triton is away")


@pytest.fixture
def model(database: Database, objects: ObjectStore, tmp_path: Path) -> ActiveModel:
    return register(database, objects, exported(tmp_path / "m"))


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def make(
    database: Database, objects: ObjectStore, embedder: Embedder
) -> Callable[[], LabelMatrices]:
    """Each as another process would have its own."""
    return lambda: LabelMatrices(database, objects, Manifests(objects), embedder, 0.2, 20_000)


@pytest.fixture
def matrices(make: Callable[[], LabelMatrices]) -> LabelMatrices:
    return make()


def test_the_matrix_is_the_mean_of_each_labels_prompts(
    matrices: LabelMatrices, model: ActiveModel, objects: ObjectStore
) -> None:
    key = matrices.key(model, LABELS, TEMPLATES)
    data = objects.get(key)
    assert key == label_set_key(data)
    made = label_set.decode(data)
    assert made.labels == LABELS
    for label, row in zip(made.labels, made.embeddings, strict=True):
        mean = direction(f"a photo of a {label}", DIM) + direction(f"a {label}", DIM)
        assert np.allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_as_many_of_the_models_own_templates_as_there_is_room_for(
    database: Database, objects: ObjectStore, tmp_path: Path, embedder: Embedder
) -> None:
    folder = exported(tmp_path / "many")
    fields = json.loads((folder / "manifest.json").read_text())
    templates = ["{}", "a {}", "the {}", "my {}"]
    (folder / "manifest.json").write_text(json.dumps({**fields, "templates": templates}))
    many = register(database, objects, folder)
    matrices = LabelMatrices(database, objects, Manifests(objects), embedder, 1, max_prompts=7)
    for labels, texts in ((2, 6), (3, 6), (7, 7), (9, 9)):
        matrices.key(many, [str(label) for label in range(labels)], None)
        assert len(embedder.calls[-1]) == texts
    matrices.key(many, ["0", "1"], templates)
    assert len(embedder.calls[-1]) == 8  # the caller's own are taken as they are


def test_equal_labels_are_embedded_once_whoever_asks(
    make: Callable[[], LabelMatrices], model: ActiveModel, embedder: Embedder
) -> None:
    first = make()
    assert first.find(model, LABELS, TEMPLATES) is None
    key = first.key(model, LABELS, TEMPLATES)
    embedder.before = away
    assert first.key(model, list(LABELS), list(TEMPLATES)) == key
    assert make().key(model, LABELS, TEMPLATES) == key
    assert make().find(model, LABELS, TEMPLATES) == key
    assert len(embedder.calls) == 1


def test_known_labels_cost_a_query_only_the_first_time(
    matrices: LabelMatrices, model: ActiveModel, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    key = matrices.key(model, LABELS, None)
    monkeypatch.setattr(database, "statement", away)
    assert matrices.find(model, LABELS, None) == key
    assert matrices.key(model, LABELS, None) == key


def test_other_labels_templates_or_models_have_another(
    matrices: LabelMatrices, model: ActiveModel, database: Database, objects: ObjectStore,
    tmp_path: Path,
) -> None:  # fmt: skip
    newer = register(database, objects, exported(tmp_path / "newer", "2"))
    made = [
        (model, LABELS, TEMPLATES),
        (model, LABELS[::-1], TEMPLATES),
        (model, LABELS, TEMPLATES[:1]),
        (newer, LABELS, TEMPLATES),
    ]
    for each in made:
        matrices.key(*each)
    assert rows.value(database, "SELECT count(*) FROM label_matrices") == len(made)


def test_without_templates_they_are_the_models_own(
    matrices: LabelMatrices, model: ActiveModel, embedder: Embedder
) -> None:
    key = matrices.key(model, LABELS, None)
    assert embedder.calls == [["a photo of a cat", "a photo of a dog"]]
    assert matrices.key(model, LABELS, ["a photo of a {}"]) == key


def test_while_the_text_model_is_away_nothing_is_stored(
    matrices: LabelMatrices, model: ActiveModel, embedder: Embedder, database: Database,
    tmp_path: Path,
) -> None:  # fmt: skip
    embedder.before = away
    before = sorted((tmp_path / "objects" / LABEL_SETS_PREFIX).iterdir())
    with pytest.raises(PromptsUnavailable):
        matrices.key(model, LABELS, None)
    assert sorted((tmp_path / "objects" / LABEL_SETS_PREFIX).iterdir()) == before
    assert rows.value(database, "SELECT count(*) FROM label_matrices") == 0
    embedder.before = lambda: None
    assert matrices.key(model, LABELS, None)


def test_a_full_store_leaves_no_row(
    matrices: LabelMatrices, model: ActiveModel, objects: ObjectStore, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(_key: str, _data: bytes) -> None:
        raise StorageFull("no room")

    monkeypatch.setattr(objects, "put", full)
    with pytest.raises(StorageFull):
        matrices.key(model, LABELS, None)
    assert rows.value(database, "SELECT count(*) FROM label_matrices") == 0


def test_twins_wait_for_each_other_and_others_do_not(
    database: Database, objects: ObjectStore, model: ActiveModel
) -> None:
    let_go = threading.Event()
    embedder = Embedder(lambda: assert_(let_go.wait(10)))
    matrices = LabelMatrices(database, objects, Manifests(objects), embedder, 10, 20_000)
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda: keys.append(matrices.key(model, LABELS, None)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    until(lambda: embedder.calls)
    other = threading.Thread(target=matrices.key, args=(model, ["bird"], None))
    other.start()
    until(lambda: len(embedder.calls) == 2)
    let_go.set()
    for thread in [*threads, other]:
        thread.join()
    assert len(set(keys)) == 1
    assert len(keys) == len(threads)
    assert len(embedder.calls) == 2


def assert_(is_so: bool) -> None:
    assert is_so


def test_a_twin_of_a_slow_one_is_told_to_come_again(
    make: Callable[[], LabelMatrices], model: ActiveModel, embedder: Embedder
) -> None:
    let_go = threading.Event()
    embedder.before = lambda: assert_(let_go.wait(10))
    matrices = make()
    slow = threading.Thread(target=matrices.key, args=(model, LABELS, None))
    slow.start()
    until(lambda: embedder.calls)
    with pytest.raises(PromptsUnavailable, match="another request"):
        matrices.key(model, LABELS, None)
    let_go.set()
    slow.join()
    assert matrices.key(model, LABELS, None)


def test_prompts_that_cancel_each_other_out_are_no_label(
    database: Database, objects: ObjectStore, model: ActiveModel
) -> None:
    class Opposites(Embedder):
        def embed(self, manifest: object, texts: object) -> label_set.Embeddings:
            del manifest, texts
            rows = np.zeros((2, DIM), np.float32)
            rows[0, 0], rows[1, 0] = 1, -1
            return rows

    matrices = LabelMatrices(database, objects, Manifests(objects), Opposites(), 1, 20_000)
    with pytest.raises(PromptsUnavailable, match="direction"):
        matrices.key(model, ["cat"], TEMPLATES)


def test_a_manifest_that_is_gone_is_for_the_operator(
    matrices: LabelMatrices, model: ActiveModel, objects: ObjectStore
) -> None:
    objects.delete(model.manifest_key)
    with pytest.raises(Unavailable, match=rf"{model.manifest_key} cannot be used"):
        matrices.key(model, LABELS, None)
