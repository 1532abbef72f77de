"""A change of model on the whole road: what was uploaded for the old one is labelled by the new."""

import json
from typing import Any

import httpx
import pytest

from gateway.database import Database
from tests.api import road
from tests.api.conftest import Platform, Services
from tests.api.test_embeddings import VEHICLES, no_longer_served
from tests.api.test_replay import halted, replay
from tests.gateway import rows
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

__all__ = ["no_longer_served"]  # a fixture


def put_to(database: Database, manifest_key: str, *image_ids: int) -> None:
    """As if they had been uploaded while another model was active."""
    statement = "UPDATE images SET model_key = %s WHERE id = ANY(%s)"
    rows.execute(database, statement, manifest_key, list(image_ids))


def labelled(client: httpx.Client, image_id: int) -> dict[str, Any]:
    image = road.terminal(client, image_id)
    assert image["status"] == "COMPLETED", image
    found: dict[str, Any] = json.loads(image["classificationResult"])
    return found


def test_events_of_a_model_that_is_gone_are_answered_by_the_active_one(
    client: httpx.Client, platform: Platform, rows_of: Database, no_longer_served: str
) -> None:
    """Those of the active model, on the same partitions, do not wait for them."""
    with halted(platform.relay):
        old = [road.uploaded_id(client) for _ in range(6)]
        put_to(rows_of, no_longer_served, *old)
        new = [road.uploaded_id(client) for _ in range(6)]
    for image_id in [*new, *old]:
        result = labelled(client, image_id)
        assert (result["model"], result["modelVersion"]) == ("starter", "1")
        assert result["labelSet"] == "imagenet-1k"
    until(lambda: platform.writer.logged("model is gone"))
    errors = "SELECT count(*) FROM images WHERE status = 'FAILED' AND id = ANY(%s)"
    assert rows.value(rows_of, errors, old) == 0


def test_labels_of_the_uploaders_own_go_with_the_image(
    client: httpx.Client, platform: Platform, rows_of: Database, no_longer_served: str
) -> None:
    with halted(platform.relay):
        image_id = road.uploaded_id(client, labels=",".join(VEHICLES), templates="{} on a road")
        put_to(rows_of, no_longer_served, image_id)
        rows.execute(
            rows_of,
            "INSERT INTO label_matrices (definition, manifest_key, label_set_key, templates)"
            " SELECT 'of the old model', %s, label_set_key, templates FROM label_matrices"
            " WHERE label_set_key = (SELECT label_set_key FROM images WHERE id = %s)",
            no_longer_served,
            image_id,
        )
    result = labelled(client, image_id)
    assert result["labelSet"] == "ad-hoc"
    assert sorted(each["class"] for each in result["top5"]) == sorted(VEHICLES)
    assert result["modelVersion"] == "1"


def test_a_replay_asks_the_active_model(
    client: httpx.Client, services: Services, rows_of: Database, no_longer_served: str
) -> None:
    image_id = road.uploaded_id(client)
    labelled(client, image_id)
    rows.execute(rows_of, "UPDATE images SET status = 'FAILED' WHERE id = %s", image_id)
    put_to(rows_of, no_longer_served, image_id)
    assert replay(services, "--id", str(image_id))[0] == 0
    until(lambda: rows.find(rows_of, image_id).status.value == "COMPLETED", within_s=30)
    active = rows.value(rows_of, "SELECT manifest_key FROM models WHERE active")
    query = "SELECT model_key FROM images WHERE id = %s"
    assert rows.value(rows_of, query, image_id) == active
