"""Embeddings over real HTTP: read, and scored again without another look at the picture."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_client

from contracts import tensors
from contracts.objects import model_key
from gateway.database import Database
from standalone.processes.steps import Steps
from tests.api import road
from tests.api.conftest import STEP_TIMEOUT_S, Platform, Services
from tests.api.test_replay import halted
from tests.gateway import rows
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

IMAGES = "/api/v1/images"
VEHICLES = ["sports car", "bicycle", "bus"]
NOT_SERVED = "77"


@pytest.fixture
def image_id(client: httpx.Client) -> int:
    """COMPLETED."""
    uploaded = road.uploaded_id(client)
    assert road.terminal(client, uploaded)["status"] == "COMPLETED"
    return uploaded


def classify(client: httpx.Client, image_id: int, **fields: Any) -> httpx.Response:
    return client.post(f"{IMAGES}/{image_id}/classify", json=fields)


def labels_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    result = json.loads(answer.json()["classificationResult"])
    assert result["class"] == result["top5"][0]["class"]
    assert answer.json()["confidenceScore"] == result["confidence"]
    return [each["class"] for each in result["top5"]]


def inferences(services: Services, model: str = tensors.IMAGE_MODEL) -> int:
    """Pictures (or texts) that Triton's model has been asked for since it started."""
    client = triton_client.InferenceServerClient(str(services.triton.address))
    statistics = client.get_inference_statistics(model).model_stats
    client.close()
    return sum(int(each.inference_count) for each in statistics)


def test_an_embedding_is_numbers_of_unit_length(client: httpx.Client, image_id: int) -> None:
    answer = client.get(f"{IMAGES}/{image_id}/embedding")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert list(found) == ["id", "model", "modelVersion", "dim", "embedding"]
    assert (found["id"], found["model"], found["modelVersion"]) == (image_id, "starter", "1")
    assert len(found["embedding"]) == found["dim"] == 384
    assert np.linalg.norm(found["embedding"]) == pytest.approx(1, abs=1e-3)


def test_the_same_picture_has_the_same_embedding(client: httpx.Client) -> None:
    ids = [road.uploaded_id(client) for _ in range(2)]
    for each in ids:
        road.terminal(client, each)
    one, two = (client.get(f"{IMAGES}/{each}/embedding").json()["embedding"] for each in ids)
    assert np.dot(one, two) == pytest.approx(1, abs=1e-3)


def test_its_own_labels_again_are_the_same(client: httpx.Client, image_id: int) -> None:
    before = client.get(f"{IMAGES}/{image_id}").json()
    answer = classify(client, image_id)
    assert labels_of(answer) == [
        each["class"] for each in json.loads(before["classificationResult"])["top5"]
    ]
    assert answer.json()["confidenceScore"] == pytest.approx(before["confidenceScore"], abs=1e-3)
    assert answer.json().keys() == before.keys()
    assert answer.headers["content-type"] == "application/json"


def test_other_labels_cost_no_inference_of_the_picture(
    client: httpx.Client, services: Services, rows_of: Database, image_id: int
) -> None:
    """Goes red where the picture is embedded again. Readiness, which does infer, is not asked."""
    on_their_way = "SELECT count(*) FROM images WHERE status IN ('PENDING', 'PROCESSING')"
    until(lambda: rows.value(rows_of, on_their_way) == 0, within_s=30)
    pictures, texts = inferences(services), inferences(services, tensors.TEXT_MODEL)
    answer = classify(client, image_id, labels=VEHICLES, templates=["{}, seen once"])
    assert sorted(labels_of(answer)) == sorted(VEHICLES)
    assert inferences(services) == pictures
    assert inferences(services, tensors.TEXT_MODEL) >= texts + len(VEHICLES)
    texts = inferences(services, tensors.TEXT_MODEL)
    assert classify(client, image_id, labels=VEHICLES, templates=["{}, seen once"]).is_success
    assert inferences(services, tensors.TEXT_MODEL) == texts, "they are known now"


def test_what_is_saved_is_read_and_found(client: httpx.Client, image_id: int) -> None:
    client.get(f"{IMAGES}/{image_id}")  # in the cache
    answer = classify(client, image_id, labels=["quokka xylophone", "bus"])
    assert client.get(f"{IMAGES}/{image_id}").json() == answer.json()
    found = client.get(IMAGES, params={"q": "quokka"}).json()["items"]
    assert [each["id"] for each in found] == [image_id]
    assert json.loads(answer.json()["classificationResult"])["labelSet"] == "ad-hoc"


def test_what_is_not_saved_changes_nothing(client: httpx.Client, image_id: int) -> None:
    before = client.get(f"{IMAGES}/{image_id}").json()
    answer = classify(client, image_id, labels=VEHICLES, save=False)
    assert sorted(labels_of(answer)) == sorted(VEHICLES)
    assert answer.json()["updatedAt"] == before["updatedAt"]
    assert client.get(f"{IMAGES}/{image_id}").json() == before


def test_a_label_set_is_named(client: httpx.Client, image_id: int) -> None:
    made = {"name": "vehicles-again", "labels": VEHICLES}
    assert client.post("/api/v1/label-sets", json=made).status_code == 201
    answer = classify(client, image_id, labelSet="vehicles-again", save=False)
    assert sorted(labels_of(answer)) == sorted(VEHICLES)
    assert json.loads(answer.json()["classificationResult"])["labelSet"] == "vehicles-again"
    default = classify(client, image_id, labelSet="imagenet-1k", save=False)
    assert labels_of(default) == labels_of(classify(client, image_id, save=False))
    assert client.delete("/api/v1/label-sets/vehicles-again").status_code == 204


