"""Label catalogue: sets by name, the model's own among them, and embedded before they are there."""

from pathlib import Path

import numpy as np
import pytest

from gateway.database import Database
from gateway.labels.catalogue import LabelCatalogue
from gateway.labels.definitions import Definition
from gateway.labels.matrices import LabelMatrices, MatrixCache
from gateway.labels.prompts import PromptsUnavailable
from gateway.problems import Conflict, NotFound, Unusable
from gateway.registry import ActiveModel, Manifests, Registry, register
from runtime.errors import Unavailable
from runtime.objects import ObjectStore
from tests.gateway import rows
from tests.gateway.labels.prompts import Embedder
from tests.gateway.test_registry import exported
from zero_shot import label_set

pytestmark = pytest.mark.integration

PETS = Definition(("cat", "dog"))
OTHER = Definition(("dog", "cat"))
OWN = "imagenet-1k"
OWN_LABELS = ("tench", "goldfish")
MAX_PROMPTS = 10


@pytest.fixture
def model(database: Database, objects: ObjectStore, tmp_path: Path) -> ActiveModel:
    labels = label_set.encode(OWN_LABELS, np.eye(2, 384, dtype=np.float32))
    return register(database, objects, exported(tmp_path / "m", labels=labels))


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
def catalogue(
    database: Database, objects: ObjectStore, model: ActiveModel, embedder: Embedder,
    changed: list[str],
) -> LabelCatalogue:  # fmt: skip
    del model
    manifests = Manifests(objects)
    matrices = LabelMatrices(database, objects, manifests, embedder, 1, MAX_PROMPTS)
    kept = MatrixCache(objects, 0)
    return LabelCatalogue(database, Registry(database), manifests, matrices, kept, changed.append)


def away() -> None:
    raise PromptsUnavailable("Triton is away")


def test_a_set_is_made_once(catalogue: LabelCatalogue, changed: list[str]) -> None:
    assert catalogue.existing("pets", PETS) is None
    made, is_new = catalogue.create("pets", PETS)
    assert (made.name, made.definition, is_new) == ("pets", PETS, True)
    assert catalogue.existing("pets", PETS) == made
    assert catalogue.create("pets", PETS) == (made, False)
    assert catalogue.get("pets") == made
    assert changed == ["pets"]


@pytest.mark.parametrize(
    "other", [OTHER, Definition(PETS.labels, ("a photo of a {}",)), Definition(("cat",))]
)
def test_another_of_the_same_name_is_refused(catalogue: LabelCatalogue, other: Definition) -> None:
    catalogue.create("pets", PETS)
    for call in (catalogue.existing, catalogue.create):
        with pytest.raises(Conflict, match="'pets' already"):
            call("pets", other)
    assert catalogue.get("pets").definition == PETS


def test_the_models_own_is_there_and_read_only(catalogue: LabelCatalogue) -> None:
    own = catalogue.get(OWN)
    assert (own.definition.labels, own.is_default) == (OWN_LABELS, True)
    assert own.definition.templates == ("a photo of a {}",)
    with pytest.raises(Conflict, match="own label set"):
        catalogue.existing(OWN, PETS)
    with pytest.raises(Conflict, match="cannot be deleted"):
        catalogue.delete(OWN)


def test_a_damaged_own_set_is_for_the_operator(
    catalogue: LabelCatalogue, model: ActiveModel, objects: ObjectStore
) -> None:
    objects.put(model.label_set_key, b"nonsense")
    with pytest.raises(Unavailable, match="cannot be used"):
        catalogue.get(OWN)
    objects.delete(model.label_set_key)
    with pytest.raises(Unavailable, match="cannot be used"):
        catalogue.page(None, 10)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_hold_every_set_once(
    catalogue: LabelCatalogue, database: Database, limit: int
) -> None:
    names = ["Zoo", "a-b", "a.b", "b"]
    for name in [*names[::-1], OWN]:  # the last is hidden by the model's own
        rows.execute(database, "INSERT INTO label_sets VALUES (%s, '{x,y,z}')", name)
    seen, cursor = [], None
    for _ in range(-(-(1 + len(names)) // limit)):  # no page is empty
        page, cursor = catalogue.page(cursor, limit)
        assert len(page) <= limit
        seen += page
    assert cursor is None
    assert [each.name for each in seen] == [OWN, *names]
    assert [each.is_default for each in seen] == [True, *[False] * len(names)]
    assert [each.label_count for each in seen] == [2, *[3] * len(names)]


def test_a_deleted_set_is_gone_and_its_matrix_stays(
    catalogue: LabelCatalogue, database: Database, changed: list[str]
) -> None:
    catalogue.create("pets", PETS)
    catalogue.delete("pets")
    assert changed == ["pets", "pets"]
    with pytest.raises(NotFound, match="'pets'"):
        catalogue.get("pets")
    with pytest.raises(NotFound, match="'pets'"):
        catalogue.delete("pets")
    assert rows.value(database, "SELECT count(*) FROM label_matrices") == 1
    catalogue.create("pets", OTHER)


def test_without_the_text_model_nothing_is_made(
    catalogue: LabelCatalogue, embedder: Embedder, database: Database
) -> None:
    embedder.before = away
    with pytest.raises(PromptsUnavailable):
        catalogue.create("pets", PETS)
    assert rows.value(database, "SELECT count(*) FROM label_sets") == 0


def test_too_many_prompts_are_refused_before_they_are_embedded(
    catalogue: LabelCatalogue, embedder: Embedder
) -> None:
    labels = tuple(str(number) for number in range(MAX_PROMPTS))
    assert catalogue.existing("pets", Definition(labels)) is None
    with pytest.raises(Unusable, match="GATEWAY_MAX_PROMPTS"):
        catalogue.existing("pets", Definition(labels, ("a {}", "{}")))
    assert embedder.calls == []


def test_a_new_model_has_every_set_embedded_before_it_answers(
    catalogue: LabelCatalogue, embedder: Embedder, database: Database, objects: ObjectStore,
    model: ActiveModel, tmp_path: Path,
) -> None:  # fmt: skip
    catalogue.create("pets", PETS)
    catalogue.create("others", Definition(("x",), ("{}",)))
    embedder.calls.clear()
    folder = exported(tmp_path / "newer", "2")
    embedder.before = away
    with pytest.raises(PromptsUnavailable):
        register(database, objects, folder, catalogue.embed_all)
    assert Registry(database).active() == model  # the old one answers on
    answering_at_calls = []
    embedder.before = lambda: answering_at_calls.append(Registry(database).active())
    embedder.calls.clear()
    newer = register(database, objects, folder, catalogue.embed_all)
    assert embedder.calls == [["x"], ["a photo of a cat", "a photo of a dog"]]
    assert answering_at_calls == [model, model]
    assert Registry(database).active() == newer


def test_registering_needs_no_text_model_where_all_is_there(
    catalogue: LabelCatalogue, embedder: Embedder, database: Database, objects: ObjectStore,
    tmp_path: Path,
) -> None:  # fmt: skip
    embedder.before = away
    register(database, objects, exported(tmp_path / "m2", "2"), catalogue.embed_all)
    embedder.before = lambda: None
    catalogue.create("pets", PETS)
    register(database, objects, tmp_path / "m2", catalogue.embed_all)
    embedder.before = away
    register(database, objects, tmp_path / "m2", catalogue.embed_all)
