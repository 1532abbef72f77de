"""Labelling: a choice becomes addresses; what is known costs neither a query nor Triton."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.database import Database
from gateway.labels import sets as label_sets
from gateway.labels.choice import LabelChoice
from gateway.labels.definitions import Definition
from gateway.labels.labelling import REMEMBERED_S, Labelling
from gateway.labels.matrices import LabelMatrices
from gateway.labels.prompts import PromptsUnavailable
from gateway.problems import Conflict, Unusable
from gateway.registry import ActiveModel, Manifests, Registry, register
from runtime.objects import ObjectStore
from runtime.triton import ModelUnknown
from tests.gateway import rows
from tests.gateway.labels.prompts import Embedder
from tests.gateway.test_registry import exported

pytestmark = pytest.mark.integration

PETS = Definition(("cat", "dog"))
MAX_PROMPTS = 3


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def model(database: Database, objects: ObjectStore, tmp_path: Path) -> ActiveModel:
    return register(database, objects, exported(tmp_path / "m"))


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def labelling(
    database: Database, objects: ObjectStore, model: ActiveModel, embedder: Embedder, clock: Clock
) -> Labelling:
    del model
    matrices = LabelMatrices(database, objects, Manifests(objects), embedder, 1, MAX_PROMPTS)
    return Labelling(database, Registry(database), matrices, clock)


@pytest.fixture
def name_pets(database: Database) -> Callable[[Definition], None]:
    def insert(definition: Definition) -> None:
        rows.execute(database, "DELETE FROM label_sets")
        with database.statement() as cursor:
            label_sets.insert(cursor, "pets", definition)

    return insert


def away(*_: object) -> None:
    raise PromptsUnavailable("away")


def test_the_models_own_set_needs_nothing(
    labelling: Labelling, model: ActiveModel, embedder: Embedder
) -> None:
    embedder.before = away
    assert labelling.known(LabelChoice("imagenet-1k")) == model


def test_a_named_set_is_embedded_at_its_first_use_and_then_known(
    labelling: Labelling, model: ActiveModel, embedder: Embedder,
    name_pets: Callable[[Definition], None], database: Database, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name_pets(PETS)
    choice = LabelChoice("pets")
    assert labelling.known(choice) is None
    answering = labelling.embedded(choice)
    assert (answering.manifest_key, answering.label_set) == (model.manifest_key, "pets")
    assert answering.label_set_key != model.label_set_key
    embedder.before = away
    monkeypatch.setattr(database, "statement", away)
    assert labelling.known(choice) == answering


def test_ad_hoc_labels_have_no_name_and_the_matrix_of_equal_ones(
    labelling: Labelling, name_pets: Callable[[Definition], None], embedder: Embedder
) -> None:
    name_pets(PETS)
    named = labelling.embedded(LabelChoice("pets"))
    embedder.before = away
    ad_hoc = labelling.known(LabelChoice(None, PETS))
    assert ad_hoc
    assert (ad_hoc.label_set, ad_hoc.label_set_key) == ("ad-hoc", named.label_set_key)
    assert labelling.known(LabelChoice(None, Definition(("bird",)))) is None


@pytest.mark.parametrize("call", ["known", "embedded"])
def test_an_unknown_set_is_named_and_found_once_it_is_there(
    labelling: Labelling, name_pets: Callable[[Definition], None], call: str
) -> None:
    with pytest.raises(Unusable, match="no label set 'pets'"):
        getattr(labelling, call)(LabelChoice("pets"))
    name_pets(PETS)
    getattr(labelling, call)(LabelChoice("pets"))


def test_a_set_made_again_elsewhere_is_seen_within_seconds(
    labelling: Labelling, name_pets: Callable[[Definition], None], clock: Clock
) -> None:
    name_pets(PETS)
    first = labelling.embedded(LabelChoice("pets"))
    name_pets(Definition(("bird",)))
    clock.now_s += REMEMBERED_S - 1
    assert labelling.known(LabelChoice("pets")) == first
    clock.now_s += 1
    assert labelling.known(LabelChoice("pets")) is None


def test_a_set_changed_here_is_seen_at_once(
    labelling: Labelling, name_pets: Callable[[Definition], None]
) -> None:
    name_pets(PETS)
    labelling.embedded(LabelChoice("pets"))
    name_pets(Definition(("bird",)))
    labelling.forget("pets")
    assert labelling.known(LabelChoice("pets")) is None


def test_another_model_answers_with_matrices_of_its_own(
    labelling: Labelling, name_pets: Callable[[Definition], None], database: Database,
    objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name_pets(PETS)
    old = labelling.embedded(LabelChoice("pets"))
    newer = register(database, objects, exported(tmp_path / "newer", "2"))
    monkeypatch.setattr("gateway.registry.REFRESH_S", 0.0)
    assert labelling.known(LabelChoice("pets")) is None
    answering = labelling.embedded(LabelChoice("pets"))
    assert answering.manifest_key == newer.manifest_key != old.manifest_key


def unknown() -> None:
    raise PromptsUnavailable("unknown") from ModelUnknown("version 1")


def test_a_version_that_triton_does_not_know_is_away_while_it_is_active_and_else_retired(
    labelling: Labelling, model: ActiveModel, embedder: Embedder, database: Database,
    objects: ObjectStore, tmp_path: Path,
) -> None:  # fmt: skip
    older = register(database, objects, exported(tmp_path / "older", "0"))
    assert register(database, objects, exported(tmp_path / "again")) == model
    embedder.before = unknown
    birds = LabelChoice(None, Definition(("bird",)))
    for active in (None, model):
        with pytest.raises(PromptsUnavailable):
            labelling.embedded(birds, active)
    with pytest.raises(Conflict, match="not served any more"):
        labelling.embedded(birds, older)


def test_an_upload_that_meets_a_change_of_model_may_try_again(
    labelling: Labelling, embedder: Embedder, database: Database, objects: ObjectStore,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("gateway.registry.REFRESH_S", 0.0)
    newer = exported(tmp_path / "newer", "2")

    def changed() -> None:
        register(database, objects, newer)
        unknown()

    embedder.before = changed
    with pytest.raises(PromptsUnavailable):
        labelling.embedded(LabelChoice(None, Definition(("bird",))))


def test_too_many_ad_hoc_prompts_are_refused(labelling: Labelling, embedder: Embedder) -> None:
    with pytest.raises(Unusable, match="GATEWAY_MAX_PROMPTS"):
        labelling.embedded(LabelChoice(None, Definition(("a", "b"), ("1 {}", "2 {}"))))
    assert embedder.calls == []