@pytest.mark.parametrize(("fields", "count"), [
    ({}, 5), ({"topK": 1}, 1), ({"topK": 100}, 100), ({"topK": 9, "labels": VEHICLES}, 3),
    ({"labelSet": None, "labels": None, "templates": None}, 5),
])  # fmt: skip
def test_as_many_as_asked_for(
    client: httpx.Client, image_id: int, fields: dict[str, Any], count: int
) -> None:
    assert len(labels_of(classify(client, image_id, save=False, **fields))) == count


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"topK": 0}, "topK"),
        ({"topK": 101}, "topK"),
        ({"topK": 2.5}, "topK"),
        ({"topK": True}, "topK"),
        ({"topK": "3"}, "topK"),
        ({"topK": None}, "topK"),
        ({"save": 1}, "save"),
        ({"save": None}, "save"),
        ({"label": ["a"]}, "label"),
        ({"labels": []}, "labels"),
        ({"labels": "a,b"}, "labels"),
        ({"labels": ["a", "a"]}, "labels[1]"),
        ({"labels": [f"l{n}" for n in range(1_001)]}, "1001"),
        ({"labels": ["a"], "templates": ["no place"]}, "templates[0]"),
        ({"templates": ["a {}"]}, "templates"),
        ({"labels": ["a"], "labelSet": "vehicles"}, "not both"),
        ({"labelSet": "there-is-none"}, "there-is-none"),
        ({"labelSet": 7}, "labelSet"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_meant_is_refused(
    client: httpx.Client, image_id: int, fields: dict[str, Any], words: str
) -> None:
    before = client.get(f"{IMAGES}/{image_id}").json()
    assert words in road.problem_of(classify(client, image_id, **fields), 422)["detail"]
    assert client.get(f"{IMAGES}/{image_id}").json() == before


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b'{"labels":["' + b"x" * 4_000_000, "application/json", 413),
    ],
)
def test_what_is_no_request_is_refused(
    client: httpx.Client, image_id: int, body: bytes, content_type: str, status: int
) -> None:
    answer = client.post(
        f"{IMAGES}/{image_id}/classify", content=body, headers={"Content-Type": content_type}
    )
    road.problem_of(answer, status)


def both(client: httpx.Client, image_id: int, status: int) -> Iterator[httpx.Response]:
    """Neither road to an embedding."""
    for answer in (client.get(f"{IMAGES}/{image_id}/embedding"), classify(client, image_id)):
        road.problem_of(answer, status)
        yield answer


def test_what_is_not_there_is_not_found(client: httpx.Client) -> None:
    assert len(list(both(client, 10**12, 404))) == 2
    assert len(list(both(client, 2**63, 422))) == 2


def test_one_that_is_on_its_way_says_when_to_come_again(
    client: httpx.Client, platform: Platform
) -> None:
    with halted(platform.dispatcher):
        uploaded = road.uploaded_id(client)
        for answer in both(client, uploaded, 409):
            assert int(answer.headers["retry-after"]) > 0
            assert f"{IMAGES}/{uploaded}?wait_s=" in answer.json()["detail"]
    assert road.terminal(client, uploaded)["status"] == "COMPLETED"
    assert client.get(f"{IMAGES}/{uploaded}/embedding").status_code == 200


def test_one_of_the_time_before_embeddings(
    client: httpx.Client, rows_of: Database, image_id: int
) -> None:
    rows.execute(rows_of, "DELETE FROM image_embeddings WHERE image_id = %s", image_id)
    for answer in both(client, image_id, 409):
        assert "before embeddings were kept" in answer.json()["detail"]
        assert "retry-after" not in answer.headers


def test_a_deleted_image_has_none(client: httpx.Client, rows_of: Database, image_id: int) -> None:
    assert client.delete(f"{IMAGES}/{image_id}").status_code == 204
    assert len(list(both(client, image_id, 404))) == 2
    query = "SELECT count(*) FROM image_embeddings WHERE image_id = %s"
    assert rows.value(rows_of, query, image_id) == 0


def register(services: Services, folder: Path) -> str:
    """As the active model; its key."""
    step = services.gateway.step("register-model", str(folder))
    Steps(folder.parent).run(step, STEP_TIMEOUT_S)
    return model_key((folder / "manifest.json").read_bytes())


@pytest.fixture
def no_longer_served(
    services: Services, rows_of: Database, starter_model: Path, tmp_path: Path
) -> Iterator[str]:
    """The key of a model that Triton does not serve; the starter is active."""
    rows.execute(rows_of, "DELETE FROM label_sets")  # which registering would have to embed
    folder = tmp_path / "old"
    shutil.copytree(starter_model, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = {**manifest, "version": "0", "triton_version": NOT_SERVED}
    (folder / "manifest.json").write_text(json.dumps(changed))
    key = register(services, folder)
    register(services, starter_model)
    yield key
    rows.execute(rows_of, "DELETE FROM models WHERE manifest_key = %s", key)


def test_labels_a_retired_model_knows_are_scored_and_others_are_not(
    client: httpx.Client, rows_of: Database, image_id: int, no_longer_served: str
) -> None:
    rows.execute(
        rows_of,
        "UPDATE image_embeddings SET model_key = %s WHERE image_id = %s",
        no_longer_served,
        image_id,
    )
    answer = classify(client, image_id)
    assert len(labels_of(answer)) == 5
    assert json.loads(answer.json()["classificationResult"])["modelVersion"] == "0"
    refusal = classify(client, image_id, labels=["never embedded", "nor this"])
    assert "not served any more" in road.problem_of(refusal, 409)["detail"]
    assert client.get(f"{IMAGES}/{image_id}").json() == answer.json()
