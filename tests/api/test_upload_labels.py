"""Uploads with labels of one's own: by name or ad hoc, in the form or in the query."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.database import Database
from standalone.processes.steps import Steps
from tests import photos
from tests.api import road
from tests.api.conftest import STEP_TIMEOUT_S, Platform, Services
from tests.api.test_label_sets import LABEL_SETS, create
from tests.api.test_outages import away
from tests.gateway import rows
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

VEHICLES = ["sports car", "bicycle", "bus"]


@pytest.fixture(autouse=True)
def _no_sets_but_the_models(rows_of: Database) -> Iterator[None]:
    yield
    rows.execute(rows_of, "DELETE FROM label_sets")


def classification(client: httpx.Client, image_id: int) -> dict[str, Any]:
    image = road.terminal(client, image_id)
    assert image["status"] == "COMPLETED", image
    found: dict[str, Any] = json.loads(image["classificationResult"])
    return found


def in_query(client: httpx.Client, picture: bytes | None = None, **query: str) -> httpx.Response:
    files = {"file": ("a.jpg", photos.jpeg() if picture is None else picture, "image/jpeg")}
    return client.post(road.UPLOAD, params=query, files=files)


def assert_among(found: dict[str, Any], label_set: str, labels: list[str]) -> None:
    assert found["labelSet"] == label_set
    assert sorted(each["class"] for each in found["top5"]) == sorted(labels)
    assert sum(each["confidence"] for each in found["top5"]) == pytest.approx(1, abs=1e-4)
    assert found["class"] == found["top5"][0]["class"]


def test_a_set_is_named_in_the_form_or_in_the_query(client: httpx.Client) -> None:
    assert create(client, name="vehicles", labels=VEHICLES).status_code == 201
    for answer in (
        road.upload(client, labelSet="vehicles"),
        in_query(client, labelSet="vehicles"),
    ):
        assert answer.status_code == 201, answer.text
        assert_among(classification(client, answer.json()["id"]), "vehicles", VEHICLES)


def test_ad_hoc_labels_are_sent_in_the_form_or_in_the_query(client: httpx.Client) -> None:
    labels, templates = "red square, green circle", "a {}.\na drawing of a {}, flat"
    for answer in (
        road.upload(client, labels=labels, templates=templates),
        in_query(client, labels=labels, templates=templates),
    ):
        assert answer.status_code == 201, answer.text
        found = classification(client, answer.json()["id"])
        assert_among(found, "ad-hoc", ["red square", "green circle"])


def test_the_models_own_set_has_a_name_too(client: httpx.Client) -> None:
    named = classification(client, road.uploaded_id(client, photos.jpeg(), labelSet="imagenet-1k"))
    assert named == classification(client, road.uploaded_id(client, photos.jpeg()))


def test_a_deleted_set_is_refused_and_its_images_stay(client: httpx.Client) -> None:
    create(client, name="vehicles", labels=VEHICLES)
    image_id = road.uploaded_id(client, labelSet="vehicles")
    assert client.delete(f"{LABEL_SETS}/vehicles").status_code == 204
    problem = road.problem_of(road.upload(client, labelSet="vehicles"), 422)
    assert "'vehicles'" in problem["detail"]
    assert_among(classification(client, image_id), "vehicles", VEHICLES)


@pytest.mark.parametrize(
    ("form", "query"),
    [
        ({"labelSet": "nobody"}, {}),
        ({"labelSet": ""}, {}),
        ({"labelSet": "ad-hoc"}, {}),
        ({"labelSet": "../x"}, {}),
        ({"labelSet": "imagenet-1k"}, {"labelSet": "imagenet-1k"}),
        ({"labelSet": "imagenet-1k", "labels": "a,b"}, {}),
        ({"labels": "a,b"}, {"labelSet": "imagenet-1k"}),
        ({"templates": "a {}"}, {}),
        ({"labels": ""}, {}),
        ({"labels": "a,,b"}, {}),
        ({"labels": "a,b,a"}, {}),
        ({"labels": "a\nb"}, {}),
        ({}, {"labels": "a\0b"}),
        ({}, {"labels": ["a", "b"]}),
        ({"labels": ",".join(map(str, range(1_001)))}, {}),
        ({"labels": "x" * 201}, {}),
        ({"labels": "a", "templates": "no place"}, {}),
        ({"labels": ",".join(map(str, range(1_000))),
          "templates": "\n".join(f"{n} {{}}" for n in range(21))}, {}),
    ],
    ids=str,
)  # fmt: skip
def test_43_what_cannot_be_chosen_is_refused_and_leaves_nothing(
    client: httpx.Client, services: Services, rows_of: Database, form: dict[str, str],
    query: dict[str, Any],
) -> None:  # fmt: skip
    def left() -> tuple[int, int, set[str]]:
        images = rows.value(rows_of, "SELECT count(*) FROM images")
        matrices = rows.value(rows_of, "SELECT count(*) FROM label_matrices")
        return images, matrices, services.gateway.stored()

    before = left()
    files = {"file": ("a.jpg", photos.jpeg(), "image/jpeg")}
    answer = client.post(road.UPLOAD, files=files, data=form, params=query)
    assert road.problem_of(answer, 422)["detail"]
    assert left() == before


def test_nothing_is_embedded_for_a_picture_that_is_refused(
    client: httpx.Client, rows_of: Database
) -> None:
    matrices = rows.value(rows_of, "SELECT count(*) FROM label_matrices")
    road.problem_of(road.upload(client, b"GIF89a", labels="never embedded"), 415)
    assert rows.value(rows_of, "SELECT count(*) FROM label_matrices") == matrices


def statements(client: httpx.Client) -> float:
    """Of what an upload may ask Postgres, beside its own row."""
    lines = client.get("/actuator/prometheus").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("gateway_db_queries_total") and '"label' in line
    )


def test_known_labels_cost_no_query(client: httpx.Client) -> None:
    create(client, name="vehicles", labels=VEHICLES)

    def upload_all() -> None:
        road.uploaded_id(client)
        road.uploaded_id(client, labels="a red bus,a blue bus")
        road.uploaded_id(client, labelSet="vehicles")

    upload_all()
    before = statements(client)
    upload_all()
    assert statements(client) == before


def test_without_triton_known_labels_are_taken_and_new_ones_told_to_wait(
    client: httpx.Client, services: Services, rows_of: Database
) -> None:
    create(client, name="vehicles", labels=VEHICLES)
    count = "SELECT count(*) FROM images"
    with away(services.triton):
        known = [road.uploaded_id(client, labelSet="vehicles"), road.uploaded_id(client)]
        images, stored = rows.value(rows_of, count), services.gateway.stored()
        answer = road.upload(client, labels="new while away,and another")
        road.problem_of(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert (rows.value(rows_of, count), services.gateway.stored()) == (images, stored)
    until(lambda: client.get("/readyz").status_code == 200, within_s=60)
    assert [classification(client, image_id)["labelSet"] for image_id in known] == [
        "vehicles", "imagenet-1k",
    ]  # fmt: skip
    image_id = until(lambda: id_if_accepted(client, labels="new while away,and another"))
    assert classification(client, image_id)["labelSet"] == "ad-hoc"


def id_if_accepted(client: httpx.Client, labels: str) -> int:
    """0 where it was not."""
    answer = road.upload(client, labels=labels)
    return int(answer.json()["id"]) if answer.status_code == 201 else 0


@pytest.fixture
def other_model(starter_model: Path, tmp_path: Path) -> Path:
    """The starter under another manifest: what it answers is the same."""
    folder = tmp_path / "other"
    shutil.copytree(starter_model, folder, ignore=shutil.ignore_patterns("model.*"))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": "other"}))
    return folder


def test_a_new_model_has_every_set_embedded_before_it_answers(
    client: httpx.Client, services: Services, platform: Platform, rows_of: Database,
    starter_model: Path, other_model: Path, tmp_path: Path,
) -> None:  # fmt: skip
    del platform
    create(client, name="vehicles", labels=VEHICLES)
    steps, register = Steps(tmp_path), "register-model"
    try:
        steps.run(services.gateway.step(register, str(other_model)), STEP_TIMEOUT_S)
        embedded = rows.value(
            rows_of,
            "SELECT count(*) FROM label_matrices JOIN models USING (manifest_key) WHERE active",
        )
        assert embedded == 1
        until(lambda: labelled_by(client) == "other", within_s=30)
    finally:
        with away(services.triton):  # which what is embedded already does not need
            steps.run(services.gateway.step(register, str(starter_model)), STEP_TIMEOUT_S)
    until(lambda: labelled_by(client) == "1", within_s=60)


def labelled_by(client: httpx.Client) -> str:
    found = classification(client, road.uploaded_id(client, labelSet="vehicles"))
    assert_among(found, "vehicles", VEHICLES)
    return str(found["modelVersion"])
